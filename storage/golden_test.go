package storage

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/memory"
)

// golden is a history with every part that a mutation can have and every kind of frame,
// over two segments.
func golden() []step {
	return []step{
		starting,
		creating("s", memory.Sync), creating("n", memory.None),
		{"store", func(w *world) error {
			fill(tb{}, w.db, 0)
			return nil
		}, true},
		storing("s", true, "r1", scripted("a", 40, 1, 2), memory.Put{Record: memory.Record{Key: []float32{0, 1}}}),
		updating("s", true, memory.MaskKey|memory.MaskImportance, scripted("a", 0, 3, 4)),
		retaining("s", true, time.Hour),
		rehearsing("s", true, "made-2", "a"),
		importing("imported", 3, 2), // in a new epoch
		settling("n", true, 1<<16, memory.Interval),
		storing("n", false, "", scripted("b", 600, 1, 2)),
		idling,
		storing("s", true, "", scripted("c", 700, 1, 2)),
		rehearsing("s", true, "a"),
		deleting("s", true, "r2", "c"),
		dropping("n", true),
		stopping,
	}
}

// tb fails by a panic, for what is no test's own.
type tb struct{ testing.TB }

func (tb) Helper()           {}
func (tb) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// Every version's golden journal is read, by this server and all later ones; and what
// this server writes is the newest, byte for byte.
func TestGoldenJournal(t *testing.T) {
	mem := vfs.NewMem()
	w := newWorld(mem)
	w.size = 2048
	s := playIn(t, golden(), w)
	written := contents(t, mem)
	want := s.states[len(s.states)-1]
	dir := func(v int) string { return filepath.Join("testdata", fmt.Sprint("journal-v", v)) }
	if *update {
		err := errors.Join(os.RemoveAll(dir(segmentVersion)), os.MkdirAll(dir(segmentVersion), 0o777), os.WriteFile(dir(segmentVersion)+".txt", []byte(want), 0o666))
		for name, b := range written {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir(segmentVersion), name), []byte(b), 0o666))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for v := 1; v <= segmentVersion; v++ {
		files := make(map[string]string)
		names, err := os.ReadDir(dir(v))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			b, err := os.ReadFile(filepath.Join(dir(v), n.Name()))
			if err != nil {
				t.Fatal(err)
			}
			files[n.Name()] = string(b)
		}
		want, err := os.ReadFile(dir(v) + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(withFiles(t, files))
		r, err := w.start()
		if err != nil {
			t.Fatal(err)
		}
		if d := differ(dump(w.db), string(want)); d != "" || r.Cut != nil {
			t.Errorf("version %d: %+v: %s", v, *r, d)
		}
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		if v < segmentVersion {
			continue
		}
		if !slices.Equal(slices.Sorted(maps.Keys(files)), slices.Sorted(maps.Keys(written))) {
			t.Errorf("the golden files are %v, and those written %v", slices.Sorted(maps.Keys(files)), slices.Sorted(maps.Keys(written)))
		}
		kinds := make(map[byte]int)
		for name, b := range files {
			if !strings.HasPrefix(name, segmentPrefix) {
				continue // what compresses an import's records may do it otherwise
			}
			if b != written[name] {
				t.Errorf("%s is not what is written today", name)
			}
			h, err := parseSegmentHeader(name, []byte(b))
			if err != nil {
				t.Fatal(err)
			}
			walk := (&segment{name: name, header: h, data: []byte(b)}).walkFrom(0)
			for f, err := walk.next(); err == nil; f, err = walk.next() {
				kinds[f.kind]++
			}
		}
		if len(kinds) != 3 || len(names) < 3 {
			t.Errorf("%d files with %v frames of each kind", len(names), kinds)
		}
	}
}

// What a server wrote that knew no rankings is read, and namespaces of it have none.
func TestUnrankedJournal(t *testing.T) {
	dir := filepath.Join("testdata", "journal-v1-unranked")
	files := make(map[string]string)
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(dir, n.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[n.Name()] = string(b)
	}
	want, err := os.ReadFile(dir + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(withFiles(t, files))
	if _, err := w.start(); err != nil {
		t.Fatal(err)
	}
	if d := differ(dump(w.db), string(want)); d != "" {
		t.Error(d)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
}
