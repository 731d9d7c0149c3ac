package memory

import (
	"slices"
	"sort"

	"engram/memory/filter"
)

// MostNeighbours is the most neighbours that may be asked for on each side.
const MostNeighbours = 16

// Neighbours are the records that stand beside one in the order of the conversation: (time,
// LSN of creation, place in its batch). Each list is in that order itself.
type Neighbours struct{ Before, After []Ref }

// Neighbours gives for each of the records that refs name those that stand next to it, at
// most so many before and after it: among the records of its session, or for a record of
// none among those of none, that match f (validated; nil: all). A record's own
// match is not asked.
//
// In a session that lies together that takes a few steps for each record. Where
// those don't do, as times are in no order or sessions are mixed, all records of the session
// are looked up, once for all refs.
func (v *View) Neighbours(refs []Ref, before, after int, f *filter.Filter) []Neighbours {
	m := takeMasks()
	defer m.put()
	eligible := make([][]uint64, len(v.segments))
	for i := range v.segments {
		eligible[i] = m.of(&v.segments[i], f)
	}
	return v.neighbours(refs, before, after, eligible)
}

// neighbours is Neighbours among the rows of a mask for each segment; nil: all.
func (v *View) neighbours(refs []Ref, before, after int, eligible [][]uint64) []Neighbours {
	c := conversation{view: v, eligible: eligible, orders: make([]rowOrder, len(v.segments))}
	out := make([]Neighbours, len(refs))
	var left []int // of refs, those whose session must be looked up
	wanted := map[string][]Ref{}
	for i, ref := range refs {
		if b, a := c.walk(ref, -1, before), c.walk(ref, 1, after); b.done && a.done {
			out[i] = Neighbours{b.refs(), a.refs()}
			continue
		}
		left = append(left, i)
		wanted[v.session(ref)] = nil
	}
	if left == nil {
		return out
	}
	c.gather(wanted)
	for _, i := range left {
		here, session := v.position(refs[i]), wanted[v.session(refs[i])]
		at, found := slices.BinarySearchFunc(session, here, func(r Ref, p Position) int { return TimeAsc.compare(v.position(r), p) })
		next := at
		if found { // but for a record that doesn't match
			next++
		}
		out[i] = Neighbours{
			slices.Clone(session[max(0, at-before):at]),
			slices.Clone(session[next:min(len(session), next+after)]),
		}
	}
	return out
}

func (v *View) position(r Ref) Position { return v.segments[r.segment].rows[r.row].position() }

// session aliases a record's.
func (v *View) session(r Ref) string { return v.segments[r.segment].session(r.row) }

func (s *segView) session(row uint32) string {
	p, _ := readPayload(s.at(&s.rows[row]))
	return p.session
}

// A conversation finds the neighbours of records of a view.
type conversation struct {
	view     *View
	eligible [][]uint64
	orders   []rowOrder // by segment
}

// A rowOrder is the order of the conversation of a segment's rows, dead ones too.
type rowOrder struct {
	known     bool
	scattered bool     // none that is made in passing
	rows      []uint32 // nil: as they lie
}

func (o *rowOrder) at(i int) uint32 {
	if o.rows == nil {
		return uint32(i)
	}
	return o.rows[i]
}

func (c *conversation) order(segment int) *rowOrder {
	o := &c.orders[segment]
	if !o.known {
		o.known = true
		if s := &c.view.segments[segment]; !s.sorted() {
			o.rows = s.inTimeOrder()
			o.scattered = o.rows == nil
		}
	}
	return o
}

// inTimeOrder gives the rows in the order of the conversation. Few are out of place as a
// rule, updated ones mostly: those are sorted, and merged with the others. nil: more are.
func (s *segView) inTimeOrder() []uint32 {
	compare := func(a, b uint32) int { return TimeAsc.compare(s.rows[a].position(), s.rows[b].position()) }
	var strays []uint32
	run := make([]uint32, 0, s.n)
	for row := range s.n {
		if len(run) == 0 || compare(row, run[len(run)-1]) >= 0 {
			run = append(run, row)
		} else if strays = append(strays, row); len(strays) > 16+int(s.n)/16 {
			return nil
		}
	}
	slices.SortStableFunc(strays, compare)
	out := make([]uint32, 0, s.n)
	for _, row := range run {
		for len(strays) > 0 && compare(strays[0], row) < 0 {
			out, strays = append(out, strays[0]), strays[1:]
		}
		out = append(out, row)
	}
	return append(out, strays...)
}

