package index

import (
	"errors"
	"math"
	"slices"
	"sync/atomic"

	"engram/internal/slab"
	"engram/kernel"
)

// A Metric says how near a key k is to a query q; higher is nearer.
type Metric uint8

const (
	Dot    Metric = iota // q·k
	Cosine               // q·k / (‖q‖‖k‖)
	L2                   // −½‖q−k‖²
)

// An Encoding says how a segment keeps its keys, or its values: those can't have codes.
type Encoding uint8

const (
	// F32 keeps keys as they were given.
	F32 Encoding = iota
	// Int8 keeps codes of 8 bits a component beside the keys. Search reads the codes
	// and then the few keys that could be among the best: its answer is F32's to the
	// bit, for about a quarter of the memory traffic and a quarter more memory.
	Int8
	// Int8Only keeps the codes alone: a quarter of the memory. The key that is stored
	// is the decoded one, and the scores are its own; Segment.ScoreError bounds how
	// far they are from those of the key that was given.
	Int8Only
	// F16 keeps IEEE 754's binary16: half of the memory. The vector that is stored is the
	// decoded one, within 2⁻¹¹ of the one that was given; no component may be beyond
	// kernel.MostF16.
	F16
	// BF16 keeps bfloat16, the upper half of a float32: half of the memory, within 2⁻⁸.
	BF16
)

// MaxRows is the most rows of a segment.
const MaxRows = 1 << 16

// A Shape is what all vectors of a segment have in common.
type Shape struct {
	Metric        Metric
	Dim, ValueDim int // components of a key, of a value
	Encoding      Encoding
	Values        Encoding // F32, F16 or BF16
	Heads         int      // that keys and values are put together of, for Attend; 0 stands for 1
}

var (
	// ErrFull is the error of appending to a segment at its capacity.
	ErrFull = errors.New("the segment is full")
	// ErrNeedsValues is the error of appending a first value of its own to a
	// segment whose keys serve as values: WithValues makes one that takes it.
	ErrNeedsValues = errors.New("the segment has no values of its own")
)

// A Segment is a run of rows of key vectors, and of value vectors once a row has
// one of its own, in slabs. Rows are appended by one writer and never change;
// readers read the rows that were published to them.
type Segment struct {
	pool     *slab.Pool
	shape    Shape
	rows     int
	capacity int
	keys     []byte        // capacity × stride components, but none of Int8Only; then under Cosine capacity inverse norms of rows, and as many of each head if there are several
	values   []byte        // capacity × value stride components; nil: the keys
	codes    *codes        // nil: F32
	norm     atomic.Uint64 // under Dot, the bits of the greatest norm of a key; readers may see that of rows to come
}

// pad is a vector's room in a row: whole cache lines.
func pad(dim int) int { return (dim + 15) &^ 15 }

// keyBytes is the room of the keys, codes aside, and of the inverse norms.
func keyBytes(shape Shape, capacity int) int {
	n := 0
	if shape.Encoding != Int8Only {
		n = capacity * pad(shape.Dim) * shape.Encoding.bytes()
	}
	return n + 4*shape.norms()*capacity
}

// norms is how many inverse norms a row has: under Cosine its own, and each head's where
// there are several.
func (s Shape) norms() int {
	switch {
	case s.Metric != Cosine:
		return 0
	case s.Heads > 1:
		return 1 + s.Heads
	}
	return 1
}

// OwnValues says whether a segment has values of its own, where rows do or don't. Keys can't serve as values that
// are to be rounded otherwise: what a row is worth never depends on the others of its
// segment.
func (shape Shape) OwnValues(values bool) bool {
	return values || shape.ValueDim != shape.Dim || shape.Values != F32 && shape.Values != shape.Encoding
}

func valueBytes(shape Shape, capacity int) int {
	return capacity * pad(shape.ValueDim) * shape.Values.bytes()
}

// NewSegment makes a segment with room for capacity rows; values says whether
// rows have values of their own, which a ValueDim other than Dim implies, and values of 16
// bits do if the keys aren't the same. Its
// error is slab.ErrBudget where the pool has no room.
func NewSegment(pool *slab.Pool, shape Shape, capacity int, values bool) (*Segment, error) {
	s := &Segment{pool: pool, shape: shape, capacity: capacity}
	var err error
	alloc := func(n int) (b []byte) {
		if n > 0 && err == nil {
			b, err = pool.Alloc(n)
		}
		return b
	}
	s.keys = alloc(keyBytes(shape, capacity))
	if shape.OwnValues(values) {
		s.values = alloc(valueBytes(shape, capacity))
	}
	if shape.Encoding.coded() && err == nil {
		s.codes, err = newCodes(pool, shape, capacity)
	}
	if err != nil {
		s.Free()
		return nil, err
	}
	return s, nil
}

