package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/internal/gcpace"
	"engram/internal/slab"
	"engram/memory"
	"engram/server"
	"engram/storage"
)

// A durable is a server with a data directory, in a process of its own, as Redis is:
// this program, started once more with -serve. Beside it the process serves an echo.
type durable struct {
	API   string // the addresses
	Admin string
	Echo  string

	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startDurable(ctx context.Context, dir string) (*durable, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	d := &durable{cmd: exec.CommandContext(ctx, self, "-serve", dir)}
	d.cmd.Stderr = os.Stderr
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	d.out = bufio.NewScanner(out)
	d.out.Buffer(nil, 64<<20)
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	return d, d.answer(d)
}

func (d *durable) answer(to any) error {
	if !d.out.Scan() {
		return fmt.Errorf("the server ended: %w", errors.Join(d.out.Err(), d.cmd.Wait()))
	}
	return json.Unmarshal(d.out.Bytes(), to)
}

// batches gives the bytes that each sync of the journal had to write since it was
// asked last.
func (d *durable) batches() ([]int, error) {
	if _, err := io.WriteString(d.in, "batches\n"); err != nil {
		return nil, err
	}
	var b []int
	return b, d.answer(&b)
}

func (d *durable) stop() error { return errors.Join(d.in.Close(), d.cmd.Wait()) }

// serveDurable is what the process does that startDurable starts. It ends with its
// standard input.
func serveDurable(ctx context.Context, dir string) (err error) {
	gcpace.Set(0)
	fs := &recorder{FS: vfs.Default}
	files, err := storage.Open(dir, storage.Options{Log: slog.New(slog.DiscardHandler), FS: fs})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	pool := slab.NewPool(math.MaxInt64)
	db := memory.New(memory.Options{Pool: pool})
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := files.Recover(ctx, db); err != nil {
		return err
	}
	s, err := server.New(server.Config{DB: db, Pool: pool, Version: "bench", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	api, apiErr := listen()
	admin, adminErr := listen()
	echo, echoErr := listen()
	if err := errors.Join(apiErr, adminErr, echoErr); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, api, admin) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-served)
	}()
	s.SetReady()
	e := echoServer()
	go func() { _ = e.Serve(echo) }()
	defer e.Stop()

	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(durable{API: api.Addr().String(), Admin: admin.Addr().String(), Echo: echo.Addr().String()}); err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if err := out.Encode(fs.take()); err != nil {
			return err
		}
	}
	return in.Err()
}

// A recorder notes how many bytes the journal had written before each of its syncs.
type recorder struct {
	vfs.FS

	mu     sync.Mutex
	synced []int
}

func (r *recorder) take() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.synced
	r.synced = nil
	return b
}

func (r *recorder) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := r.FS.OpenReadWrite(name, c, opts...)
	return &recorded{File: f, r: r}, err
}

// A recorded is a file of the journal. Until its header is synced with all of the file
// it is a spare one, which is filled with zeros, and not noted.
type recorded struct {
	vfs.File
	r     *recorder
	began atomic.Bool
	n     atomic.Int64 // written and not synced
}

func (f *recorded) WriteAt(p []byte, at int64) (int, error) {
	f.n.Add(int64(len(p)))
	return f.File.WriteAt(p, at)
}

func (f *recorded) Sync() error {
	f.began.Store(true)
	f.n.Store(0)
	return f.File.Sync()
}

func (f *recorded) SyncData() error {
	if n := f.n.Swap(0); f.began.Load() {
		f.r.mu.Lock()
		f.r.synced = append(f.r.synced, int(n))
		f.r.mu.Unlock()
	}
	return f.File.SyncData()
}
