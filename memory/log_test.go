package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"engram/memory/filter"
)

// gate is a Log whose sync ends when the test says so, and with what the test says.
type gate struct {
	mu       sync.Mutex
	appended []*Mutation
	began    chan struct{} // a sync has begun
	end      chan error    // of that sync
	full     bool
	broken   error // of Append
}

func newGate() *gate { return &gate{began: make(chan struct{}), end: make(chan error)} }

func (g *gate) Append(m *Mutation) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken != nil {
		return g.broken
	}
	c := *m
	c.Changes = slices.Clone(m.Changes)
	for i := range c.Changes {
		c.Changes[i].Key = slices.Clone(m.Changes[i].Key)
	}
	g.appended = append(g.appended, &c)
	return nil
}

func (g *gate) Epoch(LSN) error { return nil }
func (g *gate) Flush() error    { return nil }

func (g *gate) Sync() error {
	g.began <- struct{}{}
	return <-g.end
}

func (g *gate) Room(int) error {
	if g.full {
		return &NoSpace{"there is none"}
	}
	return nil
}

func (g *gate) Import(context.Context, *View) (string, error) { return "", errors.New("not here") }

// storing begins a Store, whose error comes by the channel.
func storing(db *DB, namespace string, puts ...Put) chan error {
	done := make(chan error, 1)
	go func() {
		_, err := db.Store(context.Background(), &Store{Namespace: namespace, Records: puts})
		done <- err
	}()
	return done
}

func logged(t *testing.T) (*DB, *gate) {
	db := newTestDB(t)
	none := None
	for name, d := range map[string]*Durability{"sync": nil, "none": &none} {
		if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{Config{Name: name, Dimension: 2, ValueDimension: 2}}); err != nil {
			t.Fatal(err)
		}
		if err := db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: name, Durability: d}); err != nil {
			t.Fatal(err)
		}
	}
	g := newGate()
	if err := db.SetLog(g); err != nil {
		t.Fatal(err)
	}
	return db, g
}

func count(t *testing.T, db *DB, namespace string) int {
	t.Helper()
	v, err := db.View(namespace)
	if err != nil {
		return -1
	}
	defer v.Release()
	return v.Count()
}

// A call that writes to several namespaces is answered when all of it is published.
func TestCallOfSeveralNamespaces(t *testing.T) {
	for _, names := range [][]string{{"sync", "none"}, {"none", "sync"}} {
		db, g := logged(t)
		forget := 0.25
		done := make(chan error, 1)
		go func() {
			done <- db.commit(context.Background(), func(c *committer) error {
				for _, name := range names {
					m := c.begin(name)
					m.Forget = &forget
					if err := c.commit(m, c.draft(name)); err != nil {
						return err
					}
				}
				return nil
			})
		}()
		<-g.began
		select {
		case err := <-done:
			t.Errorf("%q: answered before the sync: %v", names, err)
		default:
		}
		forgets := func(name string) float64 {
			v := view(t, db, name)
			defer v.Release()
			return v.Config().Forget
		}
		if forgets("sync") != 0 || forgets("none") != forget {
			t.Errorf("%q: before the sync they are at %v and %v", names, forgets("sync"), forgets("none"))
		}
		g.end <- nil
		if err := <-done; err != nil || forgets("sync") != forget {
			t.Errorf("%q: %v, and it is at %v", names, err, forgets("sync"))
		}
	}
}

