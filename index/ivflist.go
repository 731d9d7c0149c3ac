package index

import (
	"math"

	"engram/kernel"
)

// list looks into a list.
func (w *ivfWork) list(c *ivfScan, l listScore) {
	w.stats.ListsProbed++
	for _, k := range w.view.lists[l.list] {
		w.chunk(c, k, l)
	}
}

// chunk looks for hits among the rows of a list's chunk.
func (w *ivfWork) chunk(c *ivfScan, k *chunk, l listScore) {
	v := w.view
	if k.n == 0 {
		return
	}
	rows := len(k.mul)
	from := 0
	if v.filtered {
		from = w.kept
		w.seen = append(w.seen, seenChunk{k, l.score})
		w.kept += rows
	}
	w.sums = grown(w.sums, from+rows)
	sums := w.sums[from:]
	kernel.FastScan(sums, k.bits, c.code.table, v.coder.groups, rows/kernel.FastScanRows)
	w.flush()
	w.pick(c, k, l, sums)
}

// chunks looks for hits of several queries among the rows of a list's chunk.
func (w *ivfWork) chunks(k *chunk, list uint32, visits []visit) {
	const together = 8
	if k.n == 0 {
		return
	}
	rows := len(k.mul)
	var tables [together][]byte
	for len(visits) > 0 {
		n := min(together, len(visits))
		for i := range n {
			tables[i] = w.scans[visits[i].scan].code.table
		}
		w.sums = sized(w.sums, n*rows)
		kernel.FastScans(w.sums[:n*rows], k.bits, tables[:n], w.view.coder.groups, rows/kernel.FastScanRows)
		w.flush()
		for i, s := range visits[:n] {
			w.pick(&w.scans[s.scan], k, listScore{list, s.score}, w.sums[i*rows:][:rows])
		}
		visits = visits[n:]
	}
}

// pick takes the rows of a chunk whose sums say that they may be among the best. They are
// scored while the next chunk is looked at, when they have come from memory.
func (w *ivfWork) pick(c *ivfScan, k *chunk, l listScore, sums []uint16) {
	v := w.view
	w.stats.RowsScanned += int64(k.n)
	rows := len(k.mul)
	w.hits = sized(w.hits, rows)
	apart := -2 * float64(l.score)
	if v.shape.Metric != L2 {
		apart = c.square + v.norms[l.list] - 2*float64(l.score)
	}
	spread := float64(k.spread)
	more := float32(w.opt.Bound * math.Sqrt(max(0, apart)*spread*spread+c.code.noise))
	if more-more != 0 || l.score-l.score != 0 {
		w.every(c, k) // too far for codes to tell
		return
	}
	fill := w.opt.K - len(c.top.heap)
	if fill > 0 {
		w.fill(c, k, l, sums, more, fill)
	}
	limit := below(c.top.threshold(), l.score)
	found := kernel.FastSelect(w.hits, sums, k.mul, k.add, c.code.scale, c.code.shift+more, limit, rows)
	for _, h := range w.hits[:found] {
		if fill > 0 && w.taken[h/64]>>(h%64)&1 != 0 {
			continue
		}
		part, row, ok := v.find(k.refs[h])
		if !ok {
			continue
		}
		v.parts[part].Segment.prefetch(int(row))
		most := c.code.score(sums[h], k.mul[h], k.add[h], more) + l.score
		w.pending = append(w.pending, ivfHit{most, h, row, int32(part), c})
	}
}

// every has all rows of a chunk scored.
func (w *ivfWork) every(c *ivfScan, k *chunk) {
	for at, ref := range k.refs[:k.n] {
		if part, row, ok := w.view.find(ref); ok {
			w.pending = append(w.pending, ivfHit{float32(math.Inf(1)), uint32(at), row, int32(part), c})
		}
	}
}

