package index

import (
	"math"

	"engram/kernel"
)

// A Bias is what Attend adds to scaled scores: logit = scale·score + bias, of each row
// Part.Bias, less for each head its slope times the distance of the row's position from the
// query's (ALiBi: Press, Smith & Lewis, Train Short, Test Long, 2022).
type Bias struct {
	Slopes    []float64 // one a query head, at least 0; nil: positions don't count
	Positions []float64 // one a query, where there are slopes

	// Lowers says that Part.Bias gives nothing above 0, without which MaxError spares
	// values alone, no keys.
	Lowers bool

	each []standing // of each query of one head, in the place of Slopes and Positions
}

// A standing is the slope of a query's head, and where the query stands.
type standing struct{ slope, position float64 }

// biased is a worker's scratch where there is a bias.
type biased struct {
	rows      []float64 // of the block, what Part.Bias gives
	positions []float64 // of the block's rows; NaN: a row has none
	logits    []float64
	zeros     []float64
}

// read asks for what the rows of a block are biased by.
func (s *biased) read(part *Part, b block) {
	n := b.to - b.from
	s.rows, s.positions = sized(s.rows, n), sized(s.positions, n)
	if part.Bias != nil {
		part.Bias(s.rows, b.from)
	} else {
		clear(s.rows)
	}
	if part.Position != nil {
		part.Position(s.positions, b.from)
	} else {
		for i := range s.positions {
			s.positions[i] = math.NaN()
		}
	}
}

// readAt is read for the rows at, counted from the block's first, alone.
func (s *biased) readAt(part *Part, b block, at []uint32) {
	n := b.to - b.from
	s.rows, s.positions = sized(s.rows, n), sized(s.positions, n)
	for _, row := range at {
		s.rows[row], s.positions[row] = 0, math.NaN()
		if part.Bias != nil {
			part.Bias(s.rows[row:row+1], b.from+int(row))
		}
		if part.Position != nil {
			part.Position(s.positions[row:row+1], b.from+int(row))
		}
	}
}

// of is a row's bias for a lane of a slope whose query stands at a position.
func (s *biased) of(row int, slope, position float64) float64 {
	if slope == 0 || math.IsNaN(s.positions[row]) {
		return s.rows[row]
	}
	return s.rows[row] - slope*math.Abs(position-s.positions[row])
}

// slope is that of a lane, with its query's position.
func (a *attend) slope(lane int) (slope, position float64) {
	if a.from[lane] < 0 {
		return 0, 0
	}
	s := a.standing(a.from[lane])
	return s.slope, s.position
}

// standing is that of the query that lanesOf gave as its i-th.
func (a *attend) standing(i int) standing {
	b := a.opt.Bias
	switch {
	case b.each != nil:
		return b.each[i]
	case b.Slopes == nil:
		return standing{}
	}
	query, head := a.origin(i)
	return standing{b.Slopes[head], b.Positions[query]}
}

// bias sets logits from the scores of a block's rows, of those at names alone if it isn't
// nil, and scores to the logits rounded, which the heaviest are told by.
func (a *attend) bias(p *pass, lane int, logits []float64, scores []float32, at []uint32) {
	slope, position := a.slope(lane)
	for i, s := range scores {
		row := i
		if at != nil {
			row = int(at[i])
		}
		logits[i] = a.opt.Scale*float64(s) + p.of(row, slope, position)
		if math.IsInf(float64(s), -1) { // masked, be the scale 0
			logits[i] = math.Inf(-1)
		}
		scores[i] = float32(logits[i])
	}
}

// biasedSoftmax is softmax by logits. Rounding one's distance from the maximum to float32
// loses what is then added to its exponential to first order, so the bounds are those of
// scores without a bias.
func (a *attend) biasedSoftmax(p *pass, lane int) {
	most := math.Inf(-1)
	for _, x := range p.logits {
		most = max(most, x)
	}
	p.raise(lane, most, a.shape.HeadValueDim())
	for i, x := range p.logits {
		p.scores[i], p.logits[i] = split(x - p.max[lane])
	}
	sum, shift := kernel.Exp(p.scores, p.scores, 1, 0)
	for i, rest := range p.logits {
		lost := float64(p.scores[i]) * rest
		sum += lost
		p.scores[i] += float32(lost)
	}
	p.sum[lane] += sum
	p.shift[lane] += shift
}