// walkRows is how many rows of a segment a walk looks at before the session is looked up
// instead.
const walkRows = 64

// A walk gathers the nearest records of a session on one side of a position.
type walk struct {
	from    Position
	way     int // −1: those before, 1: those after
	want    int
	session string
	kept    []listed // nearest first
	done    bool     // false: there may be nearer ones
}

// walk looks for the records next to one, first where it lies.
func (c *conversation) walk(ref Ref, way, want int) walk {
	w := walk{from: c.view.position(ref), way: way, want: want, done: true}
	if want == 0 {
		return w
	}
	w.session = c.view.session(ref)
	c.step(&w, int(ref.segment))
	for i := range c.view.segments {
		if w.done && i != int(ref.segment) {
			c.step(&w, i)
		}
	}
	return w
}

// step walks through a segment, away from the position, until no row can be nearer.
func (c *conversation) step(w *walk, segment int) {
	s, mask := &c.view.segments[segment], c.eligible[segment]
	o, n := c.order(segment), int(s.n)
	if o.scattered {
		w.done = false
		return
	}
	i := sort.Search(n, func(i int) bool { return TimeAsc.compare(s.rows[o.at(i)].position(), w.from) >= 0 })
	if w.way < 0 {
		i--
	} else {
		for i < n && s.rows[o.at(i)].position() == w.from { // itself, and what it was before an update
			i++
		}
	}
	for looked := 0; i >= 0 && i < n; i += w.way {
		row := o.at(i)
		here := s.rows[row].position()
		if len(w.kept) == w.want && w.way*TimeAsc.compare(here, w.kept[w.want-1].Position) > 0 {
			return
		}
		if looked++; looked > walkRows {
			w.done = false
			return
		}
		if mask != nil && mask[row/64]>>(row%64)&1 == 0 || s.session(row) != w.session {
			continue
		}
		w.keep(listed{here, Ref{uint32(segment), row}})
	}
}

func (w *walk) keep(l listed) {
	at, _ := slices.BinarySearchFunc(w.kept, l, func(a, b listed) int { return w.way * TimeAsc.compare(a.Position, b.Position) })
	w.kept = slices.Insert(w.kept, at, l)
	w.kept = w.kept[:min(len(w.kept), w.want)]
}

// refs gives what was kept in the order of the conversation.
func (w *walk) refs() []Ref {
	out := make([]Ref, len(w.kept))
	for i, l := range w.kept {
		out[i] = l.Ref
	}
	if w.way < 0 {
		slices.Reverse(out)
	}
	return out
}

// gather fills in the eligible records of sessions, in the order of the conversation.
func (c *conversation) gather(sessions map[string][]Ref) {
	var in []filter.Scalar
	var any []*filter.Filter
	for name := range sessions {
		if name == "" {
			any = append(any, &filter.Filter{Cond: &filter.Condition{Field: filter.FieldSession, Op: filter.OpExists}})
		} else {
			in = append(in, filter.String(name))
		}
	}
	if in != nil {
		any = append(any, &filter.Filter{Cond: &filter.Condition{Field: filter.FieldSession, Op: filter.OpIn, Values: in}})
	}
	f := &filter.Filter{Any: any}
	f.Validate(filter.Limits{Nodes: len(any) + 1, Depth: 2, Values: len(in)}) // puts the names in order
	m := takeMasks()
	defer m.put()
	for i := range c.view.segments {
		s := &c.view.segments[i]
		mask := m.next(int(s.n+63) / 64)
		if c.eligible[i] == nil {
			s.liveInto(mask)
		} else {
			copy(mask, c.eligible[i])
		}
		if s.index != nil {
			f.Select(mask, s, int(s.n), s.index.Index)
		} else {
			f.Select(mask, s, int(s.n), nil)
		}
		each(mask, int(s.n), func(row uint32) {
			name := s.session(row)
			sessions[name] = append(sessions[name], Ref{uint32(i), row})
		})
	}
	compare := func(a, b Ref) int { return TimeAsc.compare(c.view.position(a), c.view.position(b)) }
	for _, refs := range sessions {
		if !slices.IsSortedFunc(refs, compare) {
			slices.SortFunc(refs, compare)
		}
	}
}
