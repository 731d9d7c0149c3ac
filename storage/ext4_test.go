//go:build heavy && linux

package storage

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"engram/internal/slab"
	"engram/memory"
)

var ext4Rounds = flag.Int("ext4-rounds", 5, "how often TestExt4Shutdown shuts a file system down")

// An ext4 is a file system in a file, by a loop device.
type ext4 struct {
	t          *testing.T
	image, dir string
	mounted    bool
}

func newExt4(t *testing.T) *ext4 {
	t.Helper()
	at := t.TempDir()
	e := &ext4{t: t, image: filepath.Join(at, "image"), dir: filepath.Join(at, "mnt")}
	if err := errors.Join(os.WriteFile(e.image, nil, 0o600), os.Truncate(e.image, 128<<20), os.Mkdir(e.dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	e.run("mkfs.ext4", "-q", "-F", e.image)
	e.mount()
	t.Cleanup(func() {
		if e.mounted {
			e.unmount()
		}
	})
	return e
}

func (e *ext4) run(name string, args ...string) {
	e.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		e.t.Fatalf("%s %s (it takes root, mkfs.ext4 and loop devices): %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func (e *ext4) mount() {
	e.t.Helper()
	e.run("mount", "-o", "loop", e.image, e.dir)
	e.mounted = true
}

func (e *ext4) unmount() {
	e.t.Helper()
	e.run("umount", e.dir)
	e.mounted = false
}

// remount brings the file system back. What was not synced is gone: else there was no
// power cut.
func (e *ext4) remount() {
	e.t.Helper()
	e.unmount()
	e.mount()
	if b, _ := os.ReadFile(e.unsynced()); len(b) > 0 {
		e.t.Error("what was never synced is there")
	}
	_ = os.Remove(e.unsynced())
}

func (e *ext4) unsynced() string { return filepath.Join(e.dir, "unsynced") }

// shutdown is as a power cut: what is dirty in memory is dropped, its own journal's
// transaction under way with it, and nothing is written or read any more.
func (e *ext4) shutdown() {
	e.t.Helper()
	if err := os.WriteFile(e.unsynced(), []byte("never synced"), 0o600); err != nil {
		e.t.Error(err)
	}
	const (
		ioctlShutdown = 0x8004587d // EXT4_IOC_SHUTDOWN
		noLogFlush    = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
	)
	f, err := os.Open(e.dir)
	if err == nil {
		err = errors.Join(unix.IoctlSetPointerInt(int(f.Fd()), ioctlShutdown, noLogFlush), f.Close())
	}
	if err != nil {
		e.t.Errorf("shut %s down: %v", e.dir, err)
	}
}

// open opens what is in the file system, with small segments.
func (e *ext4) open() (*memory.DB, *Dir) {
	e.t.Helper()
	log := slog.New(slog.DiscardHandler)
	d, err := Open(filepath.Join(e.dir, "data"), Options{Log: log, SegmentSize: 256 << 10})
	if err != nil {
		e.t.Fatal(err)
	}
	return memory.New(memory.Options{Pool: slab.NewPool(1 << 30), Limits: memory.DefaultLimits(), Log: log}), d
}

// An ext4Writer is the only writer of two records of a namespace, which it writes
// together.
type ext4Writer struct {
	namespace string
	sync      bool
	ids       [2]string
	n         int

	acknowledged []ext4Write // the first is what was found at the start
	unknown      string      // the text that a write without an answer has
}

type ext4Write struct {
	lsn  memory.LSN
	text string
}

func newExt4Writer(i int) *ext4Writer {
	namespace := []string{"sync", "interval", "none"}[i%3]
	return &ext4Writer{
		namespace: namespace, sync: namespace == "sync", ids: [2]string{fmt.Sprint(i, "a"), fmt.Sprint(i, "b")}, acknowledged: make([]ext4Write, 1),
	}
}

// write writes until the memory is read-only.
func (w *ext4Writer) write(t *testing.T, db *memory.DB) {
	for {
		w.n++
		s := &memory.Store{Namespace: w.namespace}
		text := fmt.Sprint(w.n, strings.Repeat(" more", rand.IntN(500)))
		for _, id := range w.ids {
			s.Records = append(s.Records, memory.Put{Record: memory.Record{ID: id, Key: []float32{1}, Text: text}})
		}
		r, err := db.Store(t.Context(), s)
		if err != nil {
			if w.unknown = text; db.ReadOnly() == nil {
				t.Errorf("a write: %v", err)
			}
			return
		}
		w.acknowledged = append(w.acknowledged, ext4Write{r.LSN, text})
	}
}

// read reads both records, which must be alike.
func (w *ext4Writer) read(db *memory.DB) (text string, err error) {
	v, err := db.View(w.namespace)
	if err != nil {
		return "", err
	}
	defer v.Release()
	var texts [2]string
	var rec memory.Record
	for i, id := range w.ids {
		if v.Get(id, &rec, memory.IncludeAll) {
			texts[i] = rec.Text
		}
	}
	if texts[0] != texts[1] {
		return "", fmt.Errorf("half of a batch: %.20q and %.20q", texts[0], texts[1])
	}
	return texts[0], nil
}

// check compares what is there with what was written up to the LSN that was recovered.
// Only its number counts: a start that was cut short may have begun an epoch.
func (w *ext4Writer) check(db *memory.DB, recovered uint64) error {
	last := w.acknowledged[len(w.acknowledged)-1]
	if w.sync && last.lsn.Number() > recovered {
		return fmt.Errorf("a write of number %d was acknowledged, and %d recovered", last.lsn.Number(), recovered)
	}
	want := w.acknowledged[0]
	for _, a := range w.acknowledged[1:] {
		if a.lsn.Number() <= recovered {
			want = a
		}
	}
	got, err := w.read(db)
	if err != nil {
		return err
	}
	// A write without an answer comes after all that have one.
	if got != want.text && (got != w.unknown || got == "" || want != last) {
		return fmt.Errorf("%.20q is there; up to number %d %.20q was acknowledged, then %.20q not answered", got, recovered, want.text, w.unknown)
	}
	w.acknowledged, w.unknown = []ext4Write{{text: got}}, ""
	return nil
}

// A real file system that forgets what wasn't synced: ext4 is shut down while clients write,
// segments and snapshots come and go, or a start recovers. What a SYNC namespace
// acknowledged, or showed, is there after the next mount; of the others it is all up to
// one LSN; no batch is there by half.
func TestExt4Shutdown(t *testing.T) {
	e := newExt4(t)
	writers := make([]*ext4Writer, 9)
	for i := range writers {
		writers[i] = newExt4Writer(i)
	}
	db, d := e.open()
	t.Cleanup(func() { _, _ = db.Close(), d.Close() })
	if _, err := d.Recover(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"sync", "interval", "none"} {
		c := memory.Config{Name: name, Dimension: 1, ValueDimension: 1, Durability: memory.Durability(i)}
		if _, err := db.CreateNamespace(t.Context(), &memory.CreateNamespace{Config: c}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	acknowledged, lost, inRecovery := 0, 0, 0
	for round := range *ext4Rounds {
		var clients, others sync.WaitGroup
		for _, w := range writers {
			clients.Go(func() { w.write(t, db) })
		}
		var over atomic.Bool
		snapshots, taken := d.Snapshots(db), 0
		others.Go(func() {
			for !over.Load() {
				if _, err := snapshots.Snapshot(t.Context()); err == nil {
					taken++
				} else if db.ReadOnly() == nil {
					time.Sleep(time.Millisecond)
				}
			}
		})
		others.Go(func() {
			for !over.Load() {
				time.Sleep(20 * time.Millisecond)
				_ = db.SyncInterval(t.Context())
			}
		})
		// What a reader saw of a SYNC namespace, and its LSN.
		var seen memory.LSN
		others.Go(func() {
			for !over.Load() {
				v, err := db.View("sync")
				if err != nil {
					t.Error(err)
					return
				}
				seen = v.LSN()
				v.Release()
			}
		})
		time.Sleep(time.Duration(20+rand.IntN(200)) * time.Millisecond)
		e.shutdown()
		clients.Wait()
		over.Store(true)
		others.Wait()
		_, _ = db.Close(), d.Close() // which can't write
		e.remount()

		if rand.IntN(3) == 0 { // once more, while it recovers
			inRecovery++
			db, d = e.open()
			delay := time.Duration(rand.IntN(20_000)) * time.Microsecond
			cut := time.AfterFunc(delay, func() {
				defer others.Done()
				e.shutdown()
			})
			others.Add(1)
			_, _ = d.Recover(t.Context(), db)
			if cut.Stop() {
				others.Done()
				e.shutdown()
			}
			others.Wait()
			_, _ = db.Close(), d.Close()
			e.remount()
		}
		db, d = e.open()
		r, err := d.Recover(t.Context(), db)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		last := r.LSN.Number()
		if seen.Number() > last {
			t.Fatalf("round %d: number %d of a SYNC namespace was shown, and %d recovered", round, seen.Number(), last)
		}
		for _, w := range writers {
			for _, a := range w.acknowledged[1:] {
				if acknowledged++; a.lsn.Number() > last {
					lost++
				}
			}
			if err := w.check(db, last); err != nil {
				t.Fatalf("round %d: namespace %s: %v", round, w.namespace, err)
			}
		}
	}
	stop(t, db, d)
	db, d = e.open()
	report, err := d.Check(t.Context())
	if err != nil || report.Err != nil {
		t.Errorf("a check says %v (%v)", report, err)
	}
	t.Logf("shut down %d times, %d more while it recovered; %d writes were acknowledged, %d of namespaces of durability INTERVAL or NONE forgotten",
		*ext4Rounds, inRecovery, acknowledged, lost)
}
