package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cespare/xxhash/v2"

	"engram/memory"
)

// The layout of a segment of the journal, all integers little-endian (docs/format.md):
//
//	header   magic 8 | version 4 | size 4 | base LSN 8 | previous LSN 8 | previous end 8 | id 8 | time 8 | xxh64 of these 8
//	frame    check 3, kind 1 | length 4 | LSN 8 | synced 8 | xxh64 8 | data | zeros to a multiple of 8
//	…
//
// Size is what the file took of the disk before anything was written to it. It is cut
// to what it holds behind a footer or a marker, and by nothing else.
//
// A frame's checksum covers the segment's id, the frame's offset, its first 24 bytes
// and its data: so it is valid in its place alone, and what a file held before, or a
// frame that someone stored as a text, is none. The check is of the head alone, so that
// a search for frames behind a damaged one costs little, whatever the data pretends.
//
// Synced is how far this segment was known to be durable when the frame was written.
// What is damaged below that offset was durable and was lost by the disk; what is
// damaged above every such offset may never have been written.
const (
	segmentMagic   = "ENGRJRNL"
	segmentVersion = 1
	segmentHead    = 64

	journalFrameHead = 32
	// maxFrame bounds a frame's data.
	maxFrame = 1<<32 - 1
)

// Kinds of frames.
const (
	kindMutation = 1 + iota // LSN is the one after that before
	kindMarker              // LSN is the last; or, in a higher epoch, what LSNs go on from
	kindFooter              // LSN is the last; the segment ends after it
)

type segmentHeader struct {
	base     memory.LSN // LSNs go on from here
	previous memory.LSN // the last before this segment
	end      int64      // where the frames of the segment before end; 0: there is none
	id       uint64     // random
	time     int64      // unix ns
	size     int64      // of the file when it was begun
}

func (h *segmentHeader) bytes() []byte {
	b := make([]byte, 0, segmentHead)
	b = append(b, segmentMagic...)
	b = le.AppendUint32(b, segmentVersion)
	b = le.AppendUint32(b, uint32(min(h.size, math.MaxUint32)))
	b = le.AppendUint64(b, uint64(h.base))
	b = le.AppendUint64(b, uint64(h.previous))
	b = le.AppendUint64(b, uint64(h.end))
	b = le.AppendUint64(b, h.id)
	b = le.AppendUint64(b, uint64(h.time))
	return le.AppendUint64(b, xxhash.Sum64(b))
}

func parseSegmentHeader(file string, b []byte) (segmentHeader, error) {
	if len(b) < segmentHead || string(b[:8]) != segmentMagic {
		return segmentHeader{}, &Damage{file, 0, "the magic word " + segmentMagic + " and a header of 64 bytes"}
	}
	if le.Uint64(b[56:]) != xxhash.Sum64(b[:56]) {
		return segmentHeader{}, &Damage{file, 56, "the header's checksum"}
	}
	if v := le.Uint32(b[8:]); v > segmentVersion {
		return segmentHeader{}, fmt.Errorf("%s has format version %d, this server reads up to %d: %w; start the newer version on this directory", file, v, segmentVersion, ErrNewer)
	} else if v == 0 {
		return segmentHeader{}, &Damage{file, 8, "a version from 1 on"}
	}
	h := segmentHeader{
		size: int64(le.Uint32(b[12:])),
		base: memory.LSN(le.Uint64(b[16:])), previous: memory.LSN(le.Uint64(b[24:])), end: int64(le.Uint64(b[32:])),
		id: le.Uint64(b[40:]), time: int64(le.Uint64(b[48:])),
	}
	switch {
	case h.base != h.previous && h.base.Epoch() <= h.previous.Epoch():
		return h, &Damage{file, 16, fmt.Sprintf("a base of %d, the LSN before, or in a higher epoch than that", h.previous)}
	case h.end != 0 && h.end < segmentHead:
		return h, &Damage{file, 32, "an end of the segment before behind that one's header"}
	case file != segmentName(h.base):
		return h, &Damage{file, 16, "the base LSN that the file's name says"}
	}
	return h, nil
}

// A journalFrame is one frame of a segment; its data aliases what was read.
type journalFrame struct {
	kind        byte
	lsn         memory.LSN
	synced      int64
	offset, end int64
	data        []byte
}

// sealFrame fills in the head of a frame that begins at b[at], where its data and
// padding follow; offset is its place in the segment.
func sealFrame(b []byte, at int, kind byte, lsn memory.LSN, length int, synced int64, id uint64, offset int64) {
	head := b[at : at+journalFrameHead]
	head[3] = kind
	le.PutUint32(head[4:], uint32(length))
	le.PutUint64(head[8:], uint64(lsn))
	le.PutUint64(head[16:], uint64(synced))
	placed := place(id, offset, head)
	check := headCheck(&placed)
	copy(head, check[:])
	copy(placed[16:], check[:])
	le.PutUint64(head[24:], journalSum(&placed, b[at+journalFrameHead:at+journalFrameHead+length]))
}

// place gives what checksums cover before a frame's data: its segment, its offset and
// the first 24 bytes of its head.
func place(id uint64, offset int64, head []byte) (b [40]byte) {
	le.PutUint64(b[:], id)
	le.PutUint64(b[8:], uint64(offset))
	copy(b[16:], head[:24])
	return b
}

// headCheck gives the check of a head.
func headCheck(placed *[40]byte) [3]byte {
	b := *placed
	b[16], b[17], b[18] = 0, 0, 0
	sum := xxhash.Sum64(b[:])
	return [3]byte{byte(sum), byte(sum >> 8), byte(sum >> 16)}
}

