package storage

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// data is the directory in file systems that are in memory.
const data = "/data"

// A call is one operation on a file system.
type call struct {
	op   string // open, write, sync, …
	file string // its base name as it now is
	to   string // of a rename
	at   int64  // of a write
	data []byte // of a write
}

// faultFS is a file system in memory that shows each call to before, one at a time,
// and fails those for which it gives an error.
type faultFS struct {
	vfs.FS
	mem *vfs.MemFS

	mu       sync.Mutex
	before   func(*call) error
	open     map[*faultFile]bool
	unsynced []gone // since the directory was synced
}

// gone is a name that was removed, or renamed to another.
type gone struct{ name, to string }

func newFaultFS(mem *vfs.MemFS, before func(*call) error) *faultFS {
	return &faultFS{FS: mem, mem: mem, before: before, open: make(map[*faultFile]bool)}
}

// do shows a call and then makes it. Errors are like the operating system's.
func (f *faultFS) do(c *call, then func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.before != nil {
		if err := f.before(c); err != nil {
			var errno syscall.Errno
			if errors.As(err, &errno) && c.op != "datasync" && c.op != "preallocate" {
				return &fs.PathError{Op: c.op, Path: path.Join(data, c.file), Err: errno}
			}
			return err
		}
	}
	return then()
}

// watch sets what is shown the calls from now on.
func (f *faultFS) watch(before func(*call) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = before
}

func (f *faultFS) opened(op, name string, open func() (vfs.File, error)) (out vfs.File, err error) {
	err = f.do(&call{op: op, file: path.Base(name)}, func() error {
		in, err := open()
		if err == nil {
			file := &faultFile{File: in, fs: f, name: path.Base(name)}
			f.open[file] = true
			out = file
		}
		return err
	})
	return out, err
}

func (f *faultFS) Open(name string, opt ...vfs.OpenOption) (vfs.File, error) {
	return f.opened("open", name, func() (vfs.File, error) { return f.mem.Open(name, opt...) })
}

func (f *faultFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opt ...vfs.OpenOption) (vfs.File, error) {
	return f.opened("create", name, func() (vfs.File, error) { return f.mem.OpenReadWrite(name, c, opt...) })
}

func (f *faultFS) OpenDir(name string) (vfs.File, error) {
	return f.opened("opendir", name, func() (vfs.File, error) { return f.mem.OpenDir(name) })
}

func (f *faultFS) Remove(name string) error {
	return f.do(&call{op: "remove", file: path.Base(name)}, func() error {
		err := f.mem.Remove(name)
		if err == nil {
			f.unsynced = append(f.unsynced, gone{name: path.Base(name)})
		}
		return err
	})
}

func (f *faultFS) Rename(from, to string) error {
	return f.do(&call{op: "rename", file: path.Base(from), to: path.Base(to)}, func() error {
		_, there := f.mem.Stat(to)
		err := f.mem.Rename(from, to)
		if err == nil {
			for file := range f.open {
				if file.name == path.Base(from) {
					file.name = path.Base(to)
				}
			}
			if there != nil {
				f.unsynced = append(f.unsynced, gone{path.Base(from), path.Base(to)})
			}
		}
		return err
	})
}

func (f *faultFS) MkdirAll(name string, perm os.FileMode) error {
	return f.do(&call{op: "mkdir", file: path.Base(name)}, func() error { return f.mem.MkdirAll(name, perm) })
}

func (f *faultFS) Lock(name string) (out io.Closer, err error) {
	err = f.do(&call{op: "lock", file: path.Base(name)}, func() error {
		out, err = f.mem.Lock(name)
		return err
	})
	return out, err
}

func (f *faultFS) List(name string) (out []string, err error) {
	err = f.do(&call{op: "list", file: path.Base(name)}, func() error {
		out, err = f.mem.List(name)
		return err
	})
	return out, err
}

func (f *faultFS) Stat(name string) (out vfs.FileInfo, err error) {
	err = f.do(&call{op: "stat", file: path.Base(name)}, func() error {
		out, err = f.mem.Stat(name)
		return err
	})
	return out, err
}

