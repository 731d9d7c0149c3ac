package index

import (
	"context"
	"math"
	"sync"
	"sync/atomic"

	"engram/kernel"
)

// SearchOptions say what Search returns.
type SearchOptions struct {
	K        int
	MinScore float32 // −Inf: any
	Workers  int     // at most; 0: GOMAXPROCS

	Sharing *Sharing // rides passes of this, if the read is large enough; nil: walks by itself
	Group   any      // comparable: reads of one group and shape ride together
}

// panelQueries is the number of queries from which on panels pay.
const panelQueries = 6

// mostPanelRows is how many rows a panel scores at a time at most: the scores stay
// in the first-level cache. It is a multiple of 64 and of what kernels tile by.
const mostPanelRows = 192

// panelRows is how many rows of a dimension a panel scores at a time, a divisor of
// mostPanelRows: the rows stay in the second-level cache, and a call takes well
// under 100 µs.
func panelRows(dim int) int {
	n := mostPanelRows
	for n > 12 && n*pad(dim) > 96<<10 {
		n /= 2
	}
	return n
}

// sparse is the share of eligible rows, as a divisor, below which they are
// gathered rather than scored with the rest.
const sparse = 4

// Search returns for each query the K best eligible rows, by score and then by
// age. Scores are canonical: the same bits for any number of workers, any batch
// and any instruction set. A query has Dim components, and under Cosine a norm
// above zero.
func Search(ctx context.Context, shape Shape, parts []Part, queries [][]float32, opt SearchOptions) ([][]Hit, Stats, error) {
	stride := pad(shape.Dim)
	if opt.Sharing.takes(parts, len(queries), false) {
		if hits, stats, ok, err := opt.Sharing.search(ctx, shape, parts, queries, opt); ok {
			return hits, stats, err
		}
	}
	rows := blockRows(stride)
	if byCodes(parts, len(queries)) {
		stride = codeStride(shape.Dim) / 4
		rows = blockRows(stride)
		if len(queries) >= codePanelQueries {
			rows = panelBlockRows(stride)
		}
	} else if len(queries) >= panelQueries {
		rows = panelBlockRows(stride)
	}
	n := workers(opt.Workers, parts, rows, stride*len(queries))
	s := newSearch(shape, parts, queries, opt, n)
	defer s.release()
	if len(queries) >= panelQueries && s.panels == nil {
		s.panels = pack(queries, shape.Dim)
	}
	if err := walk(ctx, parts, rows, stride, n, s.block); err != nil {
		return nil, Stats{}, err
	}
	out, stats := s.results()
	return out, stats, nil
}

// panelBlockRows is how many rows of a stride make a block for panels.
func panelBlockRows(stride int) int { return mostPanelRows * max(1, blockRows(stride)/mostPanelRows) }

// results merges what the workers found.
func (s *search) results() ([][]Hit, Stats) {
	out := make([][]Hit, len(s.queries))
	tops := make([]*top, 0, len(s.scans))
	for q := range s.queries {
		tops = tops[:0]
		for _, c := range s.scans {
			if c != nil {
				tops = append(tops, &c.tops[q])
			}
		}
		out[q] = merge(s.parts, s.opt.K, tops)
	}
	var stats Stats
	for _, c := range s.scans {
		if c != nil {
			stats.RowsScanned += c.scanned
		}
	}
	return out, stats
}

// A search is one call of Search.
type search struct {
	shape   Shape
	parts   []Part
	queries [][]float32
	opt     SearchOptions
	inverse []float32 // of the queries' norms; zeros up to whole panels
	norms   []float64 // of the queries
	panels  [][]float32
	codes   []codeQuery
	scans   []*scan // nil for a worker that had nothing to do

	codePanels []codePanel
	ones       []int16
}

// A scan is one worker's: its best hits so far, and its scratch.
type scan struct {
	tops     []top
	scores   []float32
	at       []uint32
	keys     []float32 // decoded, of a block
	gathered []float32 // of single rows
	scanned  int64

	judges    []judge // per query
	sums      []int32
	panelSums []int32
	rowSums   []int32 // of a block's codes
	bound     kernel.CodePanelBound
	blind     int // rows to come that panels of codes aren't asked about

	part    int       // that limits are for; −1 at first
	longest float64   // the greatest norm of its rows, under Dot
	limits  []float32 // per query, what panels nominate from; +Inf up to whole panels
	panel   []float32 // scores
	hits    []uint32
	lanes   [][]uint32 // per lane, the nominated rows; empty between panels
}

