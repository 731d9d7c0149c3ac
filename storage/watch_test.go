package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"engram/memory"
)

// watching follows a namespace until it has seen n mutations, and gives what it saw.
func watching(t *testing.T, db *memory.DB, namespace string, after memory.LSN, n int) []*memory.Mutation {
	t.Helper()
	var seen []*memory.Mutation
	enough := errors.New("enough")
	err := db.Watch(t.Context(), namespace, &after, func(m []*memory.Mutation) error {
		if seen = append(seen, m...); len(seen) >= n {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatalf("after %d mutations of %d: %v", len(seen), n, err)
	}
	return seen
}

// A watcher sees every mutation of its namespace, once and in order, wherever it lies:
// in segments with a footer, in one that a crash ended, in the one being written; and
// none of another namespace.
func TestWatchHistory(t *testing.T) {
	dir := t.TempDir()
	var want []memory.LSN
	var first memory.LSN
	for round := range 4 {
		db, d, _ := recovered(t, dir)
		for i := range 30 {
			name := fmt.Sprint("n", i%3)
			text := strings.Repeat("x", 100*(i%7))
			r, err := db.Store(t.Context(), &memory.Store{Namespace: name, Records: []memory.Put{{Record: memory.Record{ID: fmt.Sprint(i), Key: []float32{1}, Text: text}}}})
			if err != nil {
				t.Fatal(err)
			}
			if name == "n1" {
				want = append(want, r.LSN)
				if first == 0 {
					first = r.LSN
				}
			}
			if i%10 == 9 { // from everywhere
				for from := range want {
					seen := watching(t, db, "n1", want[from]-1, len(want)-from)
					for k, m := range seen {
						if m.LSN != want[from+k] || m.Namespace != "n1" || len(m.Changes) != 1 {
							t.Fatalf("mutation %d after %d is %+v, want LSN %d", k, from, m, want[from+k])
						}
					}
				}
			}
		}
		if l, err := d.list(); err != nil || len(l.segments) < 2 {
			t.Fatalf("the test needs more segments than %v (%v)", l.segments, err)
		}
		if round%2 == 0 {
			stop(t, db, d)
		} else { // a crash: nothing is closed
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			d.journal.spare.made() // a process that crashed makes no file any more
			_ = d.journal.file.Close()
			_ = d.lock.Close()
			d.lock, d.journal = nil, nil
		}
	}
}

// A watcher that waits is told what is committed meanwhile, over rotations of the journal
// and the namespace's deletion and making anew.
func TestWatchLive(t *testing.T) {
	db, d, _ := recovered(t, t.TempDir())
	defer stop(t, db, d)
	store := func(name, id string) memory.LSN {
		t.Helper()
		r, err := db.Store(context.Background(), &memory.Store{Namespace: name, Records: []memory.Put{{Record: memory.Record{ID: id, Key: []float32{1}, Text: strings.Repeat("x", 500)}}}})
		if err != nil {
			t.Fatal(err)
		}
		return r.LSN
	}
	store("n", "first")
	got := make(chan *memory.Mutation, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- db.Watch(ctx, "n", nil, func(m []*memory.Mutation) error {
			for _, m := range m {
				got <- m
			}
			return nil
		})
	}()
	// Until it has begun, "from now on" may be later than this.
	var last memory.LSN
	for m := (*memory.Mutation)(nil); m == nil; {
		last = store("n", "again")
		select {
		case m = <-got:
			for m.LSN < last {
				m = <-got
			}
		default:
		}
	}
	var want []memory.LSN
	for i := range 100 {
		switch {
		case i%20 == 10:
			r, err := db.DeleteNamespace(context.Background(), &memory.DeleteNamespace{Name: "n"})
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, r.LSN)
		case i%2 == 0:
			store("other", "x")
		default:
			want = append(want, store("n", fmt.Sprint(i)))
		}
	}
	for _, lsn := range want {
		if m := <-got; m.LSN != lsn {
			t.Fatalf("told of LSN %d, want %d", m.LSN, lsn)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// What the journal no longer holds is told as such, with the earliest that it holds.
func TestWatchGone(t *testing.T) {
	db, d, _ := recovered(t, t.TempDir())
	defer stop(t, db, d)
	s := d.Snapshots(db)
	put := func(name string) {
		t.Helper()
		if _, err := db.Store(t.Context(), &memory.Store{Namespace: name, Records: []memory.Put{{Record: memory.Record{ID: "a", Key: []float32{1}, Text: strings.Repeat("x", 5000)}}}}); err != nil {
			t.Fatal(err)
		}
	}
	for range 6 {
		put("old")
		if _, err := s.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	put("new")
	var gone *memory.Gone
	zero := memory.LSN(0)
	if err := db.Watch(t.Context(), "old", &zero, nil); !errors.As(err, &gone) {
		t.Fatal(err)
	}
	put("old")
	if seen := watching(t, db, "old", gone.Earliest, 2); len(seen) < 2 {
		t.Errorf("from the earliest, LSN %d: %d mutations", gone.Earliest, len(seen))
	}
	// A namespace that was made since is there from its creation.
	if seen := watching(t, db, "new", 0, 1); seen[0].Create == nil {
		t.Errorf("a new namespace begins with %+v", seen[0])
	}
	later := db.LSN() + 1
	var invalid *memory.Invalid
	if err := db.Watch(t.Context(), "old", &later, nil); !errors.As(err, &invalid) {
		t.Error(err)
	}
	var missing *memory.NotFound
	if err := db.Watch(t.Context(), "never", nil, nil); !errors.As(err, &missing) {
		t.Error(err)
	}
}

// A watcher whose place the journal has left is cut off; one that keeps up isn't.
func TestWatchBehind(t *testing.T) {
	db, d, _ := recovered(t, t.TempDir())
	defer stop(t, db, d)
	s := d.Snapshots(db)
	put := func() {
		t.Helper()
		if _, err := db.Store(t.Context(), &memory.Store{Namespace: "n", Records: []memory.Put{{Record: memory.Record{ID: "a", Key: []float32{1}, Text: strings.Repeat("x", 5000)}}}}); err != nil {
			t.Fatal(err)
		}
	}
	put()
	zero := memory.LSN(0)
	calls := 0
	err := db.Watch(t.Context(), "n", &zero, func([]*memory.Mutation) error {
		if calls++; calls == 1 {
			for range 6 { // while it is at the first
				put()
				if _, err := s.Snapshot(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		return nil
	})
	if !errors.Is(err, memory.ErrBehind) {
		t.Error(err)
	}
	if l, _ := d.list(); !slices.IsSorted(l.segments) {
		t.Error(l.segments)
	}
}
