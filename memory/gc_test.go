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

// TestGarbageCollection stores 8M records of 128 dimensions with ids and metadata,
// and asks that a collection takes at most 2 ms longer than with none, and that the
// collector uses under 1% of the processor while one goroutine after another
// retrieves from 1,000 records of 384 dimensions beside them. What the collector
// does on a processor that has nothing else to do isn't counted.
func TestGarbageCollection(t *testing.T) {
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
	t.Logf("%+v", st)
	row := float64(st.RowBytes) / records
	t.Logf("%.1f bytes a record beyond vectors, payloads and indexes", row)
	if row >= 100 {
		t.Errorf("%.1f bytes a record beyond vectors, payloads and indexes", row)
	}

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
	t.Logf("the collector took %.2f%% of the processor", 100*share)
	if share >= 0.01 {
		t.Errorf("the collector took %.2f%% of the processor", 100*share)
	}

	// With none: of the same process, whose heap has the same history.
	if _, err := db.DeleteNamespace(t.Context(), &DeleteNamespace{"n"}); err != nil {
		t.Fatal(err)
	}
	none := collection()
	t.Logf("a collection takes %v with %d records, %v with none", full, records, none)
	if full > none+2*time.Millisecond {
		t.Errorf("a collection takes %v with %d records, %v with none", full, records, none)
	}
}
