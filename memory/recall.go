package memory

import (
	"cmp"
	"context"
	"slices"

	"engram/index"
	"engram/memory/prompt"
)

// RecallOptions say which records may go into a prompt.
type RecallOptions struct {
	Last          int             // so many last ones that match, in the order of the conversation
	Hits          RetrieveOptions // the best; K 0: none. Its filter goes for all.
	Before, After int             // so many neighbours of each hit
}

// A Remembered is a record that may go into a prompt: turn i of Recollection.Turns is
// record i.
type Remembered struct {
	View int
	Ref  Ref
	Hit  *Hit // nil: it is none
}

// A Recollection is what may go into a prompt.
type Recollection struct {
	Records []Remembered
	Turns   prompt.Turns
}

// Recall gathers what may go into a prompt about a query: the last records, the best, and
// the neighbours of these. A query is nil if no hits are wanted.
func (db *DB) Recall(ctx context.Context, views []*View, query *Query, opt RecallOptions) (*Recollection, index.Stats, error) {
	g := gathering{views: views, turns: make(map[place]int)}
	for _, at := range lastOf(views, opt.Last, opt.Hits) {
		g.out.Turns.Last = append(g.out.Turns.Last, g.turn(at))
	}
	var stats index.Stats
	if opt.Hits.K > 0 {
		found, st, err := db.Retrieve(ctx, views, []Query{*query}, opt.Hits)
		if err != nil {
			return nil, st, err
		}
		stats = st
		for i := range found[0] {
			h := &found[0][i]
			turn := g.turn(place{h.View, h.Ref})
			g.out.Records[turn].Hit = h
			g.out.Turns.All[turn].Hit, g.out.Turns.All[turn].Score = true, h.Score
			g.out.Turns.Hits = append(g.out.Turns.Hits, prompt.Hit{Turn: turn})
		}
	}
	if opt.Before > 0 || opt.After > 0 {
		g.neighbours(opt)
	}
	if err := ctx.Err(); err != nil {
		return nil, stats, err
	}
	g.join(opt.Hits)
	return &g.out, stats, ctx.Err()
}

// A place is a record in one of several views.
type place struct {
	view int
	ref  Ref
}

// A gathering numbers the records that may go into a prompt.
type gathering struct {
	views []*View
	turns map[place]int
	out   Recollection
}

// turn gives a record's number.
func (g *gathering) turn(at place) int {
	n, known := g.turns[at]
	if !known {
		n = len(g.out.Records)
		g.turns[at] = n
		g.out.Records = append(g.out.Records, Remembered{View: at.view, Ref: at.ref})
		s := &g.views[at.view].segments[at.ref.segment]
		g.out.Turns.All = append(g.out.Turns.All, prompt.Turn{Next: -1, Empty: s.alias(at.ref.row, IncludeText).Text == ""})
	}
	return n
}

// lastOf gives the last n records of all views in the order of the conversation, newest first.
func lastOf(views []*View, n int, opt RetrieveOptions) []place {
	var out []place
	for v, view := range views {
		refs, _ := view.ListRefs(ListOptions{Filter: opt.Filter, Order: TimeDesc, N: n})
		for _, ref := range refs {
			out = append(out, place{v, ref})
		}
	}
	slices.SortFunc(out, func(a, b place) int { return -conversationOrder(views, a, b) })
	return out[:min(n, len(out))]
}

func conversationOrder(views []*View, a, b place) int {
	return cmp.Or(TimeAsc.compare(views[a.view].position(a.ref), views[b.view].position(b.ref)), cmp.Compare(a.view, b.view))
}

// each gives the refs of the records of each view with their numbers.
func (g *gathering) each(of []int, yield func(view int, refs []Ref, turns []int)) {
	refs, turns := make([][]Ref, len(g.views)), make([][]int, len(g.views))
	for _, t := range of {
		r := &g.out.Records[t]
		refs[r.View], turns[r.View] = append(refs[r.View], r.Ref), append(turns[r.View], t)
	}
	for v := range g.views {
		if len(refs[v]) > 0 {
			yield(v, refs[v], turns[v])
		}
	}
}

// neighbours gives the hits theirs.
func (g *gathering) neighbours(opt RecallOptions) {
	hits := make([]int, len(g.out.Turns.Hits))
	at := make(map[int]*prompt.Hit, len(hits))
	for i := range hits {
		h := &g.out.Turns.Hits[i]
		hits[i], at[h.Turn] = h.Turn, h
	}
	g.each(hits, func(view int, refs []Ref, turns []int) {
		for i, beside := range g.views[view].Neighbours(refs, opt.Before, opt.After, opt.Hits.Filter) {
			h := at[turns[i]]
			for _, ref := range slices.Backward(beside.Before) {
				h.Before = append(h.Before, g.turn(place{view, ref}))
			}
			for _, ref := range beside.After {
				h.After = append(h.After, g.turn(place{view, ref}))
			}
		}
	})
}

// join says of each turn where it stands, and which one follows it.
func (g *gathering) join(opt RetrieveOptions) {
	all := make([]int, len(g.out.Records))
	for i := range all {
		all[i] = i
	}
	g.each(all, func(view int, refs []Ref, turns []int) {
		for i, beside := range g.views[view].Neighbours(refs, 0, 1, opt.Filter) {
			if len(beside.After) == 0 {
				continue
			}
			if next, ok := g.turns[place{view, beside.After[0]}]; ok {
				g.out.Turns.All[turns[i]].Next = next
			}
		}
	})
	slices.SortFunc(all, func(a, b int) int {
		ra, rb := &g.out.Records[a], &g.out.Records[b]
		return conversationOrder(g.views, place{ra.View, ra.Ref}, place{rb.View, rb.Ref})
	})
	for i, turn := range all {
		g.out.Turns.All[turn].Place = i
	}
}
