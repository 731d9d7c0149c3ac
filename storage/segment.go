package storage

import (
	"errors"
	"fmt"
	"io"

	"engram/memory"
)

// A segment is a file of the journal that was read.
type segment struct {
	name   string
	header segmentHeader
	data   []byte // all of the file
}

// segmentHeaderOf reads a segment's header alone.
func (d *Dir) segmentHeaderOf(name string) (segmentHeader, error) {
	f, err := d.fs.Open(d.in(name))
	if err != nil {
		return segmentHeader{}, err
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, segmentHead)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return segmentHeader{}, fmt.Errorf("read %s: %w", name, err)
	}
	return parseSegmentHeader(name, b[:n])
}

// readSegment reads a segment; into is used if it is large enough.
func (d *Dir) readSegment(name string, into []byte) (*segment, error) {
	data, err := d.read(name, into)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	h, err := parseSegmentHeader(name, data)
	if err != nil {
		return nil, err
	}
	return &segment{name: name, header: h, data: data}, nil
}

// A walk goes through the frames of a segment in order, and checks that their LSNs
// follow one another without a hole.
type walk struct {
	*segment
	limit  int64 // where the frames end, as the next segment says; 0: this one is the last
	at     int64
	before int64      // where the last frame began
	last   memory.LSN // of the frames so far
	kind   byte       // of the last frame
	synced int64      // the highest offset known to be durable
	want   string     // what was expected where the frames end too early
	beyond memory.LSN // the highest LSN of whole frames behind at
}

// walkFrom begins a walk; last is the LSN before the segment.
func (s *segment) walkFrom(limit int64) *walk {
	return &walk{segment: s, limit: limit, at: segmentHead, last: s.header.base}
}

// next gives the next frame, whose data aliases the segment's. At the end, err is
// io.EOF; then, of the last segment, cut says what lies behind the end.
func (w *walk) next() (f journalFrame, err error) {
	if w.limit > 0 && w.at >= w.limit {
		if w.at > w.limit {
			return f, &Damage{w.name, w.limit, "the end of a frame, as the segment after it says"}
		}
		return f, io.EOF
	}
	if w.limit == 0 && w.kind == kindFooter {
		return f, io.EOF
	}
	b := w.data
	if w.limit > 0 {
		b = b[:min(int64(len(b)), w.limit)]
	}
	f, want := parseFrame(b, w.at, w.header.id)
	if want != "" {
		return f, w.bad(want)
	}
	switch {
	case f.kind == kindMutation && f.lsn != w.last+1:
		return f, &Damage{w.name, w.at, fmt.Sprintf("the mutation with LSN %d, and found that with %d", w.last+1, f.lsn)}
	case f.kind == kindMarker && f.lsn != w.last && f.lsn.Epoch() <= w.last.Epoch():
		return f, &Damage{w.name, w.at, fmt.Sprintf("a marker of LSN %d or of a higher epoch, and found %d", w.last, f.lsn)}
	case f.kind == kindFooter && f.lsn != w.last:
		return f, &Damage{w.name, w.at, fmt.Sprintf("a footer of LSN %d, and found %d", w.last, f.lsn)}
	}
	w.before, w.at, w.last, w.kind, w.synced = w.at, f.end, f.lsn, f.kind, max(w.synced, f.synced)
	return f, nil
}

// bad says what it means that there is no whole frame where one is looked for: io.EOF
// at the end of what was written, a Damage below what was durable.
func (w *walk) bad(want string) error {
	if w.limit > 0 {
		return &Damage{w.name, w.at, want + ", as more follows in the next segment"}
	}
	// A frame written later tells how far the disk had everything.
	for at := w.at + 8; at <= int64(len(w.data))-journalFrameHead; at += 8 {
		if kind := w.data[at+3]; kind < kindMutation || kind > kindFooter {
			continue
		}
		if f, want := parseFrame(w.data, at, w.header.id); want == "" {
			w.synced = max(w.synced, f.synced)
			w.beyond = max(w.beyond, f.lsn)
		}
	}
	if w.synced > w.at {
		return &Damage{w.name, w.at, fmt.Sprintf("%s: what was written up to offset %d had reached the disk", want, w.synced)}
	}
	if size := int64(len(w.data)); size < w.header.size && (w.kind != kindMarker || w.at != size) {
		return &Damage{w.name, size, fmt.Sprintf("%d bytes, as the file had from the first, or an end behind a marker", w.header.size)}
	}
	w.want = want
	return io.EOF
}

// cut is how many bytes lie behind the end of the last segment, zeros that end it aside.
func (w *walk) cut() int64 {
	end := len(w.data)
	for end > 0 && w.data[end-1] == 0 {
		end--
	}
	return max(0, int64(end)-w.at)
}
