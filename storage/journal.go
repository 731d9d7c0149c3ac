package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"engram/memory"
)

// flushBytes is how much is appended before it is written out unasked.
const flushBytes = 1 << 20

// A journal writes mutations to segments; it implements memory.Log. The first error
// is given by every call after it: nothing is written, and no sync is tried, again.
type journal struct {
	dir   *Dir
	size  int64 // of a segment
	spare *spare

	// mu is held by whoever appends: the committer, and whoever writes a marker.
	mu    sync.Mutex
	buf   []byte     // what is appended and not yet written out
	start int64      // the offset in the segment at which buf begins
	room  int64      // of the segment, up to where the disk has room for it
	last  memory.LSN // appended
	index frameIndex
	kind  byte // of the last frame

	// syncing is held by a sync, and, after mu, while segments change.
	syncing sync.Mutex
	file    vfs.File
	header  segmentHeader
	before  int64 // the bytes of the segments before, which this process wrote

	// Both count the bytes of all segments that this process wrote.
	flushed atomic.Int64 // written out
	synced  atomic.Int64 // durable

	failed atomic.Pointer[error]

	stop chan struct{}
	idle sync.WaitGroup
}

// newJournal begins the journal at a segment that is there, and has a header only.
func newJournal(d *Dir, f vfs.File, h segmentHeader, room int64) *journal {
	j := &journal{
		dir: d, size: d.opt.SegmentSize, spare: newSpare(d),
		start: segmentHead, room: room, last: h.base, file: f, header: h, stop: make(chan struct{}),
	}
	j.flushed.Store(segmentHead)
	j.synced.Store(segmentHead)
	j.idle.Go(j.markIdle)
	return j
}

// fail makes err the one of every later call.
func (j *journal) fail(err error) error {
	if err != nil {
		err = fmt.Errorf("journal: %w", err)
		j.failed.CompareAndSwap(nil, &err)
	}
	return err
}

func (j *journal) failure() error {
	if err := j.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Append implements memory.Log.
func (j *journal) Append(m *memory.Mutation) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.failure(); err != nil {
		return err
	}
	if m.LSN != j.last+1 {
		return j.fail(fmt.Errorf("mutation %d can't follow %d", m.LSN, j.last))
	}
	at := j.open()
	j.buf = appendMutation(j.buf, m)
	offset, err := j.seal(at, kindMutation, m.LSN)
	if err != nil {
		return j.fail(err)
	}
	j.index.add(m.Namespace, offset)
	if m.Import != "" {
		j.dir.named(m.Import, m.LSN)
	}
	if len(j.buf) >= flushBytes {
		return j.fail(j.flush())
	}
	return nil
}

// Epoch implements memory.Log. It is durable at once, so that no LSN of the new epoch
// is shown and then, after a power cut, used again.
func (j *journal) Epoch(base memory.LSN) error {
	j.mu.Lock()
	err := j.failure()
	if err == nil && base.Epoch() <= j.last.Epoch() {
		err = j.fail(fmt.Errorf("an epoch from %d on can't follow %d", base, j.last))
	}
	if err == nil {
		_, err = j.seal(j.open(), kindMarker, base)
		if err == nil {
			err = j.flush()
		}
		err = j.fail(err)
	}
	j.mu.Unlock()
	if err != nil {
		return err
	}
	return j.Sync()
}

// Flush implements memory.Log.
func (j *journal) Flush() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.failure(); err != nil {
		return err
	}
	return j.fail(j.flush())
}

// Sync implements memory.Log.
func (j *journal) Sync() error {
	if err := j.Flush(); err != nil {
		return err
	}
	want := j.flushed.Load()
	j.syncing.Lock()
	defer j.syncing.Unlock()
	if err := j.failure(); err != nil {
		return err
	}
	if j.synced.Load() >= want {
		return nil
	}
	upTo := j.flushed.Load()
	if err := j.file.SyncData(); err != nil {
		return j.fail(fmt.Errorf("sync %s: %w", segmentName(j.header.base), err))
	}
	j.synced.Store(upTo)
	return nil
}

// open begins a frame in the buffer, and says where; its data is to follow.
func (j *journal) open() int {
	at := len(j.buf)
	var head [journalFrameHead]byte
	j.buf = append(j.buf, head[:]...)
	return at
}

