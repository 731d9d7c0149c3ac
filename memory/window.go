package memory

import (
	"cmp"
	"container/heap"
	"math/bits"
)

// A Window restricts attention, among the records that match a filter, to those before
// something, and of these to the last and the first: a causal mask (Vaswani et al.,
// Attention Is All You Need, 2017), a sliding window (Beltagy et al., Longformer, 2020) and
// attention sinks (Xiao et al., Efficient Streaming Language Models, 2024).
//
// Last and first are by position where BeforePosition is set, else in the order of the
// conversation; of equals the one created later is the later.
type Window struct {
	Last           int    // so many last records; 0: all
	Sinks          int    // with Last: so many first ones, too
	BeforeTime     *int64 // records of an earlier time
	BeforeLSN      LSN    // records created by an earlier mutation; 0: any
	BeforePosition *int64 // records of a lesser position, of those that have one
}

// none is true of a window that every record is in.
func (w *Window) none() bool {
	return w.Last == 0 && w.BeforeTime == nil && w.BeforeLSN == 0 && w.BeforePosition == nil
}

// window takes from the parts' masks the rows outside a window.
func (r *reading) window(w *Window) {
	if w.none() {
		return
	}
	for i := range r.parts {
		p, s := &r.parts[i], r.at[i].segment
		if p.Mask == nil {
			p.Mask = r.next((p.Rows + 63) / 64)
			s.liveInto(p.Mask)
		}
		if w.BeforeTime != nil || w.BeforeLSN != 0 || w.BeforePosition != nil {
			w.cut(p.Mask, s)
		}
	}
	if w.Last == 0 {
		return
	}
	keep := edge{order: 1, want: w.Last, byPosition: w.BeforePosition != nil}
	keep.scan(r)
	first := edge{order: -1, want: w.Sinks, byPosition: keep.byPosition}
	first.scan(r)
	for i := range r.parts {
		clear(r.parts[i].Mask)
	}
	for _, list := range [][]stand{keep.kept, first.kept} {
		for _, k := range list {
			r.parts[k.part].Mask[k.row/64] |= 1 << (k.row % 64)
		}
	}
}

// cut clears the rows that are not before the window's bounds.
func (w *Window) cut(mask []uint64, s *segView) {
	for i, word := range mask {
		for m := word; m != 0; m &= m - 1 {
			row := uint32(i*64 + bits.TrailingZeros64(m))
			if !w.before(s, row) {
				mask[i] &^= m & -m
			}
		}
	}
}

func (w *Window) before(s *segView, row uint32) bool {
	r := &s.rows[row]
	if w.BeforeTime != nil && r.time >= *w.BeforeTime || w.BeforeLSN != 0 && LSN(r.created) >= w.BeforeLSN {
		return false
	}
	if w.BeforePosition == nil {
		return true
	}
	at, ok := s.sequence(row)
	return ok && at < *w.BeforePosition
}

// sequence is a row's position.
func (s *segView) sequence(row uint32) (position int64, ok bool) {
	p, _ := readPayload(s.at(&s.rows[row]))
	return p.at()
}

// A stand is where an eligible row stands in a window's order.
type stand struct {
	Position // with the row's position in the place of its time, by position
	part     int
	row      uint32
}

// An edge keeps the last of the rows it is shown (order 1), or the first (−1), as a heap with
// the one at its root that goes next.
type edge struct {
	order, want int
	byPosition  bool
	kept        []stand
}

func (e *edge) compare(a, b Position) int { return e.order * TimeAsc.compare(a, b) }

func (e *edge) Len() int           { return len(e.kept) }
func (e *edge) Less(i, j int) bool { return e.compare(e.kept[i].Position, e.kept[j].Position) < 0 }
func (e *edge) Swap(i, j int)      { e.kept[i], e.kept[j] = e.kept[j], e.kept[i] }
func (e *edge) Push(x any)         { e.kept = append(e.kept, x.(stand)) }
func (e *edge) Pop() any {
	x := e.kept[len(e.kept)-1]
	e.kept = e.kept[:len(e.kept)-1]
	return x
}

// scan shows it the eligible rows of all parts, those first that are likely kept.
func (e *edge) scan(r *reading) {
	for i := range r.parts {
		at := i
		if e.order > 0 {
			at = len(r.parts) - 1 - i
		}
		s := r.at[at].segment
		if e.want == 0 || !e.byPosition && e.passes(s) {
			continue
		}
		each(r.parts[at].Mask, r.parts[at].Rows, func(row uint32) {
			p := s.rows[row].position()
			if e.byPosition {
				p.Time, _ = s.sequence(row)
			}
			switch {
			case len(e.kept) < e.want:
				heap.Push(e, stand{p, at, row})
			case e.compare(p, e.kept[0].Position) > 0:
				e.kept[0] = stand{p, at, row}
				heap.Fix(e, 0)
			}
		})
	}
}

// passes tells that no row of a segment can be kept any more.
func (e *edge) passes(s *segView) bool {
	if len(e.kept) < e.want {
		return false
	}
	first, last, ok := s.span(TimeAsc)
	if e.order < 0 {
		last = first
	}
	return ok && cmp.Compare(e.compare(last, e.kept[0].Position), 0) < 0
}
