package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"engram/memory"
)

// restoreFile reads a snapshot into r.
func (d *Dir) restoreFile(ctx context.Context, r *memory.Restorer, s *snapshot) (memory.SnapshotInfo, error) {
	re := newRestorer(s, r)
	if err := s.each(ctx, d.opt.Workers, re.frame); err != nil {
		return memory.SnapshotInfo{}, err
	}
	if re.namespaces.Load() != s.footer.namespaces || re.records.Load() != s.footer.records {
		return memory.SnapshotInfo{}, &Damage{s.file, s.size - trailerSize,
			fmt.Sprintf("%d namespaces and %d records, as the frames hold", re.namespaces.Load(), re.records.Load())}
	}
	return memory.SnapshotInfo{
		File: s.file, LSN: s.header.lsn, Time: time.Unix(0, s.header.time).UTC(), Bytes: s.size,
		Namespaces: int(s.footer.namespaces), Records: int(s.footer.records),
	}, nil
}

// A restorer puts frames, unpacked in any order, into a DB. The records of a chunk are
// checked and put in beside those of others; that the parts of a namespace get their
// places one after the other keeps the records in order.
type restorer struct {
	*snapshot
	to *memory.Restorer

	opened sync.Map // name → *opening, of namespaces of several parts
	parts  sync.Map // partKey → *partDone
	free   sync.Pool

	finished            []chan struct{} // by frame: nothing more comes of it
	prefix              atomic.Int64    // all frames before are finished
	namespaces, records atomic.Uint64
}

func newRestorer(s *snapshot, to *memory.Restorer) *restorer {
	r := &restorer{snapshot: s, to: to, finished: make([]chan struct{}, len(s.footer.frames))}
	for i := range r.finished {
		r.finished[i] = make(chan struct{})
	}
	return r
}

// await waits for what a chunk before, in this frame or an earlier one, must do. If they
// are finished and it isn't done the file lacks that chunk.
func (r *restorer) await(ctx context.Context, done chan struct{}, i int, what string) error {
	for k := r.prefix.Load(); k < int64(i); k++ {
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-r.finished[k]:
			r.prefix.CompareAndSwap(k, k+1)
		}
	}
	select {
	case <-done:
		return nil
	default:
		return fmt.Errorf("a chunk before this one with %s", what)
	}
}

// An opening passes a namespace from its first part to the others.
type opening struct {
	done chan struct{}
	ns   *memory.NamespaceRestorer
	cfg  memory.Config

	parts atomic.Int64 // how many there are, once the last is known, less those that are in
}

type partKey struct {
	name string
	part uint64
}

// partDone says that a part was put in.
type partDone struct {
	done chan struct{}
	left uint64 // records still to come
}

func (r *restorer) opening(name string) *opening {
	o, _ := r.opened.LoadOrStore(name, &opening{done: make(chan struct{})})
	return o.(*opening)
}

func (r *restorer) part(name string, part uint64) *partDone {
	p, _ := r.parts.LoadOrStore(partKey{name, part}, &partDone{done: make(chan struct{})})
	return p.(*partDone)
}

func (r *restorer) frame(ctx context.Context, raw []byte, i int) error {
	defer close(r.finished[i])
	c := &cursor{b: raw, version: r.header.version}
	part, _ := r.free.Get().(*memory.Part)
	if part == nil {
		part = new(memory.Part)
	}
	defer r.free.Put(part)
	for c.err == nil && c.off < len(raw) {
		h, flags, count := c.chunk()
		if c.err != nil {
			break
		}
		last := flags&chunkLast != 0
		ns, err := r.begin(ctx, &h, last, i)
		if err != nil {
			return r.refused(i, c, err)
		}
		if err := r.gather(c, ns, part, count); err != nil {
			return r.refused(i, c, err)
		}
		if c.err != nil {
			break
		}
		left := h.records
		if h.part > 0 {
			if left, err = r.before(ctx, &h, i); err != nil {
				return r.refused(i, c, err)
			}
		}
		if uint64(count) > left || last && uint64(count) != left {
			c.fail(fmt.Errorf("%d more records of namespace %q, not %d", left, h.name, count))
			break
		}
		if err := ns.ns.Place(part); err != nil {
			return r.refused(i, c, err)
		}
		if flags&chunkIndex != 0 {
			if left > 0 {
				c.fail(fmt.Errorf("%d more records of namespace %q, not its index", left, h.name))
				break
			}
			if err := ns.ns.AddIndex(h.index); err != nil {
				return r.refused(i, c, err)
			}
		}
		r.records.Add(uint64(count))
		if last {
			ns.parts.Add(int64(h.part) + 1) // so many end, in any order
		} else {
			next := r.part(h.name, h.part)
			next.left = left - uint64(count)
			close(next.done)
		}
		if err := part.Fill(); err != nil {
			return r.refused(i, c, err)
		}
		if ns.parts.Add(-1) != 0 {
			continue
		}
		if err := ns.ns.Done(); err != nil {
			return r.refused(i, c, err)
		}
		r.opened.Delete(h.name)
		r.namespaces.Add(1)
	}
	if c.err != nil {
		return r.undecoded(i, c)
	}
	return nil
}

// begin gives the namespace of a chunk: a new one for its first part, else that which
// the first part made, waiting for it.
func (r *restorer) begin(ctx context.Context, h *chunkHeader, last bool, i int) (*opening, error) {
	if h.part > 0 {
		o := r.opening(h.name)
		return o, r.await(ctx, o.done, i, fmt.Sprintf("the first part of namespace %q", h.name))
	}
	ns, err := r.to.Namespace(h.config, h.lsn, h.requests)
	if err != nil {
		return nil, err
	}
	ns.Expect(int(min(h.records, r.footer.records, math.MaxInt32)))
	if last {
		return &opening{ns: ns, cfg: h.config}, nil
	}
	o := r.opening(h.name)
	o.ns, o.cfg = ns, h.config
	close(o.done)
	return o, nil
}

// gather reads the records of a chunk into a part.
func (r *restorer) gather(c *cursor, ns *opening, part *memory.Part, count uint32) error {
	var rec memory.Record
	var key, value []float32
	part.Begin(ns.ns)
	for i := uint32(0); i < count && c.err == nil; i++ { // the caller sees c's error
		if key, value = c.record(&rec, key, value, &ns.cfg); c.err == nil {
			if err := part.Add(&rec); err != nil {
				return err
			}
		}
	}
	return nil
}

// before waits until the part before a chunk is in, and gives how many records are
// still to come.
func (r *restorer) before(ctx context.Context, h *chunkHeader, i int) (left uint64, err error) {
	p := r.part(h.name, h.part-1)
	if err := r.await(ctx, p.done, i, fmt.Sprintf("part %d of namespace %q", h.part-1, h.name)); err != nil {
		return 0, err
	}
	r.parts.Delete(partKey{h.name, h.part - 1})
	return p.left, nil
}

// refused is the error of data that the memory won't take. If it is for want of
// memory, or because another frame failed, the file is not to blame.
func (r *restorer) refused(i int, c *cursor, err error) error {
	var full *memory.Exhausted
	if errors.As(err, &full) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("restore snapshot %s: %w", r.file, err)
	}
	return &Damage{r.file, r.footer.frames[i].offset, fmt.Sprintf("records that this memory takes, but: %v (%d bytes into the frame)", err, c.off)}
}
