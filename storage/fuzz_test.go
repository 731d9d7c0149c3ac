package storage

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"engram/memory"
)

// goldenFrames gives the segments of the golden journal, and their frames.
func goldenFrames(f *testing.F, each func(segment []byte, h segmentHeader, frame *journalFrame)) {
	f.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "journal-v1", segmentPrefix+"*"))
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		h, err := parseSegmentHeader(filepath.Base(name), b)
		if err != nil {
			f.Fatal(err)
		}
		w := (&segment{name: filepath.Base(name), header: h, data: b}).walkFrom(0)
		for frame, err := w.next(); err == nil; frame, err = w.next() {
			each(b, h, &frame)
		}
	}
}

// FuzzFooter reads any bytes as the data of a footer, absurd counts among them: offsets
// that ascend, or an error, and no more memory than the bytes account for.
func FuzzFooter(f *testing.F) {
	goldenFrames(f, func(_ []byte, _ segmentHeader, frame *journalFrame) {
		if frame.kind == kindFooter {
			f.Add(frame.data, "s")
			f.Add(frame.data, "dot")
			f.Add(frame.data[:len(frame.data)/2], "s")
		}
	})
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f} // 2^32-1
	f.Add(append(huge, make([]byte, 11)...), "")
	f.Add(append(append([]byte{1, 1, 'n'}, huge...), make([]byte, 9)...), "n")
	f.Add(append(append([]byte{1}, huge...), make([]byte, 9)...), "n")
	f.Add([]byte{1, 1, 'n', 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 0}, "n")
	f.Fuzz(func(t *testing.T, data []byte, namespace string) {
		offsets, err := footerFrames(data, namespace)
		if err != nil {
			return
		}
		if len(offsets) > len(data) {
			t.Fatalf("%d offsets of %d bytes", len(offsets), len(data))
		}
		last := int64(0)
		for _, o := range offsets {
			if o <= last || o%8 != 0 {
				t.Fatalf("offset %d after %d", o, last)
			}
			last = o
		}
	})
}

// FuzzMutation reads any bytes as a mutation; what is one is written as one again.
func FuzzMutation(f *testing.F) {
	goldenFrames(f, func(_ []byte, _ segmentHeader, frame *journalFrame) {
		if frame.kind == kindMutation {
			f.Add(frame.data)
			f.Add(frame.data[:len(frame.data)/2])
		}
	})
	head := append([]byte{0, 1, 'n'}, make([]byte, 8)...)
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	f.Add(append(head[:len(head):len(head)], huge...))                    // deletes
	f.Add(append(append(head[:len(head):len(head)], 0), huge...))         // changes
	f.Add(append(append([]byte{mutationImport}, head[1:]...), 1, 'x'))    // of a name that is none
	f.Add(append(append([]byte{mutationRequest}, head[1:]...), huge...))  // an id
	f.Add(append(append([]byte{0xff}, head[1:]...), huge...))             // everything
	f.Add(append(append(head[:len(head):len(head)], 0, 1), 0xff, 1, 255)) // a change
	f.Add(unknownMutation())
	f.Add(appendMutation(nil, &memory.Mutation{
		Namespace: "n", Consolidation: &memory.Consolidation{Similarity: 0.5, MinAge: 1}, Deletes: []string{"a", "b"},
		Changes: []memory.Change{{Mask: memory.MaskAll, Record: memory.Record{ID: "c", Sources: []memory.Source{{ID: "a", Time: 1}, {ID: "b", Time: 2}}, Spread: 0.5}}},
	}))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := mutationOf(&journalFrame{lsn: 7, data: data})
		if err != nil {
			return
		}
		once := appendMutation(nil, m)
		again, err := mutationOf(&journalFrame{lsn: 7, data: once})
		if err != nil {
			t.Fatalf("what was written again can't be read: %v", err)
		}
		if twice := appendMutation(nil, again); !bytes.Equal(once, twice) {
			t.Fatalf("%x and then %x", once, twice)
		}
	})
}

// FuzzParseFrame reads a frame at any offset of any bytes, as they are and with checksums
// that are made right, and walks through them: what it gives lies within the bytes.
func FuzzParseFrame(f *testing.F) {
	goldenFrames(f, func(segment []byte, h segmentHeader, frame *journalFrame) {
		f.Add(segment[:min(len(segment), int(frame.end)+64)], uint16(frame.offset/8), h.id)
	})
	huge := make([]byte, 4*segmentHead)
	le.PutUint32(huge[segmentHead+4:], math.MaxUint32)
	huge[segmentHead+3] = kindMutation
	le.PutUint64(huge[segmentHead+16:], segmentHead)
	f.Add(huge, uint16(segmentHead/8), uint64(1))
	le.PutUint64(huge[segmentHead+16:], math.MaxUint64)
	f.Add(huge, uint16(segmentHead/8), uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, id uint64) {
		offset := int64(at) * 8
		look := func() {
			frame, want := parseFrame(b, offset, id)
			if want == "" && (frame.offset != offset || frame.end > int64(len(b)) || frame.synced > offset || frame.synced < segmentHead ||
				int64(len(frame.data)) > frame.end-offset-journalFrameHead || frame.end%8 != 0) {
				t.Fatalf("frame %+v of %d bytes", frame, len(b))
			}
		}
		look()
		if offset+journalFrameHead <= int64(len(b)) {
			b = bytes.Clone(b)
			head := b[offset : offset+journalFrameHead]
			placed := place(id, offset, head)
			check := headCheck(&placed)
			copy(head, check[:])
			copy(placed[16:], check[:])
			if length := int64(le.Uint32(head[4:])); offset+journalFrameHead+length <= int64(len(b)) {
				le.PutUint64(head[24:], journalSum(&placed, b[offset+journalFrameHead:offset+journalFrameHead+length]))
			}
			look()
		}
		if len(b) < segmentHead {
			return
		}
		for _, limit := range []int64{0, offset, math.MaxInt64} {
			w := (&segment{name: "fuzz", header: segmentHeader{id: id}, data: b}).walkFrom(limit)
			var err error
			for err == nil {
				_, err = w.next()
			}
			if w.at > int64(len(b)) || !damaged(err) && !errors.Is(err, io.EOF) {
				t.Fatalf("a walk of %d bytes ends at %d: %v", len(b), w.at, err)
			}
		}
	})
}
