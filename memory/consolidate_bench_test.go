package memory

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"engram/index"
	"engram/internal/slab"
)

// BenchmarkConsolidate looks for what would be merged, of records of which a tenth are near
// another one. scan/op is beside it what a look of each record at all others takes: what a
// definition without leaders would.
func BenchmarkConsolidate(b *testing.B) {
	for _, c := range []struct{ records, dim, sessions int }{{10_000, 128, 1}, {10_000, 128, 100}, {10_000, 384, 1}} {
		b.Run(fmt.Sprintf("%d×%d/sessions=%d", c.records, c.dim, c.sessions), func(b *testing.B) {
			db := New(Options{Pool: slab.NewPool(1 << 30), Workers: 1})
			defer func() { _ = db.Close() }()
			if _, err := db.CreateNamespace(b.Context(), &CreateNamespace{Config{Name: "n", Metric: index.Cosine, Dimension: c.dim, ValueDimension: c.dim}}); err != nil {
				b.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			var last []float32
			for at := 0; at < c.records; at += 1000 {
				puts := make([]Put, 1000)
				for i := range puts {
					key := make([]float32, c.dim)
					for j := range key {
						key[j] = float32(rng.NormFloat64())
						if i%10 == 9 {
							key[j] = last[j] + 0.1*key[j]
						}
					}
					last = key
					puts[i].Record = Record{Key: key, Text: "a turn of a dialogue", Session: fmt.Sprint((at + i) % (10 * c.sessions) / 10)}
				}
				mustStore(b, db, "n", puts...)
			}
			time.Sleep(10 * time.Millisecond)
			for b.Loop() {
				r, err := db.Consolidate(context.Background(), &Consolidate{Namespace: "n", By: &Consolidation{Similarity: 0.95}, DryRun: true})
				if err != nil || r.Made < c.records/20 {
					b.Fatal(r, err)
				}
			}
			took := b.Elapsed() / time.Duration(b.N)
			v := view(b, db, "n")
			defer v.Release()
			begun := time.Now()
			r := read([]*View{v}, nil)
			defer r.done()
			queries := make([][]float32, 64)
			for at := 0; at < c.records; at += len(queries) {
				for i := range queries {
					queries[i] = v.segments[0].key(uint32(min(at+i, int(v.segments[0].n)-1)))
				}
				if _, _, err := index.Search(b.Context(), v.settings.Value().shape(), r.parts, queries, index.SearchOptions{K: 10, MinScore: float32(math.Inf(-1)), Workers: 1}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(took)/float64(time.Since(begun)), "of-a-scan")
		})
	}
}
