package storage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/DataDog/zstd"

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

// Restored makes info, which Recover gave, the last snapshot.
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

// Snapshot writes a snapshot: under a temporary name, with a footer once the journal is
// durable up to all that is in it, synced, read back and verified. Then it is renamed and
// the directory synced, and only then is deleted what is older than the Kept newest.
// Whatever fails, the earlier ones stay.
func (s *Snapshots) Snapshot(ctx context.Context) (memory.SnapshotInfo, error) {
	if !s.writing.TryLock() {
		return memory.SnapshotInfo{}, memory.ErrSnapshotBusy
	}
	defer s.writing.Unlock()

	began := s.dir.opt.Clock.Now()
	info := memory.SnapshotInfo{LSN: s.db.LSN(), Time: began}
	info.File = snapshotName(info.LSN)
	f, err := s.dir.newPending(info.File)
	if err != nil {
		return info, diskFull(fmt.Errorf("snapshot: %w", err))
	}
	defer f.discard()
	h := header{lsn: info.LSN, time: info.Time.UnixNano()}
	durable := func() (memory.LSN, error) { return s.db.Barrier(ctx) }
	if info, err = s.dir.writeSnapshot(ctx, f, h, s.db.Views, durable); err != nil {
		return info, diskFull(fmt.Errorf("snapshot %s: %w", f.name, err))
	}
	if err := f.commit(); err != nil {
		return info, diskFull(fmt.Errorf("snapshot %s: %w", f.name, err))
	}
	if err := s.dir.prune(); err != nil {
		s.dir.opt.Log.Warn("what is older than the kept snapshots could not be deleted", "error", err.Error())
	}
	info.Time = s.dir.opt.Clock.Now()
	info.Duration = info.Time.Sub(began)
	s.Restored(info)
	return info, nil
}

// writeSnapshot writes views to a pending file, syncs it, and reads it back to verify it.
// When all views are written, durable gives an LSN up to which the journal has everything
// that they show, or what they no longer show.
func (d *Dir) writeSnapshot(ctx context.Context, f *pending, h header, views iter.Seq[*memory.View], durable func() (memory.LSN, error)) (memory.SnapshotInfo, error) {
	info := memory.SnapshotInfo{File: f.name, LSN: h.lsn, Time: time.Unix(0, h.time).UTC()}
	if err := d.writeViews(ctx, f, h, views, durable, &info); err != nil {
		return info, err
	}
	if err := f.Sync(); err != nil {
		return info, fmt.Errorf("sync: %w", err)
	}
	if err := d.verify(ctx, temporary(f.name)); err != nil {
		return info, fmt.Errorf("verify what was just written: %w", err)
	}
	return info, nil
}

// writeViews writes a whole file; info gets its counts and size.
func (d *Dir) writeViews(ctx context.Context, out io.Writer, h header, views iter.Seq[*memory.View], durable func() (memory.LSN, error), info *memory.SnapshotInfo) error {
	buf := bufio.NewWriterSize(out, 1<<20)
	if _, err := buf.Write(h.bytes()); err != nil {
		return err
	}
	p := newPipeline(d.opt, buf)
	fw := &frameWriter{emit: p.frame, next: p.buffer}
	var err error
	var foot footer
	for v := range views {
		if err = ctx.Err(); err != nil {
			break
		}
		var n uint64
		n, err = fw.namespace(v)
		foot.namespaces++
		foot.records += n
		if err != nil {
			break
		}
	}
	if err == nil {
		err = fw.flush()
	}
	if err = errors.Join(err, p.close()); err != nil {
		return err
	}
	foot.frames = p.frames
	if foot.highest, err = durable(); err != nil {
		return err
	}
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
			s.dir.opt.Log.Error("snapshot failed; the earlier ones stay", "error", err.Error())
		default:
			s.dir.opt.Log.Info("snapshot", "file", info.File, "bytes", info.Bytes, "records", info.Records, "took", info.Duration)
		}
	}
}
