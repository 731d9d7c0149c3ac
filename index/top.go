package index

import (
	"cmp"
	"math"
	"slices"
)

// A Hit is a row that was found.
type Hit struct {
	Part  int
	Row   uint32
	Score float32
}

// order ranks hits: higher scores first, among equals the older record, and so that
// no two are equal, the order of parts and rows last.
func order(parts []Part, a, b Hit) int {
	if a.Score != b.Score {
		return cmp.Compare(b.Score, a.Score)
	}
	la, pa := parts[a.Part].Age(a.Row)
	lb, pb := parts[b.Part].Age(b.Row)
	return cmp.Or(cmp.Compare(la, lb), cmp.Compare(pa, pb), cmp.Compare(a.Part, b.Part), cmp.Compare(a.Row, b.Row))
}

// A top keeps the k best hits it was offered, as a heap with the worst at its root.
type top struct {
	k     int
	floor float32 // no hit below it is wanted
	heap  []Hit
}

func (t *top) reset(k int, floor float32) { t.k, t.floor, t.heap = k, floor, t.heap[:0] }

// threshold is the least score that could still get in.
func (t *top) threshold() float32 {
	switch {
	case t.k == 0:
		return float32(math.Inf(1))
	case len(t.heap) == t.k:
		return max(t.floor, t.heap[0].Score)
	}
	return t.floor
}

// offer takes a hit whose score is at least the threshold.
func (t *top) offer(parts []Part, h Hit) {
	if len(t.heap) < t.k {
		t.heap = append(t.heap, h)
		for i := len(t.heap) - 1; i > 0; {
			up := (i - 1) / 2
			if order(parts, t.heap[up], t.heap[i]) >= 0 {
				break
			}
			t.heap[up], t.heap[i] = t.heap[i], t.heap[up]
			i = up
		}
		return
	}
	if t.k == 0 || order(parts, h, t.heap[0]) >= 0 {
		return
	}
	t.heap[0] = h
	for i := 0; ; {
		down := 2*i + 1
		if down >= len(t.heap) {
			return
		}
		if r := down + 1; r < len(t.heap) && order(parts, t.heap[r], t.heap[down]) > 0 {
			down = r
		}
		if order(parts, t.heap[i], t.heap[down]) >= 0 {
			return
		}
		t.heap[i], t.heap[down] = t.heap[down], t.heap[i]
		i = down
	}
}

// Best brings the best k of hits into order, best first, and gives them.
func Best(parts []Part, k int, hits []Hit) []Hit {
	slices.SortFunc(hits, func(a, b Hit) int { return order(parts, a, b) })
	return hits[:min(k, len(hits))]
}

// merge gives the best k of several tops, in order, in memory of its own.
func merge(parts []Part, k int, tops []*top) []Hit {
	n := 0
	for _, t := range tops {
		n += len(t.heap)
	}
	all := make([]Hit, 0, n)
	for _, t := range tops {
		all = append(all, t.heap...)
	}
	return Best(parts, k, all)
}
