package index

import (
	"context"
	"math"
	"sync/atomic"

	"engram/kernel"
)

// A listReading is one lane's attention by lists.
type listReading struct {
	*listed
	a     *attend
	plan  *listPlan
	coded []*rowQuery // of each view; nil: codes don't serve
	done  []bool      // of the plan's lists
	lists int         // of them

	most  float64 // the greatest logit so far, and the score up to which a row is left out
	limit float64 // unread; NaN: there is none yet
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
	r := &listReading{listed: l, a: a, plan: plan, done: make([]bool, len(plan.lists)), coded: make([]*rowQuery, len(l.views))}
	if opt.Scale > 0 {
		q := newListQuery(l.shape, l.lanes[at])
		for i, v := range l.views {
			r.coded[i] = newRowQuery(&q, v.coder)
		}
	}
	r.read(ctx, r.likeliest())
	enough := r.pays(ctx) && r.readAll(ctx)
	stats := Stats{ListsProbed: int64(r.lists)}
	for _, p := range a.passes {
		stats.RowsScanned += int64(p.attended) + p.judged
		stats.Rescored += p.rescored
	}
	if !enough {
		return Attention{}, stats, false
	}
	return a.result(0), stats, true
}

// together is the greatest logit of all passes of a lane, and to that the sums of exponentials
// read and left out.
func (a *attend) together(lane int) (most, sum, left float64) {
	most = math.Inf(-1)
	for _, p := range a.passes {
		most = max(most, p.max[lane])
	}
	for _, p := range a.passes {
		if !math.IsInf(p.max[lane], -1) {
			f := math.Exp(p.max[lane] - most)
			sum, left = sum+f*p.sum[lane], left+f*p.left[lane]
		}
	}
	return most, sum, left
}

// likeliest are the few lists that probably weigh most: once they are read, it is known what
// can't matter.
func (r *listReading) likeliest() (at []int) {
	few := max(4, len(r.plan.lists)/64)
	for i := range r.plan.lists {
		if len(at) == few && r.plan.lists[i].likely <= r.plan.lists[at[few-1]].likely {
			continue
		}
		at = append(at[:min(len(at), few-1)], i)
		for j := len(at) - 1; j > 0 && r.plan.lists[at[j]].likely > r.plan.lists[at[j-1]].likely; j-- {
			at[j], at[j-1] = at[j-1], at[j]
		}
	}
	return at
}

// needed is how many of the plan's lists must be read, by what was read up to now; one more than
// it has where they aren't enough.
func (r *listReading) needed() int {
	most, sum, left := r.a.together(0)
	return need(r.plan.lists, r.plan.whole, most, sum*r.share-left)
}

// pays reads a sample of the lists, where there are many, and is false if by what it took all of
// them will take too long.
func (r *listReading) pays(ctx context.Context) bool {
	const sampled = 64 // one list of so many
	worth := 0.75      // of a pass's cost: it is less of a guess than choose's
	if r.opt.always {
		worth = math.Inf(1)
	}
	needed := min(r.needed(), len(r.plan.lists))
	if needed < 2*sampled {
		return true
	}
	var sample []int
	rows, of := 0.0, 0.0
	for i := range r.plan.lists[:needed] {
		if r.done[i] {
			continue
		}
		of += r.plan.lists[i].n
		if i%sampled == sampled/2 {
			sample = append(sample, i)
			rows += r.plan.lists[i].n
		}
	}
	before := r.spent()
	r.read(ctx, sample)
	return r.spent()-before <= worth*r.pass/float64(len(r.lanes))*rows/of
}

// spent is what was read up to now, as cost.
func (r *listReading) spent() float64 {
	cost := float64(r.lists) * costBegin
	for _, p := range r.a.passes {
		cost += float64(p.attended)*(costFind+r.perRow()) - float64(p.light)*(r.perRow()-r.perKey())
		cost += float64(p.judged+p.rescored) * r.perCode(r.views[0])
	}
	return cost
}

// readAll reads as many lists as are needed, in the order of the plan; it is false where that has
// too few of them.
func (r *listReading) readAll(ctx context.Context) bool {
	lists := 0
	for ctx.Err() == nil {
		needed := r.needed()
		if needed <= lists {
			break
		}
		if needed > len(r.plan.lists) && lists > 0 {
			break // it was guessed wrong
		}
		to := r.wave(lists, min(needed, len(r.plan.lists)))
		if to == lists {
			break
		}
		var next []int
		for i := lists; i < to; i++ {
			if !r.done[i] {
				next = append(next, i)
			}
		}
		r.read(ctx, next)
		lists = to
	}
	most, sum, _ := r.a.together(0)
	if ctx.Err() != nil || !(sum > 0) || r.needed() > lists {
		return false
	}
	if lists < len(r.plan.lists) {
		p := r.a.passes[0]
		p.raise(0, most, r.shape.ValueDim)
		b := &r.plan.lists[lists]
		p.left[0] += b.rest * math.Exp(b.most-most)
	}
	return true
}

