package memory

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"engram/index"
	"engram/internal/slab"
)

// TestAgainstModel drives a DB with small segments through random histories and
// compares everything that can be read with a model after each step.
func TestAgainstModel(t *testing.T) {
	pool, copies := slab.NewPool(1<<30), slab.NewPool(1<<30)
	rapid.Check(t, func(t *rapid.T) {
		clock := new(hand)
		db := newDB(Options{Pool: pool, Clock: clock, RehearseAfter: time.Hour}, sizes{segmentRows: 64, indexRows: 16, compactRows: 4})
		m := &machine{db: db, model: model{}, copies: copies, clock: clock, retention: RetentionOf(DefaultHalfLife)}
		ctx := t.Context()
		if _, err := db.CreateNamespace(ctx, &CreateNamespace{Config{Name: "n", Metric: index.Dot, Dimension: 2, ValueDimension: 2}}); err != nil {
			t.Fatal(err)
		}
		t.Repeat(map[string]func(*rapid.T){
			"store":       m.store,
			"update":      m.update,
			"delete":      m.delete,
			"deleteWhere": m.deleteWhere,
			"pages":       m.pages,
			"copy":        m.copy,
			"encode":      m.encode,
			"rehearse":    m.rehearse,
			"retain":      m.retain,
			"pass":        m.pass,
			"tidy":        m.tidy,
			"":            m.check,
		})
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if used := pool.InUse(); used != 0 {
			t.Fatalf("%d bytes of slabs are in use after Close", used)
		}
	})
}

type machine struct {
	db     *DB
	model  model
	copies *slab.Pool

	clock     *hand
	retention Retention
}

var someID = rapid.Custom(func(t *rapid.T) string { return fmt.Sprint("id", rapid.IntRange(0, 60).Draw(t, "id")) })

// someVector is one that no encoding rounds.
var someVector = rapid.Custom(func(t *rapid.T) []float32 {
	return []float32{rapid.SampledFrom([]float32{-127, 127}).Draw(t, "x"), float32(rapid.IntRange(-2, 2).Draw(t, "y"))}
})

var somePut = rapid.Custom(func(t *rapid.T) Put {
	p := Put{Record: Record{
		ID: someID.Draw(t, "id"), Key: someVector.Draw(t, "key"), Text: rapid.StringN(0, 5, -1).Draw(t, "text"),
		Metadata: less[rapid.IntRange(0, 9).Draw(t, "n")], Time: rapid.Int64Range(0, 20).Draw(t, "time"),
	}, HasTime: true}
	if rapid.IntRange(0, 5).Draw(t, "own value") == 0 {
		p.Value = someVector.Draw(t, "value")
	}
	switch rapid.IntRange(0, 5).Draw(t, "expires") {
	case 0:
		p.TTL = rapid.SampledFrom([]time.Duration{1, 100, 200, day, 3 * day}).Draw(t, "ttl")
	case 1:
		p.Expire = rapid.Int64Range(1, 2000).Draw(t, "expire")
	}
	p.Pinned = rapid.Bool().Draw(t, "pinned")
	return p
})

func (m *machine) store(t *rapid.T) {
	puts := rapid.SliceOfNDistinct(somePut, 1, 40, func(p Put) string { return p.ID }).Draw(t, "puts")
	res, err := m.db.Store(t.Context(), &Store{Namespace: "n", Records: puts})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range res.Results {
		if _, there := m.model[puts[i].ID]; r.Created == there || r.ID != puts[i].ID {
			t.Fatalf("result %d is %+v, and the record existed: %v", i, r, there)
		}
	}
	m.model.store(m.resolved(puts), res)
	m.created(res)
}

