package memory

import (
	"fmt"
	"math"
	"strconv"
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

func BenchmarkStore(b *testing.B) {
	for _, shape := range []struct{ batch, dim int }{{1, 128}, {1000, 128}, {1000, 768}} {
		b.Run(fmt.Sprintf("batch=%d/dim=%d", shape.batch, shape.dim), func(b *testing.B) {
			db := newTestDB(b)
			key := make([]float32, shape.dim)
			key[0] = 1
			b.SetBytes(int64(4 * shape.batch * shape.dim))
			puts := make([]Put, shape.batch)
			n := 0
			for b.Loop() {
				for i := range puts {
					puts[i] = Put{Record: Record{ID: strconv.Itoa(n % 500_000), Key: key, Text: "a short text"}}
					n++
				}
				mustStore(b, db, "n", puts...)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func BenchmarkGet(b *testing.B) {
	db := newTestDB(b)
	fill(b, db, "n", 0, 300_000, 4)
	v := view(b, db, "n")
	defer v.Release()
	ids := make([]string, 4096)
	for i := range ids {
		ids[i] = fmt.Sprint("id", i*73)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, ok := v.Find(ids[i%len(ids)]); !ok {
			b.Fatal(ids[i%len(ids)])
		}
		i++
	}
}
