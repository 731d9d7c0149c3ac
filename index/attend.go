package index

import (
	"context"
	"math"

	"engram/kernel"
)

// AttendOptions say how Attend weighs and what it names.
type AttendOptions struct {
	Scale      float64 // of scores, before the softmax; at least 0
	TopWeights int     // how many of the heaviest rows to name
	Workers    int     // at most; 0: GOMAXPROCS

	// QueryHeads is how many heads a query has, a multiple of the keys': of each head of
	// the keys so many query heads in a row read it (Ainslie et al., GQA, 2023; Shazeer,
	// Fast Transformer Decoding, 2019, where the keys have one). 0: as many as the keys.
	QueryHeads int

	// TopK restricts each softmax to the rows of so many greatest logits, of equals the
	// older (Wu et al., Memorizing Transformers, 2022); 0: all rows.
	TopK int

	// Bias is what is added to scaled scores; nil: nothing is.
	Bias *Bias

	// MaxError, below 1, lets Attend leave unread what can't move a head's context by
	// more than MaxError times the greatest norm of an eligible value's part of that head;
	// 0: nothing is. It is not for TopK. Indexes cover some of the parts' rows, each its own.
	MaxError float64
	Indexes  []*IVF

	always bool // read lists, whatever that costs

	Sharing *Sharing // rides passes of this, if the read is large enough; nil: walks by itself
	Group   any      // comparable: reads of one group and shape ride together
}

// A Weight is the attention that one row got.
type Weight struct {
	Part   int
	Row    uint32
	Score  float32 // before scaling
	Weight float64
}

// An Attention is the answer of one head of one query.
type Attention struct {
	Context   []float32 // HeadValueDim
	LogSumExp float64   // ln Σ exp(scale·score + bias); −Inf for none
	Entropy   float64   // −Σ w ln w, in nats
	Attended  uint64    // rows in the softmax
	Top       []Weight  // heaviest first, of equals the older

	// ErrorBound times the greatest norm of an eligible value bounds how far Context is from
	// that of all eligible rows; the rest is of the rows that were read. 0 without MaxError,
	// else at most that: see docs/attention.md.
	ErrorBound float64
}

// Attend returns for each head of each query, the first query's heads first,
// softmax(q·Kᵀ·scale)·V over the eligible rows, in one pass over keys and values with a
// running maximum (Milakov & Gimelshein, Online normalizer calculation for softmax, 2018;
// Rabe & Staats 2021), so that nothing of the size of the memory is kept. Parts of the pass
// merge by their log-sum-exps. A query has QueryHeads × HeadDim components.
//
// Given the float32 scores, ‖context − exact‖ ≤ 4e-6·Σ wᵢ‖vᵢ‖ and the log-sum-exp
// is within 1e-6, besides what the end of float32's range costs: the context 2⁻¹²⁵·‖vᵢ‖ a
// row, for one that weighs about half of that or less may count as nothing. The scores of a
// single query that walks by itself are canonical, and so are those of TopK; those of
// several, of one call or of several that share a pass, may be panels' (kernel.PanelDot,
// kernel.PanelL2), within their bounds.
func Attend(ctx context.Context, shape Shape, parts []Part, queries [][]float32, opt AttendOptions) ([]Attention, Stats, error) {
	stride := pad(shape.Dim) + pad(shape.ValueDim)
	lanes := lanesOf(shape, queries, &opt)
	if opt.MaxError > 0 && len(opt.Indexes) > 0 && shape.heads() == 1 && (opt.Bias == nil || opt.Bias.Lowers) {
		return attendLists(ctx, shape, parts, lanes, opt)
	}
	if opt.Bias == nil && opt.TopK == 0 && opt.Sharing.takes(parts, len(lanes)/shape.heads(), true) {
		if out, stats, ok, err := opt.Sharing.attend(ctx, shape, parts, lanes, opt); ok {
			return out, stats, err
		}
	}
	panels := len(lanes)/shape.heads() >= attendPanelQueries && opt.TopK == 0
	rows := min(blockRows(stride), attendRows)
	if panels {
		rows = max(rows, panelBlock)
	}
	n := workers(opt.Workers, parts, rows, stride*len(lanes)/shape.heads())
	a := newAttend(shape, parts, lanes, opt, n)
	defer a.release()
	if panels {
		a.pack()
	}
	for i := range a.passes {
		a.pass(i)
	}
	if err := walk(ctx, parts, rows, stride, n, a.block); err != nil {
		return nil, Stats{}, err
	}
	out, stats := a.results()
	return out, stats, nil
}

