package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"engram/memory"
)

// Kept is how many snapshots stay in a directory.
const Kept = 2

// ErrLocked is the error of opening a directory that another process holds.
var ErrLocked = errors.New("another engram holds it")

// Options says how a directory is used.
type Options struct {
	Log     *slog.Logger // default: slog.Default
	Clock   memory.Clock // default: the system's
	Level   int          // zstd level; default 1
	Workers int          // default GOMAXPROCS
}

// Dir is a data directory, held by this process until Close.
type Dir struct {
	path string
	lock *os.File
	opt  Options
}

// Open takes the directory, making it if it isn't there. If another process
// holds it the error is ErrLocked. Temporary files that a crash left are removed.
func Open(path string, opt Options) (*Dir, error) {
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	if opt.Clock == nil {
		opt.Clock = memory.SystemClock()
	}
	if opt.Level == 0 {
		opt.Level = 1
	}
	if opt.Workers == 0 {
		opt.Workers = runtime.GOMAXPROCS(0)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s: %w; stop it, or give this one a directory of its own", path, ErrLocked)
		}
		return nil, fmt.Errorf("lock data directory %s: %w", path, err)
	}
	d := &Dir{path: path, lock: lock, opt: opt}
	if err := d.removeTemporary(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return d, nil
}

// Close lets the directory go.
func (d *Dir) Close() error { return d.lock.Close() }

func snapshotName(lsn memory.LSN) string { return fmt.Sprintf("snapshot-%016x.engram", uint64(lsn)) }

// snapshots returns the names of the snapshots in the directory, newest first:
// names order as LSNs do.
func (d *Dir) snapshots() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); strings.HasPrefix(n, "snapshot-") && strings.HasSuffix(n, ".engram") {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

// temporary is the name that renameio gives a file while it is written.
func temporary(name string) bool {
	return strings.HasPrefix(name, ".snapshot-")
}

func (d *Dir) removeTemporary() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if temporary(e.Name()) {
			if err := os.Remove(filepath.Join(d.path, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			d.opt.Log.Info("removed an unfinished snapshot", "file", e.Name())
		}
	}
	return nil
}

// prune deletes all but the Kept newest snapshots.
func (d *Dir) prune() error {
	names, err := d.snapshots()
	if err != nil || len(names) <= Kept {
		return err
	}
	for _, n := range names[Kept:] {
		if err := os.Remove(filepath.Join(d.path, n)); err != nil {
			return err
		}
	}
	return d.sync()
}

// sync makes renames and removals in the directory durable.
func (d *Dir) sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// diskFull tells an error of a full disk or quota as memory.ErrDiskFull.
func diskFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", memory.ErrDiskFull, err)
	}
	return err
}
