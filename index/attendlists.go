package index

import (
	"context"
	"math"
	"slices"
	"sync"

	"engram/kernel"
)

// Attend with MaxError reads the lists of indexes in the order of what their rows may weigh at
// most (listMost), until those that are left can't matter any more: with the sum S of the
// exponentials read and at most R of those left, the context is within 2R/(S+R)·max‖v‖ of the
// whole one. The idea of bounding what is left of a scan by the best that may come is that of
// the threshold algorithm (Fagin, Lotem & Naor, Optimal aggregation algorithms, 2003), and of
// bounding clusters by centroid and radius that of ball trees (Omohundro 1989; Ram & Gray,
// Maximum inner-product search using cone trees, 2012); for softmax see Mussmann & Ermon,
// Learning and Inference via Maximum Inner Product Search, 2016.
//
// In the lists that are read, codes tell of most rows that they can't matter (rowQuery), and
// those aren't read either: half of R is theirs.
//
// Whether that pays is guessed before anything is read, from the centroids alone, and again
// when a sample of the lists was; where it doesn't, the ordinary pass does it all.

// Costs in nanoseconds of one processor, as those of searches; only their ratios count.
const (
	costByte     = 0.04  // of a pass, for each byte that it reads, whatever the queries are
	costMultiply = 0.012 // and for each component and query
	costFind     = 3.0   // to see whether a row of a list is eligible
	costApart    = 40.0  // to read a key, or a value, by itself, besides its components
	costBegin    = 700.0 // to begin a list
)

// A listed is one call of Attend by lists.
type listed struct {
	shape   Shape
	parts   []Part
	lanes   [][]float32
	opt     AttendOptions
	views   []*ivfView
	tail    []Part  // rows that no index has
	beyond  int     // how many
	rows    float64 // of indexes, the dead among them, and beyond
	workers int
	values  bool    // aren't the keys
	share   float64 // sparing.rows

	pass, tailCost float64 // of an ordinary pass for all lanes together, of the tail for one
}

// attendLists is Attend, of keys of one head, by lists where that pays.
func attendLists(ctx context.Context, shape Shape, parts []Part, lanes [][]float32, opt AttendOptions) ([]Attention, Stats, error) {
	l := newListed(shape, parts, lanes, opt)
	plans := make([]*listPlan, len(lanes))
	err := parallel(ctx, len(lanes), l.workers, func() func(int) {
		return func(i int) { plans[i] = l.plan(lanes[i]) }
	})
	if err != nil {
		return nil, Stats{}, err
	}
	chosen := l.choose(plans)
	out := make([]Attention, len(lanes))
	var stats Stats
	var mu sync.Mutex
	inner := max(1, l.workers/max(1, len(chosen)))
	done := make([]bool, len(lanes))
	err = parallel(ctx, len(chosen), l.workers, func() func(int) {
		return func(i int) {
			at := chosen[i]
			a, st, ok := l.attend(ctx, at, plans[at], inner)
			out[at], done[at] = a, ok
			mu.Lock()
			stats.Add(st)
			mu.Unlock()
		}
	})
	if err != nil {
		return nil, Stats{}, err
	}
	var rest []int
	for i := range lanes {
		if !done[i] {
			rest = append(rest, i)
		}
	}
	if len(rest) > 0 {
		sub, queries := l.some(rest)
		got, st, err := Attend(ctx, shape, parts, queries, sub)
		if err != nil {
			return nil, Stats{}, err
		}
		stats.Add(st)
		for i, at := range rest {
			out[at] = got[i]
		}
	}
	// Of the heads of a query the mean, rounded up.
	h := int64(opt.QueryHeads)
	stats.RowsScanned, stats.Rescored = (stats.RowsScanned+h-1)/h, (stats.Rescored+h-1)/h
	return out, stats, nil
}

func newListed(shape Shape, parts []Part, lanes [][]float32, opt AttendOptions) *listed {
	l := &listed{shape: shape, parts: parts, lanes: lanes, opt: opt, workers: workersOr(opt.Workers)}
	_, l.share = shares(opt.MaxError)
	covered := make([]int, len(parts))
	for _, x := range opt.Indexes {
		v := x.view(parts)
		l.views = append(l.views, v)
		for i, n := range v.covered {
			covered[i] = max(covered[i], n)
		}
	}
	l.tail = tailParts(parts, covered)
	rows, eligible, bytes := 0, 0, 0.0
	for i := range parts {
		p := &parts[i]
		n := p.eligible(0, p.Rows)
		rows, eligible = rows+p.Rows, eligible+n
		bytes += float64(p.Rows) * float64(p.Segment.rowBytes(true))
		l.beyond += p.eligibleFrom(covered[i])
		l.values = l.values || p.Segment.HasValues()
	}
	l.rows = float64(l.beyond)
	for _, v := range l.views {
		l.rows += float64(v.rows)
	}
	multiplies := float64(shape.Dim+shape.ValueDim) * costMultiply
	l.pass = bytes*costByte + float64(rows)*float64(len(lanes))*multiplies
	l.tailCost = float64(l.beyond) * (bytes/float64(max(1, rows))*costByte + multiplies)
	l.pass = min(l.pass, float64(eligible)*float64(len(lanes))*l.perRow())
	return l
}