// lanesOf gives the heads of all queries: those of the first head of the keys, by query, then
// those of the next.
func lanesOf(shape Shape, queries [][]float32, opt *AttendOptions) [][]float32 {
	if opt.QueryHeads == 0 {
		opt.QueryHeads = shape.heads()
	}
	if opt.QueryHeads == 1 {
		return queries
	}
	d, group := shape.HeadDim(), opt.QueryHeads/shape.heads()
	lanes := make([][]float32, 0, len(queries)*opt.QueryHeads)
	for head := range shape.heads() {
		for _, q := range queries {
			for at := head * group; at < (head+1)*group; at++ {
				lanes = append(lanes, q[at*d:(at+1)*d])
			}
		}
	}
	return lanes
}

// results merges what the workers summed, and brings heads into the order of queries.
func (a *attend) results() ([]Attention, Stats) {
	out := make([]Attention, len(a.queries))
	var stats Stats
	perHead := len(a.queries) / a.shape.heads()
	for i := range a.queries {
		query, head := a.origin(i)
		at := query*a.opt.QueryHeads + head
		out[at] = a.result(i/perHead*a.per + i%perHead)
	}
	for _, p := range a.passes {
		stats.RowsScanned += int64(p.attended) * int64(len(a.queries)/a.opt.QueryHeads)
		stats.Rescored += p.rescored
	}
	stats.Rescored /= int64(a.opt.QueryHeads)
	return out, stats
}

// origin is the query, and which of its heads, that lanesOf gave as its i-th.
func (a *attend) origin(i int) (query, head int) {
	perHead, group := len(a.queries)/a.shape.heads(), a.opt.QueryHeads/a.shape.heads()
	return i % perHead / group, i/perHead*group + i%group
}

// attendRows bounds a block of Attend: what PanelWeightedSum adds up before it
// goes over to float64, at best.
const attendRows = 512

// An attend is one call of Attend.
type attend struct {
	shape   Shape
	parts   []Part
	queries [][]float32 // as lanesOf gives them
	opt     AttendOptions
	per     int         // lanes of each head of the keys: a whole number of panels, where there are any
	lanes   [][]float32 // nil for those without a query
	from    []int       // of each lane, which query of queries; −1: none
	inverse []float32   // of the lanes' norms; zeros up to whole panels
	panels  [][]float32
	passes  []*pass // nil for a worker that had nothing to do
	sparing *sparing
}

func newAttend(shape Shape, parts []Part, queries [][]float32, opt AttendOptions, n int) *attend {
	a := &attend{shape: shape, parts: parts, queries: queries, opt: opt, passes: make([]*pass, n)}
	a.place(len(queries) / shape.heads())
	if opt.MaxError > 0 {
		a.spare()
	}
	return a
}

// place gives queries their lanes, per for each head of the keys.
func (a *attend) place(per int) {
	a.per = per
	a.lanes, a.from = a.queries, nil
	perHead := len(a.queries) / a.shape.heads()
	if per != perHead {
		a.lanes = make([][]float32, per*a.shape.heads())
		for i, q := range a.queries {
			a.lanes[i/perHead*per+i%perHead] = q
		}
	}
	a.inverse = make([]float32, len(a.lanes)+kernel.PanelWidth())
	for i, q := range a.lanes {
		if q != nil {
			a.inverse[i] = inverseHeadNorm(q)
		}
	}
	a.from = make([]int, len(a.inverse))
	for i := range a.from {
		a.from[i] = -1
	}
	for i := range a.queries {
		a.from[i/perHead*per+i%perHead] = i
	}
}

// head is the head of the keys that a lane reads.
func (a *attend) head(lane int) int {
	if a.shape.Heads <= 1 {
		return 0
	}
	return lane / a.per
}

// pass is a worker's, made the first time that it asks.
func (a *attend) pass(worker int) *pass {
	p := a.passes[worker]
	if p != nil {
		return p
	}
	lanes := len(a.lanes)
	if a.panels != nil {
		lanes = len(a.panels) * kernel.PanelWidth()
	}
	p = passes.Get().(*pass)
	p.reset(lanes, len(a.lanes), a.shape.HeadValueDim(), max(a.opt.TopWeights, a.opt.TopK))
	if a.sparing != nil {
		p.spared.reset(lanes)
	}
	a.passes[worker] = p
	return p
}

