package storage

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"engram/memory"
)

// The layout of a snapshot, all integers little-endian (docs/format.md):
//
//	header   magic 8 | version 4 | zero 4 | LSN 8 | time 8 | xxh64 of these 8
//	frame    raw length 4 | compressed length 4 | xxh64 of these and the data 8 | data
//	…
//	footer   frame count 8 | per frame: offset 8, xxh64 8 | namespaces 8 | records 8 | highest LSN 8
//	trailer  footer offset 8 | footer length 8 | xxh64 of the footer and of these 8 | magic 8
const (
	headMagic   = "ENGRSNAP"
	endMagic    = "ENGREND1"
	version     = 2 // 1 knew no durability, key encoding or highest LSN
	headerSize  = 40
	frameHead   = 16
	trailerSize = 32

	// frameTarget is the raw size at which a frame is closed.
	frameTarget = 1 << 20
	// maxRaw bounds a frame's raw size: the target, and one record of the largest
	// kind that limits could ever allow on top.
	maxRaw = 64 << 20
)

// ErrNewer is the error of a file that a newer server wrote.
var ErrNewer = errors.New("written by a newer version of engram")

// A Damage is a place in a file that isn't as it was written.
type Damage struct {
	File   string
	Offset int64
	Want   string // what was expected there
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%s is damaged at offset %d: expected %s", d.File, d.Offset, d.Want)
}

var le = binary.LittleEndian

type header struct {
	version uint32 // of a file that was read; all are written in the newest
	lsn     memory.LSN
	time    int64 // unix ns
}

func (h header) bytes() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, headMagic...)
	b = le.AppendUint32(b, version)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, uint64(h.lsn))
	b = le.AppendUint64(b, uint64(h.time))
	return le.AppendUint64(b, xxhash.Sum64(b))
}

func parseHeader(file string, b []byte) (header, error) {
	if len(b) < headerSize || string(b[:8]) != headMagic {
		return header{}, &Damage{file, 0, "the magic word " + headMagic}
	}
	if le.Uint64(b[32:]) != xxhash.Sum64(b[:32]) {
		return header{}, &Damage{file, 32, "the header's checksum"}
	}
	if v := le.Uint32(b[8:]); v > version {
		return header{}, fmt.Errorf("snapshot %s has format version %d, this server reads up to %d: %w; start the newer version on this directory", file, v, version, ErrNewer)
	} else if v == 0 || le.Uint32(b[12:]) != 0 {
		return header{}, &Damage{file, 8, "a version from 1 on, and zero"}
	}
	return header{version: le.Uint32(b[8:]), lsn: memory.LSN(le.Uint64(b[16:])), time: int64(le.Uint64(b[24:]))}, nil
}

// frameSum is the checksum of a frame: of its lengths and its data.
func frameSum(lengths, data []byte) uint64 {
	d := xxhash.New()
	_, _ = d.Write(lengths)
	_, _ = d.Write(data)
	return d.Sum64()
}

type frameRef struct {
	offset int64
	sum    uint64
}

type footer struct {
	frames     []frameRef
	namespaces uint64
	records    uint64
	highest    memory.LSN // of what it holds; in version 1, 0
}

// bytes gives the footer with the trailer after it; offset is where it will stand.
func (f *footer) bytes(offset int64) []byte {
	b := le.AppendUint64(nil, uint64(len(f.frames)))
	for _, r := range f.frames {
		b = le.AppendUint64(b, uint64(r.offset))
		b = le.AppendUint64(b, r.sum)
	}
	b = le.AppendUint64(b, f.namespaces)
	b = le.AppendUint64(b, f.records)
	b = le.AppendUint64(b, uint64(f.highest))
	size := len(b)
	b = le.AppendUint64(b, uint64(offset))
	b = le.AppendUint64(b, uint64(size))
	b = le.AppendUint64(b, xxhash.Sum64(b))
	return append(b, endMagic...)
}