// What waits for a sync is neither shown nor acknowledged before it, and holds up
// nothing that doesn't; what is decided meanwhile is decided against it.
func TestSyncThenPublish(t *testing.T) {
	db, g := logged(t)
	first := storing(db, "sync", put("a", 1, 2))
	<-g.began
	if n := count(t, db, "sync"); n != 0 {
		t.Errorf("%d records are shown before the sync", n)
	}
	if err := <-storing(db, "none", put("x", 1, 2)); err != nil {
		t.Errorf("durability NONE during a sync: %v", err)
	}
	if n := count(t, db, "none"); n != 1 {
		t.Errorf("durability NONE: %d records are shown", n)
	}

	// The namespace's next writes see the pending record, and wait with their answers.
	second := storing(db, "sync", put("b", 3, 4))
	twice := make(chan error, 1)
	go func() {
		_, err := db.Store(context.Background(), &Store{Namespace: "sync", Mode: Insert, Records: []Put{put("a", 5, 6)}})
		twice <- err
	}()
	dropped := make(chan error, 1)
	time.Sleep(10 * time.Millisecond) // so that they are decided: the rest holds without
	select {
	case err := <-first:
		t.Fatalf("acknowledged before the sync: %v", err)
	case err := <-second:
		t.Fatalf("acknowledged before the sync: %v", err)
	case err := <-twice:
		t.Fatalf("refused, for what isn't durable yet, before the sync: %v", err)
	default:
	}
	g.end <- nil
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	<-g.began
	if n := count(t, db, "sync"); n != 1 {
		t.Errorf("%d records are shown after the first sync", n)
	}
	g.end <- nil
	if err := errors.Join(<-second, okIf(isExists(<-twice))); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, "sync"); n != 2 {
		t.Errorf("%d records are shown after both", n)
	}

	go func() {
		_, err := db.DeleteNamespace(context.Background(), &DeleteNamespace{"sync"})
		dropped <- err
	}()
	<-g.began
	again := storing(db, "sync", put("c", 1, 2))
	time.Sleep(10 * time.Millisecond)
	if n := count(t, db, "sync"); n != 2 {
		t.Errorf("%d records are shown before the deletion is durable", n)
	}
	g.end <- nil
	if err := <-dropped; err != nil {
		t.Fatal(err)
	}
	<-g.began
	g.end <- nil
	if err := <-again; err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, "sync"); n != 1 || db.NamespaceCount() != 2 {
		t.Errorf("the namespace made again has %d records; %d namespaces", n, db.NamespaceCount())
	}
}

func okIf(ok bool) error {
	if !ok {
		return errors.New("another error was expected")
	}
	return nil
}

// A log that fails makes the DB read-only: nothing pending is shown or acknowledged.
func TestReadOnly(t *testing.T) {
	for _, at := range []string{"sync", "append"} {
		db, g := logged(t)
		told := make(chan error, 1)
		db.OnReadOnly(func(err error) { told <- err })
		boom := errors.New("the disk is on fire")
		var readOnly *ReadOnly
		if at == "append" {
			g.broken = boom
			if err := <-storing(db, "none", put("a", 1, 2)); !errors.As(err, &readOnly) {
				t.Errorf("%s: %v", at, err)
			}
		} else {
			first := storing(db, "sync", put("a", 1, 2))
			<-g.began
			second, third := storing(db, "sync", put("b", 1, 2)), storing(db, "new", put("b", 1, 2))
			time.Sleep(10 * time.Millisecond)
			g.end <- boom
			for _, done := range []chan error{first, second, third} {
				if err := <-done; !errors.As(err, &readOnly) {
					t.Errorf("%s: %v", at, err)
				}
			}
		}
		if err := <-told; !errors.As(err, &readOnly) || db.ReadOnly() == nil {
			t.Errorf("%s: %v", at, err)
		}
		if count(t, db, "sync") != 0 || count(t, db, "none") != 0 || count(t, db, "new") != -1 {
			t.Errorf("%s: a write that failed is shown", at)
		}
		if err := <-storing(db, "none", put("a", 1, 2)); !errors.As(err, &readOnly) {
			t.Errorf("%s: a write after it: %v", at, err)
		}
	}
}

