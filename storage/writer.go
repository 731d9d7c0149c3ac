package storage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/DataDog/zstd"
	"github.com/google/renameio/v2"

	"engram/memory"
)

// Snapshots returns the writer of snapshots of db in this directory.
func (d *Dir) Snapshots(db *memory.DB) *Snapshots { return &Snapshots{dir: d, db: db} }

// Snapshots writes snapshots of one DB; it implements memory.Snapshotter.
type Snapshots struct {
	dir *Dir
	db  *memory.DB

	writing sync.Mutex

	mu   sync.Mutex
	last *memory.SnapshotInfo
}

// Restored makes info, which Restore gave, the last snapshot.
func (s *Snapshots) Restored(info memory.SnapshotInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = &info
}

// Last is the last snapshot that was written or restored.
func (s *Snapshots) Last() (memory.SnapshotInfo, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		return memory.SnapshotInfo{}, false
	}
	return *s.last, true
}

// Snapshot writes a snapshot: under a temporary name, synced, read back and
// verified, then renamed and the directory synced, and only then are snapshots
// older than the Kept newest deleted. Whatever fails, the earlier ones stay.
func (s *Snapshots) Snapshot(ctx context.Context) (memory.SnapshotInfo, error) {
	if !s.writing.TryLock() {
		return memory.SnapshotInfo{}, memory.ErrSnapshotBusy
	}
	defer s.writing.Unlock()

	began := s.dir.opt.Clock.Now()
	info := memory.SnapshotInfo{LSN: s.db.LSN(), Time: began}
	info.File = snapshotName(info.LSN)
	path := filepath.Join(s.dir.path, info.File)

	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(s.dir.path), renameio.WithPermissions(0o600))
	if err != nil {
		return info, diskFull(fmt.Errorf("snapshot: %w", err))
	}
	defer func() { _ = f.Cleanup() }()
	if err := s.write(ctx, f, &info); err != nil {
		return info, diskFull(fmt.Errorf("snapshot %s: %w", info.File, err))
	}
	if err := f.Sync(); err != nil {
		return info, diskFull(fmt.Errorf("snapshot %s: sync: %w", info.File, err))
	}
	if err := s.dir.verify(ctx, f.Name()); err != nil {
		return info, fmt.Errorf("verify the snapshot just written: %w", err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return info, diskFull(fmt.Errorf("snapshot %s: %w", info.File, err))
	}
	if err := s.dir.sync(); err != nil {
		return info, fmt.Errorf("sync data directory: %w", err)
	}
	if err := s.dir.prune(); err != nil {
		s.dir.opt.Log.Warn("an old snapshot could not be deleted", "error", err)
	}
	info.Time = s.dir.opt.Clock.Now()
	info.Duration = info.Time.Sub(began)
	s.Restored(info)
	return info, nil
}

// write writes the whole file; info gets its counts and size.
func (s *Snapshots) write(ctx context.Context, out io.Writer, info *memory.SnapshotInfo) error {
	buf := bufio.NewWriterSize(out, 1<<20)
	h := header{lsn: info.LSN, time: info.Time.UnixNano()}
	if _, err := buf.Write(h.bytes()); err != nil {
		return err
	}
	p := newPipeline(s.dir.opt, buf)
	fw := &frameWriter{emit: p.frame, next: p.buffer}
	var err error
	var foot footer
	s.db.Views(func(v *memory.View) bool {
		if err = ctx.Err(); err != nil {
			return false
		}
		var n uint64
		n, err = fw.namespace(v)
		foot.namespaces++
		foot.records += n
		return err == nil
	})
	if err == nil {
		err = fw.flush()
	}
	if err = errors.Join(err, p.close()); err != nil {
		return err
	}
	foot.frames = p.frames
	tail := foot.bytes(p.offset)
	if _, err := buf.Write(tail); err != nil {
		return err
	}
	info.Bytes = p.offset + int64(len(tail))
	info.Namespaces, info.Records = int(foot.namespaces), int(foot.records)
	return buf.Flush()
}

// A pipeline compresses frames on several cores and writes them in order.
type pipeline struct {
	level   int
	pending chan chan packed // in the order of the file; as long as there are workers
	done    chan struct{}
	raws    sync.Pool

	// the writing goroutine's, until done
	out    io.Writer
	offset int64
	frames []frameRef

	mu  sync.Mutex
	err error
}

type packed struct {
	lengths [8]byte
	data    []byte
	err     error
}

func newPipeline(opt Options, out io.Writer) *pipeline {
	p := &pipeline{level: opt.Level, pending: make(chan chan packed, opt.Workers), done: make(chan struct{}), out: out, offset: headerSize}
	go p.write()
	return p
}

func (p *pipeline) buffer() []byte {
	if b, ok := p.raws.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return nil
}

// frame compresses raw, in a goroutine of its own, and puts it in line. It waits
// while as many as there are workers are under way.
func (p *pipeline) frame(raw []byte) error {
	result := make(chan packed, 1)
	p.pending <- result
	go func() {
		data, err := zstd.CompressLevel(nil, raw, p.level)
		k := packed{data: data, err: err}
		le.PutUint32(k.lengths[0:], uint32(len(raw)))
		le.PutUint32(k.lengths[4:], uint32(len(data)))
		p.raws.Put(&raw)
		result <- k
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *pipeline) write() {
	defer close(p.done)
	failed := false
	for result := range p.pending {
		k := <-result
		if failed {
			continue
		}
		if err := p.writeFrame(k); err != nil {
			failed = true
			p.mu.Lock()
			p.err = err
			p.mu.Unlock()
		}
	}
}

func (p *pipeline) writeFrame(k packed) error {
	if k.err != nil {
		return k.err
	}
	sum := frameSum(k.lengths[:], k.data)
	if _, err := p.out.Write(le.AppendUint64(k.lengths[:], sum)); err != nil {
		return err
	}
	if _, err := p.out.Write(k.data); err != nil {
		return err
	}
	p.frames = append(p.frames, frameRef{p.offset, sum})
	p.offset += frameHead + int64(len(k.data))
	return nil
}

// close waits until every frame is written.
func (p *pipeline) close() error {
	close(p.pending)
	<-p.done
	return p.err
}

// Every takes a snapshot each interval in which something was committed, until
// ctx ends. Failures are logged; the next interval tries again.
func (s *Snapshots) Every(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if last, ok := s.Last(); ok && last.LSN == s.db.LSN() {
			continue
		}
		info, err := s.Snapshot(ctx)
		switch {
		case errors.Is(err, memory.ErrSnapshotBusy), ctx.Err() != nil:
		case err != nil:
			s.dir.opt.Log.Error("snapshot failed; the earlier ones stay", "error", err)
		default:
			s.dir.opt.Log.Info("snapshot", "file", info.File, "bytes", info.Bytes, "records", info.Records, "took", info.Duration)
		}
	}
}