// wave is how far to read before what is needed is looked at again: a small part at first,
// for it was a guess, then half of it, and the last few at once.
func (r *listReading) wave(from, needed int) int {
	const few = 4096
	lists := r.plan.lists
	switch left := needed - from; {
	case from == 0:
		return from + (left+7)/8
	case lists[needed-1].before-lists[from].before < few*r.perRow():
		return needed
	default:
		return from + (left+1)/2
	}
}

// read attends to the rows of some of the plan's lists.
func (r *listReading) read(ctx context.Context, at []int) {
	most, sum, _ := r.a.together(0)
	r.most, r.limit = most, r.limitOf(most, sum)
	var next atomic.Int32
	_ = parallel(ctx, len(at), len(r.a.passes), func() func(int) {
		p := r.a.passes[next.Add(1)-1]
		return func(i int) { r.readList(p, &r.plan.lists[at[i]]) }
	}) // the caller looks at ctx
	for _, i := range at {
		r.done[i] = true
	}
	r.lists += len(at)
}

// limitOf is the score up to which all rows together have at most a quarter of what may be left
// out, where a softmax has the greatest logit most and the sum of exponentials to that; NaN for none.
func (r *listReading) limitOf(most, sum float64) float64 {
	limit := (most + math.Log(sum*r.share/4/r.rows)) / r.a.opt.Scale
	if math.IsInf(limit, 0) {
		return math.NaN()
	}
	return limit
}

// atOnce is how many rows of lists are asked for before the first of them is scored: they come
// from memory meanwhile, and stay in the second-level cache.
const atOnce = 64

// readList attends to the eligible rows of a list, for the only lane, but for those of which
// codes say that they can't matter.
func (r *listReading) readList(p *pass, l *listBound) {
	a, v := r.a, r.views[l.view]
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
	offer := func(ref uint32) bool {
		part, row, ok := v.find(ref)
		if !ok {
			return false
		}
		if part != last || len(p.at) == atOnce {
			flush()
			last = part
		}
		p.at = append(p.at, row)
		a.parts[part].Segment.prefetch(int(row))
		return true
	}
	for _, k := range v.lists[l.list] {
		hits, ok := r.judge(p, k, l)
		if !ok {
			for _, ref := range k.refs[:k.n] {
				offer(ref)
			}
			continue
		}
		for _, h := range hits {
			if offer(k.refs[h]) {
				p.rescored++
			}
		}
	}
	flush()
}

// judge gives the rows of a chunk that codes don't show to be of scores up to a limit, and
// accounts for the others, the dead among them; it is false where codes can't tell.
func (r *listReading) judge(p *pass, k *chunk, l *listBound) (hits []uint32, ok bool) {
	q := r.coded[l.view]
	limit := r.limit
	if own := r.limitOf(p.max[0], p.sum[0]); own > limit || math.IsNaN(limit) {
		limit = own
	}
	if q == nil || k.n == 0 || math.IsNaN(limit) {
		return nil, false
	}
	rows := len(k.mul)
	p.kept, p.lookups = sized(p.kept, rows), sized(p.lookups, rows)
	bounds, ok := q.bounds(p.lookups, r.views[l.view].trained, k, l.list, l.score)
	if !ok {
		return nil, false
	}
	hits = bounds.above(p.kept, limit)
	p.raise(0, r.most, r.shape.ValueDim)
	scale := r.a.opt.Scale
	each := math.Exp(scale*limit - p.max[0])
	p.left[0] += float64(k.n-len(hits)) * each
	p.chosen += k.n

	// The other half of what codes may leave out is for rows of bounds above the limit, as it
	// comes: each takes at most a part of what is there, so that it is the least that go.
	const part = 32
	spare := 2*float64(p.chosen)*each - p.left[0]
	if most := (math.Log(spare/part) + p.max[0]) / scale; most > limit {
		n := 0
		for _, h := range hits {
			if m := bounds.most(h); m <= most {
				if x := math.Exp(scale*m - p.max[0]); x <= spare/part {
					spare, p.left[0] = spare-x, p.left[0]+x
					continue
				}
			}
			hits[n] = h
			n++
		}
		hits = hits[:n]
	}
	p.judged += int64(k.n - len(hits))
	return hits, true
}

// prefetchValue asks for a row's value, of a segment that has them.
func (s *Segment) prefetchValue(row int) {
	stride := pad(s.shape.ValueDim)
	if s.shape.Values.half() {
		kernel.Prefetch(floats(s.values, row*stride/2, (row+1)*stride/2))
		return
	}
	kernel.Prefetch(floats(s.values, row*stride, (row+1)*stride))
}