// seal ends the frame begun in the buffer, moving it to a new segment if it doesn't
// fit this one, and gives its offset.
func (j *journal) seal(at int, kind byte, lsn memory.LSN) (offset int64, err error) {
	length := len(j.buf) - at - journalFrameHead
	if length > maxFrame {
		return 0, fmt.Errorf("mutation %d takes %d bytes; a frame holds at most %d", lsn, length, int64(maxFrame))
	}
	for range padded(length) - length {
		j.buf = append(j.buf, 0)
	}
	if kind != kindFooter && len(j.index.frames) > 0 && j.full(j.start+int64(len(j.buf))+j.footerSize()) {
		moved := slices.Clone(j.buf[at:])
		j.buf = j.buf[:at]
		if err := j.rotate(); err != nil {
			return 0, err
		}
		at = 0
		j.buf = append(j.buf, moved...)
	}
	offset = j.start + int64(at)
	sealFrame(j.buf, at, kind, lsn, length, j.synced.Load()-j.before, j.header.id, offset)
	j.last, j.kind = lsn, kind
	return offset, nil
}

// full says whether what ends at an offset belongs in the next segment. A segment that a
// start made smaller goes on behind its room if there is no next one.
func (j *journal) full(end int64) bool {
	return end > j.size || end > j.room && j.spare.ready()
}

// footerSize is the most that the footer takes, with the namespace of one more frame.
func (j *journal) footerSize() int64 {
	return int64(journalFrameHead + j.index.size + 16 + 512)
}

// flush writes out the buffer.
func (j *journal) flush() error {
	if len(j.buf) == 0 {
		return nil
	}
	if _, err := j.file.WriteAt(j.buf, j.start); err != nil {
		return fmt.Errorf("write %s: %w", segmentName(j.header.base), err)
	}
	j.start += int64(len(j.buf))
	j.flushed.Add(int64(len(j.buf)))
	if cap(j.buf) > 4*flushBytes {
		j.buf = nil
	}
	j.buf = j.buf[:0]
	return nil
}

// rotate ends the segment with a footer, makes it durable and begins the next.
func (j *journal) rotate() error {
	at := j.open()
	j.buf = j.index.appendFooter(j.buf, j.start+int64(at))
	if _, err := j.seal(at, kindFooter, j.last); err != nil {
		return err
	}
	if err := j.flush(); err != nil {
		return err
	}
	j.syncing.Lock()
	defer j.syncing.Unlock()
	if err := j.failure(); err != nil {
		return err
	}
	if err := j.file.SyncData(); err != nil {
		return fmt.Errorf("sync %s: %w", segmentName(j.header.base), err)
	}
	f, room, err := j.spare.take()
	defer j.spare.taken()
	if err != nil {
		return fmt.Errorf("the next segment: %w", err)
	}
	h := j.dir.segmentHeader(j.last, j.last, j.start, room)
	if err := j.dir.beginSegment(f, h); err != nil {
		return errors.Join(err, f.Close())
	}
	trim(j.file, j.start)
	err = j.file.Close()
	j.dir.ended(segmentName(j.header.base), j.start)
	j.before += j.start
	j.file, j.header, j.start, j.room = f, h, segmentHead, room
	j.index.reset()
	j.flushed.Store(j.before + segmentHead)
	j.synced.Store(j.before + segmentHead)
	return err
}

func (d *Dir) segmentHeader(base, previous memory.LSN, end, size int64) segmentHeader {
	return segmentHeader{base: base, previous: previous, end: end, size: size, id: d.opt.random(), time: d.opt.Clock.Now().UnixNano()}
}

// beginSegment makes the spare file, which f is, a segment.
func (d *Dir) beginSegment(f vfs.File, h segmentHeader) error {
	name := segmentName(h.base)
	if _, err := f.WriteAt(h.bytes(), 0); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	if err := d.rename(spareFile, name); err != nil {
		return fmt.Errorf("begin %s: %w", name, err)
	}
	return nil
}