// split gives x as a float32 and what is left.
func split(x float64) (head float32, rest float64) {
	head = float32(x)
	if math.IsInf(float64(head), 0) || math.IsNaN(float64(head)) {
		return float32(math.Inf(-1)), 0
	}
	return head, x - float64(head)
}

// biasPanel is bias for a panel, whose scores of n rows p has.
func (a *attend) biasPanel(p *pass, first, n int) {
	w := kernel.PanelWidth()
	p.logits = sized(p.logits, n*w)
	for j := range w {
		slope, position := a.slope(first + j)
		for i := range n {
			s := p.scores[i*w+j]
			x := a.opt.Scale*float64(s) + p.of(i, slope, position)
			if math.IsInf(float64(s), -1) {
				x = math.Inf(-1)
			}
			p.logits[i*w+j], p.scores[i*w+j] = x, float32(x)
		}
	}
}

// biasedPanelSoftmax is biasedSoftmax for a panel.
func (a *attend) biasedPanelSoftmax(p *pass, first, n int) {
	w := kernel.PanelWidth()
	for j := range w {
		most := math.Inf(-1)
		for i := range n {
			most = max(most, p.logits[i*w+j])
		}
		p.raise(first+j, most, a.shape.HeadValueDim())
		for i := range n {
			p.scores[i*w+j], p.logits[i*w+j] = split(p.logits[i*w+j] - p.max[first+j])
		}
	}
	p.zeros = sized(p.zeros, w)
	kernel.PanelExp(p.scores, p.scores, n, 1, p.zeros, p.sum[first:first+w], p.shift[first:first+w])
	for j := range w {
		for i := range n {
			lost := float64(p.scores[i*w+j]) * p.logits[i*w+j]
			p.sum[first+j] += lost
			p.scores[i*w+j] += float32(lost)
		}
	}
}

// logit gives a heavy row's score and logit for a lane. With a bias what is known of it is
// the rounded logit, so it is scored once more.
func (a *attend) logit(lane int, h Hit) (score float32, logit float64) {
	if a.opt.Bias == nil {
		return h.Score, a.opt.Scale * float64(h.Score)
	}
	part, row := &a.parts[h.Part], int(h.Row)
	var one [1]float32
	var keys []float32
	b := block{h.Part, row, row + 1}
	part.Segment.scoreHeadAt(one[:], a.lanes[lane], a.inverse[lane], b, []uint32{0}, a.head(lane), &keys)
	var s biased
	s.read(part, b)
	slope, position := a.slope(lane)
	return one[0], a.opt.Scale*float64(one[0]) + s.of(0, slope, position)
}

// sparse is a lane's softmax over some rows, heaviest first, alone.
func (a *attend) sparse(lane int, hits []Hit) Attention {
	d, head := a.shape.HeadValueDim(), a.head(lane)
	r := Attention{Context: make([]float32, d), LogSumExp: math.Inf(-1), Attended: uint64(len(hits))}
	if len(hits) == 0 {
		return r
	}
	top, logits := make([]Weight, len(hits)), make([]float64, len(hits))
	most := math.Inf(-1)
	for i, h := range hits {
		top[i] = Weight{Part: h.Part, Row: h.Row}
		top[i].Score, logits[i] = a.logit(lane, h)
		most = max(most, logits[i])
	}
	sum := 0.0
	for _, x := range logits {
		sum += math.Exp(x - most)
	}
	r.LogSumExp = most + math.Log(sum)
	context := make([]float64, d)
	var value []float32
	for i, h := range hits {
		w := math.Exp(logits[i]-most) / sum
		top[i].Weight = w
		if w > 0 {
			r.Entropy -= w * (logits[i] - r.LogSumExp)
		}
		value = a.parts[h.Part].Segment.ValueInto(value[:0], int(h.Row))
		for k, x := range value[head*d : (head+1)*d] {
			context[k] += w * float64(x)
		}
	}
	for k, x := range context {
		r.Context[k] = float32(x)
	}
	r.Entropy = max(0, r.Entropy)
	r.Top = top[:min(a.opt.TopWeights, len(top))]
	return r
}

// AttendTo is Attend to given rows alone, best first, of each query: as Search or
// SearchIVF found them. Keys and queries have one head, and there is no bias.
func AttendTo(shape Shape, parts []Part, queries [][]float32, hits [][]Hit, opt AttendOptions) []Attention {
	opt.QueryHeads, opt.Bias = 1, nil
	a := newAttend(shape, parts, queries, opt, 0)
	out := make([]Attention, len(queries))
	for q := range queries {
		out[q] = a.sparse(q, hits[q])
	}
	return out
}
