//go:build heavy && linux

package storage

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"engram/memory"
)

// A snapshot that finds the disk full is refused, leaves nothing behind, and leaves
// the earlier one as it was; with room again the next one is taken. It mounts a small
// file system, which takes root.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("engram-test", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatalf("mount a tmpfs (as root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	d, err := Open(dir, Options{Clock: stopped{}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	db := newDB(t)
	s := d.Snapshots(db)
	fill(t, db, 0)
	first, err := s.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	before := dump(db)

	big := &memory.Store{Namespace: "big"}
	for i := range 1000 {
		key := make([]float32, 512)
		for j := range key {
			key[j] = float32((i+1)*(j+1)%7919) * 0.001
		}
		big.Records = append(big.Records, memory.Put{Record: memory.Record{Key: key}})
	}
	if _, err := db.Store(context.Background(), big); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Snapshot(context.Background()); !errors.Is(err, memory.ErrDiskFull) {
		t.Fatalf("on a full disk: %v", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasPrefix(n.Name(), ".snapshot-") {
			t.Error("left behind:", n.Name())
		}
	}
	if last, _ := s.Last(); last.File != first.File {
		t.Errorf("the last snapshot is %q, not %q", last.File, first.File)
	}
	if err := unix.Mount("engram-test", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Snapshot(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.DeleteNamespace(context.Background(), &memory.DeleteNamespace{Name: "big"}); err != nil {
		t.Fatal(err)
	}
	if dump(db) != before {
		t.Error("the memory is not as it was")
	}
}
