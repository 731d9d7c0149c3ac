package storage

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/memory"
)

// Rehearsals that no mutation has are damage.
func TestRehearsalsAreChecked(t *testing.T) {
	two := []memory.Rehearsal{{ID: "a", Time: 1, Count: 1}, {ID: "b", Time: 1, Count: 1}}
	for name, change := range map[string]func(b []byte) []byte{
		"out of order": func(b []byte) []byte { return bytes.Replace(b, []byte("\x01a"), []byte("\x01c"), 1) },
		"twice":        func(b []byte) []byte { return bytes.Replace(b, []byte("\x01a"), []byte("\x01b"), 1) },
		"none":         func(b []byte) []byte { return bytes.Replace(b, []byte("\x02\x01a"), []byte("\x00\x01a"), 1) },
		"too many":     func(b []byte) []byte { return bytes.Replace(b, []byte("\x02\x01a"), []byte("\x03\x01a"), 1) },
		"too few":      func(b []byte) []byte { return bytes.Replace(b, []byte("\x02\x01a"), []byte("\x01\x01a"), 1) },
	} {
		b := appendMutation(nil, &memory.Mutation{Namespace: "n", Rehearsals: two})
		if _, err := mutationOf(&journalFrame{data: b}); err != nil {
			t.Fatal(err)
		}
		if m, err := mutationOf(&journalFrame{data: change(b)}); err == nil {
			t.Errorf("%s: %+v", name, m.Rehearsals)
		}
	}
}

// What was rehearsed and isn't committed yet a clean end keeps, and a crash loses; what is
// committed neither.
func TestRehearsalsOverAnEnd(t *testing.T) {
	for _, d := range []memory.Durability{memory.Sync, memory.Interval, memory.None} {
		w := newWorld(vfs.NewCrashableMem())
		rehearsed := func() uint32 {
			t.Helper()
			v, err := w.db.View("n")
			if err != nil {
				t.Fatal(err)
			}
			defer v.Release()
			var r memory.Record
			if !v.Get("a", &r, 0) {
				t.Fatal("the record isn't there")
			}
			return r.Rehearsed.Count
		}
		do := func(steps ...step) {
			t.Helper()
			for _, s := range steps {
				if err := s.do(w); err != nil {
					t.Fatalf("%s: %v", s.name, err)
				}
			}
		}
		waiting := step{"rehearse", func(w *world) error { return w.rehearse("n", "a") }, false}
		do(starting, creating("n", d), storing("n", true, "", scripted("a", 9, 1, 2)), waiting, stopping, starting)
		if got := rehearsed(); got != 1 {
			t.Errorf("%v: after a clean end it was rehearsed %d times", d, got)
		}
		do(rehearsing("n", true, "a"), taking, waiting) // a snapshot syncs what there is
		left := w.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
		do(stopping)
		w.fs = left
		do(starting)
		if got := rehearsed(); got != 2 {
			t.Errorf("%v: after a crash it was rehearsed %d times", d, got)
		}
		do(stopping)
	}
}
