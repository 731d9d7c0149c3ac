//go:build heavy && linux

package memory

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"engram/internal/slab"
	"engram/memory/filter"
)

// TestMillionNamespaces stores a million namespaces of eight records, each of 64
// dimensions, a sentence of text and two metadata fields, and asks that everything
// fits in 8 GiB. ENGRAM_NAMESPACES sets another number, of which the bound is in
// proportion.
func TestMillionNamespaces(t *testing.T) {
	const each = 8
	namespaces := 1_000_000
	if s := os.Getenv("ENGRAM_NAMESPACES"); s != "" {
		var err error
		if namespaces, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	pool := slab.NewPool(8 << 30)
	db := New(Options{Pool: pool})
	defer db.Close()
	before := residentBytes(t)
	r := rand.New(rand.NewPCG(1, 1))
	metadata := make([][]byte, 64)
	for i := range metadata {
		s, err := structpb.NewStruct(map[string]any{"topic": fmt.Sprint("topic ", i), "turn": i})
		if err != nil {
			t.Fatal(err)
		}
		if metadata[i], err = filter.EncodeMetadata(s); err != nil {
			t.Fatal(err)
		}
	}
	content := 0
	key := make([]float32, 64*each)
	for n := range namespaces {
		name := fmt.Sprintf("conversation/%08d", n)
		puts := make([]Put, each)
		for i := range puts {
			k := key[64*i:][:64]
			for j := range k {
				k[j] = r.Float32() - 0.5
			}
			puts[i] = Put{Record: Record{
				ID: fmt.Sprintf("turn-%d", i), Key: k, Metadata: metadata[r.IntN(len(metadata))],
				Text: fmt.Sprintf("In turn %d of conversation %d they spoke of the weather at sea.", i, n),
			}}
			content += len(puts[i].ID) + len(puts[i].Text) + len(puts[i].Metadata) + 4*64
		}
		mustStore(t, db, name, puts...)
	}
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	resident := residentBytes(t) - before
	t.Logf("%d namespaces of %d records: %.0f bytes resident each; %.0f in slabs, %.0f on the heap (live), %.0f of them what was given",
		namespaces, each, float64(resident)/float64(namespaces), float64(pool.InUse())/float64(namespaces),
		float64(ms.HeapAlloc)/float64(namespaces), float64(content)/float64(namespaces))
	overhead := float64(pool.InUse()) + float64(ms.HeapAlloc) - float64(content)
	t.Logf("beyond what was given: %.0f bytes a namespace, %.0f a record", overhead/float64(namespaces), overhead/float64(namespaces)/each)
	st := statsOf(t, db, "conversation/00000000")
	t.Logf("Stats of one: %+v", st)
	debug.FreeOSMemory()
	t.Logf("resident after the collector gave memory back: %.0f bytes each", float64(residentBytes(t)-before)/float64(namespaces))
	if most := int64(8<<30) / 1_000_000 * int64(namespaces); resident > most {
		t.Errorf("%d bytes resident, of %d", resident, most)
	}
	gc := collection()
	t.Logf("a garbage collection takes %v", gc)
}

// collection is how long a garbage collection takes, the best of twenty.
func collection() time.Duration {
	best := time.Duration(1 << 62)
	for range 20 {
		began := time.Now()
		runtime.GC()
		best = min(best, time.Since(began))
	}
	return best
}

// residentBytes is the resident set of the process, which only Linux tells like this.
func residentBytes(t testing.TB) int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
