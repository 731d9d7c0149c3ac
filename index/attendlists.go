package index

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"

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
// Whether that pays is guessed before anything is read, from the centroids alone; where it
// doesn't, the ordinary pass does it all.

// Costs in nanoseconds of one processor, as those of searches; only their ratios count.
const (
	costByte     = 0.04  // of a pass, for each byte that it reads, whatever the queries are
	costMultiply = 0.012 // and for each component and query
	costFind     = 3.0   // to see whether a row of a list is eligible
)

// A listed is one call of Attend by lists.
type listed struct {
	shape   Shape
	parts   []Part
	lanes   [][]float32
	opt     AttendOptions
	views   []*ivfView
	tail    []Part // rows that no index has
	beyond  int    // how many
	workers int
	share   float64 // sparing.rows
	scratch sync.Pool

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
	l.scratch.New = func() any { return new(planScratch) }
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
	}
	multiplies := float64(shape.Dim+shape.ValueDim) * costMultiply
	l.pass = bytes*costByte + float64(rows)*float64(len(lanes))*multiplies
	l.tailCost = float64(l.beyond) * (bytes/float64(max(1, rows))*costByte + multiplies)
	l.pass = min(l.pass, float64(eligible)*float64(len(lanes))*l.perRow())
	return l
}

// perRow is what it costs to read a row by itself.
func (l *listed) perRow() float64 {
	return 2*costGather + costPer*float64(l.shape.Dim+l.shape.ValueDim)
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
	most       float64 // of its rows' logits
	rest       float64 // Σ exp(logit − most) at most, of its rows and of those of all lists after it
	before     float64 // the cost of all lists before it
}

// A listPlan is in which order a lane reads lists.
type listPlan struct {
	lists []listBound // the first of them, as far as reading them may pay
	whole bool        // they are all
	cost  float64     // that is expected, of what is needed
}

type planScratch struct {
	lists  []listBound
	likely []float64 // of each list, the logarithm of what its exponentials probably sum to
	alone  []float64 // and of what they do at most
	scores []float32
}

// cost is that of reading a list, of which rest is the number of rows.
func (l *listed) cost(b *listBound) float64 {
	return costList + b.rest*(costFind+l.views[b.view].share*l.perRow())
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
	s := l.scratch.Get().(*planScratch)
	defer l.scratch.Put(s)
	s.lists, s.likely, s.alone = s.lists[:0], s.likely[:0], s.alone[:0]
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
			s.alone = append(s.alone, most+e.log)
			s.lists = append(s.lists, listBound{view: uint32(v), list: uint32(i), most: most, rest: float64(e.n)})
			s.likely = append(s.likely, mean)
		}
		scores = scores[view.centroids.k:]
	}
	sum := 0.0
	for _, x := range s.likely {
		if x > peak-40 {
			sum += math.Exp(x - peak)
		}
	}
	// Lists that may weigh too much by themselves must be read in any case.
	cost := l.tailCost
	least := peak + math.Log(sum*l.share)
	for i, x := range s.alone {
		if x > least {
			cost += l.cost(&s.lists[i])
		}
	}
	if cost > l.pass && !l.opt.always {
		return &listPlan{cost: cost}
	}
	slices.SortFunc(s.lists, func(a, b listBound) int {
		switch {
		case a.most > b.most:
			return -1
		case a.most < b.most:
			return 1
		}
		return cmp.Or(cmp.Compare(a.view, b.view), cmp.Compare(a.list, b.list))
	})
	cost = l.tailCost
	for i := range s.lists {
		b := &s.lists[i]
		b.before = cost
		cost += l.cost(b)
	}
	for i := len(s.lists) - 2; i >= 0; i-- {
		b, after := &s.lists[i], &s.lists[i+1]
		if f := math.Exp(after.most - b.most); !math.IsNaN(f) {
			b.rest += after.rest * f
		} else {
			b.rest += after.rest
		}
	}
	p := &listPlan{cost: cost}
	n := need(s.lists, true, peak, sum*l.share)
	if n < len(s.lists) {
		p.cost = s.lists[n].before
	}
	if p.cost > l.pass && !l.opt.always {
		return p
	}
	// A few more than are needed, for it is a guess; what is left costs too much.
	keep := min(len(s.lists), 2*n+8)
	if l.opt.always {
		keep = len(s.lists)
	}
	p.lists, p.whole = slices.Clone(s.lists[:keep]), keep == len(s.lists)
	return p
}

