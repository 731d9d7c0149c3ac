package memory

import (
	"cmp"
	"container/heap"
	"slices"
)

// Records yields all live records in the order of their creation. The Record is
// used again and aliases slabs: it is good during the call only.
//
// Rows mostly lie in that order already, but for records that were updated since;
// where they don't, two bytes a row of the segment are taken to sort them.
func (v *View) Records(yield func(*Record) bool) {
	v.byCreation(func(s *segView, row uint32) bool {
		r := s.alias(row, IncludeAll)
		return yield(&r)
	})
}

// byCreation goes through the live rows in that order.
func (v *View) byCreation(yield func(s *segView, row uint32) bool) {
	var cursors cursorHeap
	for i := range v.segments {
		if c := newCursor(&v.segments[i]); c.next() {
			cursors = append(cursors, c)
		}
	}
	heap.Init(&cursors)
	for len(cursors) > 0 {
		c := cursors[0]
		if !yield(c.s, c.row) {
			return
		}
		if c.next() {
			heap.Fix(&cursors, 0)
		} else {
			heap.Pop(&cursors)
		}
	}
}

// A cursor walks the live rows of a segment in the order of creation.
type cursor struct {
	s     *segView
	order []uint16 // nil: the rows lie in order
	at    uint32   // the next to visit
	row   uint32
}

func newCursor(s *segView) *cursor {
	c := &cursor{s: s}
	inOrder := true
	for r := 1; r < int(s.n) && inOrder; r++ {
		inOrder = s.byCreation(uint16(r-1), uint16(r)) < 0
	}
	if !inOrder {
		c.order = make([]uint16, 0, s.live())
		for r := range s.n {
			if !s.isDead(r) {
				c.order = append(c.order, uint16(r))
			}
		}
		slices.SortFunc(c.order, s.byCreation)
	}
	return c
}

func (s *segView) byCreation(a, b uint16) int {
	x, y := &s.rows[a], &s.rows[b]
	return cmp.Or(cmp.Compare(x.created, y.created), cmp.Compare(x.place, y.place))
}

// next moves on, false at the end.
func (c *cursor) next() bool {
	if c.order != nil {
		if int(c.at) == len(c.order) {
			return false
		}
		c.row = uint32(c.order[c.at])
		c.at++
		return true
	}
	for ; c.at < c.s.n; c.at++ {
		if !c.s.isDead(c.at) {
			c.row = c.at
			c.at++
			return true
		}
	}
	return false
}

type cursorHeap []*cursor

func (h cursorHeap) Len() int { return len(h) }
func (h cursorHeap) Less(i, j int) bool {
	x, y := &h[i].s.rows[h[i].row], &h[j].s.rows[h[j].row]
	return cmp.Or(cmp.Compare(x.created, y.created), cmp.Compare(x.place, y.place)) < 0
}
func (h cursorHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *cursorHeap) Push(x any)   { *h = append(*h, x.(*cursor)) }
func (h *cursorHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
