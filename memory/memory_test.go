package memory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"engram/index"
	"engram/internal/slab"
	"engram/memory/filter"
)

// ticking is a clock that moves a millisecond each time it is read.
type ticking struct{ ns atomic.Int64 }

func (c *ticking) Now() time.Time { return time.Unix(0, c.ns.Add(1e6)) }

func newTestDB(t testing.TB, opts ...func(*Options)) *DB {
	t.Helper()
	clock := new(ticking)
	clock.ns.Store(1e18)
	opt := Options{Pool: slab.NewPool(4 << 30), Clock: clock}
	for _, o := range opts {
		o(&opt)
	}
	db := New(opt)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if used := opt.Pool.InUse(); used != 0 {
			t.Errorf("%d bytes of slabs are in use after Close", used)
		}
	})
	return db
}

func put(id string, key ...float32) Put {
	return Put{Record: Record{ID: id, Key: key, Text: "text of " + id}}
}

func mustStore(t testing.TB, db *DB, namespace string, puts ...Put) *StoreResult {
	t.Helper()
	r, err := db.Store(t.Context(), &Store{Namespace: namespace, Records: puts})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func view(t testing.TB, db *DB, namespace string) *View {
	t.Helper()
	v, err := db.View(namespace)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func isNotFound(err error) bool { var e *NotFound; return errors.As(err, &e) }
func isExists(err error) bool   { var e *Exists; return errors.As(err, &e) }
func isConflict(err error) bool { var e *Conflict; return errors.As(err, &e) }
func isInvalid(err error) bool  { var e *Invalid; return errors.As(err, &e) }
func isPrecond(err error) bool  { var e *Precondition; return errors.As(err, &e) }
func isFull(err error) bool     { var e *Exhausted; return errors.As(err, &e) }

func TestStoreGetUpdateDelete(t *testing.T) {
	db := newTestDB(t)
	ctx := t.Context()
	if _, err := db.View("n"); !isNotFound(err) {
		t.Fatalf("a namespace before its first Store: %v", err)
	}
	a := put("a", 1, 2, 3)
	a.Session, a.Speaker, a.Metadata = "s", "sp", []byte{10, 0}
	first := mustStore(t, db, "n", a, put("b", 4, 5, 6), put("", 7, 8, 9))
	if first.LSN != MakeLSN(1, 1) || len(first.Results) != 3 || !first.Results[0].Created || first.Results[2].ID == "" {
		t.Fatalf("got %+v", first)
	}
	v := view(t, db, "n")
	defer v.Release()
	c := v.Config()
	if c.Metric != index.Cosine || c.Dimension != 3 || c.ValueDimension != 3 || c.Created != first.LSN {
		t.Errorf("config %+v", c)
	}
	var r Record
	if !v.Get("a", &r, IncludeAll) || r.Text != "text of a" || r.Session != "s" || r.Speaker != "sp" ||
		!slices.Equal(r.Key, []float32{1, 2, 3}) || r.Value != nil || r.Importance != 0.5 ||
		r.Version != first.LSN || r.Created != first.LSN || r.Place != 0 || r.Time != r.CreateTime || string(r.Metadata) != "\n\x00" {
		t.Errorf("got %+v", r)
	}

	up, err := db.Update(ctx, &Update{Namespace: "n", Mask: MaskText | MaskImportance, Records: []Put{
		{Record: Record{ID: "a", Text: "new", Importance: 0.9}, HasImportance: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	now := view(t, db, "n")
	defer now.Release()
	var u Record
	if !now.Get("a", &u, IncludeAll) || u.Text != "new" || u.Importance != 0.9 || u.Session != "s" ||
		!slices.Equal(u.Key, r.Key) || u.Version != up.LSN || u.Created != r.Created || u.CreateTime != r.CreateTime || u.UpdateTime <= r.UpdateTime {
		t.Errorf("got %+v", u)
	}
	if !v.Get("a", &r, IncludeAll) || r.Text != "text of a" {
		t.Errorf("an earlier view changed: %+v", r)
	}

	del, err := db.Delete(ctx, &Delete{Namespace: "n", IDs: []string{"a", "missing", "a"}})
	if err != nil || del.Deleted != 1 {
		t.Fatalf("%+v, %v", del, err)
	}
	after := view(t, db, "n")
	defer after.Release()
	if after.Count() != 2 || after.Get("a", &r, 0) || now.Count() != 3 || !now.Get("a", &r, 0) {
		t.Errorf("after the delete %d records", after.Count())
	}
	again, err := db.Delete(ctx, &Delete{Namespace: "n", IDs: []string{"a"}})
	if err != nil || again.Deleted != 0 || again.LSN != del.LSN {
		t.Errorf("deleting nothing: %+v, %v", again, err)
	}
	if db.LSN() != del.LSN || db.NamespaceCount() != 1 || db.RecordCount() != 2 {
		t.Errorf("LSN %x, %d namespaces, %d records", db.LSN(), db.NamespaceCount(), db.RecordCount())
	}
}

func TestConditions(t *testing.T) {
	version := func(l LSN) *LSN { return &l }
	db := newTestDB(t)
	first := mustStore(t, db, "n", put("a", 1, 0))
	for _, c := range []struct {
		name string
		mode Mode
		put  Put
		want func(error) bool
	}{
		{"insert what exists", Insert, put("a", 1, 1), isExists},
		{"replace what is missing", ModeUpdate, put("x", 1, 1), isNotFound},
		{"if_version 0 of what exists", Upsert, Put{Record: put("a", 1, 1).Record, IfVersion: version(0)}, isConflict},
		{"if_version of another version", Upsert, Put{Record: put("a", 1, 1).Record, IfVersion: version(first.LSN + 1)}, isConflict},
		{"if_version of what is missing", Upsert, Put{Record: put("x", 1, 1).Record, IfVersion: version(first.LSN)}, isConflict},
		{"wrong dimension", Upsert, put("x", 1, 1, 1), isInvalid},
		{"NaN", Upsert, put("x", 1, float32(math.NaN())), isInvalid},
		{"infinity", Upsert, put("x", float32(math.Inf(1)), 1), isInvalid},
		{"zero under COSINE", Upsert, put("x", 0, 0), isInvalid},
		{"tiny under COSINE", Upsert, put("x", 1e-19, 0), isInvalid},
		{"huge", Upsert, put("x", 2e18, 0), isInvalid},
		{"no key", Upsert, put("x"), isInvalid},
		{"long id", Upsert, put(string(make([]byte, 257)), 1, 1), isInvalid},
		{"bad UTF-8", Upsert, put("\xff", 1, 1), isInvalid},
		{"value of another dimension", Upsert, Put{Record: Record{ID: "x", Key: []float32{1, 1}, Value: []float32{1}}}, isInvalid},
		{"importance", Upsert, Put{Record: Record{ID: "x", Key: []float32{1, 1}, Importance: 1.5}, HasImportance: true}, isInvalid},
	} {
		before := dump(t, db)
		_, err := db.Store(t.Context(), &Store{Namespace: "n", Mode: c.mode, Records: []Put{put("good", 1, 1), c.put}})
		if !c.want(err) {
			t.Errorf("%s: got %v", c.name, err)
		}
		if after := dump(t, db); after != before {
			t.Errorf("%s: a refused write changed\n%s\ninto\n%s", c.name, before, after)
		}
	}
	if _, err := db.Store(t.Context(), &Store{Namespace: "n", Records: []Put{{Record: put("a", 1, 1).Record, IfVersion: version(first.LSN)}}}); err != nil {
		t.Errorf("a condition that holds: %v", err)
	}
	_, err := db.Store(t.Context(), &Store{Namespace: "n", Records: []Put{put("d", 1, 1), put("d", 1, 1)}})
	if !isInvalid(err) {
		t.Errorf("one id twice: %v", err)
	}
	var all *Invalid
	_, err = db.Store(t.Context(), &Store{Namespace: "n", Records: []Put{put("x", 1), put("", 1, 2), put("y", 0, 0)}})
	if !errors.As(err, &all) || len(all.Violations) != 2 || all.Violations[0].Field != "records[0].key" || all.Violations[1].Field != "records[2].key" {
		t.Errorf("got %v", err)
	}
	if _, err := db.View("new"); !isNotFound(err) {
		t.Error(err)
	}
	if _, err := db.Store(t.Context(), &Store{Namespace: "new", Mode: ModeUpdate, Records: []Put{put("d", 1, 1)}}); !isNotFound(err) {
		t.Errorf("got %v", err)
	}
	if _, err := db.View("new"); !isNotFound(err) {
		t.Errorf("a refused Store made a namespace: %v", err)
	}
}

// dump writes the whole logical state.
func dump(t testing.TB, db *DB) string {
	t.Helper()
	out := ""
	db.Views(func(v *View) bool {
		out += fmt.Sprintf("%+v at %x\n", v.Config(), v.LSN())
		n := 0
		v.Records(func(r *Record) bool {
			out += fmt.Sprintf("%+v\n", *r)
			n++
			return true
		})
		if n != v.Count() {
			t.Errorf("%q says it has %d records and gives %d", v.Config().Name, v.Count(), n)
		}
		for _, r := range v.Requests() {
			out += fmt.Sprintf("%+v\n", r)
		}
		return true
	})
	return out
}

func TestRetrieveAndAttend(t *testing.T) {
	db := newTestDB(t)
	ctx := t.Context()
	mustStore(t, db, "n", put("x", 1, 0), put("y", 0, 1), put("xy", 1, 1))
	mustStore(t, db, "m", put("x2", 1, 0.1))
	vs := []*View{view(t, db, "n"), view(t, db, "m")}
	defer vs[0].Release()
	defer vs[1].Release()
	names := func(hits []Hit) (out []string) {
		for _, h := range hits {
			r := vs[h.View].At(h.Ref, 0)
			out = append(out, r.ID)
		}
		return out
	}
	none := float32(math.Inf(-1))
	hits, _, err := db.Retrieve(ctx, vs, []Query{
		{Vector: []float32{1, 0}}, {Vector: []float32{1, 0}, Exclude: &Exclude{0, "x"}}, {Vector: []float32{0, 2}},
	}, RetrieveOptions{K: 2, MinScore: none})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]string{{"x", "x2"}, {"x2", "xy"}, {"y", "xy"}} {
		if got := names(hits[i]); !slices.Equal(got, want) {
			t.Errorf("query %d: got %v, want %v", i, got, want)
		}
	}
	f := &filter.Filter{Not: &filter.Filter{Cond: &filter.Condition{Field: filter.FieldID, Op: filter.OpPrefix, Values: []filter.Scalar{filter.String("x")}}}}
	if bad := f.Validate(filter.DefaultLimits()); len(bad) > 0 {
		t.Fatal(bad)
	}
	hits, _, err = db.Retrieve(ctx, vs, []Query{{Vector: []float32{1, 0}}}, RetrieveOptions{K: 2, MinScore: none, Filter: f})
	if err != nil || !slices.Equal(names(hits[0]), []string{"y"}) {
		t.Errorf("got %v, %v", names(hits[0]), err)
	}
	if n := vs[0].CountWhere(f); n != 1 {
		t.Errorf("CountWhere gives %d", n)
	}

	scale := 0.0
	att, _, err := db.Attend(ctx, vs, []Query{
		{Vector: []float32{1, 0}}, {Vector: []float32{1, 0}, Exclude: &Exclude{1, "x2"}}, {Vector: []float32{1, 0}},
	}, AttendOptions{Scale: &scale, TopWeights: 1})
	if err != nil {
		t.Fatal(err)
	}
	if a := att[0]; a.Heads[0].Attended != 4 || math.Abs(float64(a.Context[0])-0.75) > 1e-6 || len(a.Heads[0].Top) != 1 || a.Heads[0].Top[0].Weight != 0.25 {
		t.Errorf("got %+v", a)
	}
	if a := att[1]; a.Heads[0].Attended != 3 || math.Abs(float64(a.Context[0])-2.0/3) > 1e-6 {
		t.Errorf("got %+v", a)
	}
	if att[2].Heads[0].LogSumExp != att[0].Heads[0].LogSumExp {
		t.Errorf("an excluded record is left out of another query: %+v", att[2])
	}
}

func TestValuesComeLater(t *testing.T) {
	db := newTestDB(t)
	mustStore(t, db, "n", put("a", 1, 0), put("b", 0, 1))
	old := view(t, db, "n")
	defer old.Release()
	p := put("c", 1, 1)
	p.Value = []float32{5, 6}
	mustStore(t, db, "n", p)
	v := view(t, db, "n")
	defer v.Release()
	var a, c Record
	if !v.Get("a", &a, IncludeAll) || a.Value != nil || !v.Get("c", &c, IncludeAll) || !slices.Equal(c.Value, []float32{5, 6}) {
		t.Errorf("got %+v and %+v", a, c)
	}
	zero := 0.0
	att, _, err := db.Attend(t.Context(), []*View{v}, []Query{{Vector: []float32{1, 0}}}, AttendOptions{Scale: &zero})
	if err != nil || math.Abs(float64(att[0].Context[0])-2) > 1e-6 {
		t.Errorf("got %+v, %v", att, err)
	}
	if _, err := db.Update(t.Context(), &Update{Namespace: "n", Mask: MaskValue, Records: []Put{{Record: Record{ID: "c"}}}}); err != nil {
		t.Fatal(err)
	}
	w := view(t, db, "n")
	defer w.Release()
	if !w.Get("c", &c, IncludeAll) || c.Value != nil || !slices.Equal(c.Key, []float32{1, 1}) {
		t.Errorf("got %+v", c)
	}
}

func TestNamespaces(t *testing.T) {
	db := newTestDB(t)
	ctx := t.Context()
	for _, n := range []string{"b", "a", "c"} {
		if _, err := db.CreateNamespace(ctx, &CreateNamespace{Config{Name: n, Metric: index.Dot, Dimension: 2, ValueDimension: 3}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.CreateNamespace(ctx, &CreateNamespace{Config{Name: "a", Metric: index.Dot, Dimension: 2, ValueDimension: 3}}); !isExists(err) {
		t.Error(err)
	}
	if _, err := db.CreateNamespace(ctx, &CreateNamespace{Config{Name: "", Metric: 9}}); !isInvalid(err) {
		t.Error(err)
	}
	names := func(after string, n int) (out []string) {
		for _, c := range db.Namespaces(after, n) {
			out = append(out, c.Name)
		}
		return out
	}
	if got := names("", 2); !slices.Equal(got, []string{"a", "b"}) {
		t.Error(got)
	}
	if got := names("b", 2); !slices.Equal(got, []string{"c"}) {
		t.Error(got)
	}
	if _, err := db.Store(ctx, &Store{Namespace: "a", Records: []Put{put("x", 1, 2)}}); !isInvalid(err) {
		t.Errorf("no value where one is needed: %v", err)
	}
	ns, err := db.Namespace("a")
	if err != nil {
		t.Fatal(err)
	}
	p := put("x", 1, 2)
	p.Value = []float32{1, 2, 3}
	mustStore(t, db, "a", p)
	if n := int64(1 << 30); db.UpdateNamespace(ctx, &UpdateNamespace{Name: "a", MaxBytes: &n}) != nil || ns.Config().MaxBytes != n {
		t.Errorf("got %+v", ns.Config())
	}
	del, err := db.DeleteNamespace(ctx, &DeleteNamespace{"a"})
	if err != nil || del.Deleted != 1 {
		t.Errorf("%+v, %v", del, err)
	}
	v := ns.View()
	if v.Count() != 0 || v.LSN() != del.LSN {
		t.Errorf("a deleted namespace shows %d records at %x", v.Count(), v.LSN())
	}
	v.Release()
	if _, err := db.Namespace("a"); !isNotFound(err) {
		t.Error(err)
	}
	if _, err := db.DeleteNamespace(ctx, &DeleteNamespace{"a"}); !isNotFound(err) {
		t.Error(err)
	}
	if n, r := db.NamespaceCount(), db.RecordCount(); n != 2 || r != 0 {
		t.Errorf("%d namespaces, %d records", n, r)
	}
	mustStore(t, db, "a", put("x", 1))
	if got := names("", 9); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Error(got)
	}
}

func TestEmbedderOfNamespace(t *testing.T) {
	db := newTestDB(t)
	ctx := t.Context()
	e := &EmbedderID{"lexical", "1", 2}
	p := put("a", 1, 0)
	p.KeyFromText = true
	if _, err := db.Store(ctx, &Store{Namespace: "n", Records: []Put{p}, Embedder: e}); err != nil {
		t.Fatal(err)
	}
	mustStore(t, db, "plain", put("a", 1, 0))
	other := &EmbedderID{"lexical", "2", 2}
	if _, err := db.Store(ctx, &Store{Namespace: "n", Records: []Put{p}, Embedder: other}); !isPrecond(err) {
		t.Error(err)
	}
	if _, err := db.Store(ctx, &Store{Namespace: "plain", Records: []Put{p}, Embedder: e}); !isPrecond(err) {
		t.Error(err)
	}
	text := func(puts ...Put) error {
		_, err := db.Update(ctx, &Update{Namespace: "n", Mask: MaskText, Records: puts, Embedder: e})
		return err
	}
	if err := text(Put{Record: Record{ID: "a", Text: "t"}}); !isPrecond(err) {
		t.Errorf("a new text without a new key: %v", err)
	}
	if err := text(Put{Record: Record{ID: "a", Text: "t"}, TextKey: []float32{0, 1}}); err != nil {
		t.Fatal(err)
	}
	var r Record
	v := view(t, db, "n")
	defer v.Release()
	if !v.Get("a", &r, IncludeAll) || !r.KeyFromText || !slices.Equal(r.Key, []float32{0, 1}) {
		t.Errorf("got %+v", r)
	}
	mustStore(t, db, "n", put("a", 1, 1))
	if err := text(Put{Record: Record{ID: "a", Text: "u"}, TextKey: []float32{0, 1}}); err != nil {
		t.Fatal(err)
	}
	w := view(t, db, "n")
	defer w.Release()
	if !w.Get("a", &r, IncludeAll) || r.KeyFromText || !slices.Equal(r.Key, []float32{1, 1}) || r.Text != "u" {
		t.Errorf("a key that was given isn't kept: %+v", r)
	}
}

func TestRequestIDs(t *testing.T) {
	clock := new(ticking)
	db := newTestDB(t, func(o *Options) { o.Clock = clock })
	ctx := t.Context()
	s := func(digest byte) *Store {
		return &Store{Namespace: "n", Records: []Put{put("a", 1, 1), put("", 1, 2)}, RequestID: "r", Digest: [32]byte{digest}}
	}
	first, err := db.Store(ctx, s(1))
	if err != nil {
		t.Fatal(err)
	}
	again, err := db.Store(ctx, s(1))
	if err != nil || again.LSN != first.LSN || !slices.Equal(again.Results, first.Results) {
		t.Errorf("got %+v, %v, want %+v", again, err, first)
	}
	if _, err := db.Store(ctx, s(2)); !isInvalid(err) {
		t.Error(err)
	}
	clock.ns.Add(int64(9 * time.Minute))
	if r, err := db.Store(ctx, s(1)); err != nil || r.LSN != first.LSN {
		t.Errorf("after nine minutes: %+v, %v", r, err)
	}
	clock.ns.Add(int64(2 * time.Minute))
	if r, err := db.Store(ctx, s(2)); err != nil || r.LSN == first.LSN || r.Results[0].Created || !r.Results[1].Created {
		t.Errorf("after eleven minutes: %+v, %v", r, err)
	}
	v := view(t, db, "n")
	if n := len(v.Requests()); n != 1 {
		t.Errorf("%d requests are remembered", n)
	}
	v.Release()

	d := &Delete{Namespace: "n", IDs: []string{"a"}, RequestID: "d"}
	one, err := db.Delete(ctx, d)
	two, err2 := db.Delete(ctx, d)
	if err != nil || err2 != nil || *one != *two || one.Deleted != 1 {
		t.Errorf("%+v %v, %+v %v", one, err, two, err2)
	}
	for i := range 2000 {
		if _, err := db.Delete(ctx, &Delete{Namespace: "n", IDs: []string{"none"}, RequestID: fmt.Sprint("many", i)}); err != nil {
			t.Fatal(err)
		}
	}
	v = view(t, db, "n")
	defer v.Release()
	if all := v.Requests(); len(all) < 100 || len(all) > 512 || all[len(all)-1].ID != "many1999" || v.Stats().HeapBytes > 70<<10 {
		t.Errorf("%d requests are remembered, %d bytes", len(all), v.Stats().HeapBytes)
	}
}

func TestClosed(t *testing.T) {
	db := New(Options{Pool: slab.NewPool(1 << 20)})
	mustStore(t, db, "n", put("a", 1))
	held := view(t, db, "n")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Store(t.Context(), &Store{Namespace: "n", Records: []Put{put("a", 1)}}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	var r Record
	if !held.Get("a", &r, IncludeAll) {
		t.Error("a held view is gone")
	}
	held.Release()
	if n := db.Pool().InUse(); n != 0 {
		t.Errorf("%d bytes in use", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	live := newTestDB(t)
	if _, err := live.Store(ctx, &Store{Namespace: "n", Records: []Put{put("a", 1)}}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