// together is the greatest logit of all passes of a lane, and to that the sums of exponentials
// read and left out.
func (a *attend) together(lane int) (most, sum, left float64) {
	most = math.Inf(-1)
	for _, p := range a.passes {
		most = max(most, p.max[lane])
	}
	for _, p := range a.passes {
		if p.sum[lane] > 0 {
			f := math.Exp(p.max[lane] - most)
			sum, left = sum+f*p.sum[lane], left+f*p.left[lane]
		}
	}
	return most, sum, left
}

// attend attends for one lane as planned; it is false if that becomes dearer than a pass.
func (l *listed) attend(ctx context.Context, at int, plan *listPlan, workers int) (Attention, Stats, bool) {
	const worker = 50e3 // what is worth another one
	n := max(1, min(workers, 1+int(plan.cost/worker)))
	opt, queries := l.some([]int{at})
	a := newAttend(l.shape, l.parts, queries, opt, n)
	defer a.release()
	for w := range n {
		a.pass(w)
	}
	if l.beyond > 0 {
		a.parts = l.tail
		stride := pad(l.shape.Dim) + pad(l.shape.ValueDim)
		if walk(ctx, l.tail, min(blockRows(stride), attendRows), stride, n, a.block) != nil {
			return Attention{}, Stats{}, false
		}
		a.parts = l.parts
	}
	var lists int
	for lists = 0; ctx.Err() == nil; {
		most, sum, left := a.together(0)
		needed := need(plan.lists, plan.whole, most, sum*a.sparing.rows-left)
		if needed <= lists {
			break
		}
		if needed > len(plan.lists) && sum > 0 && lists > 0 {
			break // it was guessed wrong
		}
		to := l.wave(plan, lists, min(needed, len(plan.lists)))
		if to == lists {
			break
		}
		l.read(ctx, a, plan.lists[lists:to])
		lists = to
	}
	stats := Stats{ListsProbed: int64(lists)}
	for _, p := range a.passes {
		stats.RowsScanned += int64(p.attended)
		stats.Rescored += p.rescored
	}
	most, sum, left := a.together(0)
	enough := ctx.Err() == nil && need(plan.lists, plan.whole, most, sum*a.sparing.rows-left) <= lists && sum > 0
	if enough && lists < len(plan.lists) {
		p := a.passes[0]
		p.raise(0, most, l.shape.ValueDim)
		b := &plan.lists[lists]
		p.left[0] += b.rest * math.Exp(b.most-most)
	}
	if !enough {
		return Attention{}, stats, false
	}
	return a.result(0), stats, true
}

// wave is how far to read before what is needed is looked at again: a small part at first,
// for it was a guess, then half of it, and the last few at once.
func (l *listed) wave(plan *listPlan, from, needed int) int {
	const few = 4096
	switch left := needed - from; {
	case from == 0:
		return from + (left+7)/8
	case plan.lists[needed-1].before-plan.lists[from].before < few*l.perRow():
		return needed
	default:
		return from + (left+1)/2
	}
}

// read attends to the rows of lists.
func (l *listed) read(ctx context.Context, a *attend, lists []listBound) {
	var next atomic.Int32
	_ = parallel(ctx, len(lists), len(a.passes), func() func(int) {
		p := a.passes[next.Add(1)-1]
		return func(i int) { a.readList(p, l.views[lists[i].view], lists[i].list) }
	}) // the caller looks at ctx
}

// atOnce is how many rows of lists are asked for before the first of them is scored: they come
// from memory meanwhile, and stay in the second-level cache.
const atOnce = 64

// readList attends to the eligible rows of a list, for the only lane.
func (a *attend) readList(p *pass, v *ivfView, list uint32) {
	last := -1
	p.at = p.at[:0]
	flush := func() {
		if len(p.at) == 0 {
			return
		}
		b := block{last, 0, a.parts[last].Rows}
		p.attended += uint64(len(p.at))
		if a.opt.Bias != nil {
			p.biased.readAt(&a.parts[last], b, p.at)
		}
		a.gather(p, 0, b)
		p.at = p.at[:0]
	}
	for _, c := range v.lists[list] {
		for _, ref := range c.refs[:c.n] {
			part, row, ok := v.find(ref)
			if !ok {
				continue
			}
			if part != last || len(p.at) == atOnce {
				flush()
				last = part
			}
			p.at = append(p.at, row)
			a.parts[part].Segment.prefetch(int(row))
			a.parts[part].Segment.prefetchValue(int(row))
		}
	}
	flush()
}

// prefetchValue asks for a row's value, if it isn't the key.
func (s *Segment) prefetchValue(row int) {
	if !s.HasValues() {
		return
	}
	stride := pad(s.shape.ValueDim)
	if s.shape.Values.half() {
		kernel.Prefetch(floats(s.values, row*stride/2, (row+1)*stride/2))
		return
	}
	kernel.Prefetch(floats(s.values, row*stride, (row+1)*stride))
}
