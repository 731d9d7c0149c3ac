package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"engram/memory"
)

// Names of files in a data directory. An LSN in a name is 16 hexadecimal digits, so
// names order as LSNs do.
const (
	lockFile = "LOCK"
	// epochFile holds, in decimal, the highest epoch of what a repair took away, so
	// that no LSN is used twice. Versions without a journal noted every epoch there.
	epochFile = "EPOCH"
	// repairFile is there while a repair is under way, and holds its LSN.
	repairFile = "REPAIR"
	// spareFile is the segment that is made ahead.
	spareFile = "journal.next"

	snapshotPrefix = "snapshot-"
	segmentPrefix  = "journal-"
	importPrefix   = "import-"
	fileSuffix     = ".engram"
	cutSuffix      = ".cut" // of what a repair took away
)

func snapshotName(lsn memory.LSN) string { return fileName(snapshotPrefix, uint64(lsn)) }
func segmentName(base memory.LSN) string { return fileName(segmentPrefix, uint64(base)) }
func importName(id uint64) string        { return fileName(importPrefix, id) }

func fileName(prefix string, n uint64) string {
	return fmt.Sprintf("%s%016x%s", prefix, n, fileSuffix)
}

// numberOf gives the number in a name of that prefix, and what comes after it.
func numberOf(name, prefix string) (n uint64, rest string, ok bool) {
	hex, ok := strings.CutPrefix(name, prefix)
	if !ok || len(hex) < 16 {
		return 0, "", false
	}
	n, err := strconv.ParseUint(hex[:16], 16, 64)
	return n, hex[16:], err == nil
}

// temporary is the name of a file while it is written.
func temporary(name string) string { return "." + name }

func isTemporary(name string) bool {
	return strings.HasPrefix(name, ".snapshot-") || strings.HasPrefix(name, ".import-") || strings.HasPrefix(name, ".journal-")
}

func (d *Dir) in(name string) string { return d.fs.PathJoin(d.path, name) }

// create makes a file, in the place of one that may be there, which only its owner
// may read; it can be written at any offset.
func (d *Dir) create(name string) (vfs.File, error) {
	path := d.in(name)
	if err := d.remove(name); err != nil {
		return nil, err
	}
	f, err := d.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	if fd := f.Fd(); fd != vfs.InvalidFd {
		if err := unix.Fchmod(int(fd), 0o600); err != nil {
			return nil, errors.Join(fmt.Errorf("chmod %s: %w", path, err), f.Close())
		}
	}
	return f, nil
}

// remove deletes a file that may not be there.
func (d *Dir) remove(name string) error {
	if err := d.fs.Remove(d.in(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// rename gives a file another name, durably.
func (d *Dir) rename(from, to string) error {
	if err := d.fs.Rename(d.in(from), d.in(to)); err != nil {
		return err
	}
	return d.sync()
}

// sync makes renames and removals in the directory durable.
func (d *Dir) sync() error { return syncDir(d.fs, d.path) }

func syncDir(fs vfs.FS, path string) error {
	f, err := fs.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// read gives a whole file; into is used if it is large enough.
func (d *Dir) read(name string, into []byte) ([]byte, error) {
	f, err := d.fs.Open(d.in(name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return readAll(f, into)
}

func readAll(f vfs.File, into []byte) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := grow(into, int(st.Size()))
	n, err := f.ReadAt(b, 0)
	if n == len(b) || errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// A pending file is written under a temporary name, and takes its own when it is
// whole and durable.
type pending struct {
	vfs.File
	dir  *Dir
	name string
}

func (d *Dir) newPending(name string) (*pending, error) {
	f, err := d.create(temporary(name))
	return &pending{f, d, name}, err
}

// commit gives the file, which has been synced, its name.
func (p *pending) commit() error {
	f := p.File
	p.File = nil
	if err := f.Close(); err != nil {
		return errors.Join(err, p.dir.remove(temporary(p.name)))
	}
	return p.dir.rename(temporary(p.name), p.name)
}

// discard removes the file unless it was committed.
func (p *pending) discard() {
	if p.File != nil {
		_ = p.Close()
		_ = p.dir.remove(temporary(p.name))
	}
}

// isFull is true of the error of a full disk or quota.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// diskFull tells an error of a full disk or quota as memory.ErrDiskFull.
func diskFull(err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: %w", memory.ErrDiskFull, err)
	}
	return err
}