// perKey is what it costs to score a row by itself, perRow to add its value, too.
func (l *listed) perKey() float64 { return costApart + costPer*float64(l.shape.Dim) }

func (l *listed) perRow() float64 {
	cost := l.perKey() + costPer*float64(l.shape.ValueDim)
	if l.values {
		cost += costApart
	}
	return cost
}

// some are the options and queries of some lanes alone, without indexes.
func (l *listed) some(lanes []int) (AttendOptions, [][]float32) {
	opt := l.opt
	opt.QueryHeads, opt.Indexes = 1, nil
	queries := make([][]float32, len(lanes))
	if l.opt.Bias != nil {
		opt.Bias = &Bias{Lowers: l.opt.Bias.Lowers, each: make([]standing, len(lanes))}
	}
	all := attend{shape: l.shape, queries: l.lanes, opt: l.opt}
	for i, at := range lanes {
		queries[i] = l.lanes[at]
		if opt.Bias != nil {
			opt.Bias.each[i] = all.standing(at)
		}
	}
	return opt, queries
}

// choose gives the lanes that read lists: all, if that is well below the cost of a pass; else
// those that save by it though there is a pass for others.
func (l *listed) choose(plans []*listPlan) (chosen []int) {
	worth := 0.5
	if l.opt.always {
		worth = math.Inf(1)
	}
	n, total := float64(len(plans)), 0.0
	for _, p := range plans {
		total += p.cost
	}
	rows := 0
	for i := range l.parts {
		rows += l.parts[i].Rows
	}
	each := float64(rows) * float64(l.shape.Dim+l.shape.ValueDim) * costMultiply
	for i, p := range plans {
		if total < worth*l.pass || p.cost < worth*min(each, l.pass/n) {
			chosen = append(chosen, i)
		}
	}
	return chosen
}

// A listBound is a list, in the order of what its rows may weigh.
type listBound struct {
	view, list uint32
	score      float32 // of its centroid
	n, log     float64 // rows, and the logarithm of how many
	most       float64 // of its rows' logits
	likely     float64 // the logarithm of what its exponentials probably sum to
	rest       float64 // Σ exp(logit − most) at most, of its rows and of those of all lists after it
	before     float64 // the cost of all lists before it
}

// A listPlan is in which order a lane reads lists.
type listPlan struct {
	lists []listBound // the first of them, as far as reading them may pay
	whole bool        // they are all
	cost  float64     // that is expected, of what is needed
}

// planScratch is what making a plan needs.
type planScratch struct {
	lists  []listBound
	sorted []listBound
	scores []float32
}

var planScratches = sync.Pool{New: func() any { return new(planScratch) }}

// cost is that of reading a list: of all its rows where their mean's logit is above least, below
// which single rows may be left out, else at best of their codes.
func (l *listed) cost(b *listBound, least float64) float64 {
	v := l.views[b.view]
	row := l.perCode(v)
	if b.likely > least+b.log {
		row = costFind + v.share*l.perRow()
	}
	return costBegin + b.n*row
}

// perCode is what it costs to judge a row by its code.
func (l *listed) perCode(v *ivfView) float64 {
	return costRow + costGroup*float64(v.coder.groups)
}

// need is how many lists must be read where a softmax has the greatest logit most and the sum
// of exponentials to that, so that the sum of the rest is at most allowed; one more than there
// are in the plan if those aren't enough.
func need(lists []listBound, whole bool, most, allowed float64) int {
	i, _ := slices.BinarySearchFunc(lists, allowed, func(b listBound, allowed float64) int {
		if b.rest*math.Exp(b.most-most) <= allowed {
			return 1
		}
		return -1
	})
	if i == len(lists) && !whole {
		i++
	}
	return i
}