var scans = sync.Pool{New: func() any { return new(scan) }}

func newSearch(shape Shape, parts []Part, queries [][]float32, opt SearchOptions, n int) *search {
	s := &search{shape: shape, parts: parts, queries: queries, opt: opt, scans: make([]*scan, n)}
	s.inverse, s.norms = make([]float32, len(queries)+kernel.PanelWidth()), make([]float64, len(queries))
	for q, v := range queries {
		s.norms[q] = Norm(v)
		s.inverse[q] = float32(1 / s.norms[q])
	}
	if byCodes(parts, len(queries)) {
		s.codes = s.codeQueries()
		if len(queries) >= codePanelQueries && kernel.CodePanels() {
			s.codePanels, s.ones = s.packCodes(), onesFor(shape.Dim)
			s.panels = pack(queries, shape.Dim) // for where codes are of no use
		}
	}
	return s
}

// scan is a worker's, made the first time that it asks.
func (s *search) scan(worker int) *scan {
	c := s.scans[worker]
	if c != nil {
		return c
	}
	c = scans.Get().(*scan)
	c.scanned, c.part, c.blind = 0, -1, 0
	c.limits = sized(c.limits, len(s.queries)+kernel.PanelWidth())
	for q := range c.limits {
		c.limits[q] = float32(math.Inf(1))
	}
	c.tops = sized(c.tops, len(s.queries))
	for q := range c.tops {
		c.tops[q].reset(s.opt.K, s.opt.MinScore)
	}
	c.judges = sized(c.judges, len(s.queries))
	clear(c.judges)
	s.scans[worker] = c
	return c
}

// pack packs queries into panels.
func pack(queries [][]float32, dim int) [][]float32 {
	w := kernel.PanelWidth()
	panels := make([][]float32, 0, (len(queries)+w-1)/w)
	for q := 0; q < len(queries); q += w {
		p := make([]float32, kernel.PackedLen(dim))
		kernel.Pack(p, queries[q:min(q+w, len(queries))], dim)
		panels = append(panels, p)
	}
	return panels
}

func (s *search) release() {
	for _, c := range s.scans {
		if c != nil {
			scans.Put(c)
		}
	}
}

// sized returns v with length n, its elements kept where they were.
func sized[T any](v []T, n int) []T {
	if cap(v) < n {
		w := make([]T, n)
		copy(w, v[:cap(v)])
		return w
	}
	return v[:n]
}

func (s *search) block(worker int, b block) {
	c, p := s.scan(worker), &s.parts[b.part]
	n := p.eligible(b.from, b.to)
	if n == 0 {
		return
	}
	c.scanned += int64(n) * int64(len(s.queries))
	coded := s.codes != nil && p.Segment.codes != nil
	share := sparse
	if coded && p.Segment.shape.Encoding == Int8Only {
		share *= 4 // decoding a row costs more than judging it
	}
	switch {
	case n < (b.to-b.from)/share:
		c.at = p.at(c.at[:0], b.from, b.to)
		for q := range s.queries {
			s.gather(c, q, b, c.at)
		}
	case coded && s.codePanels != nil:
		s.codePanelBlock(c, b)
	case coded:
		for q := range s.queries {
			s.codeBlock(c, q, b)
		}
	case s.panels != nil:
		s.panelBlock(c, b)
	default:
		atOnce := p.Segment.shape.Encoding.atOnce(s.shape.Dim, b.to-b.from)
		for from := b.from; from < b.to; from += atOnce {
			sub := block{b.part, from, min(from+atOnce, b.to)}
			keys := p.Segment.keyBlock(&c.keys, sub.from, sub.to)
			for q := range s.queries {
				s.single(c, q, sub, keys)
			}
		}
	}
}

// single scores a whole block, whose keys are given, for one query.
func (s *search) single(c *scan, q int, b block, keys []float32) {
	p := &s.parts[b.part]
	n := b.to - b.from
	c.scores = sized(c.scores, n)
	p.Segment.score(c.scores, s.queries[q], s.inverse[q], keys, b.from)
	t := &c.tops[q]
	limit := t.threshold()
	for i, score := range c.scores {
		if score >= limit && p.has(b.from+i) {
			t.offer(s.parts, Hit{b.part, uint32(b.from + i), score})
			limit = t.threshold()
		}
	}
}

