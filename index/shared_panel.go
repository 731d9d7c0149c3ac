package index

import (
	"math"
	"slices"

	"engram/kernel"
)

// lanes are the queries of a pass that may be in the same panels: those of Search,
// or those of Attend with one scale for one head of the keys.
type lanes struct {
	attend  bool
	scale   float64
	head    int
	all     []lane // those of who leaves are filled with the last
	version int
}

// A lane is one query of a rider.
type lane struct {
	r *rider
	q int
}

// board gives a rider's queries lanes.
func (p *sharedPass) board(r *rider) {
	r.lanes, r.lane = r.lanes[:0], sized(r.lane, len(r.queries))
	heads := r.heads()
	for head := range heads {
		l := p.lanesFor(r, head)
		l.version++
		r.lanes = append(r.lanes, l)
		for q := head * len(r.queries) / heads; q < (head+1)*len(r.queries)/heads; q++ {
			r.lane[q] = len(l.all)
			l.all = append(l.all, lane{r, q})
		}
	}
}

// heads is how many heads of the keys a rider's queries are of: see lanesOf.
func (r *rider) heads() int {
	if r.attend == nil {
		return 1
	}
	return r.shape.heads()
}

// lanesFor are the lanes of a rider's queries of a head.
func (p *sharedPass) lanesFor(r *rider, head int) *lanes {
	l := lanes{attend: r.attend != nil, head: head}
	if l.attend {
		l.scale = r.attend.opt.Scale
	}
	i := slices.IndexFunc(p.lanes, func(x *lanes) bool {
		return x.attend == l.attend && x.scale == l.scale && x.head == l.head
	})
	if i < 0 {
		i = len(p.lanes)
		p.lanes = append(p.lanes, &l)
	}
	return p.lanes[i]
}

// leave takes a rider's queries out of the lanes, and moves the last ones there.
func (p *sharedPass) leave(r *rider) {
	for _, l := range r.lanes {
		l.version++
	}
	for q, i := range r.lane {
		l := r.lanes[q*len(r.lanes)/len(r.lane)]
		last := len(l.all) - 1
		moved := l.all[last]
		l.all[i] = moved
		moved.r.lane[moved.q] = i
		l.all[last] = lane{}
		l.all = l.all[:last]
	}
	p.lanes = slices.DeleteFunc(p.lanes, (*lanes).over)
}

// over says whether lanes are done with: those of Search come again.
func (l *lanes) over() bool { return len(l.all) == 0 && l.attend }

// packed is one worker's panels of lanes, which it packs again where they changed.
type packed struct {
	group   *lanes
	lanes   []lane // as of the claim
	version int
	active  int // lanes that score a whole block

	in      []packedLane
	panels  [][]float32
	inverse []float32
}

// A packedLane names a lane for good: no two riders of a pass have one ticket.
type packedLane struct {
	joined uint64
	q      int
}

// pack takes down the lanes as they are.
func (w *worker) pack(l *lanes) *packed {
	for _, pk := range w.packs {
		if pk.group == l {
			return pk
		}
	}
	of := &w.pass.packs[w.id]
	*of = slices.DeleteFunc(*of, func(pk *packed) bool { return pk.group.over() })
	i := slices.IndexFunc(*of, func(pk *packed) bool { return pk.group == l })
	if i < 0 {
		i = len(*of)
		*of = append(*of, &packed{group: l})
	}
	pk := (*of)[i]
	if pk.version != l.version {
		clear(pk.lanes)
		pk.lanes, pk.version = append(pk.lanes[:0], l.all...), l.version
	}
	w.packs = append(w.packs, pk)
	return pk
}

// pays says whether the active lanes are worth a panel on a segment.
func (pk *packed) pays(s *Segment) bool {
	switch {
	case pk.group.attend:
		return pk.active >= attendPanelQueries
	case s.codes != nil:
		return pk.active >= codeQueries
	}
	return pk.active >= panelQueries
}

