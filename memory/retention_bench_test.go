package memory

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// BenchmarkRehearse measures a Retrieve of the ten best of 1,000 records of 384 components,
// and what it takes more to rehearse them.
func BenchmarkRehearse(b *testing.B) {
	for _, rehearse := range []bool{false, true} {
		b.Run(fmt.Sprintf("1000×384/rehearse=%v", rehearse), func(b *testing.B) {
			db := newTestDB(b, func(o *Options) { o.Workers = 1 })
			fill(b, db, "n", 0, 1000, 384)
			v := view(b, db, "n")
			defer v.Release()
			q := make([]float32, 384)
			q[0], q[1] = 1, 2
			views, queries := []*View{v}, []Query{{Vector: q}}
			b.ReportAllocs()
			for b.Loop() {
				hits, _, err := db.Retrieve(b.Context(), views, queries, RetrieveOptions{K: 10, MinScore: float32(math.Inf(-1))})
				if err != nil {
					b.Fatal(err)
				}
				if rehearse {
					db.Rehearse(views, hits)
				}
			}
		})
	}
}

// BenchmarkCommitRehearsals measures the commit of rehearsals of 4,096 of 100,000 records,
// once all of them were rehearsed, or none.
func BenchmarkCommitRehearsals(b *testing.B) {
	for _, before := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("4096 of 100000/rehearsed=%d", before), func(b *testing.B) {
			db := newTestDB(b, func(o *Options) { o.RehearseAfter = time.Hour })
			fill(b, db, "n", 0, 100_000, 4)
			hits := make([]Hit, 0, 100_000)
			v := view(b, db, "n")
			for ref := range refsOf(v) {
				hits = append(hits, Hit{Ref: ref})
			}
			commit := func(hits []Hit) {
				db.Rehearse([]*View{v}, [][]Hit{hits})
				if err := db.CommitRehearsals(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			if before > 0 {
				commit(hits)
			}
			for i := 0; b.Loop(); i++ {
				at := i * 4096 % (len(hits) - 4096)
				commit(hits[at : at+4096])
			}
			now := view(b, db, "n")
			b.ReportMetric(float64(now.Stats().HeapBytes-v.Stats().HeapBytes)/float64(100_000), "heap-B/record")
			now.Release()
			v.Release()
		})
	}
}

// BenchmarkRetention measures rankings of 200,000 records by what knows no query, beside one
// that looks at every record as they do.
func BenchmarkRetention(b *testing.B) {
	db := newTestDB(b, func(o *Options) { o.Workers = 1 })
	fill(b, db, "n", 0, 200_000, 64)
	v := view(b, db, "n")
	defer v.Release()
	q := make([]float32, 64)
	q[0], q[1] = 1, 2
	for name, by := range map[string]Ranking{
		"importance": {Similarity: 1, Importance: 0.1}, "retention": {Similarity: 1, Retention: 0.1}, "both": {Similarity: 1, Retention: 0.1, Importance: 0.1},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := db.Retrieve(b.Context(), []*View{v}, []Query{{Vector: q}}, RetrieveOptions{K: 10, MinScore: float32(math.Inf(-1)), Ranking: by}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
