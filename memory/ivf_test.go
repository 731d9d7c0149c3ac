package memory

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"engram/index"
	"engram/internal/slab"
)

// clustered gives vectors of a mixture.
func clustered(r *rand.Rand, centers [][]float32) []float32 {
	v := slices.Clone(centers[r.IntN(len(centers))])
	for i := range v {
		v[i] += float32(r.NormFloat64()) / 3
	}
	return v
}

// A namespace with a recall gets an index once it has enough records, and has it while
// records come, change and go, and segments are written anew; what it promises it keeps,
// new records are found at once and deleted ones never; without the recall it goes.
func TestRecall(t *testing.T) {
	for _, encoding := range []index.Encoding{index.F32, index.Int8, index.Int8Only, index.F16, index.BF16} {
		t.Run(fmt.Sprint(encoding), func(t *testing.T) { testRecall(t, encoding) })
	}
}

func testRecall(t *testing.T, encoding index.Encoding) {
	const dim, records, recall = 24, 12_000, 0.9
	pool := slab.NewPool(1 << 30)
	db := newDB(Options{Pool: pool}, sizes{segmentRows: 2048, indexRows: 1 << 20, compactRows: 64, ivfRows: 8000})
	defer func() {
		if err := db.Close(); err != nil || pool.InUse() != 0 {
			t.Errorf("%d bytes are in use after Close: %v", pool.InUse(), err)
		}
	}()
	r := rand.New(rand.NewPCG(11, uint64(encoding)))
	centers := make([][]float32, 60)
	for i := range centers {
		centers[i] = make([]float32, dim)
		for j := range centers[i] {
			centers[i][j] = float32(r.NormFloat64())
		}
	}
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{Config{
		Name: "n", Metric: index.Cosine, Dimension: dim, ValueDimension: dim, Recall: recall, KeyEncoding: encoding}}); err != nil {
		t.Fatal(err)
	}
	store := func(from, to int) {
		t.Helper()
		for ; from < to; from += 500 {
			var puts []Put
			for i := range 500 {
				puts = append(puts, Put{Record: Record{ID: fmt.Sprint(from + i), Key: clustered(r, centers)}})
			}
			mustStore(t, db, "n", puts...)
		}
	}
	settled := func() {
		t.Helper()
		eventually(t, "the namespace is settled", func() bool {
			v := view(t, db, "n")
			defer v.Release()
			return v.job(db) == nil && v.ivfJob(db) == nil
		})
	}
	retrieve := func(query []float32, near Nearness) ([]Hit, index.Stats) {
		t.Helper()
		v := view(t, db, "n")
		defer v.Release()
		hits, stats, err := db.Retrieve(t.Context(), []*View{v}, []Query{{Vector: query}}, RetrieveOptions{K: 10, MinScore: float32(math.Inf(-1)), Near: near})
		if err != nil {
			t.Fatal(err)
		}
		return hits[0], stats
	}
	// delivered measures the recall of the namespace's own kind of search, on new queries.
	delivered := func(when string) {
		t.Helper()
		found, lists, promised := 0, int64(0), 0.0
		const queries = 1000
		for range queries {
			q := clustered(r, centers)
			want, stats := retrieve(q, Nearness{Exact: true})
			if stats.ListsProbed != 0 || stats.Recall != 0 {
				t.Fatalf("%s: an exact search probed: %+v", when, stats)
			}
			got, stats := retrieve(q, Nearness{})
			lists += stats.ListsProbed
			promised += stats.Recall / queries
			for _, h := range got {
				if slices.Contains(want, h) {
					found++
				}
			}
		}
		if got := float64(found) / (10 * queries); lists == 0 || promised < recall || got < recall-0.02 || got < promised-0.04 {
			t.Errorf("%s: recall %.3f over %d lists, promised %.3f", when, got, lists, promised)
		}
	}
	store(0, 6000)
	settled()
	if st := statsOf(t, db, "n"); st.IVF.Lists != 0 {
		t.Errorf("an index of %d records: %+v", 6000, st.IVF)
	}
	store(6000, records)
	settled()
	if st := statsOf(t, db, "n"); st.IVF.Lists == 0 || st.IVF.Bytes == 0 || !st.IVF.ByKeys || len(st.IVF.Curves[10]) == 0 {
		t.Fatalf("no index of %d records: %+v", records, st.IVF)
	}
	delivered("as built")
	settled()
	if st := statsOf(t, db, "n"); st.IVF.ByKeys {
		t.Errorf("after 300 queries it is calibrated by keys: %+v", st.IVF)
	}
	delivered("by queries")

	// A record is found the moment it is stored, changed and deleted.
	q := clustered(r, centers)
	mustStore(t, db, "n", Put{Record: Record{ID: "new", Key: q}})
	find := func() bool {
		hits, _ := retrieve(q, Nearness{})
		v := view(t, db, "n")
		defer v.Release()
		ref, ok := v.Find("new")
		return ok && slices.ContainsFunc(hits, func(h Hit) bool { return h.Ref == ref })
	}
	if !find() {
		t.Error("a new record isn't found")
	}
	if _, err := db.Delete(t.Context(), &Delete{Namespace: "n", IDs: []string{"new"}}); err != nil || find() {
		t.Errorf("a deleted record is found: %v", err)
	}

	// A third goes, and segments are written anew; then more comes than it had.
	var ids []string
	for i := 0; i < records; i++ {
		if i%3 == 0 {
			ids = append(ids, fmt.Sprint(i))
		}
	}
	for _, some := range [][]string{ids[:1000], ids[1000:2000], ids[2000:]} {
		if _, err := db.Delete(t.Context(), &Delete{Namespace: "n", IDs: some}); err != nil {
			t.Fatal(err)
		}
	}
	settled()
	if st := statsOf(t, db, "n"); st.DeadRows > 3000 || st.IVF.Uncovered > 3000 {
		t.Errorf("after deletes: %+v", st)
	}
	delivered("after deletes")
	store(records, 2*records)
	settled()
	if st := statsOf(t, db, "n"); st.IVF.Uncovered > 3000 {
		t.Errorf("after more: %+v", st.IVF)
	}
	delivered("after more")

	none := 0.0
	if err := db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "n", Recall: &none}); err != nil {
		t.Fatal(err)
	}
	settled()
	if st := statsOf(t, db, "n"); st.IVF.Lists != 0 {
		t.Errorf("without a recall: %+v", st.IVF)
	}
	if _, stats := retrieve(q, Nearness{Recall: 0.5}); stats.ListsProbed != 0 {
		t.Errorf("without an index: %+v", stats)
	}
}

