package index

import (
	"context"
	"math"
	"sync"

	"engram/kernel"
)

// AttendOptions say how Attend weighs and what it names.
type AttendOptions struct {
	Scale      float64 // of scores, before the softmax; at least 0
	TopWeights int     // how many of the heaviest rows to name
	Workers    int     // at most; 0: GOMAXPROCS

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

// An Attention is the answer to one query.
type Attention struct {
	Context   []float32 // ValueDim
	LogSumExp float64   // ln Σ exp(scale·score); −Inf for none
	Entropy   float64   // −Σ w ln w, in nats
	Attended  uint64    // eligible rows
	Top       []Weight  // heaviest first, of equals the older
}

// Attend returns for each query softmax(q·Kᵀ·scale)·V over the eligible rows, in
// one pass over keys and values with a running maximum (Milakov & Gimelshein,
// Online normalizer calculation for softmax, 2018; Rabe & Staats 2021), so that
// nothing of the size of the memory is kept. Parts of the pass merge by their
// log-sum-exps.
//
// Given the float32 scores, ‖context − exact‖ ≤ 4e-6·Σ wᵢ‖vᵢ‖ and the log-sum-exp
// is within 1e-6. The scores of a single query that walks by itself are canonical;
// those of several, of one call or of several that share a pass, may be panels'
// (kernel.PanelDot, kernel.PanelL2), within their bounds.
func Attend(ctx context.Context, shape Shape, parts []Part, queries [][]float32, opt AttendOptions) ([]Attention, Stats, error) {
	stride := pad(shape.Dim) + pad(shape.ValueDim)
	if opt.Sharing.takes(parts, len(queries), true) {
		if out, stats, ok, err := opt.Sharing.attend(ctx, shape, parts, queries, opt); ok {
			return out, stats, err
		}
	}
	rows := min(blockRows(stride), attendRows)
	if len(queries) >= attendPanelQueries {
		rows = max(rows, panelBlock)
	}
	n := workers(opt.Workers, parts, rows, stride*len(queries))
	a := newAttend(shape, parts, queries, opt, n)
	defer a.release()
	if len(queries) >= attendPanelQueries {
		a.panels = pack(queries, shape.Dim)
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

// results merges what the workers summed.
func (a *attend) results() ([]Attention, Stats) {
	out := make([]Attention, len(a.queries))
	var stats Stats
	for q := range a.queries {
		out[q] = a.result(q)
		stats.RowsScanned += int64(out[q].Attended)
	}
	return out, stats
}

// attendRows bounds a block of Attend: what PanelWeightedSum adds up before it
// goes over to float64, at best.
const attendRows = 512

// panelBlock is the least rows of a block for panels of Attend, whose sums in
// float64 are added to once a block.
const panelBlock = 128

// attendPanelQueries is the number of queries from which on Attend's panels pay.
const attendPanelQueries = 8

// An attend is one call of Attend.
type attend struct {
	shape   Shape
	parts   []Part
	queries [][]float32
	opt     AttendOptions
	inverse []float32 // of the queries' norms; zeros up to whole panels
	panels  [][]float32
	passes  []*pass // nil for a worker that had nothing to do
}

// A pass is one worker's running softmaxes, one a query (a lane), with room for
// whole panels; and its scratch.
type pass struct {
	lanes    int
	max      []float64 // of scale·score; −Inf at first
	sum      []float64 // Σ exp(scale·score − max)
	shift    []float64 // Σ exp(scale·score − max)·(scale·score − max)
	context  []float64 // lanes × ValueDim: Σ exp(…)·value
	attended uint64
	tops     []top

	scores   []float32
	at       []uint32
	hits     []uint32
	peak     []float32
	limits   []float32
	keys     []float32 // decoded, of a block
	values   []float32 // likewise
	gathered []float32 // of single rows
}

var passes = sync.Pool{New: func() any { return new(pass) }}

func newAttend(shape Shape, parts []Part, queries [][]float32, opt AttendOptions, n int) *attend {
	a := &attend{shape: shape, parts: parts, queries: queries, opt: opt, passes: make([]*pass, n)}
	a.inverse = make([]float32, len(queries)+kernel.PanelWidth())
	for q, v := range queries {
		a.inverse[q] = float32(1 / Norm(v))
	}
	return a
}

// pass is a worker's, made the first time that it asks.
func (a *attend) pass(worker int) *pass {
	p := a.passes[worker]
	if p != nil {
		return p
	}
	lanes := len(a.queries)
	if a.panels != nil {
		lanes = len(a.panels) * kernel.PanelWidth()
	}
	p = passes.Get().(*pass)
	p.reset(lanes, len(a.queries), a.shape.ValueDim, a.opt.TopWeights)
	a.passes[worker] = p
	return p
}

func (p *pass) reset(lanes, queries, valueDim, topWeights int) {
	p.lanes, p.attended = lanes, 0
	p.max, p.sum, p.shift = sized(p.max, lanes), sized(p.sum, lanes), sized(p.shift, lanes)
	p.context = sized(p.context, lanes*valueDim)
	for j := range lanes {
		p.max[j] = math.Inf(-1)
	}
	clear(p.sum)
	clear(p.shift)
	clear(p.context)
	p.tops = sized(p.tops, queries)
	for q := range p.tops {
		p.tops[q].reset(topWeights, float32(math.Inf(-1)))
	}
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
	switch {
	case n < (b.to-b.from)/sparse:
		p.at = part.at(p.at[:0], b.from, b.to)
		for q := range a.queries {
			a.gather(p, q, b)
		}
	case a.panels != nil:
		keys := part.Segment.keyBlock(&p.keys, b.from, b.to)
		values, _ := part.Segment.valueBlock(&p.values, keys, b.from, b.to)
		touch(keys)
		touch(values)
		for i := range a.panels {
			a.panel(p, i, b, keys)
		}
	default:
		keys, values := part.Segment.reading(&p.keys, &p.values, b.from, b.to, len(a.queries))
		for q := range a.queries {
			a.single(p, q, b, keys, values)
		}
	}
}

// single attends to a whole block, as Segment.reading gave it, for one query.
func (a *attend) single(p *pass, q int, b block, keys, values []float32) {
	part, n := &a.parts[b.part], b.to-b.from
	p.scores = sized(p.scores, n)
	part.Segment.scoreBlock(&p.keys, p.scores, a.queries[q], a.inverse[q], keys, b.from)
	if part.Mask != nil {
		for i := range p.scores {
			if !part.has(b.from + i) {
				p.scores[i] = float32(math.Inf(-1))
			}
		}
	}
	t := &p.tops[q]
	if t.k > 0 {
		limit := t.threshold()
		for i, s := range p.scores {
			if s >= limit && part.has(b.from+i) {
				t.offer(a.parts, Hit{b.part, uint32(b.from + i), s})
				limit = t.threshold()
			}
		}
	}
	p.raise(q, a.opt.Scale*float64(kernel.Max(p.scores)), a.shape.ValueDim)
	sum, shift := kernel.Exp(p.scores, p.scores, a.opt.Scale, p.max[q])
	p.sum[q] += sum
	p.shift[q] += shift
	part.Segment.sumBlock(&p.values, p.lane(q, a.shape.ValueDim), p.scores, values, b.from)
}

// gather attends to the rows p.at, counted from the block's first, for one query.
func (a *attend) gather(p *pass, q int, b block) {
	part := &a.parts[b.part]
	p.scores = sized(p.scores, len(p.at))
	part.Segment.scoreAt(p.scores, a.queries[q], a.inverse[q], b, p.at, &p.gathered)
	t := &p.tops[q]
	for i, s := range p.scores {
		if s >= t.threshold() {
			t.offer(a.parts, Hit{b.part, uint32(b.from) + p.at[i], s})
		}
	}
	p.raise(q, a.opt.Scale*float64(kernel.Max(p.scores)), a.shape.ValueDim)
	sum, shift := kernel.Exp(p.scores, p.scores, a.opt.Scale, p.max[q])
	p.sum[q] += sum
	p.shift[q] += shift
	context := p.lane(q, a.shape.ValueDim)
	for i, row := range p.at {
		value := part.Segment.valueAt(&p.values, b.from+int(row))
		kernel.WeightedSum(context, p.scores[i:i+1], value, len(value))
	}
}

// panel attends to a whole block, whose keys are given, for one panel of queries.
func (a *attend) panel(p *pass, i int, b block, keys []float32) {
	part, n, w := &a.parts[b.part], b.to-b.from, kernel.PanelWidth()
	first := i * w
	p.scores = sized(p.scores, n*w)
	scores := p.scores
	part.Segment.panelScores(scores, a.panels[i], a.inverse[first:first+w], keys, b.from, n)
	if part.Mask != nil {
		for r := range n {
			if !part.has(b.from + r) {
				for j := range w {
					scores[r*w+j] = float32(math.Inf(-1))
				}
			}
		}
	}
	if a.opt.TopWeights > 0 {
		a.panelTop(p, first, b, scores)
	}
	p.peak = sized(p.peak, w)
	for j := range p.peak {
		p.peak[j] = float32(math.Inf(-1))
	}
	kernel.PanelMax(p.peak, scores, n)
	for j, peak := range p.peak {
		p.raise(first+j, a.opt.Scale*float64(peak), a.shape.ValueDim)
	}
	kernel.PanelExp(scores, scores, n, a.opt.Scale, p.max[first:first+w], p.sum[first:first+w], p.shift[first:first+w])
	values, valueStride := part.Segment.valueBlock(&p.values, keys, b.from, b.to)
	d := a.shape.ValueDim
	kernel.PanelWeightedSum(p.context[first*d:(first+w)*d], scores, values, valueStride, n, d)
}

// panelTop offers the panel's scores to the heaviest rows so far.
func (a *attend) panelTop(p *pass, first int, b block, scores []float32) {
	w, n := kernel.PanelWidth(), b.to-b.from
	p.limits = sized(p.limits, w)
	for j := range w {
		p.limits[j] = float32(math.Inf(1))
		if first+j < len(a.queries) {
			p.limits[j] = p.tops[first+j].threshold()
		}
	}
	p.hits = sized(p.hits, n*w)
	part := &a.parts[b.part]
	for _, h := range p.hits[:kernel.PanelSelect(p.hits, scores, p.limits, n)] {
		row, lane := int(h)/w, int(h)%w
		if t := &p.tops[first+lane]; scores[h] >= t.threshold() && part.has(b.from+row) {
			t.offer(a.parts, Hit{b.part, uint32(b.from + row), scores[h]})
		}
	}
}

func (p *pass) lane(q, valueDim int) []float64 { return p.context[q*valueDim : (q+1)*valueDim] }

// raise makes the maximum of a lane at least m, and what was summed relative to it.
func (p *pass) raise(q int, m float64, valueDim int) {
	old := p.max[q]
	if m <= old {
		return
	}
	p.max[q] = m
	if p.sum[q] == 0 {
		return
	}
	f := math.Exp(old - m)
	p.shift[q] = f * (p.shift[q] + (old-m)*p.sum[q])
	p.sum[q] *= f
	context := p.lane(q, valueDim)
	for i := range context {
		context[i] *= f
	}
}

// add merges a lane of another pass into lane q.
func (p *pass) add(q int, from *pass, lane, valueDim int) {
	if from.sum[lane] == 0 {
		return
	}
	p.raise(q, from.max[lane], valueDim)
	down := from.max[lane] - p.max[q]
	f := math.Exp(down)
	p.sum[q] += f * from.sum[lane]
	p.shift[q] += f * (from.shift[lane] + down*from.sum[lane])
	to := p.lane(q, valueDim)
	for i, x := range from.lane(lane, valueDim) {
		to[i] += f * x
	}
}

// result merges the passes' softmaxes of one query.
func (a *attend) result(q int) Attention {
	d := a.shape.ValueDim
	to := a.passes[0]
	r := Attention{Context: make([]float32, d), LogSumExp: math.Inf(-1), Attended: to.attended}
	tops := []*top{&to.tops[q]}
	for _, from := range a.passes[1:] {
		r.Attended += from.attended
		tops = append(tops, &from.tops[q])
		to.add(q, from, q, d)
	}
	sum := to.sum[q]
	if r.Attended == 0 {
		return r
	}
	for i, x := range to.lane(q, d) {
		r.Context[i] = float32(x / sum)
	}
	r.LogSumExp = to.max[q] + math.Log(sum)
	r.Entropy = max(0, math.Log(sum)-to.shift[q]/sum)
	for _, h := range merge(a.parts, a.opt.TopWeights, tops) {
		r.Top = append(r.Top, Weight{h.Part, h.Row, h.Score, math.Exp(a.opt.Scale*float64(h.Score) - r.LogSumExp)})
	}
	return r
}
