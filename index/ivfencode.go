package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"engram/internal/slab"
)

// NoList is the list of a row that is in none.
const NoList = math.MaxUint32

// trainedMagic begins the bytes of AppendTrained, and changes with their meaning.
const trainedMagic = "ivf1"

// ErrTrained is the error of bytes that AppendTrained didn't write, or of another shape.
var ErrTrained = errors.New("no trained index of this shape")

// AppendTrained appends what was learned of the rows, from which AssembleIVF makes an
// index of the same lists: all but the rows' lists. In little endian it is
//
//	"ivf1", metric uint8, three bytes 0, dim uint32, lists uint32, seed uint64,
//	origin dim × float32, centroids lists × dim × float32
func (x *IVF) AppendTrained(b []byte) []byte {
	b = append(b, trainedMagic...)
	b = append(b, byte(x.shape.Metric), 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(x.shape.Dim))
	b = binary.LittleEndian.AppendUint32(b, uint32(x.centroids.k))
	b = binary.LittleEndian.AppendUint64(b, x.seed)
	b = appendFloats(b, x.coder.origin)
	for i := range x.centroids.k {
		b = appendFloats(b, x.centroids.at(i))
	}
	return b
}

func appendFloats(b []byte, v []float32) []byte {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

const trainedHeader = len(trainedMagic) + 4 + 4 + 4 + 8

// readTrained reads what AppendTrained wrote. It takes memory in proportion to b.
func readTrained(b []byte, shape Shape) (*trained, error) {
	if len(b) < trainedHeader || string(b[:4]) != trainedMagic {
		return nil, fmt.Errorf("%w: no such beginning", ErrTrained)
	}
	dim, k := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	if b[4] != byte(shape.Metric) || b[5]|b[6]|b[7] != 0 || int(dim) != shape.Dim || k == 0 || k > MaxLists {
		return nil, fmt.Errorf("%w: metric %d, %d components, %d lists", ErrTrained, b[4], dim, k)
	}
	seed := binary.LittleEndian.Uint64(b[16:])
	b = b[trainedHeader:]
	if uint64(len(b)) != 4*uint64(dim)*(uint64(k)+1) {
		return nil, fmt.Errorf("%w: %d bytes of %d centroids", ErrTrained, len(b), k)
	}
	next := func() ([]float32, error) {
		v := make([]float32, dim)
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
			if v[i]-v[i] != 0 {
				return nil, fmt.Errorf("%w: a component is %v", ErrTrained, v[i])
			}
		}
		b = b[4*dim:]
		return v, nil
	}
	origin, err := next()
	if err != nil {
		return nil, err
	}
	c := newCentroids(int(k), shape.Dim, shape.Metric == Cosine)
	for i := range c.k {
		v, err := next()
		if err != nil {
			return nil, err
		}
		c.put(i, v)
	}
	return newTrained(newCoder(shape, seed, origin), c, seed), nil
}

// ListsOf sets dst[r] to the list of row r of a segment, and to NoList for rows that
// are in none. dst has an element for each row; a segment that x doesn't cover has no
// lists.
func (x *IVF) ListsOf(segments []*Segment, dst [][]uint32) {
	parts := make([]Part, len(segments))
	for i, s := range segments {
		parts[i] = Part{Segment: s, Rows: len(dst[i])}
		for j := range dst[i] {
			dst[i][j] = NoList
		}
	}
	v := x.view(parts)
	for l, chunks := range x.lists {
		for _, c := range chunks {
			for _, ref := range c.refs[:c.n] {
				if part, row, ok := v.find(ref); ok {
					dst[part][row] = uint32(l)
				}
			}
		}
	}
}

// AssembleIVF makes an index of the eligible rows of parts from what AppendTrained
// wrote. listOf names a row's list, as ListsOf gave it; where it gives NoList, or a
// list that there isn't, the row goes to the list it is nearest to.
func AssembleIVF(ctx context.Context, pool *slab.Pool, shape Shape, parts []Part, trained []byte, listOf func(part int, row uint32) uint32, workers int) (*IVF, error) {
	t, err := readTrained(trained, shape)
	if err != nil {
		return nil, err
	}
	workers = workersOr(workers)
	x := newIVF(pool, shape, t)
	if err := x.assemble(ctx, newSource(shape, parts), listOf, workers); err != nil {
		x.Release()
		return nil, err
	}
	return x, nil
}

func (x *IVF) assemble(ctx context.Context, s *source, listOf func(part int, row uint32) uint32, workers int) error {
	return x.put(ctx, s, workers, nil, func(refs, at []uint32) error {
		var lost []uint32 // rows without a list
		for i, ref := range refs {
			if at[i] = listOf(int(ref/MaxRows), ref%MaxRows); at[i] >= uint32(x.centroids.k) {
				lost = append(lost, uint32(i))
			}
		}
		best, found := make([]float32, len(lost)), make([]uint32, len(lost))
		restart(best)
		all := s.at(refs)
		src := rows{n: len(lost), dim: all.dim, load: func(dst []float32, i int) { all.load(dst, int(lost[i])) }}
		if err := x.centroids.nearest(ctx, src, 0, workers, best, found); err != nil {
			return err
		}
		for i, n := range lost {
			at[n] = found[i]
		}
		return nil
	})
}