// repack puts the riders' queries where other ones are in the panels. The riders of
// other lanes may have left since the claim: they are not looked at.
func (w *worker) repack(pk *packed) {
	d := w.segment.shape.Dim
	if pk.group.attend {
		d = w.segment.shape.HeadDim()
	}
	width := kernel.PanelWidth()
	for len(pk.panels)*width < len(pk.lanes) {
		pk.panels = append(pk.panels, make([]float32, kernel.PackedLen(d)))
		pk.in = append(pk.in, make([]packedLane, width)...)
		pk.inverse = append(pk.inverse, make([]float32, width)...)
	}
	for i, l := range pk.lanes {
		if w.at(l) == nil {
			continue
		}
		id := packedLane{l.r.joined, l.q}
		if pk.in[i] == id {
			continue
		}
		pk.in[i] = id
		panel := pk.panels[i/width]
		for k, x := range l.r.queries[l.q] {
			panel[k*width+i%width] = x
		}
		pk.inverse[i] = l.r.inverse()[l.q]
	}
}

// inverse are the inverse norms of a rider's queries.
func (r *rider) inverse() []float32 {
	if r.search != nil {
		return r.search.inverse
	}
	return r.attend.inverse
}

// at gives what a worker does for the rider of a lane, nil if that isn't to score the
// whole block.
func (w *worker) at(l lane) *slot {
	if sl := &l.r.slots[w.id]; sl.claim == w.claims && sl.dense {
		return sl
	}
	return nil
}

// panelScratch is what a worker needs for panels.
type panelScratch struct {
	keys   []float32 // decoded
	values []float32 // likewise
	scores []float32
	hits   []uint32
	limits []float32
	live   []bool // per panel: it has an active lane
	rows   [][]uint32
	sums   []*pass // per panel
}

// enliven finds the panels that have active lanes.
func (w *worker) enliven(pk *packed) {
	s := &w.panels
	s.live = sized(s.live, len(pk.panels))
	clear(s.live)
	for i, l := range pk.lanes {
		if w.at(l) != nil {
			s.live[i/kernel.PanelWidth()] = true
		}
	}
}

// score scores n rows from one on, whose keys are given, for panel i.
func (w *worker) score(pk *packed, i, from, n int, keys []float32) []float32 {
	width := kernel.PanelWidth()
	w.panels.scores = sized(w.panels.scores, n*width)
	scores := w.panels.scores
	panel, inverse := pk.panels[i], pk.inverse[i*width:(i+1)*width]
	if pk.group.attend {
		w.segment.panelHeadScores(scores, panel, inverse, keys, from, n, pk.group.head)
	} else {
		w.segment.panelScores(scores, panel, inverse, keys, from, n)
	}
	return scores
}

// nominate lets panels nominate rows of the claimed block for the active lanes of
// Search, and scores those that they nominate canonically: see search.panelBlock.
func (w *worker) nominate(pk *packed) {
	s, width := &w.panels, kernel.PanelWidth()
	longest := w.segment.longest()
	w.enliven(pk)
	s.limits = sized(s.limits, len(pk.panels)*width)
	for i := range s.limits {
		s.limits[i] = float32(math.Inf(1))
	}
	for i, l := range pk.lanes {
		if sl := w.at(l); sl != nil {
			c := l.r.search.scan(w.id)
			s.limits[i] = l.r.search.nominated(c.tops[l.q].threshold(), l.q, longest)
			c.scanned += int64(sl.eligible)
		}
	}
	atOnce := panelRows(w.segment.shape.Dim)
	s.hits = sized(s.hits, atOnce*width)
	s.rows = sized(s.rows, width)
	for from := w.from; from < w.to; from += atOnce {
		n := min(atOnce, w.to-from)
		keys := w.segment.keyBlock(&s.keys, from, from+n)
		touch(keys)
		for i := range pk.panels {
			if !s.live[i] {
				continue
			}
			first := i * width
			scores := w.score(pk, i, from, n, keys)
			hits := s.hits[:kernel.PanelSelect(s.hits, scores, s.limits[first:first+width], n)]
			if len(hits) == 0 {
				continue
			}
			for _, h := range hits {
				row, j := int(h)/width, int(h)%width
				if first+j >= len(pk.lanes) {
					continue
				}
				// A lane that isn't active has a limit that infinite scores reach.
				l := pk.lanes[first+j]
				if sl := w.at(l); sl != nil && from+row < sl.b.to && l.r.parts[sl.b.part].has(from+row) {
					s.rows[j] = append(s.rows[j], uint32(row))
				}
			}
			for j, at := range s.rows {
				if len(at) == 0 {
					continue
				}
				l := pk.lanes[first+j]
				c := l.r.search.scan(w.id)
				l.r.search.gather(c, l.q, block{l.r.slots[w.id].b.part, from, from + n}, at)
				s.limits[first+j] = l.r.search.nominated(c.tops[l.q].threshold(), l.q, longest)
				s.rows[j] = at[:0]
			}
		}
	}
}

