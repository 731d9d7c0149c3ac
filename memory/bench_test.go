package memory

import (
	"math"
	"testing"
)

func BenchmarkRetrieve(b *testing.B) {
	db := newTestDB(b, func(o *Options) { o.Workers = 1 })
	fill(b, db, "large", 0, 150_000, 4)
	v := view(b, db, "large")
	defer v.Release()
	views, queries := []*View{v}, []Query{{Vector: []float32{1, 2, 3, 4}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := db.Retrieve(b.Context(), views, queries, RetrieveOptions{K: 10, MinScore: float32(math.Inf(-1))}); err != nil {
			b.Fatal(err)
		}
	}
}
