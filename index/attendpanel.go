package index

import (
	"math"

	"engram/kernel"
)

// panelBlock is the least rows of a block for panels of Attend, whose sums in
// float64 are added to once a block.
const panelBlock = 128

// attendPanelQueries is the number of queries from which on Attend's panels pay.
const attendPanelQueries = 8

// pack packs the queries of each head of the keys into panels.
func (a *attend) pack() {
	w := kernel.PanelWidth()
	perHead := len(a.queries) / a.shape.heads()
	if a.shape.heads() > 1 {
		a.place((perHead + w - 1) / w * w)
	}
	for head := range a.shape.heads() {
		a.panels = append(a.panels, pack(a.queries[head*perHead:(head+1)*perHead], a.shape.HeadDim())...)
	}
}

// allPanels attends to a whole block for all panels.
func (a *attend) allPanels(p *pass, b block) {
	part := &a.parts[b.part]
	keys := part.Segment.keyBlock(&p.keys, b.from, b.to)
	values, valueStride := part.Segment.valueBlock(&p.values, keys, b.from, b.to)
	if p.next != b {
		p.ahead = [2][]float32{keys, values}
	}
	for i := range p.ahead {
		touch(p.ahead[i])
	}
	p.next = block{b.part, b.to, min(b.to+b.to-b.from, part.Rows)}
	p.ahead = part.Segment.plainRows(p.next.from, p.next.to)
	if a.shape.Heads <= 1 {
		for i := range a.panels {
			a.panel(p, i, b, keys, values, valueStride)
		}
		return
	}
	// A head's values lie so far apart that they would fall into few sets of the first-level
	// cache, where each tile of queries is to find them again.
	d, each := a.shape.HeadValueDim(), a.per/kernel.PanelWidth()
	for i := range a.panels {
		if i%each == 0 {
			p.head = gathered(p.head, a.shape.fromHead(values, a.shape.ValueDim, i/each), valueStride, d)
		}
		a.panel(p, i, b, keys, p.head, d)
	}
}

// gathered are d components of rows that are a stride apart, beside each other in dst.
func gathered(dst, rows []float32, stride, d int) []float32 {
	n := (len(rows) + stride - 1) / stride
	dst = sized(dst, n*d)
	for i := range n {
		copy(dst[i*d:(i+1)*d], rows[i*stride:])
	}
	return dst
}

// plainRows are the keys and values of rows, as far as they are kept as float32s.
func (s *Segment) plainRows(from, to int) (rows [2][]float32) {
	if s.shape.Encoding.plain() {
		rows[0] = s.keyRows(from, to)
	}
	if s.HasValues() && s.shape.Values == F32 {
		rows[1] = floats(s.values, from*pad(s.shape.ValueDim), to*pad(s.shape.ValueDim))
	}
	return rows
}

// panel attends to a whole block, whose keys and values are given, for one panel of lanes.
func (a *attend) panel(p *pass, i int, b block, keys, values []float32, valueStride int) {
	part, n, w := &a.parts[b.part], b.to-b.from, kernel.PanelWidth()
	first := i * w
	head := a.head(first)
	p.scores = sized(p.scores, n*w)
	scores := p.scores
	part.Segment.panelHeadScores(scores, a.panels[i], a.inverse[first:first+w], keys, b.from, n, head)
	if part.Mask != nil {
		for r := range n {
			if !part.has(b.from + r) {
				for j := range w {
					scores[r*w+j] = float32(math.Inf(-1))
				}
			}
		}
	}
	d := a.shape.HeadValueDim()
	if a.opt.Bias != nil {
		a.biasPanel(p, first, n)
	}
	if a.opt.TopWeights > 0 {
		a.panelTop(p, first, b, scores)
	}
	if a.opt.Bias != nil {
		a.biasedPanelSoftmax(p, first, n)
	} else {
		p.panelSoftmax(first, n, scores, a.opt.Scale, d)
	}
	next := 0
	if len(p.ahead[0]) == 0 {
		next = 1
	}
	p.ahead[next] = kernel.PanelWeightedSum(p.context[first*d:(first+w)*d], scores, values, valueStride, n, d, p.ahead[next])
}

// panelSoftmax turns the scores of n rows for a panel of lanes into exponentials, which it
// adds up.
func (p *pass) panelSoftmax(first, n int, scores []float32, scale float64, valueDim int) {
	w := kernel.PanelWidth()
	p.peak = sized(p.peak, w)
	for j := range p.peak {
		p.peak[j] = float32(math.Inf(-1))
	}
	kernel.PanelMax(p.peak, scores, n)
	for j, peak := range p.peak {
		if !math.IsInf(float64(peak), -1) { // 0·−Inf would be no number
			p.raise(first+j, scale*float64(peak), valueDim)
		}
	}
	kernel.PanelExp(scores, scores, n, scale, p.max[first:first+w], p.sum[first:first+w], p.shift[first:first+w])
}

// panelTop offers the panel's scores to the heaviest rows so far.
func (a *attend) panelTop(p *pass, first int, b block, scores []float32) {
	w, n := kernel.PanelWidth(), b.to-b.from
	p.limits = sized(p.limits, w)
	for j := range w {
		p.limits[j] = float32(math.Inf(1))
		if a.from[first+j] >= 0 {
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
