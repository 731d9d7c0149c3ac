package memory

import (
	"cmp"
	"context"

	"engram/index"
	"engram/kernel"
)

// Diversity has hits that resemble those before them give way: maximal marginal relevance
// (Carbonell & Goldstein, "The Use of MMR", SIGIR 1998). Of the best candidates the best is
// the first hit; each further one is that with the most of
//
//	(1 − Weight)·relevance − Weight·resemblance
//
// of equals the oldest. Relevance is the score on a scale from that of the least of the
// candidates, 0, to that of the best, 1; if all are equal it is 1. Resemblance is the greatest
// to a hit before it, from 0 to 1. Of two keys it is, under index.Dot and index.Cosine, their
// cosine, or 0 if that is below; under index.L2, which has no natural scale,
// 1 − d²/D², d being their distance and D that of the best candidate from the farthest, or 0
// if that is below; 1 where D is 0.
//
// Where records are grouped, candidates are groups, each standing as its best record.
type Diversity struct {
	Weight     float64 // from 0, the order of the ranking, to 1
	Candidates int     // K is taken if it is more
}

// A pick is a candidate in the order of an answer.
type pick struct {
	at        int
	diversity float32 // Weight·resemblance
}

// diversify picks K of the candidates.
func (c *chooser) diversify(ctx context.Context, candidates []index.Hit) ([]pick, error) {
	n, w := len(candidates), c.opt.Diversity.Weight
	c.readKeys(candidates)
	relevance := relevances(candidates)
	resemblance := make([]float64, n) // to those picked
	near := make([]float32, n)
	left := make([]int, n)
	for i := range left {
		left[i] = i
	}
	var picks []pick
	scale := 0.0 // −½D², under L2
	best := 0    // of left
	for {
		i := left[best]
		picks = append(picks, pick{i, float32(w * resemblance[i])})
		left[best] = left[len(left)-1]
		left = left[:len(left)-1]
		if len(left) == 0 || len(picks) == c.opt.K {
			return picks, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		dim := c.shape.Dim
		if c.shape.Metric == index.L2 {
			kernel.L2(near, c.keys[i*dim:][:dim], c.keys, dim)
			if len(picks) == 1 {
				for _, x := range near {
					scale = min(scale, float64(x))
				}
			}
		} else {
			kernel.Dot(near, c.keys[i*dim:][:dim], c.keys, dim)
		}
		value := 0.0
		for at, j := range left {
			resemblance[j] = max(resemblance[j], c.resemblance(near[j], scale))
			// Each product is rounded by itself, on every processor.
			v := float64((1-w)*relevance[j]) - float64(w*resemblance[j])
			if at == 0 || v > value || v == value && c.older(candidates[j], candidates[left[best]]) {
				best, value = at, v
			}
		}
	}
}

// readKeys reads the candidates' keys, one after the other; each divided by its norm, but
// under L2.
func (c *chooser) readKeys(candidates []index.Hit) {
	c.keys = c.keys[:0]
	for _, h := range candidates {
		from := len(c.keys)
		c.keys = c.r.parts[h.Part].Segment.KeyInto(c.keys, int(h.Row))
		if c.shape.Metric == index.L2 {
			continue
		}
		key := c.keys[from:]
		if norm := index.Norm(key); norm > 0 {
			for i := range key {
				key[i] = float32(float64(key[i]) / norm)
			}
		}
	}
}

// relevances puts scores, which descend, on a scale from 0 to 1.
func relevances(candidates []index.Hit) []float64 {
	out := make([]float64, len(candidates))
	most, least := float64(candidates[0].Score), float64(candidates[len(candidates)-1].Score)
	for i, h := range candidates {
		out[i] = 1
		if most > least {
			out[i] = (float64(h.Score) - least) / (most - least)
		}
	}
	return out
}

// resemblance makes one of a kernel's score of two keys.
func (c *chooser) resemblance(score float32, scale float64) float64 {
	x := float64(score)
	if c.shape.Metric == index.L2 {
		if scale == 0 {
			return 1
		}
		x = 1 - x/scale
	}
	return min(1, max(0, x))
}

// older tells which of two rows is the older record's.
func (c *chooser) older(a, b index.Hit) bool {
	la, pa := c.r.parts[a.Part].Age(a.Row)
	lb, pb := c.r.parts[b.Part].Age(b.Row)
	return cmp.Or(cmp.Compare(la, lb), cmp.Compare(pa, pb), cmp.Compare(a.Part, b.Part), cmp.Compare(a.Row, b.Row)) < 0
}
