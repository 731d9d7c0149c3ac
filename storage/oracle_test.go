package storage

import (
	"slices"
	"strings"
	"testing"

	"engram/memory"
)

// An oracle says what a start must make of a directory one of whose files of the journal
// was changed at one place. It knows the rule as docs/format.md has it, and the frames
// from their lengths in the files as they were written; it parses nothing that is changed.
type oracle struct {
	files    map[string]string
	segments []plainSegment // of which the first is needed
	imports  []string       // which are needed
	highest  memory.LSN     // of the snapshot
	state    map[memory.LSN]string
}

type plainSegment struct {
	name   string
	size   int // of the header
	limit  int // where the frames end
	base   memory.LSN
	frames []plainFrame
}

type plainFrame struct {
	at, end, synced int
	kind            byte
	lsn             memory.LSN
}

// An outcome is a refusal at a place of a file, or the last LSN that is left.
type outcome struct {
	refused bool
	file    string
	offset  int
	lsn     memory.LSN
	cut     int // 0: nothing is
}

func newOracle(t testing.TB, s *script, files map[string]string) *oracle {
	t.Helper()
	o := &oracle{files: files, state: map[memory.LSN]string{0: ""}}
	for i, lsn := range s.lsns {
		o.state[lsn] = s.states[i]
	}
	var names []string
	snapshot := memory.LSN(0)
	for name, b := range files {
		switch {
		case strings.HasPrefix(name, segmentPrefix):
			names = append(names, name)
		case strings.HasPrefix(name, importPrefix):
			o.imports = append(o.imports, name)
		case strings.HasPrefix(name, snapshotPrefix):
			if n, _, _ := numberOf(name, snapshotPrefix); memory.LSN(n) > snapshot {
				snapshot = memory.LSN(n)
				o.highest = memory.LSN(le.Uint64([]byte(b[len(b)-trailerSize-8:])))
			}
		}
	}
	slices.Sort(names)
	for i, name := range names {
		b := []byte(files[name])
		p := plainSegment{name: name, size: int(le.Uint32(b[12:])), base: memory.LSN(le.Uint64(b[16:]))}
		for at := segmentHead; at+journalFrameHead <= len(b) && b[at+3] != 0; {
			f := plainFrame{at: at, end: at + journalFrameHead + (int(le.Uint32(b[at+4:]))+7)/8*8, kind: b[at+3], lsn: memory.LSN(le.Uint64(b[at+8:])), synced: int(le.Uint64(b[at+16:]))}
			p.frames = append(p.frames, f)
			at = f.end
		}
		p.limit = p.frames[len(p.frames)-1].end
		if i+1 < len(names) {
			if end := int(le.Uint64([]byte(files[names[i+1]])[32:])); end != p.limit {
				t.Fatalf("the frames of %s end at %d, and its successor says %d", name, p.limit, end)
			}
		}
		if p.base <= snapshot {
			o.segments = nil
		}
		o.segments = append(o.segments, p)
	}
	if snapshot > 0 {
		o.imports = nil // those of the scripts come before the snapshots
	}
	return o
}

// stateAt is what there was as of an LSN, of a mutation or of what LSNs go on from.
func (o *oracle) stateAt(lsn memory.LSN) string {
	at := memory.LSN(0)
	for l := range o.state {
		if l <= lsn && l > at {
			at = l
		}
	}
	return o.state[at]
}

// flipped says what comes of a byte that is another.
func (o *oracle) flipped(name string, at int) outcome {
	if i := slices.IndexFunc(o.segments, func(p plainSegment) bool { return p.name == name }); i >= 0 {
		switch {
		case at < 8:
			return outcome{refused: true, file: name}
		case at < segmentHead:
			return outcome{refused: true, file: name, offset: 56}
		}
		p := &o.segments[i]
		bad := slices.IndexFunc(p.frames, func(f plainFrame) bool { return f.at <= at && at < f.end })
		if bad < 0 && i+1 == len(o.segments) {
			// Something stands behind the last frame.
			out := o.whole()
			out.cut = p.limit
			return out
		}
		if bad < 0 {
			return o.whole()
		}
		return o.without(i, bad, len(o.files[name]))
	}
	if slices.Contains(o.imports, name) {
		return outcome{refused: true, file: name, offset: plainSnapshotPlace(o.files[name], at)}
	}
	return o.whole()
}

// truncated says what comes of a file that ends early.
func (o *oracle) truncated(name string, n int) outcome {
	if i := slices.IndexFunc(o.segments, func(p plainSegment) bool { return p.name == name }); i >= 0 {
		if n < segmentHead {
			return outcome{refused: true, file: name}
		}
		p := &o.segments[i]
		bad := slices.IndexFunc(p.frames, func(f plainFrame) bool { return f.end > n })
		if bad < 0 && i+1 < len(o.segments) {
			return o.whole()
		}
		if bad < 0 {
			bad = len(p.frames)
		} else {
			q := *p
			q.frames = p.frames[:bad+1]
			return (&oracle{segments: append(slices.Clone(o.segments[:i]), append([]plainSegment{q}, o.segments[i+1:]...)...), highest: o.highest}).without(i, bad, n)
		}
		return o.without(i, bad, n)
	}
	if slices.Contains(o.imports, name) {
		switch {
		case n < headerSize+trailerSize:
			return outcome{refused: true, file: name, offset: n}
		default:
			return outcome{refused: true, file: name, offset: n - 8}
		}
	}
	return o.whole()
}

// whole is the outcome where nothing that is needed is amiss.
func (o *oracle) whole() outcome {
	p := &o.segments[len(o.segments)-1]
	return outcome{lsn: p.frames[len(p.frames)-1].lsn}
}

// without is the outcome where one frame of a segment isn't whole, or is missing, and the
// file has so many bytes. It is the rule.
func (o *oracle) without(i, bad, size int) outcome {
	p := &o.segments[i]
	at := p.limit
	if bad < len(p.frames) {
		at = p.frames[bad].at
	}
	if i+1 < len(o.segments) {
		return outcome{refused: true, file: p.name, offset: at} // more follows
	}
	for j, f := range p.frames {
		if j != bad && f.synced > at {
			return outcome{refused: true, file: p.name, offset: at} // it had reached the disk
		}
	}
	last := plainFrame{lsn: p.base}
	if bad > 0 {
		last = p.frames[bad-1]
	}
	marked := last.kind == kindMarker && last.end == size
	ended := last.kind == kindFooter && bad == len(p.frames)
	if size < p.size && !marked && !ended {
		return outcome{refused: true, file: p.name, offset: size}
	}
	if last.lsn < o.highest {
		return outcome{refused: true, file: p.name, offset: at}
	}
	out := outcome{lsn: last.lsn}
	if bad < len(p.frames) && size > at {
		out.cut = at
	}
	return out
}

// plainSnapshotPlace is where a flipped byte of a snapshot or import is noticed.
func plainSnapshotPlace(b string, at int) int {
	trailer := []byte(b[len(b)-trailerSize:])
	foot := int(le.Uint64(trailer))
	switch {
	case at < 8:
		return 0
	case at < headerSize:
		return 32
	case at < foot: // in a frame
		place := headerSize
		for n := 0; n < int(le.Uint64([]byte(b[foot:]))); n++ {
			if from := int(le.Uint64([]byte(b[foot+8+16*n:]))); from <= at {
				place = from
			}
		}
		return place
	case at < len(b)-trailerSize:
		return foot
	case at < len(b)-trailerSize+16:
		return len(b) - trailerSize
	case at < len(b)-8:
		return foot
	}
	return len(b) - 8
}