func (f *faultFS) Unwrap() vfs.FS { return nil }

type faultFile struct {
	vfs.File
	fs   *faultFS
	name string
}

// on makes a call on the file, whose name is only told under the lock.
func (f *faultFile) on(c *call, then func() error) error {
	f.fs.mu.Lock()
	c.file = f.name
	f.fs.mu.Unlock()
	return f.fs.do(c, then)
}

func (f *faultFile) Write(b []byte) (n int, err error) {
	err = f.on(&call{op: "write", data: b}, func() error { n, err = f.File.Write(b); return err })
	return n, err
}

func (f *faultFile) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.on(&call{op: "write", data: b, at: at}, func() error { n, err = f.File.WriteAt(b, at); return err })
	return n, err
}

func (f *faultFile) ReadAt(b []byte, at int64) (n int, err error) {
	err = f.on(&call{op: "read", at: at}, func() error { n, err = f.File.ReadAt(b, at); return err })
	return n, err
}

func (f *faultFile) Sync() error {
	return f.on(&call{op: "sync"}, func() error {
		if f.name == path.Base(data) {
			f.fs.unsynced = nil
		}
		return f.File.Sync()
	})
}

func (f *faultFile) SyncData() error { return f.on(&call{op: "datasync"}, f.File.SyncData) }

func (f *faultFile) Preallocate(at, n int64) error {
	return f.on(&call{op: "preallocate"}, func() error { return f.File.Preallocate(at, n) })
}

func (f *faultFile) Stat() (out vfs.FileInfo, err error) {
	err = f.on(&call{op: "stat"}, func() error { out, err = f.File.Stat(); return err })
	return out, err
}

// Close closes the file whether or not it says so.
func (f *faultFile) Close() error {
	var err error
	failed := f.on(&call{op: "close"}, func() error { return nil })
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	delete(f.fs.open, f)
	if err = f.File.Close(); failed != nil {
		err = failed
	}
	return err
}

// powerCut gives what is left if the power fails now, within before: what was synced,
// and of the rest, each block and each name with a probability. At 100 percent it is
// what a process that is killed leaves.
func (f *faultFS) powerCut(percent int, rng *rand.Rand) *vfs.MemFS {
	out := f.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	there := func(fsys vfs.FS, name string) bool { _, err := fsys.Stat(path.Join(data, name)); return err == nil }
	for _, g := range f.unsynced {
		// The clone keeps all that is gone; a disk may as well have done with it.
		if percent > 0 && rng.IntN(100) < percent && there(out, g.name) && !there(f.mem, g.name) && (g.to == "" || there(out, g.to)) {
			_ = out.Remove(path.Join(data, g.name))
		}
	}
	if dir, err := out.OpenDir(data); err == nil {
		_, _ = dir.Sync(), dir.Close()
	}
	return out
}

// contents gives all files of the directory but the lock.
func contents(t testing.TB, fsys vfs.FS) map[string]string {
	t.Helper()
	out := make(map[string]string)
	names, err := fsys.List(data)
	if err != nil {
		return out
	}
	slices.Sort(names)
	for _, name := range names {
		if name != lockFile {
			out[name] = content(t, fsys, name)
		}
	}
	return out
}

func content(t testing.TB, fsys vfs.FS, name string) string {
	t.Helper()
	f, err := fsys.Open(path.Join(data, name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	b, err := readAll(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// withFiles gives a file system with the directory and files in it, all synced.
func withFiles(t testing.TB, files map[string]string) *vfs.MemFS {
	t.Helper()
	out := vfs.NewCrashableMem()
	if err := makeDir(out, data); err != nil {
		t.Fatal(err)
	}
	for name, s := range files {
		put(t, out, name, s)
	}
	if err := syncDir(out, data); err != nil {
		t.Fatal(err)
	}
	return out
}

// put writes a file as a whole.
func put(t testing.TB, fsys vfs.FS, name, s string) {
	t.Helper()
	f, err := fsys.Create(path.Join(data, name), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, strings.NewReader(s)); err != nil {
		t.Fatal(err)
	}
	_, _ = f.Sync(), f.Close()
}
