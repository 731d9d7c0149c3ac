package index

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"engram/internal/slab"
)

// unkept is a test whose fixture is freed before it ends, and that fails where rapid sees it.
type unkept struct {
	*testing.T
	rt *rapid.T
}

func (unkept) Cleanup(func())      {}
func (u unkept) Fatal(args ...any) { u.rt.Fatal(args...) }

// No row of a list scores above a limit unless its code is among those chosen, whatever the
// metric, the encoding, and the size of numbers.
func TestRowQueryChooses(t *testing.T) {
	judged, spared := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		dim := rapid.SampledFrom([]int{1, 3, 16, 40, 130}).Draw(rt, "dim")
		metric := rapid.SampledFrom([]Metric{Dot, Cosine, L2}).Draw(rt, "metric")
		shape := Shape{metric, dim, 1, Encoding(rapid.IntRange(0, 4).Draw(rt, "encoding")), F32, 1}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		rows := rapid.IntRange(1, 300).Draw(rt, "rows")
		exponent := rapid.SampledFrom([]int{0, 0, 0, -30, 30, -55, 55}).Draw(rt, "exponent")
		if shape.Encoding.half() {
			exponent = 0
		}
		size := math.Ldexp(1, exponent)
		spread := size * rapid.SampledFrom([]float64{0, 1e-6, 0.1, 1}).Draw(rt, "spread")
		f := sparedFixture(unkept{t, rt}, r, shape, 1+r.IntN(5), float32(size), float32(spread), 0, 0, rows)
		defer f.parts[0].Segment.Free()
		x, err := BuildIVF(t.Context(), slab.NewPool(1<<30), shape, f.parts, IVFOptions{Lists: 1 + r.IntN(8), Seed: r.Uint64(), Workers: 1})
		if err != nil {
			rt.Fatal(err)
		}
		defer x.Release()
		v := x.view(f.parts)
		query := make([]float32, dim)
		uniform(r, query)
		if r.IntN(2) == 0 {
			copy(query, f.parts[0].Segment.KeyInto(nil, r.IntN(rows)))
		}
		if Norm(query) == 0 {
			query[0] = 1
		}
		q := newListQuery(shape, query)
		rq := newRowQuery(&q, x.coder)
		if rq == nil {
			return
		}
		scores := make([]float32, x.Lists())
		x.scoreCentroids(scores, q.unit)
		score := make([]float32, rows)
		at := make([]uint32, rows)
		for i := range at {
			at[i] = uint32(i)
		}
		var keys []float32
		f.parts[0].Segment.scoreAt(score, query, inverseNorm(query), block{0, 0, rows}, at, &keys)
		for list, chunks := range x.lists {
			for _, k := range chunks {
				hits, sums := make([]uint32, len(k.mul)), make([]uint16, len(k.mul))
				limit := float64(score[r.IntN(rows)])
				if r.IntN(2) == 0 {
					limit = float64(math.Nextafter32(float32(limit), float32(math.Inf(-1))))
				}
				bounds, ok := rq.bounds(sums, x.trained, k, uint32(list), scores[list])
				if !ok {
					continue
				}
				chosen := map[uint32]bool{}
				for _, h := range bounds.above(hits, limit) {
					chosen[h] = true
				}
				judged += k.n
				for i, ref := range k.refs[:k.n] {
					if _, row, ok := v.find(ref); ok && float64(score[row]) > bounds.most(uint32(i)) {
						rt.Fatalf("row %d has the score %v, above the most of its code, %v", row, score[row], bounds.most(uint32(i)))
					}
					if chosen[uint32(i)] {
						continue
					}
					spared++
					_, row, ok := v.find(ref)
					if !ok || float64(score[row]) > limit {
						rt.Fatalf("row %d of score %v, above %v, isn't chosen", row, score[row], limit)
					}
				}
			}
		}
	})
	if spared < judged/10 {
		t.Errorf("of %d rows %d are spared", judged, spared)
	}
}

// Where balls bound nothing, codes do: rows all over the sphere in a few lists, of which a query
// near one row needs few, and the bound holds.
func TestAttendMaxErrorByCodes(t *testing.T) {
	for name, metric := range metrics {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(5, 5))
			shape := Shape{metric, 64, 64, F32, F32, 1}
			f := sparedFixture(t, r, shape, 1, 0, 1, 0, 0, 3000, 1000)
			indexes := []*IVF{f.index(t, 1, 5, first(f.parts[0], 3000), first(f.parts[1], 700))}
			var seen saving
			read := uint64(0)
			const queries = 20
			for range queries {
				q := f.parts[0].Segment.KeyInto(nil, r.IntN(3000))
				q[0] += 0.1
				// Keys have a norm of about √(64/3), so 2 of them score about ±3 of 21.
				opt := AttendOptions{
					Scale: map[Metric]float64{Dot: 10, Cosine: 200, L2: 10}[metric], MaxError: 1e-3, QueryHeads: 1, Workers: 1 + r.IntN(2), Indexes: indexes, always: true,
				}
				f.checkSpared(t, [][]float32{q}, opt, &seen)
				opt.Workers = 1 // of several each reads a first list whole, or one reads all
				a, _, err := Attend(t.Context(), shape, f.parts, [][]float32{q}, opt)
				if err != nil {
					t.Fatal(err)
				}
				read += a[0].Attended
			}
			if seen.byCodes < queries || read > queries*2000 {
				t.Errorf("%+v, of 4000 rows %d are read", seen, read/queries)
			}
			t.Logf("%+v, of 4000 rows %d are read", seen, read/queries)
		})
	}
}
