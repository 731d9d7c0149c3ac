//go:build heavy && linux

package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"engram/memory"
)

// small mounts a file system of so many KiB, and gives what changes its size.
func small(t *testing.T, kib int) (dir string, resize func(kib int)) {
	t.Helper()
	dir = t.TempDir()
	mount := func(flags uintptr, kib int) {
		t.Helper()
		if err := unix.Mount("engram-test", dir, "tmpfs", flags, fmt.Sprintf("size=%dk", kib)); err != nil {
			t.Fatalf("mount a tmpfs (as root): %v", err)
		}
	}
	mount(0, kib)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir, func(kib int) { mount(unix.MS_REMOUNT, kib) }
}

// free is the most that is free within some attempts to make the next segment, each of
// which takes room for a moment.
func free(t *testing.T, dir string) (most int64) {
	t.Helper()
	for range 20 {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		most = max(most, int64(st.Bavail)*st.Bsize)
		time.Sleep(200 * time.Microsecond)
	}
	return most
}

// A disk fills up while a journal is written, at every stage of it as the room it had in
// the beginning varies: at the start, before the first spare segment, in it, in a later
// one. Writes are refused while there is still room for deletes, which work; so do reads,
// and a restart. With room again writes go on, and nothing was lost.
func TestFullDiskJournal(t *testing.T) {
	const segment = 256 << 10
	dir, resize := small(t, 64<<10)
	stages := make(map[string]int)
	for kib := 8; kib <= 1600; kib += 36 {
		w := newWorld(vfs.Default)
		w.path, w.size, w.retry = filepath.Join(dir, "data"), segment, time.Millisecond
		if err := os.MkdirAll(w.path, 0o700); err != nil {
			t.Fatal(err)
		}
		resize(kib)
		fillUp(t, w, kib, resize, stages)
		resize(64 << 10)
		if err := os.RemoveAll(w.path); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%v", stages)
	for _, s := range []string{"a start refused", "a write refused", "a delete after it", "a snapshot refused", "a restart on the full disk"} {
		if stages[s] == 0 {
			t.Errorf("no %s", s)
		}
	}
}

func fillUp(t *testing.T, w *world, kib int, resize func(int), stages map[string]int) {
	t.Helper()
	ctx := context.Background()
	start := func() bool {
		t.Helper()
		_, err := w.start()
		if errors.Is(err, memory.ErrDiskFull) || isFull(err) {
			stages["a start refused"]++
			return false
		}
		if err != nil {
			t.Fatalf("%d KiB: %v", kib, err)
		}
		return true
	}
	if !start() {
		resize(64 << 10)
		if !start() {
			t.Fatal("with room it doesn't start")
		}
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		return
	}
	var full *memory.NoSpace
	store := func(id string) error { return storing("s", true, "", scripted(id, 3000, 1, 2)).do(w) }
	stored := 0
	var err error
	for ; stored < 5000; stored++ {
		if err = store(fmt.Sprint(stored)); err != nil {
			break
		}
		if stored == 60 {
			if err := taking.do(w); err != nil && !errors.Is(err, memory.ErrDiskFull) {
				t.Fatalf("%d KiB: snapshot: %v", kib, err)
			}
		}
	}
	if !errors.As(err, &full) {
		t.Fatalf("%d KiB: after %d writes: %v", kib, stored, err)
	}
	stages["a write refused"]++
	// One that is larger than all there is takes nothing of the disk.
	left := free(t, w.path)
	large := make([]memory.Put, 40)
	for i := range large {
		large[i] = scripted(fmt.Sprint("large", i), 60_000, 1, 2)
	}
	if err := storing("s", true, "", large...).do(w); !errors.As(err, &full) || free(t, w.path) < left {
		t.Fatalf("%d KiB: a large write: %v; %d bytes were free, and %d are", kib, err, left, free(t, w.path))
	}
	before := dump(w.db)
	if err := w.db.ReadOnly(); err != nil {
		t.Fatalf("%d KiB: %v", kib, err)
	}
	// A client that goes on asking changes nothing.
	for range 20 {
		if err := store("again"); !errors.As(err, &full) {
			t.Fatalf("%d KiB: %v", kib, err)
		}
	}
	if err := taking.do(w); errors.Is(err, memory.ErrDiskFull) {
		stages["a snapshot refused"]++
	} else if err != nil {
		t.Fatalf("%d KiB: snapshot: %v", kib, err)
	}
	if d := differ(dump(w.db), before); d != "" {
		t.Fatalf("%d KiB: refused writes changed something: %s", kib, d)
	}
	// A start on this disk has what there is; if it finds no room, it says so.
	restart := func() {
		t.Helper()
		before := dump(w.db)
		if err := w.stop(); err != nil {
			t.Fatalf("%d KiB: stop: %v", kib, err)
		}
		if !start() {
			resize(64 << 10)
			if !start() {
				t.Fatal("with room it doesn't start")
			}
		} else {
			stages["a restart on the full disk"]++
		}
		if d := differ(dump(w.db), before); d != "" {
			t.Fatalf("%d KiB: after a restart: %s", kib, d)
		}
	}
	for i := range min(stored, 100) {
		if _, err := w.db.Delete(ctx, &memory.Delete{Namespace: "s", IDs: []string{fmt.Sprint(i)}}); err != nil {
			t.Fatalf("%d KiB: delete %d: %v", kib, i, err)
		}
		stages["a delete after it"]++
	}
	restart()
	if stored > 100 {
		if err := deleting("s", true, "", "100").do(w); err != nil {
			t.Fatalf("%d KiB: a delete after the restart: %v", kib, err)
		}
	}
	resize(64 << 10)
	w.dir.journal.spare.made()
	for i := range 200 {
		if err := store(fmt.Sprint("more", i)); err != nil {
			t.Fatalf("%d KiB, with room again: %v", kib, err)
		}
	}
	if err := taking.do(w); err != nil {
		t.Fatalf("%d KiB, with room again: %v", kib, err)
	}
	restart()
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
}

// A directory on a file system that is mounted read-only.
func TestReadOnlyMount(t *testing.T) {
	dir, _ := small(t, 64<<10)
	w := newWorld(vfs.Default)
	w.path = filepath.Join(dir, "data")
	s := playIn(t, everything(), w)
	if err := unix.Mount("engram-test", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	readOnlyDirectory(t, w, s)
}

// So is one that doesn't exist there.
func TestNewOnReadOnlyMount(t *testing.T) {
	dir, _ := small(t, 64)
	if err := unix.Mount("engram-test", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	w := newWorld(vfs.Default)
	w.path = filepath.Join(dir, "data")
	if _, err := w.start(); !errors.Is(err, unix.EROFS) {
		t.Error(err)
	}
}