func (m *machine) update(t *rapid.T) {
	puts := rapid.SliceOfNDistinct(somePut, 1, 3, func(p Put) string { return p.ID }).Draw(t, "puts")
	mask := rapid.SampledFrom([]Mask{MaskText, MaskMetadata, MaskKey, MaskValue, MaskKey | MaskText, MaskExpire, MaskPinned | MaskValue}).Draw(t, "mask")
	res, err := m.db.Update(t.Context(), &Update{Namespace: "n", Mask: mask, Records: puts})
	missing := slices.ContainsFunc(puts, func(p Put) bool { _, ok := m.model[p.ID]; return !ok })
	if missing != isNotFound(err) || err != nil && !missing {
		t.Fatalf("a record is missing: %v; got %v", missing, err)
	}
	if err == nil {
		m.model.update(mask, m.resolved(puts), res.LSN)
	}
}

func (m *machine) delete(t *rapid.T) {
	ids := rapid.SliceOfN(someID, 1, 40).Draw(t, "ids")
	before := len(m.model)
	for _, id := range ids {
		delete(m.model, id)
	}
	res, err := m.db.Delete(t.Context(), &Delete{Namespace: "n", IDs: ids})
	if err != nil || res.Deleted != before-len(m.model) {
		t.Fatalf("got %+v, %v; want %d deleted", res, err, before-len(m.model))
	}
}

func (m *machine) deleteWhere(t *rapid.T) {
	f, keep := where(rapid.IntRange(1, 4).Draw(t, "bound"))
	before := len(m.model)
	for id, r := range m.model {
		if keep(&r) {
			delete(m.model, id)
		}
	}
	res, err := m.db.Delete(t.Context(), &Delete{Namespace: "n", Filter: f})
	if err != nil || res.Deleted != before-len(m.model) {
		t.Fatalf("got %+v, %v; want %d deleted", res, err, before-len(m.model))
	}
}

// encode changes how keys and values are kept, while nothing that is read changes.
func (m *machine) encode(t *rapid.T) {
	e := rapid.SampledFrom([]index.Encoding{index.F32, index.Int8, index.Int8Only, index.F16, index.BF16}).Draw(t, "encoding")
	values := rapid.SampledFrom([]index.Encoding{index.F32, index.F16, index.BF16}).Draw(t, "value encoding")
	if err := m.db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "n", KeyEncoding: &e, ValueEncoding: &values}); err != nil {
		t.Fatal(err)
	}
	if got, err := m.db.View("n"); err != nil || got.Config().KeyEncoding != e || got.Config().ValueEncoding != values {
		t.Fatalf("the encodings are %d and %d, not %d and %d: %v", got.Config().KeyEncoding, got.Config().ValueEncoding, e, values, err)
	} else {
		got.Release()
	}
}

// pages lists all while records come and go: those that are there throughout come
// exactly once, in order.
func (m *machine) pages(t *rapid.T) {
	order := Order(rapid.IntRange(0, 3).Draw(t, "order"))
	f, keep := where(rapid.IntRange(3, 10).Draw(t, "bound"))
	throughout := m.model.list(order, keep)
	var got []Record
	var after Position
	for more := true; more; {
		v, err := m.db.View("n")
		if err != nil {
			t.Fatal(err)
		}
		var page []Record
		page, after, more = v.List(ListOptions{Order: order, Filter: f, After: after, N: 7, Include: IncludeAll})
		v.Release()
		got = append(got, page...)
		gone := map[string]bool{}
		for range 2 {
			id := someID.Draw(t, "goes")
			gone[id] = true
			delete(m.model, id)
			if _, err := m.db.Delete(t.Context(), &Delete{Namespace: "n", IDs: []string{id}}); err != nil {
				t.Fatal(err)
			}
		}
		throughout = slices.DeleteFunc(throughout, func(r Record) bool { return gone[r.ID] })
		m.store1(t)
	}
	for i := 1; i < len(got); i++ {
		if order.compare(PositionOf(&got[i-1]), PositionOf(&got[i])) >= 0 {
			t.Fatalf("records %d and %d are out of order", i-1, i)
		}
	}
	now := 0
	for i := range got {
		if now < len(throughout) && got[i].ID == throughout[now].ID && got[i].Created == throughout[now].Created {
			now++
		}
	}
	if now != len(throughout) {
		t.Fatalf("record %+v was there throughout and isn't listed", throughout[now])
	}
}

