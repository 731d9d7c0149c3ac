package memory

import (
	"cmp"
	"slices"

	"engram/memory/filter"
)

// Order is the order of a List.
type Order uint8

// The orders: of creation, by (LSN of creation, place in its batch), and of the
// conversation, by (time, LSN of creation, place).
const (
	CreatedAsc Order = iota
	CreatedDesc
	TimeAsc
	TimeDesc
)

// ListOptions say what List gives.
type ListOptions struct {
	Filter  *filter.Filter // validated; nil: all records
	Order   Order
	After   Position // the last of the page before; zero: begin
	N       int      // the most records to give
	Include Include
}

// compare puts positions in an order.
func (o Order) compare(a, b Position) int {
	c := cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.Place, b.Place))
	if o >= TimeAsc {
		c = cmp.Or(cmp.Compare(a.Time, b.Time), c)
	}
	if o == CreatedDesc || o == TimeDesc {
		return -c
	}
	return c
}

func (r *row) position() Position { return Position{r.time, LSN(r.created), r.place} }

// bounds hold the positions of a segment's first rows, dead ones too. They are
// known of segments that others follow. Such a one can become the last again, and
// take more rows: then they are of no use to views that show those.
type bounds struct {
	rows          uint32
	created, time [2]Position // first and last of each order
}

func (b *bounds) of(o Order) (first, last Position) {
	p := &b.created
	if o >= TimeAsc {
		p = &b.time
	}
	if o == CreatedDesc || o == TimeDesc {
		return p[1], p[0]
	}
	return p[0], p[1]
}

func boundsOf(rows []row) *bounds {
	p := rows[0].position()
	b := &bounds{rows: uint32(len(rows)), created: [2]Position{p, p}, time: [2]Position{p, p}}
	widen := func(o Order, span *[2]Position, p Position) {
		if o.compare(p, span[0]) < 0 {
			span[0] = p
		}
		if o.compare(p, span[1]) > 0 {
			span[1] = p
		}
	}
	for i := range rows {
		p := rows[i].position()
		widen(CreatedAsc, &b.created, p)
		widen(TimeAsc, &b.time, p)
	}
	return b
}

// span gives the bounds of a segment's positions; false if they aren't known.
func (s *segView) span(o Order) (first, last Position, ok bool) {
	if !s.bounded() {
		return Position{}, Position{}, false
	}
	first, last = s.bounds.Load().of(o)
	return first, last, true
}

func (s *segView) bounded() bool {
	b := s.bounds.Load()
	return b != nil && b.rows >= s.n
}

// listed is a candidate for a page.
type listed struct {
	Position
	Ref
}

// ListRefs gives the records of a page, and whether there are more.
func (v *View) ListRefs(opt ListOptions) (refs []Ref, more bool) {
	if opt.N <= 0 {
		return nil, false
	}
	m := takeMasks()
	defer m.put()
	p := page{order: opt.Order, after: opt.After, want: opt.N + 1}
	for _, i := range v.inOrder(opt.Order) {
		s := &v.segments[i]
		m.used = 0
		p.scan(s, uint32(i), m, opt.Filter)
	}
	out := p.sorted()
	if more = len(out) > opt.N; more {
		out = out[:opt.N]
	}
	refs = make([]Ref, len(out))
	for i := range out {
		refs[i] = out[i].Ref
	}
	return refs, more
}

// List gives the records of a page and the position that the next one comes after.
func (v *View) List(opt ListOptions) (records []Record, next Position, more bool) {
	refs, more := v.ListRefs(opt)
	records = make([]Record, len(refs))
	for i, ref := range refs {
		records[i] = v.At(ref, opt.Include)
	}
	if len(refs) > 0 {
		next = PositionOf(&records[len(records)-1])
	}
	return records, next, more
}

// inOrder gives the segments so that those known to come first are first, which
// lets the others be passed over; those of unknown bounds lead.
func (v *View) inOrder(o Order) []int {
	order := make([]int, len(v.segments))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		fa, _, oka := v.segments[a].span(o)
		fb, _, okb := v.segments[b].span(o)
		switch {
		case oka && okb:
			return o.compare(fa, fb)
		case oka:
			return 1
		case okb:
			return -1
		}
		return 0
	})
	return order
}

// A page gathers the first few records of an order after a position: a heap whose
// top is the last of them.
type page struct {
	order Order
	after Position
	want  int
	heap  []listed
}

// scan offers the rows of a segment, unless its bounds say that none is wanted.
func (p *page) scan(s *segView, number uint32, m *masks, f *filter.Filter) {
	if first, last, ok := s.span(p.order); ok {
		if p.begun() && p.order.compare(last, p.after) <= 0 {
			return
		}
		if len(p.heap) == p.want && p.order.compare(first, p.heap[0].Position) > 0 {
			return
		}
	}
	each(m.of(s, f), int(s.n), func(r uint32) {
		p.offer(listed{s.rows[r].position(), Ref{number, r}})
	})
}

// begun is false on the first page. No record is created by LSN 0.
func (p *page) begun() bool { return p.after != Position{} }

func (p *page) offer(l listed) {
	if p.begun() && p.order.compare(l.Position, p.after) <= 0 {
		return
	}
	if len(p.heap) < p.want {
		p.heap = append(p.heap, l)
		for i := len(p.heap) - 1; i > 0; { // up
			parent := (i - 1) / 2
			if !p.later(i, parent) {
				break
			}
			p.heap[i], p.heap[parent] = p.heap[parent], p.heap[i]
			i = parent
		}
		return
	}
	if p.order.compare(l.Position, p.heap[0].Position) >= 0 {
		return
	}
	p.heap[0] = l
	for i := 0; ; { // down
		child := 2*i + 1
		if child >= len(p.heap) {
			return
		}
		if child+1 < len(p.heap) && p.later(child+1, child) {
			child++
		}
		if !p.later(child, i) {
			return
		}
		p.heap[i], p.heap[child] = p.heap[child], p.heap[i]
		i = child
	}
}

func (p *page) later(i, j int) bool {
	return p.order.compare(p.heap[i].Position, p.heap[j].Position) > 0
}

func (p *page) sorted() []listed {
	slices.SortFunc(p.heap, func(a, b listed) int { return p.order.compare(a.Position, b.Position) })
	return p.heap
}