// below is a limit for what is added to a list's score, a little low for what
// rounding may take.
func below(limit, score float32) float32 {
	const slack = 4 * unit
	return limit - score - slack*max(abs(limit), abs(score))
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

// fill scores as many rows of a chunk as the top has room for, those that may score
// most, so that there is a threshold for the rest. It marks them as taken.
func (w *ivfWork) fill(c *ivfScan, k *chunk, l listScore, sums []uint16, more float32, n int) {
	v := w.view
	rows := len(k.mul)
	w.taken = sized(w.taken, (rows+63)/64)
	clear(w.taken)
	w.best = w.best[:0]
	limit := below(c.top.threshold(), l.score)
	const most = 8 * kernel.FastScanRows
	for from, size := 0, kernel.FastScanRows; from < rows; from, size = from+size, min(2*size, most) {
		size = min(size, rows-from)
		found := kernel.FastSelect(w.hits, sums[from:], k.mul[from:], k.add[from:], c.code.scale, c.code.shift+more, limit, size)
		for _, h := range w.hits[:found] {
			h += uint32(from)
			most := c.code.score(sums[h], k.mul[h], k.add[h], more)
			if len(w.best) == n && most <= w.best[0].most {
				continue
			}
			part, row, ok := v.find(k.refs[h])
			if !ok {
				continue
			}
			w.best = push(w.best, ivfHit{most, h, row, int32(part), c}, n, func(a, b ivfHit) bool { return a.most < b.most })
			if len(w.best) == n {
				limit = max(limit, w.best[0].most)
			}
		}
	}
	for i := range w.best {
		h := &w.best[i]
		v.parts[h.part].Segment.prefetch(int(h.row))
		w.taken[h.at/64] |= 1 << (h.at % 64)
		h.most += l.score
	}
	for i := range w.best {
		w.score(&w.best[i])
	}
}

// flush scores what is pending.
func (w *ivfWork) flush() {
	for i := range w.pending {
		if h := &w.pending[i]; !(h.most < h.scan.top.threshold()) {
			w.score(h)
		}
	}
	w.pending = w.pending[:0]
}

// score gives a row its canonical score, and offers it.
func (w *ivfWork) score(h *ivfHit) {
	w.stats.Rescored++
	var score [1]float32
	var at [1]uint32
	c, from := h.scan, int(h.row)
	w.view.parts[h.part].Segment.scoreAt(score[:], c.asked, c.inverse, block{int(h.part), from, from + 1}, at[:], &w.keys)
	if score[0] >= c.top.threshold() {
		c.top.offer(w.view.parts, Hit{int(h.part), h.row, score[0]})
	}
}

// prefetch asks for a row's key, and its inverse norm.
func (s *Segment) prefetch(row int) {
	switch stride := pad(s.shape.Dim); {
	case s.shape.Encoding == Int8Only:
		return // codes, which are short
	case s.shape.Encoding.half():
		kernel.Prefetch(floats(s.keys, row*stride/2, (row+1)*stride/2))
	default:
		kernel.Prefetch(s.keyRows(row, row+1))
	}
	if s.shape.Metric == Cosine {
		kernel.Prefetch(s.inverseNorms(row, row+1))
	}
}

// grown is v with room for n elements at least, its elements kept.
func grown[T any](v []T, n int) []T {
	if cap(v) < n {
		w := make([]T, n, 2*n)
		copy(w, v)
		return w
	}
	return v[:n]
}

// push puts x in a heap of at most n with the least at its root; in a full one x is
// more than the root, whose place it takes.
func push[T any](h []T, x T, n int, less func(a, b T) bool) []T {
	if len(h) < n {
		h = append(h, x)
		for i := len(h) - 1; i > 0; {
			up := (i - 1) / 2
			if !less(h[i], h[up]) {
				break
			}
			h[up], h[i] = h[i], h[up]
			i = up
		}
		return h
	}
	i := 0
	for {
		down := 2*i + 1
		if down >= n {
			break
		}
		if down+1 < n && less(h[down+1], h[down]) {
			down++
		}
		if !less(h[down], x) {
			break
		}
		h[i] = h[down]
		i = down
	}
	h[i] = x
	return h
}
