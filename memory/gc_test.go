//go:build heavy && linux

package memory

import (
	"math"
	"runtime"
	"runtime/metrics"
	"strconv"
	"testing"
	"time"

	"engram/internal/slab"
)

// BenchmarkGarbageCollection stores 8M records of 128 dimensions with ids and
// metadata, and reports how long a collection takes beside them and without them
// (wanted: at most 2 ms longer), and the share of the processor that the collector
// takes while one Retrieve follows another over 1,000 records of 384 dimensions
// (wanted: under 1%). What the collector does on a processor that has nothing else
// to do isn't counted. Run it with -benchtime 1x.
func BenchmarkGarbageCollection(t *testing.B) {
	const records, dim = 8_000_000, 128
	db := New(Options{Pool: slab.NewPool(8 << 30)})
	defer db.Close()
	puts := make([]Put, 1000)
	keys := make([]float32, len(puts)*dim)
	for i := range keys {
		keys[i] = float32(i%7) - 3
	}
	for n := 0; n < records; n += len(puts) {
		for i := range puts {
			puts[i] = Put{Record: Record{ID: strconv.Itoa(n + i), Key: keys[i*dim:][:dim], Metadata: less[i%10]}}
		}
		if _, err := db.Store(t.Context(), &Store{Namespace: "n", Records: puts}); err != nil {
			t.Fatal(err)
		}
	}
	idle(t, db, "n")
	full := collection()
	st := statsOf(t, db, "n")
	t.ReportMetric(float64(st.RowBytes)/records, "B/record")

	fill(t, db, "beside", 0, 1000, 384)
	v := view(t, db, "beside")
	defer v.Release()
	cpu := func() (gc, total float64) {
		s := []metrics.Sample{
			{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
			{Name: "/cpu/classes/total:cpu-seconds"},
		}
		metrics.Read(s)
		return s[0].Value.Float64() - s[1].Value.Float64(), s[2].Value.Float64()
	}
	query := make([]float32, 384)
	query[3] = 1
	runtime.GC()
	gc, total := cpu()
	for began := time.Now(); time.Since(began) < 10*time.Second; {
		if _, _, err := db.Retrieve(t.Context(), []*View{v}, []Query{{Vector: query}}, RetrieveOptions{K: 10, MinScore: float32(math.Inf(-1))}); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC() // the metrics are as of a collection
	gcNow, totalNow := cpu()
	share := (gcNow - gc) / (totalNow - total)
	t.ReportMetric(100*share, "gc-%")

	// With none: of the same process, whose heap has the same history.
	if _, err := db.DeleteNamespace(t.Context(), &DeleteNamespace{"n"}); err != nil {
		t.Fatal(err)
	}
	none := collection()
	t.ReportMetric(float64(full.Microseconds()), "full-µs")
	t.ReportMetric(float64(none.Microseconds()), "none-µs")
}
