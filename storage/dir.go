package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/memory"
)

// Kept is how many snapshots stay in a directory.
const Kept = 2

// ErrLocked is the error of opening a directory that another process holds.
var ErrLocked = errors.New("another engram holds it")

// Options says how a directory is used.
type Options struct {
	Log         *slog.Logger // default: slog.Default
	Clock       memory.Clock // default: the system's
	Level       int          // zstd level; default 1
	Workers     int          // default GOMAXPROCS
	SegmentSize int64        // bytes of a segment of the journal; default 64 MiB
	FS          vfs.FS       // default: the operating system's files

	idle   time.Duration // without an append, after which a marker is written
	retry  time.Duration // between attempts to get room for a segment
	random func() uint64 // ids of segments and of imports
}

func (o *Options) setDefaults() {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = memory.SystemClock()
	}
	if o.Level == 0 {
		o.Level = 1
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = 64 << 20
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.idle == 0 {
		o.idle = time.Second
	}
	if o.retry == 0 {
		o.retry = time.Second
	}
	if o.random == nil {
		o.random = rand.Uint64
	}
}

// Dir is a data directory, held by this process until Close.
type Dir struct {
	path string
	fs   vfs.FS
	lock io.Closer
	opt  Options

	mu       sync.Mutex
	journal  *journal              // once recovered
	base     memory.LSN            // where its LSNs began
	segments map[string]int64      // those before its own, and their sizes
	imports  map[string]memory.LSN // import files that it may name, and the LSN that does
}

// Open takes the directory, making it if it isn't there. If another process
// holds it the error is ErrLocked. Temporary files that a crash left are removed.
func Open(path string, opt Options) (*Dir, error) {
	d, err := newDir(path, opt)
	if err != nil {
		return nil, err
	}
	if err := makeDir(d.fs, d.path); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := d.fs.Lock(d.in(lockFile))
	if err != nil {
		if held(err) {
			return nil, fmt.Errorf("data directory %s: %w; stop it, or give this one a directory of its own", d.path, ErrLocked)
		}
		return nil, fmt.Errorf("lock data directory %s: %w", d.path, err)
	}
	d.lock = lock
	if err := d.removeTemporary(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// newDir describes a directory that isn't held yet.
func newDir(path string, opt Options) (*Dir, error) {
	opt.setDefaults()
	if opt.FS == vfs.Default {
		abs, err := filepath.Abs(path) // this process holds locks by name
		if err != nil {
			return nil, fmt.Errorf("data directory: %w", err)
		}
		path = abs
	}
	return &Dir{path: path, fs: opt.FS, opt: opt, segments: make(map[string]int64), imports: make(map[string]memory.LSN)}, nil
}

// Inspect takes a directory to look at it: nothing in it is changed, and it may be
// read-only.
func Inspect(path string, opt Options) (*Dir, error) {
	d, err := newDir(path, opt)
	if err != nil {
		return nil, err
	}
	if _, err := d.fs.Stat(d.path); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	switch lock, err := d.fs.Lock(d.in(lockFile)); {
	case err == nil:
		d.lock = lock
	case held(err):
		return nil, fmt.Errorf("data directory %s: %w; stop it, or look at a copy", d.path, ErrLocked)
	default: // nobody can write to it from here
		d.lock = io.NopCloser(nil)
	}
	return d, nil
}

// held is true of the error of a lock that is held, by another process or, as the
// library says it in words alone, by this one.
func held(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || err.Error() == "lock held by current process"
}

// makeDir makes a directory durably, with those above it: one after the other, so that
// what is there lies in what is durable. The one that is there already may be what a
// process made that was killed before it synced.
func makeDir(fsys vfs.FS, path string) error {
	var missing []string
	there := path
	for {
		_, err := fsys.Stat(there)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		missing = append(missing, there)
		there = fsys.PathDir(there)
	}
	if err := syncDir(fsys, fsys.PathDir(there)); err != nil && !unsyncable(err) {
		return err
	}
	for _, p := range slices.Backward(missing) {
		if err := fsys.MkdirAll(p, 0o700); err != nil {
			return err
		}
		if err := syncDir(fsys, fsys.PathDir(p)); err != nil {
			return err
		}
	}
	return nil
}

// unsyncable is true of the errors of a directory that this process may not sync, and so
// has made nothing in.
func unsyncable(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EINVAL)
}

// Close writes what the journal still holds, with a marker, and lets the directory go.
// The DB takes no writes any more.
func (d *Dir) Close() error {
	d.mu.Lock()
	j, lock := d.journal, d.lock
	d.journal, d.lock = nil, nil
	d.mu.Unlock()
	var err error
	if j != nil {
		err = j.close()
	}
	if lock != nil {
		err = errors.Join(err, lock.Close())
	}
	return err
}

// listed is what a directory holds.
type listed struct {
	snapshots []string // newest first
	segments  []string // oldest first
	imports   []string
	epoch     uint64 // the highest of a name, whatever became of the file
}

func (d *Dir) list() (*listed, error) {
	names, err := d.fs.List(d.path)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var l listed
	for _, name := range names {
		for _, k := range []struct {
			prefix string
			to     *[]string
		}{{snapshotPrefix, &l.snapshots}, {segmentPrefix, &l.segments}, {importPrefix, &l.imports}} {
			n, rest, ok := numberOf(name, k.prefix)
			if !ok {
				continue
			}
			if rest == fileSuffix {
				*k.to = append(*k.to, name)
			}
			if k.prefix != importPrefix {
				l.epoch = max(l.epoch, memory.LSN(n).Epoch())
			}
		}
	}
	slices.Reverse(l.snapshots)
	return &l, nil
}

func (d *Dir) removeTemporary() error {
	names, err := d.fs.List(d.path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if isTemporary(name) {
			if err := d.remove(name); err != nil {
				return err
			}
			d.opt.Log.Info("removed an unfinished file", "file", name)
		}
	}
	return nil
}