// Rows is how many rows there are, Cap how many there is room for.
func (s *Segment) Rows() int { return s.rows }

// Cap is how many rows there is room for.
func (s *Segment) Cap() int { return s.capacity }

// Shape is the shape that the segment was made with.
func (s *Segment) Shape() Shape { return s.shape }

// HasValues is true if rows have values of their own.
func (s *Segment) HasValues() bool { return s.values != nil }

// Bytes is what the segment takes outside the heap.
func (s *Segment) Bytes() int64 { return SegmentBytes(s.shape, s.capacity, s.HasValues()) }

// SegmentBytes is what a segment would take.
func SegmentBytes(shape Shape, capacity int, values bool) int64 {
	n := keyBytes(shape, capacity) + codeBytes(shape, capacity)
	if shape.OwnValues(values) {
		n += valueBytes(shape, capacity)
	}
	return int64(n)
}

// Append adds a row; a nil value stands for the key, as it is stored. The caller has
// checked the lengths. ErrFull and ErrNeedsValues leave the segment as it was.
func (s *Segment) Append(key, value []float32) error { return s.AppendLossy(key, value, 0) }

// AppendLossy is Append of a key that itself was decoded: lost is how far it is from
// the one that was given, as Lost said.
func (s *Segment) AppendLossy(key, value []float32, lost float32) error {
	if s.rows == s.capacity {
		return ErrFull
	}
	if value != nil && !s.HasValues() {
		return ErrNeedsValues
	}
	s.rows++
	s.Put(s.rows-1, key, value, lost)
	return nil
}

// Extend adds n rows, for which there is room, that Put fills before anybody reads them.
func (s *Segment) Extend(n int) { s.rows += n }

// Put fills a row that Extend added; rows may be filled from several goroutines. A nil
// value stands for the key, and another one needs a segment with values; lost is as in
// AppendLossy.
func (s *Segment) Put(row int, key, value []float32, lost float32) {
	if !s.shape.Encoding.plain() || s.codes != nil {
		scratch := decoded.Get().(*[]float32)
		defer decoded.Put(scratch)
		if s.codes != nil {
			key = s.codes.put(s.shape, row, key, lost, scratch)
		} else {
			at := row * pad(s.shape.Dim)
			put(s.shape.Encoding, s.keys, at, key)
			*scratch = sized(*scratch, s.shape.Dim)
			get(*scratch, s.shape.Encoding, s.keys, at)
			key = *scratch
		}
	}
	if s.shape.Encoding.plain() {
		put(F32, s.keys, row*pad(s.shape.Dim), key)
	}
	switch s.shape.Metric {
	case Cosine:
		s.inverseNorms(row, row+1)[0] = inverseNorm(key)
		if s.shape.Heads > 1 {
			for h := range s.shape.Heads {
				s.headNorms(h, row, row+1)[0] = inverseHeadNorm(s.shape.keyHead(key, h))
			}
		}
	case Dot:
		s.raise(Norm(key))
	}
	if s.HasValues() {
		if value == nil {
			value = key
		}
		put(s.shape.Values, s.values, row*pad(s.shape.ValueDim), value)
	}
}

// raise makes longest at least a norm.
func (s *Segment) raise(norm float64) {
	for {
		was := s.norm.Load()
		if norm <= math.Float64frombits(was) || s.norm.CompareAndSwap(was, math.Float64bits(norm)) {
			return
		}
	}
}

// Copy makes a segment of a pool with more room, or with values of its own, and the same
// rows. The old one stays for its readers.
func (s *Segment) Copy(pool *slab.Pool, capacity int, values bool) (*Segment, error) {
	c, err := NewSegment(pool, s.shape, capacity, values || s.HasValues())
	if err != nil {
		return nil, err
	}
	if s.shape.Encoding != Int8Only {
		copy(c.keys, s.keys[:s.rows*pad(s.shape.Dim)*s.shape.Encoding.bytes()])
	}
	if s.shape.Metric == Cosine {
		copy(c.inverseNorms(0, s.rows), s.inverseNorms(0, s.rows))
		for h := range s.shape.norms() - 1 {
			copy(c.headNorms(h, 0, s.rows), s.headNorms(h, 0, s.rows))
		}
	}
	if s.codes != nil {
		c.codes.copyRows(s.codes, s.rows, s.shape.Dim)
	}
	switch {
	case !c.HasValues():
	case s.HasValues():
		copy(c.values, s.values[:valueBytes(s.shape, s.rows)])
	default: // ValueDim is Dim
		var key []float32
		for row := range s.rows {
			key = s.KeyInto(key[:0], row)
			put(s.shape.Values, c.values, row*pad(s.shape.Dim), key)
		}
	}
	c.rows = s.rows
	c.norm.Store(s.norm.Load())
	return c, nil
}

