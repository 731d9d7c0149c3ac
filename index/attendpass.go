package index

import (
	"math"
	"sync"
)

// A pass is one worker's running softmaxes, one a query (a lane), with room for
// whole panels; and its scratch.
type pass struct {
	lanes    int
	max      []float64 // of the logits, scale·score + bias; −Inf at first
	sum      []float64 // Σ exp(logit − max)
	shift    []float64 // Σ exp(logit − max)·(logit − max)
	context  []float64 // lanes × HeadValueDim: Σ exp(…)·value
	attended uint64
	tops     []top

	next  block        // that follows the one that panels are at
	ahead [2][]float32 // what nothing has prefetched of its keys and values

	scores   []float32
	all      []float32 // scores of all lanes
	at       []uint32
	hits     []uint32
	peak     []float32
	limits   []float32
	keys     []float32 // decoded, of a block
	value    []float32 // likewise, of a row
	head     []float32 // a head of a block's values
	values   []float32 // likewise
	gathered []float32 // keys or values of single rows
	biased             // where there is a bias
	spared             // where there is a MaxError
}

var passes = sync.Pool{New: func() any { return new(pass) }}

func (p *pass) reset(lanes, queries, valueDim, topWeights int) {
	p.lanes, p.attended = lanes, 0
	p.next, p.ahead = block{part: -1}, [2][]float32{}
	p.max, p.sum, p.shift = sized(p.max, lanes), sized(p.sum, lanes), sized(p.shift, lanes)
	p.context = sized(p.context, lanes*valueDim)
	for j := range lanes {
		p.max[j] = math.Inf(-1)
	}
	clear(p.sum)
	clear(p.shift)
	clear(p.context)
	p.spared.reset(0)
	p.tops = sized(p.tops, queries)
	for q := range p.tops {
		p.tops[q].reset(topWeights, float32(math.Inf(-1)))
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
	if math.IsInf(old, -1) {
		return // nothing was summed, nor left out
	}
	f := math.Exp(old - m)
	p.shift[q] = f * (p.shift[q] + (old-m)*p.sum[q])
	p.sum[q] *= f
	if q < len(p.left) {
		p.left[q] *= f
		p.skipped[q] *= f
	}
	context := p.lane(q, valueDim)
	for i := range context {
		context[i] *= f
	}
}

// add merges a lane of another pass into lane q.
func (p *pass) add(q int, from *pass, lane, valueDim int) {
	if math.IsInf(from.max[lane], -1) {
		return
	}
	p.raise(q, from.max[lane], valueDim)
	down := from.max[lane] - p.max[q]
	f := math.Exp(down)
	p.sum[q] += f * from.sum[lane]
	p.shift[q] += f * (from.shift[lane] + down*from.sum[lane])
	if q < len(p.left) && lane < len(from.left) {
		p.left[q] += f * from.left[lane]
		p.skipped[q] += f * from.skipped[lane]
	}
	to := p.lane(q, valueDim)
	for i, x := range from.lane(lane, valueDim) {
		to[i] += f * x
	}
}