func (a *attend) release() {
	for _, p := range a.passes {
		if p != nil {
			passes.Put(p)
		}
	}
}

func (a *attend) block(worker int, b block) {
	p, part := a.pass(worker), &a.parts[b.part]
	n := part.eligible(b.from, b.to)
	if n == 0 {
		return
	}
	p.attended += uint64(n)
	if a.opt.Bias != nil {
		p.biased.read(part, b)
	}
	if n < (b.to-b.from)/sparse {
		p.at = part.at(p.at[:0], b.from, b.to)
		for lane, q := range a.lanes {
			if q != nil {
				a.gather(p, lane, b)
			}
		}
		return
	}
	if a.panels != nil {
		a.allPanels(p, b)
		return
	}
	if a.shape.Heads > 1 && a.sparing == nil {
		a.allHeads(p, b)
		return
	}
	var keys, values []float32
	read := false
	for lane := range a.lanes {
		if a.sparing != nil && a.nominate(p, lane, b, n) {
			a.gather(p, lane, b)
			continue
		}
		if !read {
			keys, values = part.Segment.reading(&p.keys, &p.values, b.from, b.to, len(a.lanes))
			read = true
		}
		a.single(p, lane, b, keys, values)
	}
}

// allHeads attends to a whole block for the lanes of several heads. All heads of a few rows are
// read before the next rows, so memory is read in order.
func (a *attend) allHeads(p *pass, b block) {
	seg, n, lanes := a.parts[b.part].Segment, b.to-b.from, len(a.lanes)
	keys := seg.keyBlock(&p.keys, b.from, b.to)
	values, stride := seg.valueBlock(&p.values, keys, b.from, b.to)
	d, keyStride := a.shape.HeadValueDim(), pad(a.shape.Dim)
	p.all = sized(p.all, lanes*n)
	of := func(lane, from, to int) []float32 { return p.all[lane*n:][from:to] }
	for from := 0; from < n; from += headRows {
		to := min(from+headRows, n)
		for lane, q := range a.lanes {
			seg.scoreHead(of(lane, from, to), q, a.inverse[lane], keys[from*keyStride:], b.from+from, a.head(lane))
		}
	}
	own := p.scores
	for lane := range a.lanes {
		p.scores = of(lane, 0, n)
		a.weigh(p, lane, b)
	}
	p.scores = own
	if a.opt.TopK > 0 {
		return
	}
	for from := 0; from < n; from += headRows {
		to := min(from+headRows, n)
		for lane := range a.lanes {
			kernel.WeightedSum(p.lane(lane, d), of(lane, from, to), a.shape.fromHead(values[from*stride:], a.shape.ValueDim, a.head(lane)), stride)
		}
	}
}

// headRows is how many rows' heads are read before the next rows are: few enough for the
// first-level cache, and for the processor's prefetching, which follows some pages at a time.
const headRows = 8

// single attends to a whole block, as Segment.reading gave it, for one lane.
func (a *attend) single(p *pass, lane int, b block, keys, values []float32) {
	part, n, head := &a.parts[b.part], b.to-b.from, a.head(lane)
	p.scores = sized(p.scores, n)
	part.Segment.scoreBlock(&p.keys, p.scores, a.lanes[lane], a.inverse[lane], keys, b.from, head)
	a.weigh(p, lane, b)
	if a.opt.TopK > 0 || a.sparing != nil && a.sumHeavy(p, lane, b, head) {
		return
	}
	part.Segment.sumBlock(&p.values, p.lane(lane, a.shape.HeadValueDim()), p.scores, values, b.from, head)
}

// weigh turns a lane's scores of a block into exponentials, which it adds up, and offers
// the rows to the best so far.
func (a *attend) weigh(p *pass, lane int, b block) {
	part, n := &a.parts[b.part], b.to-b.from
	if part.Mask != nil {
		for i := range p.scores {
			if !part.has(b.from + i) {
				p.scores[i] = float32(math.Inf(-1))
			}
		}
	}
	if a.opt.Bias != nil {
		p.logits = sized(p.logits, n)
		a.bias(p, lane, p.logits, p.scores, nil)
	}
	t := &p.tops[lane]
	if t.k > 0 {
		limit := t.threshold()
		for i, s := range p.scores {
			if s >= limit && part.has(b.from+i) {
				t.offer(a.parts, Hit{b.part, uint32(b.from + i), s})
				limit = t.threshold()
			}
		}
	}
	if a.opt.TopK == 0 {
		a.softmax(p, lane)
	}
}

