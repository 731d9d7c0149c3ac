package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/memory"
)

// lastSegment gives the name of the last segment of some files.
func lastSegment(files map[string]string) string {
	last := ""
	for name := range files {
		if strings.HasPrefix(name, segmentPrefix) {
			last = max(last, name)
		}
	}
	return last
}

// resealed changes a segment's header and makes its checksum right.
func resealed(s string, change func(head []byte)) string {
	b := []byte(s)
	change(b[:segmentHead])
	le.PutUint64(b[56:], xxhash.Sum64(b[:56]))
	return string(b)
}

// A start on a journal that a newer version wrote is refused, whichever segment it is, and
// changes nothing.
func TestNewerJournal(t *testing.T) {
	_, files := written(t, brief(false), true)
	for name := range files {
		if !strings.HasPrefix(name, segmentPrefix) {
			continue
		}
		changed := maps.Clone(files)
		changed[name] = resealed(files[name], func(head []byte) { le.PutUint32(head[8:], segmentVersion+1) })
		w := newWorld(withFiles(t, changed))
		_, err := w.start()
		if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), fmt.Sprint("version ", segmentVersion+1)) {
			t.Errorf("%s: %v", name, err)
		}
		if !maps.Equal(contents(t, w.fs), changed) {
			t.Errorf("%s: something was changed", name)
		}
	}
}

// Headers whose checksum is right and whose fields can't be are damage.
func TestJournalHeaders(t *testing.T) {
	_, files := written(t, brief(false), true)
	last := lastSegment(files)
	for name, c := range map[string]struct {
		at    int
		value uint64
		want  int64
	}{
		"version 0":                 {8, 0, 8},
		"a base of another epoch":   {16, uint64(memory.MakeLSN(9, 9)), 16},
		"a base before what is":     {16, 1, 16},
		"a previous that isn't":     {24, uint64(memory.MakeLSN(1, 1)), 24},
		"a previous in the future":  {24, math.MaxUint64, 16},
		"no end of the one before":  {32, 0, 32},
		"an end within the header":  {32, 63, 32},
		"an end of 2^63":            {32, 1 << 63, 32},
		"an end of 2^63-1":          {32, 1<<63 - 1, -1},
		"an end within a frame":     {32, segmentHead + 8, segmentHead},
		"another id than its frame": {40, 7, -1},
	} {
		t.Run(name, func(t *testing.T) {
			changed := maps.Clone(files)
			changed[last] = resealed(files[last], func(head []byte) {
				if c.at == 8 {
					le.PutUint32(head[8:], uint32(c.value))
				} else {
					le.PutUint64(head[c.at:], c.value)
				}
			})
			w := newWorld(withFiles(t, changed))
			_, err := w.start()
			var d *Damage
			if !errors.As(err, &d) || c.want >= 0 && d.Offset != c.want {
				t.Errorf("%v; want damage at %d", err, c.want)
			}
			if !strings.Contains(err.Error(), "engram check") {
				t.Errorf("the error does not say what to run: %v", err)
			}
			if !maps.Equal(contents(t, w.fs), changed) {
				t.Error("something was changed")
			}
		})
	}
}

// A frame whose head is right and says that it has 4 GiB of data is none: no memory is
// taken, and what it means is for its place to say.
func TestFrameOf4GiB(t *testing.T) {
	s, files := written(t, brief(false), false)
	o := newOracle(t, s, files)
	last := &o.segments[len(o.segments)-1]
	for i, f := range last.frames {
		b := []byte(files[last.name])
		id := le.Uint64(b[40:])
		head := b[f.at : f.at+journalFrameHead]
		le.PutUint32(head[4:], math.MaxUint32)
		placed := place(id, int64(f.at), head)
		check := headCheck(&placed)
		copy(head, check[:])
		if _, want := parseFrame(b, int64(f.at), id); !strings.Contains(want, "4294967295 bytes") {
			t.Fatal(want)
		}
		changed := maps.Clone(files)
		changed[last.name] = string(b)
		if err := o.compare(t, changed, o.without(len(o.segments)-1, i, len(b)), true); err != nil {
			t.Errorf("frame %d: %v", i, err)
		}
	}
}

// A journal that names an import whose file is gone is refused, and can be repaired.
func TestImportMissing(t *testing.T) {
	s, files := written(t, brief(false), true)
	o := newOracle(t, s, files)
	for name := range files {
		if !strings.HasPrefix(name, importPrefix) {
			continue
		}
		mem := withFiles(t, files)
		if err := mem.Remove(path.Join(data, name)); err != nil {
			t.Fatal(err)
		}
		before := contents(t, mem)
		w := newWorld(mem)
		_, err := w.start()
		if err == nil || !strings.Contains(err.Error(), name) || !maps.Equal(before, contents(t, mem)) {
			t.Fatal(err)
		}
		if err := o.repaired(w, outcome{}, err); err != nil {
			t.Error(err)
		}
	}
}

// A directory on which nothing can be written starts with one clear error, and can be
// looked at, and opened as of an LSN.
func TestReadOnlyDirectory(t *testing.T) {
	mem := vfs.NewCrashableMem()
	steps := everything()
	s := play(t, steps, mem)
	before := contents(t, mem)
	fsys := newFaultFS(mem, func(c *call) error {
		if c.changes() || c.op == "lock" {
			return syscall.EROFS
		}
		return nil
	})
	readOnlyDirectory(t, newWorld(fsys), s)
	if !maps.Equal(before, contents(t, mem)) {
		t.Error("something was changed")
	}
}

func readOnlyDirectory(t *testing.T, w *world, s *script) {
	t.Helper()
	if _, err := w.start(); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), w.path) {
		t.Errorf("a start: %v", err)
	}
	d, err := Inspect(w.path, w.options())
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Check(context.Background())
	if err = errors.Join(err, d.Close()); err != nil || r.Err != nil {
		t.Fatal(err, r)
	}
	tried := 0
	for i, lsn := range s.lsns {
		if lsn < r.Lowest || lsn > r.LSN || s.steps[i].name == starting.name {
			continue
		}
		d, err := Inspect(w.path, w.options())
		if err != nil {
			t.Fatal(err)
		}
		db := w.newDB()
		if _, err := d.RecoverUntil(context.Background(), db, lsn); err != nil {
			t.Fatal(err)
		}
		if d := differ(dump(db), s.states[i]); d != "" {
			t.Errorf("as of the LSN of step %d (%s): %s", i, s.steps[i].name, d)
		}
		var readOnly *memory.ReadOnly
		if _, err := db.DeleteNamespace(context.Background(), &memory.DeleteNamespace{Name: "s"}); !errors.As(err, &readOnly) {
			t.Errorf("a write: %v", err)
		}
		if err := errors.Join(db.Close(), d.Close()); err != nil {
			t.Fatal(err)
		}
		tried++
	}
	if tried < 5 {
		t.Errorf("%d LSNs tried", tried)
	}
}