// Namespaces with indexes, and without, are ranked together as exactly as each allows.
func TestRecallOfSeveral(t *testing.T) {
	pool := slab.NewPool(1 << 30)
	db := newDB(Options{Pool: pool}, sizes{segmentRows: 512, indexRows: 1 << 20, compactRows: 64, ivfRows: 1000})
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	r := rand.New(rand.NewPCG(12, 12))
	centers := [][]float32{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {-1, 0, 0}}
	var views []*View
	for i, recall := range []float64{0.9, 0, 0.95} {
		name := fmt.Sprint("n", i)
		if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{Config{Name: name, Metric: index.L2, Dimension: 3, ValueDimension: 3, Recall: recall}}); err != nil {
			t.Fatal(err)
		}
		for range 6 {
			var puts []Put
			for range 300 {
				puts = append(puts, Put{Record: Record{Key: clustered(r, centers)}})
			}
			mustStore(t, db, name, puts...)
		}
		eventually(t, "it is indexed", func() bool {
			v := view(t, db, name)
			defer v.Release()
			return v.job(db) == nil && v.ivfJob(db) == nil
		})
		v := view(t, db, name)
		defer v.Release()
		views = append(views, v)
	}
	query := []Query{{Vector: centers[0]}, {Vector: centers[3]}}
	opt := RetrieveOptions{K: 50, MinScore: float32(math.Inf(-1)), Near: Nearness{Exact: true}}
	want, _, err := db.Retrieve(t.Context(), views, query, opt)
	if err != nil {
		t.Fatal(err)
	}
	opt.Near = Nearness{Probes: 1 << 20}
	got, stats, err := db.Retrieve(t.Context(), views, query, opt)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for q := range want {
		for i, h := range got[q] {
			if i > 0 && h.Score > got[q][i-1].Score {
				t.Errorf("query %d: hit %d scores more than the one before", q, i)
			}
			if slices.Contains(want[q], h) {
				found++
			}
		}
	}
	if found < 98 || stats.ListsProbed == 0 {
		t.Errorf("all lists give %d of 100, %+v", found, stats)
	}
}

