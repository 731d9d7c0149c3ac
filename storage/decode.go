package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"engram/index"
	"engram/memory"
)

// A cursor reads a frame's raw data. The first mistake stays in err, and every
// read after it gives zero; nothing is ever read past the end.
type cursor struct {
	b       []byte
	version uint32 // of the snapshot format
	off     int
	err     error
}

var errShort = errors.New("more data")

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *cursor) take(n int) []byte {
	if c.err != nil || n < 0 || n > len(c.b)-c.off {
		c.fail(errShort)
		return nil
	}
	b := c.b[c.off : c.off+n]
	c.off += n
	return b
}

func (c *cursor) u8() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return le.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); b != nil {
		return le.Uint64(b)
	}
	return 0
}

// uvarint reads a number of at most max.
func (c *cursor) uvarint(what string, max uint64) uint64 {
	if c.err != nil {
		return 0
	}
	v, n := binary.Uvarint(c.b[c.off:])
	if n <= 0 {
		c.fail(errShort)
		return 0
	}
	c.off += n
	if v > max {
		c.fail(fmt.Errorf("%s of at most %d, not %d", what, max, v))
		return 0
	}
	return v
}

// bytes reads a byte string, which aliases the frame.
func (c *cursor) bytes() []byte { return c.take(int(c.uvarint("a length", maxRaw))) }

func (c *cursor) string() string { return string(c.bytes()) }

// alias reads a string without copying it.
func (c *cursor) alias() string {
	b := c.bytes()
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// vector reads n float32s into v, which it returns grown.
func (c *cursor) vector(v []float32, n int) []float32 {
	b := c.take(4 * n)
	if n = len(b) / 4; cap(v) < n {
		v = make([]float32, n)
	}
	v = v[:n]
	if bigEndian {
		for i := range v {
			v[i] = math.Float32frombits(le.Uint32(b[4*i:]))
		}
	} else if n > 0 {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*n), b)
	}
	return v
}

// maxDimension bounds a vector in a file, whatever limit the server was given.
const maxDimension = 1 << 20

// chunk reads a chunk's header, which is all of a piece of an index.
func (c *cursor) chunk() (h chunkHeader, flags byte, count uint32) {
	flags = c.u8()
	known := byte(chunkFirst | chunkLast)
	if c.version > 1 {
		known |= chunkIndex
	}
	if flags&^known != 0 || flags&chunkFirst != 0 && flags&chunkIndex != 0 {
		c.fail(fmt.Errorf("chunk flags up to %d, not %d", known, flags))
	}
	h.name = c.string()
	h.part = c.uvarint("a part", math.MaxInt64)
	if (h.part == 0) != (flags&chunkFirst != 0) {
		c.fail(errors.New("part 0 first, and no other"))
	}
	if h.part == 0 && c.err == nil {
		h.config = c.config(h.name)
		h.lsn = memory.LSN(c.u64())
		h.records = c.uvarint("a record count", math.MaxInt64)
		n := c.uvarint("a count of requests", maxRaw)
		for i := uint64(0); i < n && c.err == nil; i++ {
			h.requests = append(h.requests, c.request())
		}
	}
	if flags&chunkIndex != 0 {
		h.index = c.bytes()
		return h, flags, 0
	}
	return h, flags, c.u32()
}

func (c *cursor) config(name string) memory.Config {
	cfg := memory.Config{Name: name}
	metric := c.u8()
	if c.version > 1 && metric&configHeads != 0 {
		metric &^= configHeads
		if cfg.KVHeads = int(c.uvarint("kv_heads", maxDimension)); cfg.KVHeads < 2 {
			c.fail(fmt.Errorf("at least 2 heads, not %d", cfg.KVHeads))
		}
	}
	if c.version > 1 && metric&configMore != 0 {
		metric &^= configMore
		c.moreConfig(&cfg)
	}
	cfg.Metric = index.Metric(metric)
	cfg.Dimension = int(c.uvarint("a dimension", maxDimension))
	cfg.ValueDimension = int(c.uvarint("a value_dimension", maxDimension))
	cfg.Embedder.Name = c.string()
	cfg.Embedder.Version = c.string()
	cfg.Embedder.Dimension = int(c.uvarint("an embedder's dimension", maxDimension))
	cfg.MaxBytes = int64(c.uvarint("max_bytes", math.MaxInt64))
	if c.version > 1 {
		cfg.Durability = c.durability()
		b := c.u8()
		cfg.KeyEncoding, cfg.ValueEncoding = c.keyEncoding(b&15), c.valueEncoding(b>>4)
		cfg.Recall = math.Float64frombits(c.u64())
	}
	cfg.CreateTime = int64(c.u64())
	cfg.Created = memory.LSN(c.u64())
	return cfg
}

func (c *cursor) durability() memory.Durability {
	d := memory.Durability(c.u8())
	if d > memory.None {
		c.fail(fmt.Errorf("a durability of at most %d, not %d", memory.None, d))
	}
	return d
}

func (c *cursor) keyEncoding(b byte) index.Encoding {
	e := index.Encoding(b)
	if e > index.BF16 {
		c.fail(fmt.Errorf("a key encoding of at most %d, not %d", index.BF16, e))
	}
	return e
}

func (c *cursor) valueEncoding(b byte) index.Encoding {
	e := index.Encoding(b)
	if e != index.F32 && e != index.F16 && e != index.BF16 {
		c.fail(fmt.Errorf("a value encoding of %d, %d or %d, not %d", index.F32, index.F16, index.BF16, e))
	}
	return e
}

// record reads a record into r, whose strings alias the frame and whose vectors
// are used again.
func (c *cursor) record(r *memory.Record, key, value []float32, cfg *memory.Config) (k, v []float32) {
	flags := c.u8()
	known := byte(recordHasValue | recordKeyFromText)
	if c.version > 1 {
		known |= recordKeyLost | recordPosition | recordMore
	}
	if flags&^known != 0 {
		c.fail(fmt.Errorf("record flags up to %d, not %d", known, flags))
	}
	*r = memory.Record{
		KeyFromText: flags&recordKeyFromText != 0,
		Created:     memory.LSN(c.u64()),
		Place:       c.u32(),
		Version:     memory.LSN(c.u64()),
		CreateTime:  int64(c.u64()),
		UpdateTime:  int64(c.u64()),
		Time:        int64(c.u64()),
		Importance:  math.Float32frombits(c.u32()),
		ID:          c.alias(),
		Text:        c.alias(),
		Session:     c.alias(),
		Speaker:     c.alias(),
		Metadata:    c.bytes(),
	}
	if len(r.Metadata) == 0 {
		r.Metadata = nil
	}
	key = c.vector(key, cfg.Dimension)
	r.Key = key
	if flags&recordKeyLost != 0 {
		r.KeyLost = math.Float32frombits(c.u32())
	}
	if flags&recordHasValue != 0 {
		value = c.vector(value, cfg.ValueDimension)
		r.Value = value
	}
	if flags&recordPosition != 0 {
		r.Position, r.HasPosition = int64(c.u64()), true
	}
	if flags&recordMore != 0 {
		c.moreRecord(r)
	}
	return key, value
}
