package index

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"engram/internal/slab"
)

// ivfBench is a mixture of a thousand clusters in which a row is as far from its
// centre as that from the origin, with what is built of it, kept from one benchmark to
// the next.
var ivfBench struct {
	sync.Mutex
	name    string
	shape   Shape
	pool    *slab.Pool
	parts   []Part
	queries [][]float32
	x       *IVF
	c       *Calibration
}

var ivfShapes = []struct {
	name      string
	rows, dim int
}{
	{"1M×128", 1_000_000, 128},
	{"200k×384", 200_000, 384},
}

func ivfData(b *testing.B, name string, n, dim int) {
	f := &ivfBench
	if f.name == name {
		return
	}
	if f.x != nil {
		f.x.Release()
		for _, p := range f.parts {
			p.Segment.Free()
		}
	}
	f.name, f.shape, f.pool, f.parts, f.x = name, Shape{Cosine, dim, dim, F32, F32, 1}, slab.NewPool(16<<30), nil, nil
	r := rand.New(rand.NewPCG(1, 1))
	centres := clusters(r, 1000, dim, 1000, 0)
	row := func() []float32 {
		v := append([]float32(nil), centres[r.IntN(len(centres))]...)
		for i, x := range clusters(r, 1, dim, 1, 1)[0] {
			v[i] += x
		}
		return v
	}
	for left := n; left > 0; {
		rows := min(left, MaxRows)
		s, err := NewSegment(f.pool, f.shape, rows, false)
		if err != nil {
			b.Fatal(err)
		}
		for range rows {
			if err := s.Append(row(), nil); err != nil {
				b.Fatal(err)
			}
		}
		f.parts = append(f.parts, Part{Segment: s, Rows: rows, Age: ages(len(f.parts))})
		left -= rows
	}
	f.queries = nil
	for range 1000 {
		f.queries = append(f.queries, row())
	}
}

// BenchmarkBuildIVF reports the time of training and filling an index against that of
// the multiply-adds of assigning all rows once.
func BenchmarkBuildIVF(b *testing.B) {
	for _, s := range ivfShapes {
		b.Run(s.name, func(b *testing.B) {
			ivfBench.Lock()
			defer ivfBench.Unlock()
			ivfData(b, s.name, s.rows, s.dim)
			f := &ivfBench
			lists := listsFor(s.rows)
			against(b, "of/assigning", func() {
				x, err := BuildIVF(context.Background(), f.pool, f.shape, f.parts, IVFOptions{Seed: 1})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(x.Bytes())/float64(s.rows), "bytes/row")
				x.Release()
			}, func() { multiplyAdd(s.rows * s.dim * lists) })
		})
	}
}

// BenchmarkAssembleIVF reports the time of making an index again from what a snapshot
// has of it, and how many times as fast as building that is.
func BenchmarkAssembleIVF(b *testing.B) {
	for _, s := range ivfShapes {
		b.Run(s.name, func(b *testing.B) {
			ivfBench.Lock()
			defer ivfBench.Unlock()
			ivfData(b, s.name, s.rows, s.dim)
			f := &ivfBench
			ctx := context.Background()
			build := func() *IVF {
				x, err := BuildIVF(ctx, f.pool, f.shape, f.parts, IVFOptions{Seed: 1})
				if err != nil {
					b.Fatal(err)
				}
				return x
			}
			x := build()
			trained, segments, lists := x.AppendTrained(nil), make([]*Segment, len(f.parts)), make([][]uint32, len(f.parts))
			for i, p := range f.parts {
				segments[i], lists[i] = p.Segment, make([]uint32, p.Rows)
			}
			x.ListsOf(segments, lists)
			x.Release()
			best := byTurns(b, func() {
				x, err := AssembleIVF(ctx, f.pool, f.shape, f.parts, trained, func(part int, row uint32) uint32 { return lists[part][row] }, 0)
				if err != nil {
					b.Fatal(err)
				}
				x.Release()
			}, func() { build().Release() })
			b.ReportMetric(best[0].Seconds(), "s")
			b.ReportMetric(best[1].Seconds()/best[0].Seconds(), "×building")
		})
	}
}

// BenchmarkSearchIVF reports queries a second, the recall, and how many times as fast
// an exact search is passed. The last is by turns.
func BenchmarkSearchIVF(b *testing.B) {
	for _, s := range ivfShapes {
		for _, batch := range []int{1, 1000} {
			for _, recall := range []float64{0.95, 0.99} {
				b.Run(fmt.Sprintf("%s/recall=%v/batch=%d", s.name, recall, batch), func(b *testing.B) {
					ivfBench.Lock()
					defer ivfBench.Unlock()
					ivfData(b, s.name, s.rows, s.dim)
					f := &ivfBench
					ctx := context.Background()
					if f.x == nil {
						var err error
						if f.x, err = BuildIVF(ctx, f.pool, f.shape, f.parts, IVFOptions{Seed: 1}); err != nil {
							b.Fatal(err)
						}
						if f.c, err = Calibrate(ctx, f.x, f.parts, f.queries, CalibrateOptions{Ks: []int{10}}); err != nil {
							b.Fatal(err)
						}
					}
					opt := IVFSearchOptions{SearchOptions: SearchOptions{K: 10, MinScore: never, Workers: 1}, Recall: recall, Calibration: f.c}
					var hits [][]Hit
					best := byTurns(b, func() {
						hits = hits[:0]
						for from := 0; from < len(f.queries); from += batch {
							h, _, err := SearchIVF(ctx, f.x, f.parts, f.queries[from:from+batch], opt)
							if err != nil {
								b.Fatal(err)
							}
							hits = append(hits, h...)
						}
					}, func() {
						if _, _, err := Search(ctx, f.shape, f.parts, f.queries[:100], opt.SearchOptions); err != nil {
							b.Fatal(err)
						}
					})
					b.ReportMetric(float64(len(f.queries))/best[0].Seconds(), "queries/s")
					b.ReportMetric(best[1].Seconds()*float64(len(f.queries)/100)/best[0].Seconds(), "×exact")
					b.ReportMetric(recallOf(hits, searchExact(b, f.shape, f.parts, f.queries, SearchOptions{K: 10})), "recall")
				})
			}
		}
	}
}