// Where the budget has no room for an index searches stay exact.
func TestRecallWithoutRoom(t *testing.T) {
	pool := slab.NewPool(1_200_000)
	db := newDB(Options{Pool: pool}, sizes{segmentRows: 2048, indexRows: 1 << 20, compactRows: 64, ivfRows: 1000})
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	c := Config{Name: "n", Metric: index.Cosine, Dimension: 256, ValueDimension: 256, Recall: 0.9}
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{c}); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(13, 13))
	var puts []Put
	for range 1000 {
		key := make([]float32, 256)
		for j := range key {
			key[j] = float32(r.NormFloat64())
		}
		puts = append(puts, Put{Record: Record{Key: key}})
	}
	mustStore(t, db, "n", puts...)
	eventually(t, "it is refused", func() bool {
		v := view(t, db, "n")
		defer v.Release()
		return v.ivfJob(db) == nil
	})
	if st := statsOf(t, db, "n"); st.IVF.Lists != 0 || pool.InUse() > pool.Limit() {
		t.Errorf("%+v with %d of %d bytes in use", st.IVF, pool.InUse(), pool.Limit())
	}
}

// Where an index can't be extended for want of room it stays as it is, what it lacks is
// scored, and it isn't tried again until there is more.
func TestExtendWithoutRoom(t *testing.T) {
	pool := slab.NewPool(16 << 20)
	db := newDB(Options{Pool: pool}, sizes{segmentRows: 8192, indexRows: 1 << 20, compactRows: 64, ivfRows: 1000})
	defer func() {
		if err := db.Close(); err != nil || pool.InUse() != 0 {
			t.Errorf("%d bytes are in use after Close: %v", pool.InUse(), err)
		}
	}()
	c := Config{Name: "n", Metric: index.L2, Dimension: 3, ValueDimension: 3, Recall: 0.9}
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{c}); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(15, 15))
	store := func(n int) {
		t.Helper()
		var puts []Put
		for range n {
			puts = append(puts, Put{Record: Record{ID: fmt.Sprint(r.Uint32()), Key: clustered(r, [][]float32{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}})}})
		}
		mustStore(t, db, "n", puts...)
	}
	settled := func() IVFStats {
		t.Helper()
		eventually(t, "nothing is left to do", func() bool {
			v := view(t, db, "n")
			defer v.Release()
			return v.job(db) == nil && v.ivfJob(db) == nil
		})
		return statsOf(t, db, "n").IVF
	}
	store(1000)
	store(300) // with room for 325 more
	if st := settled(); st.Lists == 0 {
		t.Fatalf("there is no index: %+v", st)
	}
	var taken [][]byte
	for size := 1 << 20; size >= 64; {
		if b, err := pool.Alloc(size); err == nil {
			taken = append(taken, b)
		} else {
			size /= 2
		}
	}
	store(300)
	if st := settled(); st.Uncovered < 300 || pool.InUse() > pool.Limit() {
		t.Errorf("without room: %+v, %d of %d bytes in use", st, pool.InUse(), pool.Limit())
	}
	for _, b := range taken {
		pool.Free(b)
	}
	store(1000)
	if st := settled(); st.Uncovered >= 300 {
		t.Errorf("with room again: %+v", st)
	}
}

