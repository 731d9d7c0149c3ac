package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/memory"
)

// brief is a history whose journal takes few bytes: several segments, an import, marked
// and unmarked stretches, a restart.
func brief(snapshots bool) []step {
	steps := []step{
		starting,
		creating("s", memory.Sync), creating("n", memory.None),
		storing("s", true, "r1", scripted("a", 40, 1, 2)),
		storing("n", false, "", scripted("x", 90, 1, 2)),
		importing("imported", 1, 1),
		storing("s", true, "", scripted("b", 90, 1, 2)),
		importing("later", 5, 1),
		deleting("s", true, "", "a"),
	}
	if snapshots {
		steps = append(steps, taking, storing("s", true, "", scripted("c", 150, 1, 2)))
	}
	steps = append(steps, stopping, starting, storing("n", false, "", scripted("y", 100, 1, 2)), storing("s", true, "", scripted("d", 90, 1, 2)))
	if snapshots {
		steps = append(steps, taking)
	}
	return append(steps,
		dropping("later", true),
		storing("n", false, "", scripted("z", 50, 1, 2)),
		idling,
		storing("s", true, "", scripted("e", 50, 1, 2)),
		storing("n", false, "", scripted("w", 50, 1, 2)),
		storing("n", false, "", scripted("v", 60, 1, 2)),
	)
}

