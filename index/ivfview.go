package index

import (
	"math"
	"slices"
)

// An ivfView is an index, as one call reads it with its parts.
type ivfView struct {
	*IVF
	parts    []Part
	partOf   []int   // per run; −1: the parts lack it
	covered  []int   // per part, its first rows that are covered
	tail     int     // rows that aren't
	filtered bool    // some covered rows aren't eligible
	share    float64 // of the rows in lists that is eligible
	eligible float64 // of them
}

// sampledWords is how many words of masks tell a share well enough if that is not
// small.
const sampledWords = 1024

func (x *IVF) view(parts []Part) *ivfView {
	v := &ivfView{IVF: x, parts: parts, partOf: make([]int, len(x.runs)), covered: make([]int, len(parts)), share: 1}
	for i := range x.runs {
		v.partOf[i] = -1
	}
	next := 0
	for i := range parts {
		p := &parts[i]
		// Parts and runs mostly stand in the same order.
		for j := range x.runs {
			r := (next + j) % len(x.runs)
			if x.runs[r].segment == p.Segment {
				v.partOf[r], v.covered[i], next = i, min(int(x.runs[r].rows), p.Rows), r+1
				break
			}
		}
		v.tail += p.Rows - v.covered[i]
		v.filtered = v.filtered || p.Mask != nil && v.covered[i] > 0
	}
	v.eligible = float64(x.rows)
	if v.filtered {
		v.count()
	}
	return v
}

// count finds how many covered rows are eligible: by a sample of the words of the
// masks, and where that finds few by all of them.
func (v *ivfView) count() {
	total := 0
	for i := range v.parts {
		total += v.covered[i]
	}
	step := max(1, total/64/sampledWords)
	for {
		rows, found := 0, 0
		for i := range v.parts {
			p := &v.parts[i]
			for w := 0; w*64 < v.covered[i]; w += step {
				to := min((w+1)*64, v.covered[i])
				rows += to - w*64
				found += p.eligible(w*64, to)
			}
		}
		v.share = float64(found) / float64(max(rows, 1))
		if step == 1 || v.share > 1.0/16 {
			break
		}
		step = 1
	}
	v.eligible = v.share * float64(total)
	v.share = min(1, v.eligible/float64(max(v.rows, 1)))
}

// tailParts are the parts without the rows that are covered.
func (v *ivfView) tailParts() []Part { return tailParts(v.parts, v.covered) }

// tailParts are parts without their first rows, so many of each.
func tailParts(parts []Part, covered []int) []Part {
	out := slices.Clone(parts)
	for i := range out {
		p, n := &out[i], covered[i]
		switch {
		case n == p.Rows:
			p.Rows, p.Mask = 0, nil
		case n > 0:
			mask := make([]uint64, (p.Rows+63)/64)
			for w := n / 64; w < len(mask); w++ {
				mask[w] = ^uint64(0)
				if p.Mask != nil {
					mask[w] = p.Mask[w]
				}
			}
			mask[n/64] &= ^uint64(0) << (n % 64)
			p.Mask = mask
		}
	}
	return out
}

// Costs of a search in nanoseconds, of one processor; only their ratios count.
const (
	costList   = 200.0 // to begin a list
	costGroup  = 0.02  // to look up a row's group
	costRow    = 0.5   // to select a row by its sum
	costGather = 20.0  // to score a row
	costPer    = 0.1   // and for each component
)

// effort sets how hard opt searches.
func (v *ivfView) effort(opt *IVFSearchOptions) {
	if opt.Recall > 0 {
		opt.IVFEffort, _ = opt.Calibration.Effort(opt.Recall, opt.K)
	}
	opt.Probes = max(1, min(opt.Probes, v.centroids.k))
	if opt.Bound == 0 {
		opt.Bound = DefaultBound
	}
}

// need is how many lists find as much of the k nearest rows as the effort finds of the
// K nearest. Uncalibrated, they are taken to lie in about √(k/K) times as many.
func (v *ivfView) need(opt *IVFSearchOptions, k int) int {
	n := v.centroids.k
	if opt.Recall > 0 {
		if probes, ok := opt.Calibration.probesAt(opt.Recall, k, opt.Bound); ok {
			n = probes
		}
	} else {
		n = int(min(float64(n), float64(opt.Probes)*math.Sqrt(float64(k)/float64(max(1, opt.K)))))
	}
	return max(opt.Probes, n)
}

// farthest is the rank that the worst hit has among all rows if the filter has nothing
// to do with the query.
func (v *ivfView) farthest(k int) int {
	if !v.filtered || v.share == 0 {
		return k
	}
	return int(min(math.MaxInt32, float64(k)/v.share))
}

// worthwhile is whether to look into lists is less work than to score all eligible
// rows.
func (v *ivfView) worthwhile(probes int) bool {
	mean := float64(v.rows) / float64(v.centroids.k)
	lists := float64(probes) * (costList + mean*(costRow+costGroup*float64(v.coder.groups)))
	return lists < v.eligible*(costGather+costPer*float64(v.shape.Dim))
}

// find is where a row lies; it is false of one that may not be read.
func (v *ivfView) find(ref uint32) (part int, row uint32, ok bool) {
	p := &v.places[ref/MaxRows]
	r, row := p.run, ref%MaxRows
	if p.moved != nil {
		to := p.moved.to[row]
		if to == gone {
			return 0, 0, false
		}
		r, row = to/MaxRows, to%MaxRows
	}
	part = v.partOf[r]
	return part, row, part >= 0 && int(row) < v.parts[part].Rows && v.parts[part].has(int(row))
}
