package index

import (
	"errors"
	"math"
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

// MaxRows is the most rows of a segment.
const MaxRows = 1 << 16

// A Shape is what all vectors of a segment have in common.
type Shape struct {
	Metric        Metric
	Dim, ValueDim int // components of a key, of a value
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
	keys     []float32     // capacity × stride, then under Cosine capacity inverse norms
	values   []float32     // capacity × value stride; nil: the keys
	norm     atomic.Uint64 // under Dot, the bits of the greatest norm of a key; readers may see that of rows to come
}

// pad is a vector's room in a row: whole cache lines.
func pad(dim int) int { return (dim + 15) &^ 15 }

// NewSegment makes a segment with room for capacity rows; values says whether
// rows have values of their own, which a ValueDim other than Dim implies. Its
// error is slab.ErrBudget where the pool has no room.
func NewSegment(pool *slab.Pool, shape Shape, capacity int, values bool) (*Segment, error) {
	s := &Segment{pool: pool, shape: shape, capacity: capacity}
	n := capacity * pad(shape.Dim)
	if shape.Metric == Cosine {
		n += capacity
	}
	b, err := pool.Alloc(4 * n)
	if err != nil {
		return nil, err
	}
	s.keys = slab.Slice[float32](b)
	if values || shape.ValueDim != shape.Dim {
		if b, err = pool.Alloc(4 * capacity * pad(shape.ValueDim)); err != nil {
			s.Free()
			return nil, err
		}
		s.values = slab.Slice[float32](b)
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
func (s *Segment) Bytes() int64 { return 4 * int64(len(s.keys)+len(s.values)) }

// SegmentBytes is what a segment would take.
func SegmentBytes(shape Shape, capacity int, values bool) int64 {
	n := int64(capacity) * int64(pad(shape.Dim))
	if shape.Metric == Cosine {
		n += int64(capacity)
	}
	if values || shape.ValueDim != shape.Dim {
		n += int64(capacity) * int64(pad(shape.ValueDim))
	}
	return 4 * n
}

// Append adds a row; a nil value stands for the key. The caller has checked the
// lengths. ErrFull and ErrNeedsValues leave the segment as it was.
func (s *Segment) Append(key, value []float32) error {
	if s.rows == s.capacity {
		return ErrFull
	}
	if value != nil && s.values == nil {
		return ErrNeedsValues
	}
	stride := pad(s.shape.Dim)
	copy(s.keys[s.rows*stride:], key)
	switch s.shape.Metric {
	case Cosine:
		s.keys[s.capacity*stride+s.rows] = inverseNorm(key)
	case Dot:
		if norm := Norm(key); norm > s.longest() {
			s.norm.Store(math.Float64bits(norm))
		}
	}
	if s.values != nil {
		if value == nil {
			value = key
		}
		copy(s.values[s.rows*pad(s.shape.ValueDim):], value)
	}
	s.rows++
	return nil
}

// Copy makes a segment with more room, or with values of its own, and the same
// rows. The old one stays for its readers.
func (s *Segment) Copy(capacity int, values bool) (*Segment, error) {
	c, err := NewSegment(s.pool, s.shape, capacity, values || s.values != nil)
	if err != nil {
		return nil, err
	}
	stride := pad(s.shape.Dim)
	copy(c.keys, s.keys[:s.rows*stride])
	if s.shape.Metric == Cosine {
		copy(c.keys[c.capacity*stride:], s.keys[s.capacity*stride:][:s.rows])
	}
	switch {
	case c.values == nil:
	case s.values != nil:
		copy(c.values, s.values[:s.rows*pad(s.shape.ValueDim)])
	default: // ValueDim is Dim
		copy(c.values, s.keys[:s.rows*stride])
	}
	c.rows = s.rows
	c.norm.Store(s.norm.Load())
	return c, nil
}

// Key is a row's key, in place.
func (s *Segment) Key(row int) []float32 {
	stride := pad(s.shape.Dim)
	return s.keys[row*stride:][:s.shape.Dim:s.shape.Dim]
}

// Value is a row's value, in place.
func (s *Segment) Value(row int) []float32 {
	if s.values == nil {
		return s.Key(row)
	}
	return s.values[row*pad(s.shape.ValueDim):][:s.shape.ValueDim:s.shape.ValueDim]
}

// Free gives the slabs back. No reader may be left.
func (s *Segment) Free() {
	for _, v := range [][]float32{s.keys, s.values} {
		if v != nil {
			s.pool.Free(bytesOf(v))
		}
	}
	s.keys, s.values = nil, nil
}

func (s *Segment) keyBlock(from, to int) []float32 {
	stride := pad(s.shape.Dim)
	return s.keys[from*stride : to*stride]
}

func (s *Segment) valueBlock(from, to int) ([]float32, int) {
	if s.values == nil {
		return s.keyBlock(from, to), pad(s.shape.Dim)
	}
	stride := pad(s.shape.ValueDim)
	return s.values[from*stride : to*stride], stride
}

// inverseNorms are of the rows' keys, under Cosine.
func (s *Segment) inverseNorms(from, to int) []float32 {
	at := s.capacity * pad(s.shape.Dim)
	return s.keys[at+from : at+to]
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