// Key is a row's key: in place, or decoded where it isn't kept as float32.
func (s *Segment) Key(row int) []float32 {
	if !s.shape.Encoding.plain() {
		return s.KeyInto(nil, row)
	}
	return s.keyRows(row, row+1)[:s.shape.Dim:s.shape.Dim]
}

// KeyInto appends a row's key to dst.
func (s *Segment) KeyInto(dst []float32, row int) []float32 {
	if s.shape.Encoding.plain() {
		return append(dst, s.Key(row)...)
	}
	n := len(dst)
	dst = slices.Grow(dst, s.shape.Dim)[:n+s.shape.Dim]
	s.decodeKey(dst[n:], row)
	return dst
}

// decodeKey writes a row's key where it isn't kept as float32.
func (s *Segment) decodeKey(dst []float32, row int) {
	if s.codes != nil {
		s.codes.decode(dst, row)
		return
	}
	get(dst, s.shape.Encoding, s.keys, row*pad(s.shape.Dim))
}

// Value is a row's value: in place, or decoded where it isn't kept as float32.
func (s *Segment) Value(row int) []float32 {
	switch at := row * pad(s.shape.ValueDim); {
	case !s.HasValues():
		return s.Key(row)
	case s.shape.Values == F32:
		return floats(s.values, at, at+s.shape.ValueDim)
	default:
		v := make([]float32, s.shape.ValueDim)
		get(v, s.shape.Values, s.values, at)
		return v
	}
}

// ValueInto appends a row's value to dst.
func (s *Segment) ValueInto(dst []float32, row int) []float32 {
	if !s.HasValues() {
		return s.KeyInto(dst, row)
	}
	n := len(dst)
	dst = slices.Grow(dst, s.shape.ValueDim)[:n+s.shape.ValueDim]
	get(dst[n:], s.shape.Values, s.values, row*pad(s.shape.ValueDim))
	return dst
}

// Free gives the slabs back. No reader may be left.
func (s *Segment) Free() {
	for _, b := range [][]byte{s.keys, s.values} {
		if b != nil {
			s.pool.Free(b)
		}
	}
	if s.codes != nil {
		s.pool.Free(s.codes.block)
	}
	s.keys, s.values, s.codes = nil, nil, nil
}

// keyRows are rows' keys in place, if they are kept as float32.
func (s *Segment) keyRows(from, to int) []float32 {
	stride := pad(s.shape.Dim)
	return floats(s.keys, from*stride, to*stride)
}

// keyBlock are rows' keys, in place, or decoded in scratch.
func (s *Segment) keyBlock(scratch *[]float32, from, to int) []float32 {
	stride := pad(s.shape.Dim)
	switch {
	case s.shape.Encoding.plain():
		return s.keyRows(from, to)
	case s.shape.Encoding.half():
		return floatsOf(scratch, s.shape.Encoding, s.keys, from*stride, to*stride)
	}
	*scratch = sized(*scratch, (to-from)*stride)
	for row := from; row < to; row++ {
		s.codes.decode((*scratch)[(row-from)*stride:][:s.shape.Dim], row)
	}
	return *scratch
}

// valueBlock are rows' values and their stride, given their keys, which may be
// them; in place, or decoded in scratch.
func (s *Segment) valueBlock(scratch *[]float32, keys []float32, from, to int) ([]float32, int) {
	if !s.HasValues() {
		return keys, pad(s.shape.Dim)
	}
	stride := pad(s.shape.ValueDim)
	return floatsOf(scratch, s.shape.Values, s.values, from*stride, to*stride), stride
}

// inverseNorms are of the rows' keys, under Cosine.
func (s *Segment) inverseNorms(from, to int) []float32 {
	at := len(s.keys)/4 - s.shape.norms()*s.capacity
	return floats(s.keys, at+from, at+to)
}

// longest is at least the norm of each published key, under Dot. It bounds the
// errors of panels' inner products.
func (s *Segment) longest() float64 { return math.Float64frombits(s.norm.Load()) }

// inverseNorm is 1/‖v‖ computed in float64, the same bits on every processor.
func inverseNorm(v []float32) float32 {
	var sq [1]float64
	kernel.SumSquares(sq[:], v, len(v), len(v))
	return float32(1 / math.Sqrt(sq[0]))
}

// Norm is ‖v‖, computed in float64.
func Norm(v []float32) float64 {
	var sq [1]float64
	kernel.SumSquares(sq[:], v, len(v), len(v))
	return math.Sqrt(sq[0])
}
