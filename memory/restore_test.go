package memory

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"engram/index"
	"engram/internal/slab"
)

func config(name string) Config {
	return Config{Name: name, Metric: index.Cosine, Dimension: 2, ValueDimension: 2, Created: MakeLSN(3, 1)}
}

func restored(id string, lsn LSN) *Record {
	return &Record{ID: id, Key: []float32{1, 2}, Importance: 0.5, Version: lsn, Created: lsn}
}

func TestRestoreRefuses(t *testing.T) {
	at := MakeLSN(3, 9)
	for name, add := range map[string]func(*NamespaceRestorer) error{
		"a record twice": func(n *NamespaceRestorer) error {
			return errors.Join(n.Add(restored("a", at)), n.Add(restored("a", at)), n.Done())
		},
		"a wrong dimension": func(n *NamespaceRestorer) error {
			r := restored("a", at)
			r.Key = []float32{1}
			return n.Add(r)
		},
		"a version after the namespace's": func(n *NamespaceRestorer) error { return n.Add(restored("a", at+1)) },
		"no importance": func(n *NamespaceRestorer) error {
			r := restored("a", at)
			r.Importance = 0
			return n.Add(r)
		},
		"no id": func(n *NamespaceRestorer) error { return n.Add(restored("", at)) },
	} {
		db := newTestDB(t)
		r := db.Restore()
		n, err := r.Namespace(config("n"), at, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := add(n); err == nil {
			t.Errorf("%s was taken", name)
		}
		r.Abort()
		if used := db.Pool().InUse(); used != 0 {
			t.Errorf("%s: %d bytes in use after Abort", name, used)
		}
	}

	db := newTestDB(t)
	r := db.Restore()
	if _, err := r.Namespace(config("n"), at, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Namespace(config("n"), at, nil); !isExists(err) {
		t.Errorf("a namespace twice: %v", err)
	}
	if err := r.Done(at); err == nil {
		t.Error("an unfinished namespace was taken")
	}
	if _, err := r.Namespace(Config{Name: "x"}, at, nil); !isInvalid(err) {
		t.Error(err)
	}
	r.Abort()
	if base, err := db.Begin(0); err != nil || base != MakeLSN(1, 0) || db.LSN() != base {
		t.Errorf("an empty DB begins at %x, %v", base, err)
	}
	if _, err := db.Begin(MakeLSN(maxEpoch, 1)); err == nil {
		t.Error("there is an epoch after the last")
	}
}

func TestImportIsAllOrNothing(t *testing.T) {
	db := newTestDB(t)
	at := MakeLSN(3, 9)
	boom := errors.New("the stream broke")
	importing := func(c Config, items ...any) error {
		return db.Import(t.Context(), c, at, func(yield func(*Record, error) bool) {
			for _, x := range items {
				r, _ := x.(*Record)
				err, _ := x.(error)
				if !yield(r, err) {
					return
				}
			}
		})
	}
	if err := importing(config("n"), restored("a", at), boom); !errors.Is(err, boom) {
		t.Error(err)
	}
	small := config("n")
	small.MaxBytes = 100
	if err := importing(small, restored("a", at)); !isFull(err) {
		t.Error(err)
	}
	if _, err := db.View("n"); !isNotFound(err) || db.Pool().InUse() != 0 || db.LSN() != MakeLSN(1, 0) {
		t.Errorf("a refused import left something: %v, %d bytes, LSN %x", err, db.Pool().InUse(), db.LSN())
	}
	if err := importing(config("n"), restored("b", at), restored("a", at-1)); err != nil {
		t.Fatal(err)
	}
	v := view(t, db, "n")
	defer v.Release()
	var r Record
	if v.LSN() != MakeLSN(4, 10) || v.Count() != 2 || !v.Get("a", &r, IncludeAll) || r.Version != at-1 || v.Config().Created != MakeLSN(3, 1) {
		t.Errorf("at %x: %+v", v.LSN(), r)
	}
	if err := importing(config("n"), restored("c", at)); !isExists(err) {
		t.Error(err)
	}
}

// What was remembered of requests is restored as it was, even where the clock had gone
// back and forth, so that a snapshot leads to what the log leads to.
func TestRestoreRequests(t *testing.T) {
	at := MakeLSN(3, 9)
	minute := int64(60e9)
	want := []RequestResult{
		{ID: "before the clock went on", Time: 0, LSN: at - 2},
		{ID: "while it was wrong", Time: 20 * minute, LSN: at - 1},
		{ID: "after it went back", Time: 5 * minute, LSN: at},
	}
	db := newTestDB(t)
	r := db.Restore()
	n, err := r.Namespace(config("n"), at, want)
	if err := errors.Join(err, n.Done(), r.Done(at)); err != nil {
		t.Fatal(err)
	}
	v, err := db.View("n")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Release()
	if got := v.Requests(); !reflect.DeepEqual(got, want) {
		t.Errorf("restored %v, want %v", got, want)
	}
}

// Parts are put in place one after the other and filled at once, in any order: what comes
// of it is in the order of the places, whatever was expected to come.
func TestRestorePartsAtOnce(t *testing.T) {
	at := MakeLSN(3, 9)
	const records, parts = 5000, 37
	for name, c := range map[string]struct {
		expect int
		values bool
		twice  bool
	}{
		"as many as expected":  {expect: records},
		"fewer expected":       {expect: 2000},
		"none expected":        {},
		"some values":          {expect: records, values: true},
		"values, unexpected":   {values: true},
		"an id twice":          {expect: records, twice: true},
		"an id twice, no room": {twice: true},
	} {
		t.Run(name, func(t *testing.T) {
			pool := slab.NewPool(1 << 30)
			db := newDB(Options{Pool: pool}, sizes{segmentRows: 512, indexRows: 1000, compactRows: 1000})
			defer func() {
				if err := db.Close(); err != nil || pool.InUse() != 0 {
					t.Errorf("%d bytes are in use after Close: %v", pool.InUse(), err)
				}
			}()
			r := db.Restore()
			n, err := r.Namespace(config("n"), at, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.expect > 0 {
				n.Expect(c.expect)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			want := make([]*Record, records)
			for i := range want {
				want[i] = restored(fmt.Sprint("r", i), at-LSN(rng.IntN(5)))
				want[i].Created = want[i].Version
				want[i].Key = []float32{rng.Float32() + 1, rng.Float32()}
				want[i].Text = fmt.Sprint("text ", i)
				if c.values && rng.IntN(100) == 0 {
					want[i].Value = []float32{rng.Float32(), rng.Float32()}
				}
			}
			if c.twice {
				want[records-1].ID = want[100].ID
			}
			var filled sync.WaitGroup
			errs := make([]error, parts)
			for i := range parts {
				p := new(Part)
				p.Begin(n)
				for _, w := range want[i*records/parts : (i+1)*records/parts] {
					if err := p.Add(w); err != nil {
						t.Fatal(err)
					}
				}
				if err := n.Place(p); err != nil {
					t.Fatal(err)
				}
				filled.Go(func() { errs[i] = p.Fill() })
			}
			filled.Wait()
			err = errors.Join(errs...)
			if c.twice {
				if !isExists(err) {
					t.Errorf("an id that came twice: %v", err)
				}
				r.Abort()
				return
			}
			if err := errors.Join(err, n.Done(), r.Done(at)); err != nil {
				t.Fatal(err)
			}
			v := view(t, db, "n")
			defer v.Release()
			var got []Record
			for i := range v.segments {
				for row := range v.segments[i].n {
					got = append(got, v.At(Ref{uint32(i), row}, IncludeAll))
				}
			}
			if len(got) != records || v.Count() != records {
				t.Fatalf("%d records and a count of %d", len(got), v.Count())
			}
			for i, w := range want {
				if g := got[i]; g.ID != w.ID || g.Text != w.Text || g.Version != w.Version || !slices.Equal(g.Key, w.Key) || !slices.Equal(g.Value, w.Value) {
					t.Fatalf("place %d has %+v, not %+v", i, g, *w)
				}
				var r Record
				if !v.Get(w.ID, &r, IncludeText) || r.Text != w.Text {
					t.Fatalf("%s is found as %+v", w.ID, r)
				}
			}
		})
	}
}
