package memory

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"engram/index"
	"engram/internal/slab"
)

// eventually waits for what goes on in the background.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 60000 {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// idle waits until nothing is to be done on a namespace.
func idle(t testing.TB, db *DB, namespace string) {
	eventually(t, "maintenance is done", func() bool {
		v := view(t, db, namespace)
		defer v.Release()
		return v.job(db) == nil
	})
}

func fill(t testing.TB, db *DB, namespace string, from, to, dim int) {
	t.Helper()
	for from < to {
		puts := make([]Put, min(1000, to-from))
		for i := range puts {
			key := make([]float32, dim)
			key[(from+i)%dim], key[(from+i)/dim%dim] = 1, 2
			puts[i] = Put{Record: Record{ID: fmt.Sprint("id", from+i), Key: key, Text: fmt.Sprint("text ", from+i), Metadata: less[(from+i)%10]}}
		}
		mustStore(t, db, namespace, puts...)
		from += len(puts)
	}
}

func statsOf(t testing.TB, db *DB, namespace string) NamespaceStats {
	v := view(t, db, namespace)
	defer v.Release()
	return v.Stats()
}

func TestDeletedRowsGiveTheirMemoryBack(t *testing.T) {
	db := newTestDB(t)
	fill(t, db, "n", 0, 70_000, 4) // two segments
	before := statsOf(t, db, "n")
	if before.Segments != 2 {
		t.Fatalf("%d segments", before.Segments)
	}
	held := view(t, db, "n")
	for n := range 9 { // leaves the records of n = 9
		f, _ := where(n + 1)
		if _, err := db.Delete(t.Context(), &Delete{Namespace: "n", Filter: f}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the segments are compacted into one", func() bool {
		st := statsOf(t, db, "n")
		return st.Segments == 1 && st.DeadRows*4 <= st.Records && st.VectorBytes*5 < before.VectorBytes && st.PayloadBytes*5 < before.PayloadBytes
	})
	v := view(t, db, "n")
	defer v.Release()
	var r Record
	for i := 9; i < 70_000; i += 1000 {
		if id := fmt.Sprint("id", i); !v.Get(id, &r, IncludeAll) || r.Text != fmt.Sprint("text ", i) {
			t.Fatalf("record %s is %+v", id, r)
		}
	}
	if v.Count() != 7000 || held.Count() != 70_000 || !held.Get("id3", &r, IncludeAll) || r.Text != "text 3" {
		t.Error("the views don't hold what they held")
	}
	held.Release()
}

func TestSegmentsAreIndexed(t *testing.T) {
	db := newTestDB(t)
	fill(t, db, "n", 0, 900, 4)
	fill(t, db, "m", 0, 3000, 4)
	eventually(t, "an index", func() bool { return statsOf(t, db, "m").IndexBytes > 0 })
	if st := statsOf(t, db, "n"); st.IndexBytes != 0 {
		t.Errorf("900 records have an index of %d bytes", st.IndexBytes)
	}
	f, _ := where(5)
	v := view(t, db, "m")
	defer v.Release()
	if n := v.CountWhere(f); n != 1500 {
		t.Errorf("%d records match", n)
	}
}

