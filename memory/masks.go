package memory

import (
	"math/bits"
	"sync"

	"engram/memory/filter"
)

// masks gives the bitmaps of one read: which rows of each segment are eligible.
type masks struct {
	words [][]uint64 // one a segment, kept from read to read
	used  int
}

var maskPool = sync.Pool{New: func() any { return new(masks) }}

func takeMasks() *masks { return maskPool.Get().(*masks) }

func (m *masks) put() {
	m.used = 0
	maskPool.Put(m)
}

// of gives the rows that are live and match f, nil if all rows are.
func (m *masks) of(s *segView, f *filter.Filter) []uint64 {
	if f == nil && s.deadRows == 0 {
		return nil
	}
	mask := m.next(int(s.n+63) / 64)
	s.liveInto(mask)
	if f != nil {
		x := s.index
		if x != nil {
			f.Select(mask, s, int(s.n), x.Index)
		} else {
			f.Select(mask, s, int(s.n), nil)
		}
	}
	return mask
}

// without gives a copy of a mask (nil: all n rows) that lacks one row.
func (m *masks) without(mask []uint64, n int, row uint32) []uint64 {
	out := m.next((n + 63) / 64)
	if mask == nil {
		for i := range out {
			out[i] = ^uint64(0)
		}
	} else {
		copy(out, mask)
	}
	out[row/64] &^= 1 << (row % 64)
	return out
}

func (m *masks) next(words int) []uint64 {
	if m.used == len(m.words) {
		m.words = append(m.words, nil)
	}
	w := m.words[m.used]
	if cap(w) < words {
		w = make([]uint64, words, max(words, 16))
	}
	w = w[:words]
	m.words[m.used] = w
	m.used++
	return w
}

// liveInto sets the bits of the live rows, and no others.
func (s *segView) liveInto(mask []uint64) {
	for i := range mask {
		mask[i] = ^uint64(0)
		if i < len(s.dead) {
			mask[i] = ^s.dead[i]
		}
	}
	if tail := s.n % 64; tail != 0 {
		mask[len(mask)-1] &= 1<<tail - 1
	}
}

// popcount counts the eligible of n rows.
func popcount(mask []uint64, n int) int {
	if mask == nil {
		return n
	}
	c := 0
	for _, w := range mask {
		c += bits.OnesCount64(w)
	}
	return c
}

// each yields the rows of a mask, nil standing for all n.
func each(mask []uint64, n int, yield func(row uint32)) {
	if mask == nil {
		for r := range uint32(n) {
			yield(r)
		}
		return
	}
	for i, w := range mask {
		for ; w != 0; w &= w - 1 {
			yield(uint32(i*64 + bits.TrailingZeros64(w)))
		}
	}
}
