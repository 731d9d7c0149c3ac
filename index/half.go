package index

import (
	"fmt"
	"math"

	"engram/internal/slab"
	"engram/kernel"
)

// plain is true where keys are kept as float32, half where they have 16 bits and coded
// where they have codes.
func (e Encoding) plain() bool { return e == F32 || e == Int8 }
func (e Encoding) half() bool  { return e == F16 || e == BF16 }
func (e Encoding) coded() bool { return e == Int8 || e == Int8Only }

// bytes is what a component takes of an encoding, codes aside.
func (e Encoding) bytes() int {
	if e.half() {
		return 2
	}
	return 4
}

// floats are components of a slab of float32s.
func floats(block []byte, from, to int) []float32 {
	return slab.Slice[float32](block[4*from : 4*to])
}

// halves are those of a slab of numbers of 16 bits from one on.
func halves(block []byte, from, n int) []uint16 {
	return slab.Slice[uint16](block[2*from : 2*(from+n)])
}

// put writes a vector in a slab of an encoding, from a component on.
func put(e Encoding, block []byte, at int, v []float32) {
	switch e {
	case F16:
		kernel.EncodeF16(halves(block, at, len(v)), v)
	case BF16:
		kernel.EncodeBF16(halves(block, at, len(v)), v)
	default:
		copy(floats(block, at, at+len(v)), v)
	}
}

// get reads a vector likewise.
func get(dst []float32, e Encoding, block []byte, at int) {
	switch e {
	case F16:
		kernel.DecodeF16(dst, halves(block, at, len(dst)))
	case BF16:
		kernel.DecodeBF16(dst, halves(block, at, len(dst)))
	default:
		copy(dst, floats(block, at, at+len(dst)))
	}
}

// floatsOf are components as float32s: in place, or decoded in scratch.
func floatsOf(scratch *[]float32, e Encoding, block []byte, from, to int) []float32 {
	if !e.half() {
		return floats(block, from, to)
	}
	*scratch = sized(*scratch, to-from)
	get(*scratch, e, block, from)
	return *scratch
}

// atOnce is how many of n vectors of an encoding to decode at a time, for their use right
// after: as many as leave the first-level cache room for more, and all where there is
// nothing to decode. It is a multiple of what kernel.WeightedSum adds up in float32.
func (e Encoding) atOnce(dim, n int) int {
	if !e.half() {
		return n
	}
	const bytes, group = 16 << 10, 32
	return min(n, max(group, bytes/(4*pad(dim))/group*group))
}

// reading gives rows' keys and values for several queries, decoded; for one those that must
// be decoded are nil: scoreBlock and sumBlock do it a few rows at a time.
func (s *Segment) reading(keyScratch, valueScratch *[]float32, from, to, queries int) (keys, values []float32) {
	own := s.HasValues()
	if queries > 1 || !s.shape.Encoding.half() {
		keys = s.keyBlock(keyScratch, from, to)
	}
	if queries > 1 || own && !s.shape.Values.half() || !own && keys != nil {
		values, _ = s.valueBlock(valueScratch, keys, from, to)
	}
	return keys, values
}

// scoreBlock is scoreHead of rows from one on, with their keys as reading gave them.
func (s *Segment) scoreBlock(scratch *[]float32, dst, query []float32, inverse float32, keys []float32, from, head int) {
	if keys != nil {
		s.scoreHead(dst, query, inverse, keys, from, head)
		return
	}
	atOnce := s.shape.Encoding.atOnce(s.shape.Dim, len(dst))
	for i := 0; i < len(dst); i += atOnce {
		part := dst[i:min(i+atOnce, len(dst))]
		s.scoreHead(part, query, inverse, s.keyBlock(scratch, from+i, from+i+len(part)), from+i, head)
	}
}

// sumBlock adds a head of rows' values, from one on, by weight, as reading gave them.
func (s *Segment) sumBlock(scratch *[]float32, sum []float64, weights, values []float32, from, head int) {
	stride := pad(s.shape.ValueDim)
	if values != nil {
		kernel.WeightedSum(sum, weights, s.shape.fromHead(values, s.shape.ValueDim, head), stride)
		return
	}
	block, e := s.values, s.shape.Values
	if !s.HasValues() {
		block, e = s.keys, s.shape.Encoding
	}
	atOnce := e.atOnce(s.shape.ValueDim, len(weights))
	for i := 0; i < len(weights); i += atOnce {
		part := weights[i:min(i+atOnce, len(weights))]
		at := from + i
		rows := floatsOf(scratch, e, block, at*stride, (at+len(part))*stride)
		kernel.WeightedSum(sum, part, s.shape.fromHead(rows, s.shape.ValueDim, head), stride)
	}
}

// valueAt is a row's value: in place, or decoded in scratch.
func (s *Segment) valueAt(scratch *[]float32, row int) []float32 {
	if s.HasValues() && s.shape.Values == F32 || !s.HasValues() && s.shape.Encoding.plain() {
		return s.Value(row)
	}
	*scratch = s.ValueInto((*scratch)[:0], row)
	return *scratch
}

// halfError bounds ‖given − stored‖ of a vector of an encoding of 16 bits, of the norm and
// dimension, by that of each component: half a unit of the last place is at most 2⁻¹¹ or
// 2⁻⁸ of the stored one, or of the least that has all its bits.
func halfError(e Encoding, norm float64, dim int) float64 {
	relative, least := 0x1p-11, 0x1p-25
	if e == BF16 {
		relative, least = 0x1p-8, 0x1p-134
	}
	return relative*norm + math.Sqrt(float64(dim))*least
}

// Unfit says why an encoding can't keep a vector that is one otherwise, or gives "": what
// is beyond F16 would become infinite, and a key of F16 under Cosine whose components are
// all below its normal numbers would lose its direction.
func (e Encoding) Unfit(v []float32, cosine bool) string {
	if e != F16 {
		return ""
	}
	switch most := kernel.Largest(v); {
	case most > kernel.MostF16:
		at := 0
		for i, x := range v {
			if math.Abs(float64(x)) == float64(most) {
				at = i
				break
			}
		}
		return fmt.Sprintf("has component %d = %v; in F16 a magnitude of at most %d is allowed", at, v[at], kernel.MostF16)
	case cosine && most < kernel.LeastF16:
		return fmt.Sprintf("has no component above %v; in F16 under COSINE one must have a magnitude of at least %v", most, kernel.LeastF16)
	}
	return ""
}
