package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/memory"
)

// A history reads the mutations of one namespace from the journal, beside its writer;
// it implements memory.History. Where a namespace's frames are it knows from the footers
// of segments, and of the last segment from what the writer notes for its footer.
type history struct {
	dir  *Dir
	name string
	last memory.LSN // up to which everything was given

	base  memory.LSN // of the segment being read
	id    uint64
	file  vfs.File
	seen  int     // frames of the writer's index, where the segment is the last
	queue []int64 // offsets of frames to read
	at    int64   // the last offset that was queued
	end   memory.LSN
	whole bool // all of the segment was queued; end is its last LSN

	next *memory.Mutation // that was read, and is later than was asked for
}

// Since implements memory.Journal.
func (j *journal) Since(namespace string, after memory.LSN) (memory.History, error) {
	h := &history{dir: j.dir, name: namespace, last: after}
	l, err := j.dir.list()
	if err != nil {
		return nil, err
	}
	first := ""
	for _, name := range l.segments {
		if n, _, _ := numberOf(name, segmentPrefix); first == "" || memory.LSN(n) <= after {
			first = name
		}
	}
	header, err := h.open(first)
	if err != nil {
		return nil, err
	}
	if header.previous > after {
		return nil, errors.Join(&memory.Gone{After: after, Earliest: header.previous}, h.Close())
	}
	return h, nil
}

// open turns to a segment.
func (h *history) open(name string) (segmentHeader, error) {
	header, err := h.dir.segmentHeaderOf(name)
	if err != nil {
		return header, err
	}
	f, err := h.dir.fs.Open(h.dir.in(name))
	if err != nil {
		return header, err
	}
	if h.file != nil {
		err = h.file.Close()
	}
	h.base, h.id, h.file = header.base, header.id, f
	h.seen, h.queue, h.at, h.end, h.whole = 0, nil, 0, 0, false
	return header, err
}

// Close implements memory.History.
func (h *history) Close() error { return h.file.Close() }

// Next implements memory.History.
func (h *history) Next(upTo memory.LSN) (*memory.Mutation, error) {
	for {
		if h.next != nil {
			m := h.next
			if m.LSN > upTo {
				return nil, nil
			}
			h.next, h.last = nil, m.LSN
			return m, nil
		}
		if len(h.queue) == 0 {
			if more, err := h.fill(); !more || err != nil {
				return nil, err
			}
			continue
		}
		f, err := h.frame(h.queue[0])
		if err != nil {
			return nil, err
		}
		h.queue = h.queue[1:]
		if f.lsn <= h.last {
			continue
		}
		if h.next, err = mutationIn(segmentName(h.base), &f); err != nil {
			return nil, err
		}
	}
}

// fill queues what there is to read; more is false if there is nothing yet.
func (h *history) fill() (more bool, err error) {
	if h.whole {
		return h.advance()
	}
	h.dir.mu.Lock()
	j := h.dir.journal
	h.dir.mu.Unlock()
	if j == nil {
		return false, memory.ErrClosed
	}
	if frames, number, writing := j.framesFrom(h.base, h.name, h.seen); writing {
		h.seen += len(frames)
		for _, f := range frames {
			if f.namespace == number {
				h.add(int64(f.at) * 8)
			}
		}
		return len(h.queue) > 0, nil
	}
	offsets, end, err := h.dir.framesOf(segmentName(h.base), h.name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, &memory.Gone{After: h.last}
	}
	if err != nil {
		return false, err
	}
	for _, o := range offsets {
		h.add(o)
	}
	h.whole, h.end = true, end
	return true, nil
}

func (h *history) add(offset int64) {
	if offset > h.at {
		h.queue = append(h.queue, offset)
		h.at = offset
	}
}

