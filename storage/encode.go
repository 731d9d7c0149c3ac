package storage

import (
	"encoding/binary"
	"math"
	"slices"
	"unsafe"

	"engram/memory"
)

// A frame's raw data is a run of chunks. A chunk is a part of one namespace: the
// first (part 0) begins with its configuration, the last says so. Records come first,
// then the pieces of its index if it has one. Strings and
// byte strings are a uvarint length and their bytes.
const (
	chunkFirst = 1 << 0
	chunkLast  = 1 << 1
	chunkIndex = 1 << 2 // a piece of the namespace's index, no records
)

// indexPiece is how much of an index is in one chunk.
const indexPiece = 64 << 10

const (
	recordHasValue    = 1 << 0
	recordKeyFromText = 1 << 1
	recordKeyLost     = 1 << 2
	recordPosition    = 1 << 3
	recordMore        = 1 << 4
)

// What follows the metric, beside which it is said: the number of heads; and a block of
// what else there is (more.go).
const (
	configHeads = 1 << 7
	configMore  = 1 << 6
)

// chunkHeader opens a chunk; the record count that is its last field is filled in
// by closeChunk.
type chunkHeader struct {
	name string
	part uint64
	// of part 0 alone
	config   memory.Config
	lsn      memory.LSN
	records  uint64
	requests []memory.RequestResult
	// of a piece of the index, and then there are no records
	index []byte
}

func appendString[S ~string | ~[]byte](b []byte, s S) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendChunk writes a chunk's header with no flags and no records, and returns
// where its flags and where its record count stand.
func appendChunk(b []byte, c *chunkHeader) (out []byte, flagsAt, countAt int) {
	flagsAt = len(b)
	b = append(b, 0)
	b = appendString(b, c.name)
	b = binary.AppendUvarint(b, c.part)
	if c.part == 0 {
		b[flagsAt] |= chunkFirst
		b = appendConfig(b, &c.config)
		b = le.AppendUint64(b, uint64(c.lsn))
		b = binary.AppendUvarint(b, c.records)
		b = binary.AppendUvarint(b, uint64(len(c.requests)))
		for i := range c.requests {
			b = appendRequest(b, &c.requests[i])
		}
	}
	countAt = len(b)
	return le.AppendUint32(b, 0), flagsAt, countAt
}

func appendConfig(b []byte, c *memory.Config) []byte {
	at := len(b)
	b = append(b, byte(c.Metric))
	if c.KVHeads > 1 {
		b[at] |= configHeads
		b = binary.AppendUvarint(b, uint64(c.KVHeads))
	}
	if hasMoreConfig(c) {
		b[at] |= configMore
		b = appendMoreConfig(b, c)
	}
	b = binary.AppendUvarint(b, uint64(c.Dimension))
	b = binary.AppendUvarint(b, uint64(c.ValueDimension))
	b = appendString(b, c.Embedder.Name)
	b = appendString(b, c.Embedder.Version)
	b = binary.AppendUvarint(b, uint64(c.Embedder.Dimension))
	b = binary.AppendUvarint(b, uint64(c.MaxBytes))
	b = append(b, byte(c.Durability), byte(c.KeyEncoding)|byte(c.ValueEncoding)<<4)
	b = le.AppendUint64(b, math.Float64bits(c.Recall))
	b = le.AppendUint64(b, uint64(c.CreateTime))
	return le.AppendUint64(b, uint64(c.Created))
}

func appendRecord(b []byte, r *memory.Record) []byte {
	var flags byte
	if r.Value != nil {
		flags |= recordHasValue
	}
	if r.KeyLost != 0 {
		flags |= recordKeyLost
	}
	if r.KeyFromText {
		flags |= recordKeyFromText
	}
	if r.HasPosition {
		flags |= recordPosition
	}
	if hasMoreRecord(r) {
		flags |= recordMore
	}
	b = append(b, flags)
	b = le.AppendUint64(b, uint64(r.Created))
	b = le.AppendUint32(b, r.Place)
	b = le.AppendUint64(b, uint64(r.Version))
	b = le.AppendUint64(b, uint64(r.CreateTime))
	b = le.AppendUint64(b, uint64(r.UpdateTime))
	b = le.AppendUint64(b, uint64(r.Time))
	b = le.AppendUint32(b, math.Float32bits(r.Importance))
	b = appendString(b, r.ID)
	b = appendString(b, r.Text)
	b = appendString(b, r.Session)
	b = appendString(b, r.Speaker)
	b = appendString(b, r.Metadata)
	b = appendVector(b, r.Key)
	if r.KeyLost != 0 {
		b = le.AppendUint32(b, math.Float32bits(r.KeyLost))
	}
	if r.Value != nil {
		b = appendVector(b, r.Value)
	}
	if r.HasPosition {
		b = le.AppendUint64(b, uint64(r.Position))
	}
	if flags&recordMore != 0 {
		b = appendMoreRecord(b, r)
	}
	return b
}

// bigEndian is true where a float32 in memory is not as it is in a file.
var bigEndian = binary.NativeEndian.Uint16([]byte{1, 0}) != 1

func appendVector(b []byte, v []float32) []byte {
	if bigEndian {
		for _, x := range v {
			b = le.AppendUint32(b, math.Float32bits(x))
		}
		return b
	}
	if len(v) == 0 {
		return b
	}
	return append(b, unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v))...)
}

// A frameWriter cuts namespaces into raw frames and gives each to emit.
type frameWriter struct {
	raw  []byte
	emit func(raw []byte) error
	next func() []byte // an empty buffer for the next frame
}

// namespace writes one view, in as many frames as it takes.
func (w *frameWriter) namespace(v *memory.View) (records uint64, err error) {
	c := chunkHeader{
		name: v.Config().Name, config: v.Config(), lsn: v.LSN(),
		records: uint64(v.Count()), requests: v.Requests(),
	}
	var flagsAt, countAt int
	var count uint32
	w.raw, flagsAt, countAt = appendChunk(w.raw, &c)
	v.Records(func(r *memory.Record) bool {
		if len(w.raw) >= frameTarget {
			le.PutUint32(w.raw[countAt:], count)
			if err = w.flush(); err != nil {
				return false
			}
			c.part++
			count = 0
			w.raw, flagsAt, countAt = appendChunk(w.raw, &c)
		}
		w.raw = appendRecord(w.raw, r)
		count++
		records++
		return true
	})
	if err != nil {
		return records, err
	}
	le.PutUint32(w.raw[countAt:], count)
	for piece := range slices.Chunk(v.AppendIndex(nil), indexPiece) {
		if len(w.raw) >= frameTarget {
			if err := w.flush(); err != nil {
				return records, err
			}
		}
		c.part++
		flagsAt = len(w.raw)
		w.raw = append(w.raw, chunkIndex)
		w.raw = appendString(w.raw, c.name)
		w.raw = binary.AppendUvarint(w.raw, c.part)
		w.raw = appendString(w.raw, piece)
	}
	w.raw[flagsAt] |= chunkLast
	if len(w.raw) >= frameTarget {
		err = w.flush()
	}
	return records, err
}

// flush emits the frame begun, if there is anything in it.
func (w *frameWriter) flush() error {
	if len(w.raw) == 0 {
		return nil
	}
	raw := w.raw
	w.raw = slices.Grow(w.next(), frameTarget+frameTarget/8)
	return w.emit(raw)
}