// softmax turns a lane's scores of a block, or where there is a bias its logits, into
// exponentials, which it adds up.
func (a *attend) softmax(p *pass, lane int) {
	if a.opt.Bias != nil {
		a.biasedSoftmax(p, lane)
		return
	}
	p.raise(lane, a.opt.Scale*float64(kernel.Max(p.scores)), a.shape.HeadValueDim())
	sum, shift := kernel.Exp(p.scores, p.scores, a.opt.Scale, p.max[lane])
	p.sum[lane] += sum
	p.shift[lane] += shift
}

// gather attends to the rows p.at, counted from the block's first, for one lane.
func (a *attend) gather(p *pass, lane int, b block) {
	part, head := &a.parts[b.part], a.head(lane)
	p.scores = sized(p.scores, len(p.at))
	part.Segment.scoreHeadAt(p.scores, a.lanes[lane], a.inverse[lane], b, p.at, head, &p.gathered)
	if a.opt.Bias != nil {
		p.logits = sized(p.logits, len(p.at))
		a.bias(p, lane, p.logits, p.scores, p.at)
	}
	t := &p.tops[lane]
	for i, s := range p.scores {
		if s >= t.threshold() {
			t.offer(a.parts, Hit{b.part, uint32(b.from) + p.at[i], s})
		}
	}
	if a.opt.TopK > 0 {
		return
	}
	a.softmax(p, lane)
	if lost := a.heavy(p, lane); lost > 0 {
		p.skipped[lane] += lost
	}
	p.light += int64(len(p.at) - len(p.hits))
	for i, at := range p.hits {
		p.scores[i], p.hits[i] = p.scores[at], p.at[at]
	}
	a.sumRows(p, lane, b, head)
}

// sumRows adds a head of the values of the block's rows p.hits by as many weights in p.scores. Values
// that lie apart are put beside each other first: the kernel sums many at once.
func (a *attend) sumRows(p *pass, lane int, b block, head int) {
	seg, d := a.parts[b.part].Segment, a.shape.HeadValueDim()
	rows, weights := p.hits, p.scores[:len(p.hits)]
	for len(rows) > 0 {
		n := min(len(rows), atOnce)
		if seg.HasValues() {
			for _, row := range rows[:n] {
				seg.prefetchValue(b.from + int(row))
			}
		}
		p.gathered = sized(p.gathered, n*d)
		for i, row := range rows[:n] {
			copy(p.gathered[i*d:(i+1)*d], seg.valueAt(&p.value, b.from+int(row))[head*d:])
		}
		kernel.WeightedSum(p.lane(lane, d), weights[:n], p.gathered, d)
		rows, weights = rows[n:], weights[n:]
	}
}

// result merges the passes' softmaxes of one lane.
func (a *attend) result(lane int) Attention {
	d := a.shape.HeadValueDim()
	to := a.passes[0]
	r := Attention{Context: make([]float32, d), LogSumExp: math.Inf(-1), Attended: to.attended}
	tops := []*top{&to.tops[lane]}
	for _, from := range a.passes[1:] {
		r.Attended += from.attended
		tops = append(tops, &from.tops[lane])
		if a.opt.TopK == 0 {
			to.add(lane, from, lane, d)
		}
	}
	if a.opt.TopK > 0 {
		return a.sparse(lane, merge(a.parts, a.opt.TopK, tops))
	}
	sum := to.sum[lane]
	if r.Attended == 0 {
		return r
	}
	for i, x := range to.lane(lane, d) {
		r.Context[i] = float32(x / sum)
	}
	r.LogSumExp = to.max[lane] + math.Log(sum)
	r.Entropy = max(0, math.Log(sum)-to.shift[lane]/sum)
	if a.sparing != nil {
		a.bound(lane, &r)
	}
	for _, h := range merge(a.parts, a.opt.TopWeights, tops) {
		score, logit := a.logit(lane, h)
		r.Top = append(r.Top, Weight{h.Part, h.Row, score, math.Exp(logit - r.LogSumExp)})
	}
	return r
}