// trim gives back to the disk what a segment doesn't use. It need not succeed.
func trim(f vfs.File, end int64) {
	if fd := f.Fd(); fd != vfs.InvalidFd {
		_ = unix.Ftruncate(int(fd), end)
	}
}

// Room implements memory.Log. What it keeps for deletes is an eighth of a segment.
func (j *journal) Room(bytes int) error {
	if bytes > maxFrame-1<<20 {
		return &memory.NoSpace{Reason: fmt.Sprintf("a write of %d bytes is more than the journal's frames hold, %d", bytes, int64(maxFrame))}
	}
	need := int64(bytes) + journalFrameHead
	j.mu.Lock()
	left := j.room - j.start - int64(len(j.buf)) - j.footerSize()
	j.mu.Unlock()
	if left-need >= j.size/8 {
		return nil
	}
	return j.spare.reserve(segmentHead + need + journalFrameHead + 1024)
}

// markIdle writes a marker once nothing was appended for a while.
func (j *journal) markIdle() {
	tick := time.NewTicker(j.dir.opt.idle)
	defer tick.Stop()
	seen := memory.LSN(0)
	for {
		select {
		case <-j.stop:
			return
		case <-tick.C:
		}
		j.mu.Lock()
		last, marked := j.last, j.kind == kindMarker
		j.mu.Unlock()
		if last == seen && !marked {
			_ = j.mark() // the next call gives the error
		}
		seen = last
	}
}

// mark makes everything durable and then says so in a durable marker.
func (j *journal) mark() error {
	if err := j.Sync(); err != nil {
		return err
	}
	j.mu.Lock()
	err := j.failure()
	if err == nil && j.kind != kindMarker {
		_, err = j.seal(j.open(), kindMarker, j.last)
		err = j.fail(err)
	}
	j.mu.Unlock()
	if err != nil {
		return err
	}
	return j.Sync()
}

// close marks the end and closes the files. After an error there is nothing to mark.
func (j *journal) close() error {
	close(j.stop)
	j.idle.Wait()
	j.mu.Lock()
	marked := j.kind == kindMarker && len(j.buf) == 0
	j.mu.Unlock()
	var err error
	if failed := j.failure(); failed == nil && !marked {
		err = j.mark()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.syncing.Lock()
	defer j.syncing.Unlock()
	if j.failure() == nil {
		trim(j.file, j.start)
	}
	closed := errors.New("journal: it is closed")
	j.failed.CompareAndSwap(nil, &closed)
	return errors.Join(err, j.spare.close(), j.file.Close())
}

// Import implements memory.Log: the file is a snapshot of one namespace.
func (j *journal) Import(ctx context.Context, v *memory.View) (file string, err error) {
	d := j.dir
	f, err := d.newPending(importName(d.opt.random()))
	if err != nil {
		return "", full(fmt.Errorf("import: %w", err))
	}
	defer f.discard()
	one := func(yield func(*memory.View) bool) { yield(v) }
	h := header{lsn: v.LSN(), time: d.opt.Clock.Now().UnixNano()}
	if _, err := d.writeSnapshot(ctx, f, h, one, func() (memory.LSN, error) { return v.LSN(), nil }); err != nil {
		return "", full(fmt.Errorf("import: %w", err))
	}
	d.named(f.name, math.MaxUint64) // until it is
	if err := f.commit(); err != nil {
		return "", full(fmt.Errorf("import: %w", err))
	}
	return f.name, nil
}

// full tells an error of a full disk as *memory.NoSpace.
func full(err error) error {
	if isFull(err) {
		return &memory.NoSpace{Reason: strings.Clone(err.Error())}
	}
	return err
}

// named notes that the mutation of an LSN names an import file.
func (d *Dir) named(file string, lsn memory.LSN) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.imports[file] = lsn
}

// ended notes how large a segment became.
func (d *Dir) ended(segment string, bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.segments[segment] = bytes
}

// Info implements memory.Journal.
func (j *journal) Info() memory.JournalInfo {
	d := j.dir
	d.mu.Lock()
	info := memory.JournalInfo{Segments: len(d.segments) + 1}
	for _, n := range d.segments {
		info.Bytes += n
	}
	d.mu.Unlock()
	j.mu.Lock()
	info.Bytes += j.start
	j.mu.Unlock()
	return info
}