// written plays a history on the operating system's files, and gives what is in them:
// as a clean stop leaves them, or as a kill does.
func written(t testing.TB, steps []step, clean bool) (*script, map[string]string) {
	t.Helper()
	w := newWorld(vfs.Default)
	w.path, w.size = t.TempDir(), 1536
	s := playIn(t, steps, w)
	if clean {
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
	}
	files := make(map[string]string)
	names, err := os.ReadDir(w.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(w.path, n.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if n.Name() != lockFile {
			files[n.Name()] = string(b)
		}
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	return s, files
}

// Every byte of a journal and of an import's file is flipped, and each of those files cut
// to each length. A start refuses, naming the file and the offset and leaving all as it
// is, or gives the state as of the LSN to which the rule cuts: exactly as an oracle says.
// What it tells to run in the first case works.
func TestJournalFlippedAndTruncated(t *testing.T) {
	for name, c := range map[string]struct{ snapshots, clean bool }{
		"stopped":                 {false, true},
		"killed":                  {false, false},
		"stopped, with snapshots": {true, true},
		"killed, with snapshots":  {true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, files := written(t, brief(c.snapshots), c.clean)
			o := newOracle(t, s, files)
			segments, tried, refused, cut := 0, 0, 0, 0
			for _, name := range slices.Sorted(maps.Keys(files)) {
				if name == spareFile || strings.HasPrefix(name, snapshotPrefix) {
					continue
				}
				if strings.HasPrefix(name, segmentPrefix) {
					segments++
				}
				whole := files[name]
				try := func(changed, what string, want outcome) {
					if tried++; raced && !*long && tried%50 != 0 {
						return
					}
					if want.refused {
						refused++
					} else if want.cut > 0 {
						cut++
					}
					changedFiles := maps.Clone(files)
					changedFiles[name] = changed
					if err := o.compare(t, changedFiles, want, tried%16 == 0 || *long); err != nil {
						t.Errorf("%s %s: %v", name, what, err)
					}
				}
				for i := range whole {
					b := []byte(whole)
					b[i] ^= 1 << (i % 8)
					try(string(b), fmt.Sprintf("with byte %d of %d flipped", i, len(whole)), o.flipped(name, i))
				}
				for n := range whole {
					try(whole[:n], fmt.Sprintf("cut to %d of %d bytes", n, len(whole)), o.truncated(name, n))
				}
			}
			if segments < 3 || refused == 0 || !c.clean && cut == 0 {
				t.Error("the history is too short")
			}
			t.Logf("%d segments, %d changes: %d refused, %d cut", segments, tried, refused, cut)
		})
	}
}

// compare starts from files, and compares what comes of it.
func (o *oracle) compare(t testing.TB, files map[string]string, want outcome, repaired bool) error {
	mem := withFiles(t, files)
	w := newWorld(mem)
	w.size = 1536
	r, err := w.start()
	if want.refused {
		var d *Damage
		if err == nil {
			return errors.Join(fmt.Errorf("started (%+v, cut %+v); want a refusal for %s at %d", *r, r.Cut, want.file, want.offset), w.stop())
		}
		if !errors.As(err, &d) || d.File != want.file || d.Offset != int64(want.offset) {
			return fmt.Errorf("refused: %w; want it for %s at %d", err, want.file, want.offset)
		}
		if !strings.Contains(err.Error(), "engram check") {
			return fmt.Errorf("the error does not say what to run: %w", err)
		}
		if !maps.Equal(contents(t, mem), files) {
			return fmt.Errorf("the refusal changed something: %w", err)
		}
		if e := o.checked(w, want, nil); e != nil || !repaired {
			return e
		}
		return o.repaired(w, want, err)
	}
	if err != nil {
		return fmt.Errorf("refused: %w; want a start to LSN %d", err, want.lsn)
	}
	defer func() { _ = w.stop() }()
	if r.LSN != want.lsn || (r.Cut != nil) != (want.cut > 0) || r.Cut != nil && r.Cut.Offset != int64(want.cut) {
		return fmt.Errorf("started to LSN %d, cut %+v; want %d, cut at %d", r.LSN, r.Cut, want.lsn, want.cut)
	}
	if d := differ(dump(w.db), o.stateAt(want.lsn)); d != "" {
		return errors.New(d)
	}
	before := newWorld(withFiles(t, files))
	return o.checked(before, want, r.Cut)
}

// checked compares what `engram check` says.
func (o *oracle) checked(w *world, want outcome, cut *Cut) error {
	d, err := Inspect(w.path, w.options())
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	report, err := d.Check(context.Background())
	if err != nil {
		return err
	}
	var found *Damage
	switch {
	case want.refused && (!errors.As(report.Err, &found) || found.File != want.file || found.Offset != int64(want.offset)):
		return fmt.Errorf("check says: %w; want damage of %s at %d", report.Err, want.file, want.offset)
	case !want.refused && (report.Err != nil || report.LSN != want.lsn || (report.Cut == nil) != (cut == nil) || cut != nil && *report.Cut != *cut):
		return fmt.Errorf("check says: %+v, cut %+v; want LSN %d, cut %+v", report, report.Cut, want.lsn, cut)
	}
	return nil
}

// repaired runs the command that a refusal gave, if it gave one.
func (o *oracle) repaired(w *world, want outcome, refusal error) error {
	var at memory.LSN
	if _, after, ok := strings.Cut(refusal.Error(), "--truncate-at "); ok {
		if _, err := fmt.Sscan(after, &at); err != nil {
			return err
		}
	} else {
		// A header: what is before that segment is whole, as `engram check` says.
		i := slices.IndexFunc(o.segments, func(p plainSegment) bool { return p.name == want.file })
		if i <= 0 || o.highest > 0 {
			return nil
		}
		at = o.segments[i-1].frames[len(o.segments[i-1].frames)-1].lsn
	}
	if err := repair(w.fs, at); err != nil {
		return fmt.Errorf("%w: and the repair: %w", refusal, err)
	}
	if _, err := w.start(); err != nil {
		return fmt.Errorf("%w: and the start after the repair: %w", refusal, err)
	}
	return errors.Join(asError(differ(dump(w.db), o.stateAt(at))), w.stop())
}

func asError(s string) error {
	if s == "" {
		return nil
	}
	return errors.New(s)
}

// A large journal is changed at random places, several bytes at once too.
func TestLargeJournalFlipped(t *testing.T) {
	steps := []step{starting, creating("s", memory.Sync), creating("n", memory.None)}
	rng := random(5)
	for i := range 400 {
		name := []string{"s", "n"}[i%2]
		if steps = append(steps, storing(name, name == "s", "", scripted(fmt.Sprint(i), rng.IntN(3000), 1, 2))); i%70 == 69 {
			steps = append(steps, idling)
		}
	}
	w := newWorld(vfs.NewMem())
	w.size = 64 << 10
	s := playIn(t, steps, w)
	files := contents(t, w.fs)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	delete(files, spareFile)
	o := newOracle(t, s, files)
	names := slices.Sorted(maps.Keys(files))
	// Most frames of a segment stand below a synced mark: the last segment is as likely
	// as all others together.
	n := 200
	if *long {
		n = 10_000
	}
	refused, cut := 0, 0
	for i := range n {
		name := names[rng.IntN(len(names))]
		if i%2 == 0 {
			name = names[len(names)-1]
		}
		whole := files[name]
		changed := maps.Clone(files)
		var want outcome
		if i%5 == 0 {
			at := rng.IntN(len(whole))
			want = o.truncated(name, at)
			changed[name] = whole[:at]
		} else {
			at := rng.IntN(len(whole))
			if i%3 == 0 { // near the end of what was written
				at = max(0, min(len(whole)-1, o.segments[slices.Index(names, name)].limit-rng.IntN(2000)))
			}
			b := []byte(whole)
			b[at] ^= byte(1 + rng.IntN(255))
			want = o.flipped(name, at)
			changed[name] = string(b)
		}
		if want.refused {
			refused++
		} else if want.cut > 0 {
			cut++
		}
		if err := o.compare(t, changed, want, i%10 == 0); err != nil {
			t.Errorf("change %d, of %s: %v", i, name, err)
		}
	}
	t.Logf("%d segments, %d changes: %d refused, %d cut", len(names), n, refused, cut)
}

// Every byte of the newest snapshot is flipped, and it is cut to every length, with the
// journal beside it: everything is recovered from the one before, or from the journal.
func TestSnapshotFlippedBesideJournal(t *testing.T) {
	s, files := written(t, brief(true), true)
	want := s.states[len(s.states)-1]
	var names []string
	for name := range files {
		if strings.HasPrefix(name, snapshotPrefix) {
			names = append(names, name)
		}
	}
	newest := slices.Max(names)
	whole := files[newest]
	tried := 0
	try := func(b, what string) {
		if tried++; raced && tried%20 != 0 {
			return
		}
		changed := maps.Clone(files)
		changed[newest] = b
		w := newWorld(withFiles(t, changed))
		r, err := w.start()
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		if d := differ(dump(w.db), want); d != "" || r.Snapshot.File != slices.Min(names) || r.Cut != nil {
			t.Errorf("%s: %+v: %s", what, *r, d)
		}
		if aside := content(t, w.fs, newest+".damaged"); aside != b {
			t.Errorf("%s: what was set aside is something else", what)
		}
		if err := w.stop(); err != nil {
			t.Error(err)
		}
	}
	for i := range whole {
		b := []byte(whole)
		b[i] ^= 1 << (i % 8)
		try(string(b), fmt.Sprintf("byte %d of %d flipped", i, len(whole)))
	}
	for n := range whole {
		try(whole[:n], fmt.Sprintf("cut to %d of %d bytes", n, len(whole)))
	}
	t.Logf("%d changes", tried)
}
