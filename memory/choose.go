package memory

import (
	"context"
	"slices"

	"engram/index"
	"engram/memory/filter"
)

// A Grouping has the answer's records put together by what they have in common.
//
// A group is of the records for which By is the same, whatever their namespace; but a session
// is of its namespace. A record that lacks it is a group of its own. Groups rank by their
// best record, K of them are given, and of each the Hits best records.
type Grouping struct {
	By   filter.Operand // validated
	Hits int            // at least 1
}

// groupBytes is about what grouping takes for each row of its views, where it must
// look at them all: a score, and hits twice. neighbourBytes is likewise of neighbours, where
// sessions must be looked up.
const (
	groupBytes     = 64
	neighbourBytes = 16
)

// ChoiceBytes is about what the options' Group, Diversity and neighbours take at most while
// a Retrieve lasts, beside the answer.
func (o *RetrieveOptions) ChoiceBytes(views []*View) (n int64) {
	for _, v := range views {
		if o.Group != nil {
			n += groupBytes * int64(v.Rows())
		}
		if o.Before+o.After > 0 {
			n += neighbourBytes * int64(v.Rows())
		}
	}
	if o.Diversity != nil && len(views) > 0 {
		n += int64(o.Diversity.Candidates) * int64(4*views[0].settings.Value().dim+64)
	}
	return n
}

// candidates is how many groups, or records, are candidates for the answer.
func (o *RetrieveOptions) candidates() int {
	if o.Diversity != nil {
		return max(o.K, o.Diversity.Candidates)
	}
	return o.K
}

// depth is how many of the best records are looked at first.
func (o *RetrieveOptions) depth() int {
	if o.Group != nil {
		return max(64, 4*o.candidates()*o.Group.Hits)
	}
	return o.candidates()
}

// A best gives the best rows for a query, best first, as many as depth if there are; all is
// true if there are no more.
type best func(depth int) (hits []index.Hit, all bool, err error)

// A note is what a choice made of a hit.
type note struct {
	group     int     // from 0; with a Grouping
	diversity float32 // Hit.Diversity
}

// A chooser makes answers of rankings, as Group and Diversity say. It is of use for one
// query after the other.
type chooser struct {
	r      *reading
	opt    *RetrieveOptions
	shape  index.Shape
	fields filter.Fields
	value  []byte
	keys   []float32 // of the candidates
}

// choose gives the answer to a query. Notes are one for each hit, or nil.
func (c *chooser) choose(ctx context.Context, best best) ([]index.Hit, []note, error) {
	if c.opt.Group == nil && c.opt.Diversity == nil {
		hits, _, err := best(c.opt.K)
		return hits, nil, err
	}
	groups, err := c.groups(ctx, best)
	if err != nil {
		return nil, nil, err
	}
	if len(groups) == 0 {
		return nil, nil, ctx.Err()
	}
	heads := make([]index.Hit, len(groups))
	for i := range groups {
		heads[i] = groups[i][0]
	}
	order := make([]pick, min(c.opt.K, len(groups)))
	if c.opt.Diversity != nil {
		if order, err = c.diversify(ctx, heads); err != nil {
			return nil, nil, err
		}
	} else {
		for i := range order {
			order[i].at = i
		}
	}
	var hits []index.Hit
	var notes []note
	for i, p := range order {
		hits = append(hits, groups[p.at]...)
		notes = append(notes, slices.Repeat([]note{{i, p.diversity}}, len(groups[p.at]))...)
	}
	return hits, notes, ctx.Err()
}