// score sets s.scores to those of all centroids for a query, and gives by how much the logit of
// the greatest is above the mean. Where that is below −ln MaxError, lists with half of the rows
// may have more than a share of MaxError: it is a quick test for what is plainly diffuse.
func (l *listed) score(s *planScratch, unit []float32) float64 {
	n := 0
	for _, v := range l.views {
		n += v.centroids.k
	}
	s.scores = sized(s.scores, n)
	at, sum := 0, 0.0
	for _, v := range l.views {
		to := at + v.centroids.k
		v.scoreCentroids(s.scores[at:to], unit)
		at = to
	}
	for _, x := range s.scores {
		sum += float64(x)
	}
	return l.opt.Scale * (float64(kernel.Max(s.scores)) - sum/float64(n))
}

// plan orders the lists for a lane, and guesses how many it has to read: the exponentials of a
// list's rows have at least the mean of that of their mean (Jensen), which the centroid is or
// was.
func (l *listed) plan(lane []float32) *listPlan {
	s := planScratches.Get().(*planScratch)
	defer planScratches.Put(s)
	s.lists = s.lists[:0]
	q := newListQuery(l.shape, lane)
	if l.score(s, q.unit) < -math.Log(l.opt.MaxError) && !l.opt.always {
		return &listPlan{cost: math.Inf(1)}
	}
	peak := math.Inf(-1)
	scores := s.scores
	for v, view := range l.views {
		share := math.Log(view.share)
		for i, e := range view.measure() {
			if e.n == 0 {
				continue
			}
			most, mean := q.most(view.trained, i, scores[i], e.radius)
			most, mean = l.opt.Scale*most, l.opt.Scale*mean+e.log+share
			if math.IsNaN(most) {
				most = math.Inf(1)
			}
			peak = max(peak, mean)
			n := float64(e.n)
			s.lists = append(s.lists, listBound{view: uint32(v), list: uint32(i), score: scores[i], n: n, log: e.log, most: most, likely: mean, rest: n})
		}
		scores = scores[view.centroids.k:]
	}
	sum := 0.0
	for i := range s.lists {
		if x := s.lists[i].likely - peak; x > -40 {
			sum += math.Exp(x)
		}
	}
	// Lists that may weigh too much by themselves must be read in any case.
	cost, least := l.tailCost, peak+math.Log(sum*l.share)
	row := least - math.Log(2*l.rows)
	for i := range s.lists {
		if b := &s.lists[i]; b.most+b.log > least {
			cost += l.cost(b, row)
		}
	}
	if cost > l.pass && !l.opt.always {
		return &listPlan{cost: cost}
	}
	s.sort()
	cost = l.tailCost
	for i := range s.sorted {
		b := &s.sorted[i]
		b.before = cost
		cost += l.cost(b, row)
	}
	for i := len(s.sorted) - 2; i >= 0; i-- {
		b, after := &s.sorted[i], &s.sorted[i+1]
		if f := math.Exp(after.most - b.most); !math.IsNaN(f) {
			b.rest += after.rest * f
		} else {
			b.rest += after.rest
		}
	}
	p := &listPlan{cost: cost}
	n := need(s.sorted, true, peak, sum*l.share)
	if n < len(s.sorted) {
		p.cost = s.sorted[n].before
	}
	if p.cost > l.pass && !l.opt.always {
		return p
	}
	// A few more than are needed, for it is a guess; what is left costs too much.
	keep := min(len(s.sorted), 2*n+8)
	if l.opt.always {
		keep = len(s.sorted)
	}
	p.lists, p.whole = slices.Clone(s.sorted[:keep]), keep == len(s.sorted)
	return p
}

// sort sets s.sorted to the lists, those first whose rows may weigh most. That is a guess of what
// is best read first, so they are told apart by as many steps as there are lists or so.
func (s *planScratch) sort() {
	most, least := math.Inf(-1), math.Inf(1)
	for i := range s.lists {
		if m := s.lists[i].most; !math.IsInf(m, 0) {
			most, least = max(most, m), min(least, m)
		}
	}
	const steps = 1 << 10
	step := func(b *listBound) int {
		if x := (most - b.most) / (most - least) * (steps - 1); x > 0 {
			return int(min(x, steps-1))
		}
		return 0
	}
	var ends [steps]int // of each step, first how many lists it has, then where the next goes
	for i := range s.lists {
		ends[step(&s.lists[i])]++
	}
	at := 0
	for i, n := range ends {
		ends[i], at = at, at+n
	}
	s.sorted = sized(s.sorted, len(s.lists))
	for i := range s.lists {
		to := &ends[step(&s.lists[i])]
		s.sorted[*to] = s.lists[i]
		*to++
	}
}
