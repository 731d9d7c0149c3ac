package index

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"engram/internal/slab"
	"engram/kernel"
)

// valueEncodings are those that values can have.
var valueEncodings = []Encoding{F32, F16, BF16}

// halved is a vector as an encoding of 16 bits stores it, and itself otherwise.
func halved(e Encoding, v []float32) []float32 {
	h, out := make([]uint16, len(v)), make([]float32, len(v))
	switch e {
	case F16:
		kernel.EncodeF16(h, v)
		kernel.DecodeF16(out, h)
	case BF16:
		kernel.EncodeBF16(h, v)
		kernel.DecodeBF16(out, h)
	default:
		return v
	}
	return out
}

// Scores of keys of 16 bits are as far from those of the keys that were given as ScoreError
// says at most, and the keys as Lost says; another segment of them stores the same again.
func TestHalfErrors(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		metric := Metric(rapid.IntRange(0, 2).Draw(rt, "metric"))
		encoding := rapid.SampledFrom([]Encoding{F16, BF16}).Draw(rt, "encoding")
		d := rapid.IntRange(1, 300).Draw(rt, "dim")
		size := rapid.SampledFrom([]float64{1, 0x1p-14, 0x1p-18, 1000}).Draw(rt, "size")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		pool := slab.NewPool(1 << 30)
		shape := Shape{metric, d, d, encoding, F32, 1}
		s, err := NewSegment(pool, shape, 20, false)
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Free()
		again, err := NewSegment(pool, shape, 20, false)
		if err != nil {
			rt.Fatal(err)
		}
		defer again.Free()
		exact := fixture{shape: shape}
		query := make([]float32, d)
		uniform(r, query)
		for row := range 20 {
			key := make([]float32, d)
			for i := range key {
				key[i] = float32(size * r.NormFloat64())
			}
			key[r.IntN(d)] = 0x1p-14
			if err := s.Append(key, nil); err != nil {
				rt.Fatal(err)
			}
			stored := s.Key(row)
			sum := 0.0
			for i := range key {
				e := float64(key[i]) - float64(stored[i])
				sum += e * e
			}
			if lost := math.Sqrt(sum); lost > float64(s.Lost(row)) {
				rt.Fatalf("row %d lost %g, and Lost says %g", row, lost, s.Lost(row))
			}
			if err := again.AppendLossy(stored, nil, s.Lost(row)); err != nil {
				rt.Fatal(err)
			}
			for i, x := range again.Key(row) {
				if x != stored[i] {
					rt.Fatalf("row %d, stored again, is %v, not %v", row, x, stored[i])
				}
			}
			score := exact.score(&Part{Segment: s, Rows: s.Rows()}, row, query)
			given := exactScore(metric, query, key)
			if off, bound := math.Abs(float64(score)-given), float64(s.ScoreError(row, score, Norm(query))); off > bound {
				rt.Fatalf("row %d: the score is %g, that of the given key %g: off by %g, over the bound %g", row, score, given, off, bound)
			}
		}
	})
}

// BenchmarkHalf runs the same reads of vectors of 16 bits and of float32, and what reads
// the former once, by turns.
func BenchmarkHalf(b *testing.B) {
	for _, s := range benchShapes {
		for _, e := range []Encoding{F16, BF16} {
			plain := benchParts(b, s.rows, Shape{Cosine, s.dim, s.dim, F32, F32, 1}, true)
			half := &fixture{shape: Shape{Cosine, s.dim, s.dim, e, e, 1}}
			pool := slab.NewPool(16 << 30)
			for _, p := range plain.parts {
				c, err := NewSegment(pool, half.shape, p.Rows, true)
				if err != nil {
					b.Fatal(err)
				}
				for row := range p.Rows {
					if err := c.Append(p.Segment.Key(row), p.Segment.Value(row)); err != nil {
						b.Fatal(err)
					}
				}
				half.parts = append(half.parts, Part{Segment: c, Rows: p.Rows, Age: p.Age})
			}
			for _, batch := range []int{1, 4, 16, 64} {
				queries := plain.queries(rand.New(rand.NewPCG(2, 2)), uniform, batch)
				search := func(f *fixture) func() {
					return func() {
						if _, _, err := Search(context.Background(), f.shape, f.parts, queries, SearchOptions{K: 10, MinScore: never}); err != nil {
							b.Fatal(err)
						}
					}
				}
				attend := func(f *fixture) func() {
					return func() {
						if _, _, err := Attend(context.Background(), f.shape, f.parts, queries, AttendOptions{Scale: math.Sqrt(float64(s.dim))}); err != nil {
							b.Fatal(err)
						}
					}
				}
				read := func(of func(s *Segment) [][]byte) func() {
					return func() { readAll(half.parts, of) }
				}
				name := map[Encoding]string{F16: "F16", BF16: "BF16"}[e]
				for _, c := range []struct {
					name        string
					work, plain func()
					read        func()
				}{
					{"Search", search(half), search(plain), read(func(s *Segment) [][]byte { return [][]byte{s.keys} })},
					{"Attend", attend(half), attend(plain), read(func(s *Segment) [][]byte { return [][]byte{s.keys, s.values} })},
				} {
					b.Run(fmt.Sprintf("%s/%s/%s/batch=%d", c.name, s.name, name, batch), func(b *testing.B) {
						best := byTurns(b, c.work, c.plain, c.read)
						b.ReportMetric(float64(best[1])/float64(best[0]), "×f32")
						b.ReportMetric(float64(best[2])/float64(best[0]), "of/bandwidth")
					})
				}
			}
			for _, p := range half.parts {
				p.Segment.Free()
			}
		}
	}
}