// groups gives the candidates: the best groups, best first. It looks deeper and deeper into
// the ranking until they are filled, or everything is ranked.
func (c *chooser) groups(ctx context.Context, best best) ([][]index.Hit, error) {
	for depth := c.opt.depth(); ; depth *= 4 {
		hits, all, err := best(depth)
		if err != nil {
			return nil, err
		}
		if c.opt.Group == nil {
			out := make([][]index.Hit, len(hits))
			for i := range hits {
				out[i] = hits[i : i+1]
			}
			return out, nil
		}
		groups, filled := c.fill(hits)
		if filled || all {
			return groups, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// fill puts the best hits, in order, into groups. They are filled if no further hit has
// room.
func (c *chooser) fill(hits []index.Hit) (groups [][]index.Hit, filled bool) {
	want, each := c.opt.candidates(), c.opt.Group.Hits
	room := want * each
	named := make(map[string]int)
	for _, h := range hits {
		at, known := -1, false
		grouped := c.valueOf(h)
		if grouped {
			at, known = named[string(c.value)]
		}
		switch {
		case known && len(groups[at]) < each:
			groups[at] = append(groups[at], h)
			room--
		case !known && len(groups) < want:
			if grouped {
				named[string(c.value)] = len(groups)
				room--
			} else { // no other has a place beside it
				room -= each
			}
			groups = append(groups, []index.Hit{h})
		}
		if room == 0 {
			return groups, true
		}
	}
	return groups, false
}

// valueOf puts into value what a hit's group is told by; false if it has none.
func (c *chooser) valueOf(h index.Hit) (ok bool) {
	at := c.r.at[h.Part]
	at.segment.Fields(h.Row, &c.fields)
	c.value = c.value[:0]
	if c.opt.Group.By.Field == filter.FieldSession {
		c.value = append(c.value, byte(at.view), byte(at.view>>8))
	}
	c.value, ok = c.opt.Group.By.AppendValue(c.value, &c.fields)
	return ok
}

// bestOf gives the best rows by a score for each row of the parts, that of row r of part p
// at base[p]+r; those below the floor, and those that keep doesn't let through, are none.
func bestOf(ctx context.Context, parts []index.Part, base []int, scores []float32, depth int, floor float32, keep func(part int, row uint32) bool) ([]index.Hit, bool, error) {
	top := index.NewTop(parts, depth, floor)
	for p := range parts {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		offer(top, parts, p, scores[base[p]:base[p]+parts[p].Rows], keep)
	}
	hits := top.Best()
	return hits, len(hits) < depth, nil
}

// A deepening is a ranking by similarity alone: what a search found, and where that
// isn't deep enough all rows, which are then scored.
type deepening struct {
	r      *reading
	search *index.SearchOptions
	query  []float32
	found  []index.Hit
	part   int // of the row that is left out, −1: none
	row    uint32
	stats  *index.Stats

	base   []int
	scores []float32
}

func (d *deepening) keep(part int, row uint32) bool { return part != d.part || row != d.row }

func (d *deepening) best(ctx context.Context, shape index.Shape, depth int) ([]index.Hit, bool, error) {
	if depth <= d.search.K {
		hits := slices.DeleteFunc(d.found, func(h index.Hit) bool { return !d.keep(h.Part, h.Row) })
		all := len(d.found) < d.search.K && d.stats.ListsProbed == 0
		return hits[:min(depth, len(hits))], all, nil
	}
	if d.scores == nil {
		rows := 0
		for i := range d.r.parts {
			d.base = append(d.base, rows)
			rows += d.r.parts[i].Rows
		}
		d.scores = make([]float32, rows)
		stats, err := index.Scores(ctx, shape, d.r.parts, d.query, d.base, d.scores, d.search.Workers)
		if err != nil {
			return nil, false, err
		}
		d.stats.Add(stats)
	}
	return bestOf(ctx, d.r.parts, d.base, d.scores, depth, d.search.MinScore, d.keep)
}

func (r *reading) chooser(views []*View, opt *RetrieveOptions) *chooser {
	return &chooser{r: r, opt: opt, shape: views[0].settings.Value().shape()}
}

// addNeighbours finds the neighbours of hits among the eligible rows.
func (r *reading) addNeighbours(views []*View, hits [][]Hit, before, after int) {
	part := 0
	for i, v := range views {
		eligible := make([][]uint64, len(v.segments))
		for s := range eligible {
			eligible[s] = r.parts[part+s].Mask
		}
		part += len(v.segments)
		var refs []Ref
		var of []*Hit
		for q := range hits {
			for j := range hits[q] {
				if h := &hits[q][j]; h.View == i {
					refs, of = append(refs, h.Ref), append(of, h)
				}
			}
		}
		found := v.neighbours(refs, before, after, eligible)
		for j := range found {
			of[j].Neighbours = &found[j]
		}
	}
}