// What a view's records and its index give makes the same index in another DB, with the
// rows that came since put into it; what is no index of that namespace is refused, and
// where the centroids alone are none it is built anew.
func TestRecallRestored(t *testing.T) {
	const dim, records = 8, 3000
	z := sizes{segmentRows: 512, indexRows: 1 << 20, compactRows: 64, ivfRows: 1000}
	made := func() *DB {
		db := newDB(Options{Pool: slab.NewPool(1 << 30)}, z)
		t.Cleanup(func() {
			if err := db.Close(); err != nil || db.pool.InUse() != 0 {
				t.Errorf("%d bytes are in use after Close: %v", db.pool.InUse(), err)
			}
		})
		return db
	}
	indexed := func(db *DB) []byte {
		t.Helper()
		eventually(t, "it is indexed", func() bool {
			v := view(t, db, "n")
			defer v.Release()
			return v.job(db) == nil && v.ivfJob(db) == nil
		})
		v := view(t, db, "n")
		defer v.Release()
		if v.ns.saved.Load() != nil {
			t.Error("a snapshot's index is kept beside the namespace's")
		}
		return v.AppendIndex(nil)
	}
	from := made()
	c := Config{Name: "n", Metric: index.Cosine, Dimension: dim, ValueDimension: dim, Recall: 0.9}
	if _, err := from.CreateNamespace(t.Context(), &CreateNamespace{c}); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(16, 16))
	centers := make([][]float32, 20)
	for i := range centers {
		centers[i] = make([]float32, dim)
		for j := range centers[i] {
			centers[i][j] = float32(r.NormFloat64())
		}
	}
	store := func(db *DB, first, n int) {
		t.Helper()
		for ; n > 0; n -= 100 {
			var puts []Put
			for range 100 {
				puts = append(puts, Put{Record: Record{ID: fmt.Sprint(first), Key: clustered(r, centers)}})
				first++
			}
			mustStore(t, db, "n", puts...)
		}
	}
	store(from, 0, records)
	store(from, 100, 100) // rows that no longer lie in the order of creation
	want := indexed(from)
	if len(want) == 0 {
		t.Fatal("there is no index")
	}

	restore := func(db *DB, saved []byte) error {
		t.Helper()
		v := view(t, from, "n")
		defer v.Release()
		re := db.Restore()
		n, err := re.Namespace(v.Config(), v.LSN(), nil)
		if err != nil {
			t.Fatal(err)
		}
		p := new(Part)
		p.Begin(n)
		v.Records(func(r *Record) bool { err = p.Add(r); return err == nil })
		if err == nil {
			err = n.Place(p)
		}
		if err == nil {
			err = p.Fill()
		}
		for at := 0; at < len(saved) && err == nil; at += 1000 {
			err = n.AddIndex(saved[at:min(at+1000, len(saved))])
		}
		if err == nil {
			err = n.Done()
		}
		if err != nil {
			re.Abort()
			return err
		}
		return re.Done(0)
	}

	to := made()
	if err := restore(to, want); err != nil {
		t.Fatal(err)
	}
	if got := indexed(to); !slices.Equal(got, want) {
		t.Error("the index is another one")
	}
	late := made()
	late.indexing.stop() // so that rows come before the index is there
	if err := restore(late, want); err != nil {
		t.Fatal(err)
	}
	store(late, records+1000, 100)
	if _, err := late.Delete(t.Context(), &Delete{Namespace: "n", IDs: []string{"7"}}); err != nil {
		t.Fatal(err)
	}
	late.indexing = newMaintenance(late, (*View).ivfJob)
	v := view(t, late, "n")
	late.indexing.look(v)
	v.Release()
	if st := func() IVFStats { indexed(late); return statsOf(t, late, "n").IVF }(); st.Rows < records+99 || st.Lists == 0 {
		t.Errorf("with what came before it was there again: %+v", st)
	}

	for _, bad := range [][]byte{want[:len(want)-1], append(slices.Clone(want), 1), want[:40], make([]byte, 5<<20), {1}} {
		if err := restore(made(), bad); err == nil {
			t.Errorf("%d bytes are taken for an index", len(bad))
		}
	}
	other := made()
	lost := slices.Clone(want)
	lost[bytes.Index(lost, []byte("ivf1"))] = 'x'
	if err := restore(other, lost); err != nil {
		t.Fatal(err)
	}
	if len(indexed(other)) == 0 {
		t.Error("it isn't built anew")
	}
}