// store1 stores one record under an id that no other step uses.
func (m *machine) store1(t *rapid.T) {
	p := somePut.Draw(t, "comes")
	p.ID = fmt.Sprint("new", m.db.LSN())
	res, err := m.db.Store(t.Context(), &Store{Namespace: "n", Records: []Put{p}})
	if err != nil {
		t.Fatal(err)
	}
	m.model.store(m.resolved([]Put{p}), res)
	m.created(res)
}

// copy takes the state to another DB by Restore and by Import.
func (m *machine) copy(t *rapid.T) {
	from, err := m.db.View("n")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Release()
	to := newDB(Options{Pool: m.copies, Clock: m.clock}, m.db.sizes)
	r := to.Restore()
	n, err := r.Namespace(from.Config(), from.LSN(), from.Requests())
	if err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "expected") {
		n.Expect(from.Count())
	}
	from.Records(func(rec *Record) bool {
		if err := n.Add(rec); err != nil {
			t.Fatal(err)
		}
		return true
	})
	if err := n.Done(); err != nil {
		t.Fatal(err)
	}
	if err := r.Done(m.db.LSN()); err != nil {
		t.Fatal(err)
	}
	next := MakeLSN(m.db.LSN().Epoch()+1, m.db.LSN().Number())
	if base, err := to.Begin(m.db.LSN()); err != nil || base != next || to.LSN() != next {
		t.Fatalf("after LSN %x the next epoch begins at %x, %v", m.db.LSN(), to.LSN(), err)
	}
	config := from.Config()
	config.Name = "imported"
	err = to.Import(t.Context(), config, MakeLSN(700, 1), func(yield func(*Record, error) bool) {
		from.Records(func(rec *Record) bool { return yield(rec, nil) })
	})
	if err != nil {
		t.Fatal(err)
	}
	if to.LSN().Epoch() != 701 {
		t.Fatalf("after importing LSN of epoch 700 it is %d", to.LSN().Epoch())
	}
	copied := &machine{db: to, model: m.model, clock: m.clock, retention: m.retention}
	copied.checkIn(t, "n")
	copied.checkIn(t, "imported")
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if used := m.copies.InUse(); used != 0 {
		t.Fatalf("%d bytes of slabs are in use after Close", used)
	}
}

func (m *machine) check(t *rapid.T) {
	m.lapse()
	m.checkIn(t, "n")
}

func (m *machine) checkIn(t *rapid.T, namespace string) {
	v, err := m.db.View(namespace)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Release()
	want := m.model.list(CreatedAsc, nil)
	if v.Count() != len(want) || v.Stats().Records != len(want) {
		t.Fatalf("Count is %d, want %d", v.Count(), len(want))
	}
	at := 0
	v.Records(func(r *Record) bool {
		if at == len(want) {
			t.Fatalf("record %q too many", r.ID)
		}
		if err := same(r, &want[at]); err != nil {
			t.Fatal(err)
		}
		at++
		return true
	})
	if at != len(want) {
		t.Fatalf("%d records, want %d", at, len(want))
	}
	for i := range 62 {
		id := fmt.Sprint("id", i)
		var got Record
		ok := v.Get(id, &got, IncludeAll)
		rec, there := m.model[id]
		if ok != there {
			t.Fatalf("Get(%q) finds it: %v, want %v", id, ok, there)
		}
		if ok {
			if err := same(&got, &rec); err != nil {
				t.Fatal(err)
			}
		}
	}
	f, keep := where(5)
	q := []float32{1, 2}
	hits, _, err := m.db.Retrieve(t.Context(), []*View{v}, []Query{{Vector: q}}, RetrieveOptions{K: 5, Filter: f, MinScore: float32(math.Inf(-1))})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range hits[0] {
		r := v.At(h.Ref, 0)
		got = append(got, r.ID)
	}
	if want := m.model.nearest(q, 5, keep); !slices.Equal(got, want) {
		t.Fatalf("Retrieve gives %v, want %v", got, want)
	}
	m.retained(t, v)
}
