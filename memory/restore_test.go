package memory

import (
	"errors"
	"testing"

	"engram/index"
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
	last := db.Restore()
	if err := last.Done(MakeLSN(maxEpoch, 1)); err == nil {
		t.Error("there is an epoch after the last")
	}
	if err := db.Restore().Done(0); err != nil || db.LSN() != MakeLSN(1, 0) {
		t.Errorf("an empty DB begins at %x, %v", db.LSN(), err)
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