// attend attends to the claimed block for the active lanes: see attend.panel. What a
// panel sums goes to the riders at the block's end, since who has which lane may
// change then.
func (w *worker) attend(pk *packed) {
	s, width, shape, head := &w.panels, kernel.PanelWidth(), w.segment.shape, pk.group.head
	d := shape.HeadValueDim()
	w.enliven(pk)
	for i := range pk.panels {
		if i == len(s.sums) {
			s.sums = append(s.sums, new(pass))
		}
		if s.live[i] {
			s.sums[i].reset(width, 0, d, 0)
		}
	}
	for from := w.from; from < w.to; from += attendRows {
		n := min(attendRows, w.to-from)
		keys := w.segment.keyBlock(&s.keys, from, from+n)
		values, stride := w.segment.valueBlock(&s.values, keys, from, from+n)
		if head == 0 { // then they are in the second-level cache for the others, too
			touch(keys)
			touch(values)
		}
		values = shape.fromHead(values, shape.ValueDim, head)
		for i := range pk.panels {
			if !s.live[i] {
				continue
			}
			scores := w.score(pk, i, from, n, keys)
			w.keepEligible(pk, i, from, n, scores)
			w.offerTop(pk, i, from, n, scores)
			sums := s.sums[i]
			sums.panelSoftmax(0, n, scores, pk.group.scale, d)
			kernel.PanelWeightedSum(sums.context, scores, values, stride, n, d, nil)
		}
	}
	for i, l := range pk.lanes {
		if sl := w.at(l); sl != nil {
			to := l.r.attend.pass(w.id)
			to.add(l.q, s.sums[i/width], i%width, d)
			if l.q == 0 {
				to.attended += uint64(sl.eligible)
			}
		}
	}
}

// keepEligible lets the rows that a lane doesn't have, or doesn't want, weigh nothing.
func (w *worker) keepEligible(pk *packed, i, from, n int, scores []float32) {
	width := kernel.PanelWidth()
	for j, l := range pk.lanes[i*width : min((i+1)*width, len(pk.lanes))] {
		sl := w.at(l)
		if sl == nil {
			continue
		}
		part := &l.r.parts[sl.b.part]
		if part.Mask == nil && from+n <= sl.b.to {
			continue
		}
		for row := range n {
			if from+row >= sl.b.to || !part.has(from+row) {
				scores[row*width+j] = float32(math.Inf(-1))
			}
		}
	}
}

// offerTop offers a panel's scores to the heaviest rows so far.
func (w *worker) offerTop(pk *packed, i, from, n int, scores []float32) {
	s, width := &w.panels, kernel.PanelWidth()
	s.limits = sized(s.limits, width)
	wanted := false
	for j := range width {
		s.limits[j] = float32(math.Inf(1))
		if at := i*width + j; at < len(pk.lanes) {
			if l := pk.lanes[at]; w.at(l) != nil && l.r.attend.opt.TopWeights > 0 {
				s.limits[j], wanted = l.r.attend.pass(w.id).tops[l.q].threshold(), true
			}
		}
	}
	if !wanted {
		return
	}
	s.hits = sized(s.hits, n*width)
	for _, h := range s.hits[:kernel.PanelSelect(s.hits, scores, s.limits[:width], n)] {
		row, at := from+int(h)/width, i*width+int(h)%width
		if at >= len(pk.lanes) {
			continue
		}
		l := pk.lanes[at]
		sl := w.at(l)
		if sl == nil || row >= sl.b.to || !l.r.parts[sl.b.part].has(row) {
			continue
		}
		if t := &l.r.attend.pass(w.id).tops[l.q]; scores[h] >= t.threshold() {
			t.offer(l.r.parts, Hit{sl.b.part, uint32(row), scores[h]})
		}
	}
}