func TestBudgets(t *testing.T) {
	pool := slab.NewPool(8 << 20)
	db := newTestDB(t, func(o *Options) { o.Pool = pool })
	limit := int64(256 << 10)
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{Config{Name: "small", Metric: index.Dot, Dimension: 64, ValueDimension: 64, MaxBytes: limit}}); err != nil {
		t.Fatal(err)
	}
	store := func(namespace string, i int) error {
		key := make([]float32, 64)
		key[0] = 1
		_, err := db.Store(t.Context(), &Store{Namespace: namespace, Records: []Put{{Record: Record{ID: fmt.Sprint("id", i), Key: key, Text: "t"}}}})
		return err
	}
	until := func(namespace string) int {
		for i := 0; ; i++ {
			if err := store(namespace, i); err != nil {
				before := dump(t, db)
				if again := store(namespace, i); !isFull(err) || !isFull(again) {
					t.Fatal(err, again)
				}
				if v := view(t, db, namespace); dump(t, db) != before || v.Count() != i {
					t.Error("a refused write changed something")
				} else {
					v.Release()
				}
				return i
			}
		}
	}
	n := until("small")
	st := statsOf(t, db, "small")
	if used := st.VectorBytes + st.RowBytes + st.PayloadBytes + st.IndexBytes; used > limit || used < limit*9/10 {
		t.Errorf("%d records take %d bytes, of %d", n, used, limit)
	}
	if err := db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "small", MaxBytes: new(int64)}); err != nil {
		t.Fatal(err)
	}
	if err := store("small", n); err != nil {
		t.Errorf("without a bound: %v", err)
	}
	big := make([]Put, 100)
	for i := range big {
		big[i] = Put{Record: Record{Key: []float32{1}, Text: string(make([]byte, 60<<10))}}
	}
	if _, err := db.Store(t.Context(), &Store{Namespace: "large", Records: big}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Store(t.Context(), &Store{Namespace: "large", Records: big}); !isFull(err) {
		t.Errorf("over the server's budget: %v", err)
	}
	if pool.InUse() > pool.Limit() {
		t.Errorf("%d bytes in use, of %d", pool.InUse(), pool.Limit())
	}
	if _, err := db.DeleteNamespace(t.Context(), &DeleteNamespace{"large"}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Store(t.Context(), &Store{Namespace: "large", Records: big}); err != nil {
		t.Errorf("once there is room again: %v", err)
	}
}

// What a Retrieve allocates doesn't grow with the namespace; with a filter it does
// by the plan for each segment's index, which is a matter of the filter's size.
func TestRetrieveAllocatesTheSame(t *testing.T) {
	db := newTestDB(t, func(o *Options) { o.Workers = 1 })
	fill(t, db, "small", 0, 100, 4)
	fill(t, db, "large", 0, 150_000, 4)
	f, _ := where(5)
	for _, filtered := range []bool{false, true} {
		allocs := func(namespace string) float64 {
			idle(t, db, namespace) // or its allocations count
			v := view(t, db, namespace)
			defer v.Release()
			views, queries := []*View{v}, []Query{{Vector: []float32{1, 2, 3, 4}}}
			opt := RetrieveOptions{K: 10, MinScore: float32(math.Inf(-1))}
			if filtered {
				opt.Filter = f
			}
			return testing.AllocsPerRun(20, func() {
				if _, _, err := db.Retrieve(t.Context(), views, queries, opt); err != nil {
					t.Fatal(err)
				}
			})
		}
		small, large := allocs("small"), allocs("large")
		t.Logf("filtered %v: %v allocations of 100 records, %v of 150,000", filtered, small, large)
		most := small + 20 // with -race pools lose some of what is put back
		if filtered {
			most += 3 * 30 // segments of the large one, which alone is indexed
		}
		if large > most {
			t.Errorf("filtered %v: %v allocations of 100 records, %v of 150,000", filtered, small, large)
		}
	}
}

// A segment that another followed can become the last again and take more rows,
// which its bounds don't cover.
func TestListAfterTheLastSegmentIsGone(t *testing.T) {
	db := newTestDB(t)
	fill(t, db, "n", 0, 70_000, 4)
	all, err := db.Delete(t.Context(), &Delete{Namespace: "n", IDs: []string{"id1", "id2"}})
	if err != nil || all.Deleted != 2 {
		t.Fatal(err)
	}
	for from := 40_000; from < 70_000; from += 1000 { // the first segment is compacted and has room
		ids := make([]string, 1000)
		for i := range ids {
			ids[i] = fmt.Sprint("id", from+i)
		}
		if _, err := db.Delete(t.Context(), &Delete{Namespace: "n", IDs: ids}); err != nil {
			t.Fatal(err)
		}
	}
	idle(t, db, "n")
	fill(t, db, "n", 100_000, 100_010, 4)
	idle(t, db, "n")
	v := view(t, db, "n")
	defer v.Release()
	var got []string
	page, _, _ := v.List(ListOptions{Order: CreatedDesc, N: 3})
	for _, r := range page {
		got = append(got, r.ID)
	}
	if want := []string{"id100009", "id100008", "id100007"}; !slices.Equal(got, want) {
		t.Errorf("the newest are %v, want %v", got, want)
	}
}

func TestBytesOfARecord(t *testing.T) {
	db := newTestDB(t)
	for _, n := range []int{8, 100, 1000, 40_000, 131_072} {
		name := fmt.Sprint(n)
		fill(t, db, name, 0, n, 4)
		if each := float64(statsOf(t, db, name).RowBytes) / float64(n); each >= 100 {
			t.Errorf("of %d, a record takes %.1f bytes beyond its vectors and payload", n, each)
		}
	}
}

// A change of encoding reaches the segments that are there, and what is rounded says by
// how much.
func TestEncodeAnew(t *testing.T) {
	db := newTestDB(t)
	const dim, records = 32, 70_000 // two segments
	fill(t, db, "n", 0, records, dim)
	query := make([]float32, dim)
	for i := range query {
		query[i] = float32(i%7) - 2.9
	}
	search := func() []Hit {
		v := view(t, db, "n")
		defer v.Release()
		hits, _, err := db.Retrieve(t.Context(), []*View{v}, []Query{{Vector: query}}, RetrieveOptions{K: 20, MinScore: float32(math.Inf(-1))})
		if err != nil {
			t.Fatal(err)
		}
		return hits[0]
	}
	as := func(e index.Encoding) NamespaceStats {
		t.Helper()
		if err := db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "n", KeyEncoding: &e}); err != nil {
			t.Fatal(err)
		}
		idle(t, db, "n")
		v := view(t, db, "n")
		defer v.Release()
		for i := range v.segments {
			if got := v.segments[i].vectors.Shape().Encoding; got != e {
				t.Fatalf("segment %d is kept as %d, not %d", i, got, e)
			}
		}
		return v.Stats()
	}
	idle(t, db, "n")
	want := search()
	beside := as(index.Int8)
	if got := search(); !slices.Equal(got, want) {
		t.Errorf("with codes beside keys %v, not %v", got, want)
	}
	only := as(index.Int8Only)
	if 2*only.VectorBytes > beside.VectorBytes {
		t.Errorf("vectors took %d bytes with codes, then codes alone %d", beside.VectorBytes, only.VectorBytes)
	}
	rounded := search()
	for i, h := range rounded {
		if h.Error <= 0 || math.Abs(float64(h.Score-want[i].Score)) > float64(h.Error+want[i].Error)+1e-6 {
			t.Errorf("hit %d scores %v ± %v, before %v", i, h.Score, h.Error, want[i].Score)
		}
	}
	var r Record
	v := view(t, db, "n")
	if !v.Get("id5", &r, IncludeAll) || r.KeyLost <= 0 {
		t.Errorf("%+v is not rounded", r)
	}
	v.Release()
	for e, fullest := range map[index.Encoding]float32{index.F16: 0x1p-10, index.BF16: 0x1p-7} {
		if half := as(e); 2*half.VectorBytes > beside.VectorBytes {
			t.Errorf("vectors took %d bytes with codes, then of 16 bits %d", beside.VectorBytes, half.VectorBytes)
		}
		for i, h := range search() {
			if h.Error <= 0 || h.Error > fullest || math.Abs(float64(h.Score-want[i].Score)) > float64(h.Error+rounded[i].Error)+1e-6 {
				t.Errorf("%d: hit %d scores %v ± %v, before %v", e, i, h.Score, h.Error, want[i].Score)
			}
		}
	}
	rounded = search()
	as(index.F32)
	if got := search(); len(got) != len(rounded) || got[0].Score != rounded[0].Score || got[0].Error != 0 {
		t.Errorf("of the rounded keys %v, not %v", got, rounded)
	}
}