// gather scores the rows at, counted from the block's first, for one query.
func (s *search) gather(c *scan, q int, b block, at []uint32) {
	p := &s.parts[b.part]
	c.scores = sized(c.scores, len(at))
	scores := c.scores[:len(at)]
	p.Segment.scoreAt(scores, s.queries[q], s.inverse[q], b, at, &c.gathered)
	t := &c.tops[q]
	for i, score := range scores {
		if score >= t.threshold() {
			t.offer(s.parts, Hit{b.part, uint32(b.from) + at[i], score})
		}
	}
}

// panelBlock lets panels nominate the rows of a block, and scores those that they
// nominate canonically.
func (s *search) panelBlock(c *scan, b block) {
	p := &s.parts[b.part]
	w := kernel.PanelWidth()
	if c.part != b.part {
		c.part, c.longest = b.part, p.Segment.longest()
		for q := range s.queries {
			c.limits[q] = s.nominated(c.tops[q].threshold(), q, c.longest)
		}
	}
	rowsAtOnce := panelRows(s.shape.Dim)
	c.panel = sized(c.panel, rowsAtOnce*w)
	c.hits = sized(c.hits, rowsAtOnce*w)
	c.lanes = sized(c.lanes, w)
	for from := b.from; from < b.to; from += rowsAtOnce {
		sub := block{b.part, from, min(from+rowsAtOnce, b.to)}
		n := sub.to - sub.from
		rows := p.Segment.keyBlock(&c.keys, sub.from, sub.to)
		scores := c.panel[:n*w]
		touch(rows)
		for i, panel := range s.panels {
			first := i * w
			p.Segment.panelScores(scores, panel, s.inverse[first:first+w], rows, sub.from, n)
			hits := c.hits[:kernel.PanelSelect(c.hits, scores, c.limits[first:first+w], n)]
			if len(hits) == 0 {
				continue
			}
			for _, h := range hits {
				if row, lane := int(h)/w, int(h)%w; p.has(sub.from + row) {
					c.lanes[lane] = append(c.lanes[lane], uint32(row))
				}
			}
			for j, at := range c.lanes {
				if len(at) > 0 {
					s.gather(c, first+j, sub, at)
					c.limits[first+j] = s.nominated(c.tops[first+j].threshold(), first+j, c.longest)
					c.lanes[j] = at[:0]
				}
			}
		}
	}
}

// touched keeps the compiler from leaving touch out.
var touched atomic.Uint32

// touch brings rows into the second-level cache, in order, as memory gives them
// fastest: panels walk several rows in step, which processors foresee badly.
func touch(rows []float32) {
	const line = 16
	var a uint32
	for i := 0; i < len(rows); i += line {
		a |= math.Float32bits(rows[i])
	}
	if a == 1 {
		touched.Store(a)
	}
}

// unit is the rounding error of float32, 2⁻²⁴, and tiny its smallest number above
// zero.
const (
	unit = 1.0 / (1 << 24)
	tiny = math.SmallestNonzeroFloat32
)

// gamma bounds the relative error of n roundings (Higham, Accuracy and Stability
// of Numerical Algorithms, 2002, lemma 3.1).
func gamma(n int) float64 { return float64(n) * unit / (1 - float64(n)*unit) }

// nominated is the panel's score from which on a row's canonical score may reach
// limit: limit less the errors that both can have.
func (s *search) nominated(limit float32, q int, longest float64) float32 {
	l := float64(limit)
	if math.IsInf(l, 0) {
		return limit
	}
	d := s.shape.Dim
	e := gamma(d) + gamma(d/64+8)
	under := underflow(d)
	switch s.shape.Metric {
	case Dot:
		e = e*s.norms[q]*longest*(1+1e-6) + under
	case Cosine:
		// The products with two inverse norms, each itself rounded, add a few
		// roundings; keys of small norm magnify what underflows.
		e = (e+gamma(12))*(1+1e-6) + underCosine(under, s.norms[q])
	case L2:
		e = (gamma(d+4)+gamma(d/64+12))*math.Abs(l)*(1+1e-6) + under
	}
	return math.Nextafter32(float32(l-e), float32(math.Inf(-1)))
}

// leastNorm is the least norm of a key under Cosine.
const leastNorm = 1e-18

// underCosine bounds what underflow of an inner product can do to a cosine. A decoded
// key's norm may be a little less than the least.
func underCosine(under, norm float64) float64 { return under / (leastNorm / 2 * norm) }