func journalSum(placed *[40]byte, data []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(placed[:])
	_, _ = d.Write(data)
	return d.Sum64()
}

// padded is a length of data with the zeros after it.
func padded(length int) int { return (length + 7) &^ 7 }

// parseFrame reads the frame at an offset of a segment; if there is none that is
// whole, it says what was expected.
func parseFrame(b []byte, offset int64, id uint64) (f journalFrame, want string) {
	if offset > int64(len(b)) {
		return f, "a frame; the file ends"
	}
	return frameIn(b[offset:], offset, id)
}

// frameIn reads the frame that b begins with, and that stands at an offset of a segment.
func frameIn(b []byte, offset int64, id uint64) (f journalFrame, want string) {
	if len(b) < journalFrameHead {
		return f, "a frame; the file ends"
	}
	head := b[:journalFrameHead]
	if head[3] < kindMutation || head[3] > kindFooter {
		return f, fmt.Sprintf("a frame of kind 1 to %d", kindFooter)
	}
	placed := place(id, offset, head)
	if check := headCheck(&placed); string(check[:]) != string(head[:3]) {
		return f, "a frame's head with this check"
	}
	length := int64(le.Uint32(head[4:]))
	const start = journalFrameHead
	if length > int64(len(b))-start {
		return f, fmt.Sprintf("a frame of %d bytes of data; the file ends", length)
	}
	data := b[start : start+length]
	if journalSum(&placed, data) != le.Uint64(head[24:]) {
		return f, "a frame with this checksum"
	}
	f = journalFrame{
		kind: head[3], lsn: memory.LSN(le.Uint64(head[8:])), synced: int64(le.Uint64(head[16:])),
		offset: offset, end: offset + start + int64(padded(int(length))), data: data,
	}
	switch {
	case f.synced < segmentHead || f.synced > offset:
		return f, "a synced offset before the frame's own"
	case f.end-offset > int64(len(b)) || !zeros(b[start+length:f.end-offset]):
		return f, "zeros after the frame's data"
	}
	return f, ""
}

func zeros(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeroPage))
		if !bytes.Equal(b[:n], zeroPage[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// zeroPage is what segments are filled with ahead.
var zeroPage = make([]byte, 1<<20)

// A frameIndex notes the frames of every namespace of a segment, for its footer.
type frameIndex struct {
	numbers map[string]uint32 // by name, in the order of first appearance
	names   []string
	frames  []frameOf
	size    int // the footer's data takes no more
}

type frameOf struct {
	namespace uint32
	at        uint32 // offset / 8
}

func (x *frameIndex) add(namespace string, offset int64) {
	n, ok := x.numbers[namespace]
	if !ok {
		if x.numbers == nil {
			x.numbers = make(map[string]uint32)
		}
		n = uint32(len(x.names))
		x.numbers[namespace] = n
		x.names = append(x.names, namespace)
		x.size += len(namespace) + 2*binary.MaxVarintLen32
	}
	x.frames = append(x.frames, frameOf{n, uint32(offset / 8)})
	x.size += binary.MaxVarintLen32
}

// reset begins anew. Those who read the frames of before keep them.
func (x *frameIndex) reset() {
	clear(x.numbers)
	clear(x.names)
	*x = frameIndex{numbers: x.numbers, names: x.names[:0], frames: make([]frameOf, 0, cap(x.frames)/2)}
}

// appendFooter writes the namespaces, each with the offsets of its frames, zeros to a
// multiple of 8, and the footer's own offset, so that it is found from the segment's end.
func (x *frameIndex) appendFooter(b []byte, offset int64) []byte {
	start := len(b)
	// Group the frames by namespace, keeping their order.
	ends := make([]int, len(x.names)+1)
	for _, f := range x.frames {
		ends[f.namespace+1]++
	}
	for i := range x.names {
		ends[i+1] += ends[i]
	}
	at := make([]uint32, len(x.frames))
	for _, f := range x.frames {
		at[ends[f.namespace]] = f.at
		ends[f.namespace]++
	}
	b = binary.AppendUvarint(b, uint64(len(x.names)))
	from := 0
	for i, name := range x.names {
		b = appendString(b, name)
		b = binary.AppendUvarint(b, uint64(ends[i]-from))
		last := uint32(0)
		for _, o := range at[from:ends[i]] {
			b = binary.AppendUvarint(b, uint64(o-last))
			last = o
		}
		from = ends[i]
	}
	for (len(b)-start)%8 != 0 {
		b = append(b, 0)
	}
	return le.AppendUint64(b, uint64(offset))
}

// footerFrames reads from the data of a footer where a namespace's frames are.
func footerFrames(data []byte, namespace string) (offsets []int64, err error) {
	if len(data) < 8 {
		return nil, errShort
	}
	c := cursor{b: data[:len(data)-8]}
	for n := c.uvarint("a count of namespaces", maxFrame); n > 0 && c.err == nil; n-- {
		wanted := c.alias() == namespace
		at := uint64(0)
		for k := c.uvarint("a count of frames", maxFrame); k > 0 && c.err == nil; k-- {
			d := c.uvarint("an offset", maxFrame)
			if at += d; d == 0 {
				c.fail(errors.New("ascending offsets"))
			}
			if wanted && c.err == nil {
				offsets = append(offsets, int64(at)*8)
			}
		}
	}
	if c.err == nil && !zeros(c.b[c.off:]) {
		c.fail(errors.New("the footer's end"))
	}
	return offsets, c.err
}
