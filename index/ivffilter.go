package index

import "engram/kernel"

// farther looks into more lists where a filter makes the hits lie farther away than
// without. Those then are among the nearest rows of all, eligible or not, so many of
// which are as near as the worst hit; and it takes as many lists as those take. Where
// the nearest lists have less of the eligible rows than others have, it also takes as
// many as have the share of them that a search among as few rows would look at.
func (w *ivfWork) farther(c *ivfScan) {
	v := w.view
	n := len(c.lists)
	w.done = sized(w.done, (v.centroids.k+63)/64)
	clear(w.done)
	enough := 2 * v.eligible * float64(v.need(&w.opt, v.farthest(w.opt.K))) / float64(v.centroids.k)
	eligible, rows, counted := 0, 0, 0
	for n < v.centroids.k {
		need := 2 * n
		if len(c.top.heap) == w.opt.K {
			need = v.need(&w.opt, w.rank(c))
		}
		for ; counted < len(w.seen); counted++ {
			k := w.seen[counted].chunk
			rows += k.n
			for _, ref := range k.refs[:k.n] {
				if _, _, ok := v.find(ref); ok {
					eligible++
				}
			}
		}
		if float64(eligible) < min(enough, 0.8*v.share*float64(rows)) {
			need = max(need, n+n/2+1)
		}
		need = min(need, v.centroids.k)
		if need <= n {
			return
		}
		if !w.opt.always && !v.worthwhile(need) {
			w.flat(c)
			return
		}
		for _, l := range c.lists {
			w.done[l.list/64] |= 1 << (l.list % 64)
		}
		w.probe(c, need)
		for _, l := range c.lists {
			if w.done[l.list/64]>>(l.list%64)&1 == 0 {
				w.list(c, l)
			}
		}
		w.flush()
		n = need
	}
}

// rank is how many rows seem as near as the worst hit: of those looked at, and as many
// more as if another such number of lists had what the last quarter of them has.
func (w *ivfWork) rank(c *ivfScan) int {
	n, at, last := 0, 0, 0
	for i, s := range w.seen {
		rows := len(s.chunk.mul)
		w.hits = sized(w.hits, rows)
		found := kernel.FastSelect(w.hits, w.sums[at:], s.chunk.mul, s.chunk.add, c.code.scale, c.code.shift, c.top.threshold()-s.score, rows)
		n += found
		if 4*i >= 3*len(w.seen) {
			last += found
		}
		at += rows
	}
	return max(n+4*last, w.opt.K)
}

// flat scores all eligible rows, of the tail again.
func (w *ivfWork) flat(c *ivfScan) {
	v := w.view
	c.top.heap = c.top.heap[:0]
	for i := range v.parts {
		p := &v.parts[i]
		step := blockRows(pad(v.shape.Dim))
		for from := 0; from < p.Rows; from += step {
			to := min(from+step, p.Rows)
			w.at = w.at[:0]
			if p.Mask != nil {
				w.at = p.at(w.at, from, to)
			} else {
				for row := range to - from {
					w.at = append(w.at, uint32(row))
				}
			}
			w.scores = sized(w.scores, len(w.at))
			scores := w.scores[:len(w.at)]
			p.Segment.scoreAt(scores, c.asked, c.inverse, block{i, from, to}, w.at, &w.keys)
			w.stats.RowsScanned += int64(len(w.at))
			for j, row := range w.at {
				if scores[j] >= c.top.threshold() {
					c.top.offer(v.parts, Hit{i, uint32(from) + row, scores[j]})
				}
			}
		}
	}
}