// Without room on the disk writes are refused, and deletes go on.
func TestNoSpace(t *testing.T) {
	db, g := logged(t)
	if err := <-storing(db, "none", put("a", 1, 2)); err != nil {
		t.Fatal(err)
	}
	g.full = true
	var full *NoSpace
	if err := <-storing(db, "none", put("b", 1, 2)); !errors.As(err, &full) {
		t.Errorf("a Store: %v", err)
	}
	if err := <-storing(db, "new", put("b", 1, 2)); !errors.As(err, &full) || count(t, db, "new") != -1 {
		t.Errorf("a Store that makes a namespace: %v", err)
	}
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{Config{Name: "c", Dimension: 2, ValueDimension: 2}}); !errors.As(err, &full) {
		t.Errorf("a namespace: %v", err)
	}
	if d, err := db.Delete(t.Context(), &Delete{Namespace: "none", IDs: []string{"a"}}); err != nil || d.Deleted != 1 {
		t.Errorf("a Delete: %v", err)
	}
	g.full = false
	if err := <-storing(db, "none", put("b", 1, 2)); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// Replaying what was logged gives the same state, from nothing and from any state on
// the way.
func TestReplay(t *testing.T) {
	db, g := logged(t)
	go func() { // every sync is good
		for range g.began {
			g.end <- nil
		}
	}()
	t.Cleanup(func() { close(g.began) })
	ctx := t.Context()
	for i := range 60 {
		name := fmt.Sprint("n", i%4)
		must := func(err error) {
			t.Helper()
			var missing *NotFound
			if err != nil && !errors.As(err, &missing) {
				t.Fatal(err)
			}
		}
		switch i % 10 {
		case 7:
			_, err := db.DeleteNamespace(ctx, &DeleteNamespace{name})
			must(err)
		case 8:
			_, err := db.Delete(ctx, &Delete{Namespace: name, Filter: &filter.Filter{Cond: &filter.Condition{Field: filter.FieldText, Op: filter.OpExists, Exists: true}}})
			must(err)
		case 9:
			bytes, d := int64(1<<20), Durability(i%3)
			must(db.UpdateNamespace(ctx, &UpdateNamespace{Name: name, MaxBytes: &bytes, Durability: &d}))
		default:
			p := put(fmt.Sprint("r", i%5), float32(i), 1)
			p.Text = fmt.Sprint("text ", i)
			_, err := db.Store(ctx, &Store{Namespace: name, Records: []Put{p}, RequestID: fmt.Sprint("q", i)})
			must(err)
		}
	}
	want := dumpAll(db)
	for from := range len(g.appended) {
		to := newTestDB(t)
		for _, name := range []string{"sync", "none"} {
			v, _ := db.View(name)
			c := v.Config()
			v.Release()
			if _, err := to.CreateNamespace(ctx, &CreateNamespace{c}); err != nil {
				t.Fatal(err)
			}
		}
		for _, part := range [][]*Mutation{g.appended[:from], g.appended} { // twice what comes before from
			if _, err := to.Replay(each1(part)); err != nil {
				t.Fatalf("from %d: %v", from, err)
			}
		}
		if got := dumpAll(to); got != want {
			t.Fatalf("replayed from %d:\n%s\nwant:\n%s", from, got, want)
		}
	}
	if _, err := newTestDB(t).Replay(each1([]*Mutation{{LSN: 7, Namespace: "gone", Deletes: []string{"x"}}})); err == nil {
		t.Error("a mutation of a namespace that never was")
	}
}

func each1(mutations []*Mutation) func() (*Mutation, error) {
	return func() (*Mutation, error) {
		if len(mutations) == 0 {
			return nil, io.EOF
		}
		m := mutations[0]
		mutations = mutations[1:]
		return m, nil
	}
}

// dumpAll is all that can be told of a DB, namespaces' own times of creation aside.
func dumpAll(db *DB) string {
	var s strings.Builder
	db.Views(func(v *View) bool {
		c := v.Config()
		fmt.Fprintln(&s, c.Name, c.Dimension, c.MaxBytes, c.Durability, v.Count())
		if c.Name != "sync" && c.Name != "none" {
			fmt.Fprintln(&s, c.CreateTime, c.Created, v.LSN())
		}
		v.Records(func(r *Record) bool { fmt.Fprintf(&s, "%+v\n", *r); return true })
		fmt.Fprintf(&s, "%+v\n", v.Requests())
		return true
	})
	return s.String()
}