// advance turns to the segment after one that was read.
func (h *history) advance() (bool, error) {
	l, err := h.dir.list()
	if err != nil {
		return false, err
	}
	for _, name := range l.segments {
		if n, _, _ := numberOf(name, segmentPrefix); memory.LSN(n) <= h.base {
			continue
		}
		before := h.end
		header, err := h.open(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && header.previous != before {
			return false, &memory.Gone{After: h.last, Earliest: header.previous}
		}
		return err == nil, err
	}
	return false, nil
}

// frame reads one frame of the segment.
func (h *history) frame(offset int64) (journalFrame, error) {
	name := segmentName(h.base)
	head := make([]byte, journalFrameHead)
	if _, err := h.file.ReadAt(head, offset); err != nil {
		return journalFrame{}, fmt.Errorf("read %s at %d: %w", name, offset, err)
	}
	placed := place(h.id, offset, head)
	if check := headCheck(&placed); string(check[:]) != string(head[:3]) {
		return journalFrame{}, &Damage{name, offset, "a frame's head with this check"}
	}
	b := make([]byte, journalFrameHead+padded(int(le.Uint32(head[4:]))))
	if _, err := h.file.ReadAt(b, offset); err != nil {
		return journalFrame{}, fmt.Errorf("read %s at %d: %w", name, offset, err)
	}
	f, want := frameIn(b, offset, h.id)
	if want != "" {
		return f, &Damage{name, offset, want}
	}
	return f, nil
}

// framesFrom gives the frames of the segment that is being written from the one of a
// number on, as far as they are written out, and the number by which they know a
// namespace; writing is false if that segment isn't the one of a base.
func (j *journal) framesFrom(base memory.LSN, namespace string, from int) (frames []frameOf, number uint32, writing bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.header.base != base {
		return nil, 0, false
	}
	number, known := j.index.numbers[namespace]
	if !known {
		number = uint32(len(j.index.names)) // none has it
	}
	frames = j.index.frames[min(from, len(j.index.frames)):]
	for n := len(frames); n > 0 && int64(frames[n-1].at)*8 >= j.start; n-- {
		frames = frames[:n-1]
	}
	return frames[:len(frames):len(frames)], number, true
}

// framesOf gives the offsets of a namespace's frames in a segment that others follow,
// and the segment's last LSN.
func (d *Dir) framesOf(name, namespace string) ([]int64, memory.LSN, error) {
	l, err := d.list()
	if err != nil {
		return nil, 0, err
	}
	at := slices.Index(l.segments, name)
	if at < 0 || at+1 == len(l.segments) {
		return nil, 0, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	next, err := d.segmentHeaderOf(l.segments[at+1])
	if err != nil {
		return nil, 0, err
	}
	if data, ok := d.footer(name, next.end); ok {
		offsets, err := footerFrames(data, namespace)
		if err != nil {
			return nil, 0, &Damage{name, next.end, fmt.Sprintf("a footer before it, but: %v", err)}
		}
		return offsets, next.previous, nil
	}
	s, err := d.readSegment(name, nil) // a crash ended it, without a footer
	if err != nil {
		return nil, 0, err
	}
	var offsets []int64
	for w := s.walkFrom(next.end); ; {
		f, err := w.next()
		if errors.Is(err, io.EOF) {
			return offsets, next.previous, nil
		}
		if err != nil {
			return nil, 0, err
		}
		if f.kind == kindMutation && namespaceOf(&f) == namespace {
			offsets = append(offsets, f.offset)
		}
	}
}

// footer reads the data of the footer with which a segment ends, if it ends with one.
func (d *Dir) footer(name string, end int64) ([]byte, bool) {
	f, err := d.fs.Open(d.in(name))
	if err != nil {
		return nil, false
	}
	defer func() { _ = f.Close() }()
	header := make([]byte, segmentHead)
	tail := make([]byte, 8)
	if end < segmentHead+journalFrameHead+8 {
		return nil, false
	}
	if _, err := f.ReadAt(header, 0); err != nil {
		return nil, false
	}
	if _, err := f.ReadAt(tail, end-8); err != nil {
		return nil, false
	}
	h, err := parseSegmentHeader(name, header)
	offset := le.Uint64(tail)
	if err != nil || offset < segmentHead || offset > uint64(end-journalFrameHead) {
		return nil, false
	}
	b := make([]byte, end-int64(offset))
	if _, err := f.ReadAt(b, int64(offset)); err != nil {
		return nil, false
	}
	frame, want := frameIn(b, int64(offset), h.id)
	return frame.data, want == "" && frame.kind == kindFooter && frame.end == end
}
