package storage

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"engram/memory"
)

// store puts one record of a text into a namespace, which may be new.
func store(t testing.TB, db *memory.DB, namespace, id, text string) memory.LSN {
	t.Helper()
	r, err := db.Store(context.Background(), &memory.Store{Namespace: namespace, Records: []memory.Put{{Record: memory.Record{ID: id, Key: []float32{1}, Text: text}}}})
	if err != nil {
		t.Fatal(err)
	}
	return r.LSN
}

// crashed copies a directory as a process that is killed leaves it.
func crashed(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	names, err := filepath.Glob(filepath.Join(from, "*.engram"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(name)), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func change(t testing.TB, path string, do func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, do(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Where the journal is damaged before what a snapshot has, a start refuses, and the
// repair that it tells of goes on from the snapshot.
func TestRepairToSnapshot(t *testing.T) {
	dir := t.TempDir()
	db, d, _ := recovered(t, dir)
	for i := range 20 { // over several segments
		store(t, db, "n", fmt.Sprint(i), strings.Repeat("x", 1000))
	}
	info, err := d.Snapshots(db).Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := dump(db)
	l, err := d.list()
	if err != nil || len(l.segments) < 3 {
		t.Fatalf("segments %v (%v)", l.segments, err)
	}
	last := l.segments[len(l.segments)-1]
	for name, spoil := range map[string]func([]byte) []byte{
		"a byte":     func(b []byte) []byte { b[segmentHead+50] ^= 1; return b },
		"the header": func(b []byte) []byte { b[20] ^= 1; return b },
		"all of it":  func(b []byte) []byte { clear(b[segmentHead:]); return b },
	} {
		t.Run(name, func(t *testing.T) {
			dir := crashed(t, dir)
			change(t, filepath.Join(dir, last), spoil)
			d := openDir(t, dir)
			_, err := d.Recover(t.Context(), newDB(t))
			if !damaged(err) {
				t.Fatalf("a start says %v", err)
			}
			if advice := fmt.Sprintf("--truncate-at %d", info.LSN); name != "the header" && !strings.Contains(err.Error(), advice) {
				t.Errorf("not %q: %v", advice, err)
			}
			if _, err := d.Repair(t.Context(), info.LSN); err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				db, d, _ := recovered(t, dir)
				if dump(db) != want {
					t.Errorf("not what the snapshot has:\n%s", dump(db))
				}
				stop(t, db, d)
			}
		})
	}
}

// A repair that goes on from a snapshot alone is interrupted between any two files, and
// repeated.
func TestRepairToSnapshotInterrupted(t *testing.T) {
	from := t.TempDir()
	db, d, _ := recovered(t, from)
	for i := range 20 {
		store(t, db, "n", fmt.Sprint(i), strings.Repeat("x", 1000))
	}
	info, err := d.Snapshots(db).Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := dump(db)
	l, err := d.list()
	if err != nil {
		t.Fatal(err)
	}
	for done := range len(l.segments) + 1 {
		dir := crashed(t, from)
		for _, name := range l.segments[len(l.segments)-1:] {
			change(t, filepath.Join(dir, name), func(b []byte) []byte { clear(b[segmentHead:]); return b })
		}
		d := openDir(t, dir)
		p, err := d.planRepair(t.Context(), l, info.LSN)
		if err != nil || len(p.later) != len(l.segments) {
			t.Fatalf("the plan is %+v (%v)", p, err)
		}
		if err := d.write(repairFile, fmt.Sprint(uint64(info.LSN))); err != nil {
			t.Fatal(err)
		}
		for _, name := range p.later[:done] {
			if err := d.rename(name, name+cutSuffix); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := d.Recover(t.Context(), newDB(t)); err == nil || !strings.Contains(err.Error(), "interrupted") {
			t.Errorf("a start says %v", err)
		}
		if _, err := d.Repair(t.Context(), info.LSN); err != nil {
			t.Fatalf("after %d files: %v", done, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		db, d, _ := recovered(t, dir)
		if dump(db) != want {
			t.Error("not what the snapshot has")
		}
		stop(t, db, d)
	}
}

// What was durable when a snapshot was taken is missed, though the snapshot had been to its
// namespace before: by a start and by a check alike.
func TestSnapshotKnowsWhatWasDurable(t *testing.T) {
	from := t.TempDir()
	db, d, _ := recovered(t, from)
	store(t, db, "n", "first", "")
	var late memory.LSN
	views := func(yield func(*memory.View) bool) {
		db.Views(yield)
		late = store(t, db, "n", "late", strings.Repeat("x", 100))
	}
	f, err := d.newPending(snapshotName(db.LSN()))
	if err != nil {
		t.Fatal(err)
	}
	durable := func() (memory.LSN, error) { return db.Barrier(t.Context()) }
	if _, err := d.writeSnapshot(t.Context(), f, header{lsn: db.LSN()}, iter.Seq[*memory.View](views), durable); err != nil {
		t.Fatal(err)
	}
	if err := f.commit(); err != nil {
		t.Fatal(err)
	}
	dir := crashed(t, from)
	l, err := d.list()
	if err != nil {
		t.Fatal(err)
	}
	change(t, filepath.Join(dir, l.segments[0]), func(b []byte) []byte {
		h, err := parseSegmentHeader(l.segments[0], b)
		if err != nil {
			t.Fatal(err)
		}
		s := &segment{name: l.segments[0], header: h, data: b}
		for w := s.walkFrom(0); ; {
			if f, err := w.next(); err != nil || f.lsn == late {
				clear(b[f.offset:])
				return b
			}
		}
	})
	d = openDir(t, dir)
	report, err := d.Check(t.Context())
	if err != nil || !damaged(report.Err) {
		t.Errorf("a check says %v (%v)", report.Err, err)
	}
	if _, err := d.Recover(t.Context(), newDB(t)); !damaged(err) {
		t.Errorf("a start says %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// As long as the journal has the mutation of an import, the records are there: every LSN
// that a check names can be opened.
func TestImportsStayWithTheJournal(t *testing.T) {
	dir := t.TempDir()
	db, d, _ := recovered(t, dir)
	records := func(yield func(*memory.Record, error) bool) {
		yield(&memory.Record{ID: "a", Key: []float32{1}, Created: 1, Version: 1, Importance: 0.5}, nil)
	}
	if err := db.Import(t.Context(), memory.Config{Name: "i", Metric: 1, Dimension: 1, ValueDimension: 1, Created: 1}, 1, records); err != nil {
		t.Fatal(err)
	}
	s := d.Snapshots(db)
	for i := range 3 {
		store(t, db, "n", fmt.Sprint(i), "")
		if _, err := s.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stop(t, db, d)
	d = openDir(t, dir)
	report, err := d.Check(t.Context())
	if err != nil || report.Err != nil {
		t.Fatalf("a check says %v (%v)", report.Err, err)
	}
	for lsn := report.Lowest; lsn <= report.LSN; lsn++ {
		if _, err := d.RecoverUntil(t.Context(), newDB(t), lsn); err != nil {
			t.Errorf("as of LSN %d: %v", lsn, err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	// With new segments the import's goes, and its file with it.
	db, d, _ = recovered(t, dir)
	s = d.Snapshots(db)
	for i := range 3 {
		for k := range 10 {
			store(t, db, "n", fmt.Sprint(i, k), strings.Repeat("x", 1000))
		}
		if _, err := s.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if l, err := d.list(); err != nil || len(l.imports) != 0 {
		t.Errorf("left are %v (%v)", l.imports, err)
	}
	stop(t, db, d)
}