// Where the budget has no room for a larger encoding the keys stay as they are.
func TestEncodeWithoutRoom(t *testing.T) {
	pool := slab.NewPool(800 << 10)
	db := newTestDB(t, func(o *Options) { o.Pool = pool })
	fill(t, db, "n", 0, 1000, 128)
	e := index.Int8
	if err := db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "n", KeyEncoding: &e}); err != nil {
		t.Fatal(err)
	}
	idle(t, db, "n")
	v := view(t, db, "n")
	if got := v.segments[0].vectors.Shape().Encoding; got != index.F32 || v.Config().KeyEncoding != e {
		t.Errorf("keys are kept as %d, in a pool with %d of %d bytes in use", got, pool.InUse(), pool.Limit())
	}
	v.Release()
	if pool.InUse() > pool.Limit() {
		t.Errorf("%d bytes are in use, over the limit of %d", pool.InUse(), pool.Limit())
	}
	// Deletes make room, and then it is done.
	var ids []string
	for i := range 900 {
		ids = append(ids, fmt.Sprint("id", i))
	}
	if _, err := db.Delete(t.Context(), &Delete{Namespace: "n", IDs: ids}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "keys are encoded", func() bool {
		v := view(t, db, "n")
		defer v.Release()
		return v.segments[0].vectors.Shape().Encoding == e
	})
}
