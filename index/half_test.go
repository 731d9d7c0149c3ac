package index

import (
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
		shape := Shape{metric, d, d, encoding, F32}
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
