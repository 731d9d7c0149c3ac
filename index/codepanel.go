package index

import (
	"math"
	"slices"

	"engram/kernel"
)

// codePanelQueries is the number of queries from which on panels of codes pay more
// than codes for one query at a time, where there are such panels.
const codePanelQueries = 8

// A codePanel is up to kernel.CodePanelWidth queries, packed.
type codePanel struct {
	first  int // of the queries
	n      int
	packed []uint8
}

// packCodes packs the codes of all queries into panels.
func (s *search) packCodes() []codePanel {
	d := s.shape.Dim
	var panels []codePanel
	for first := 0; first < len(s.codes); first += kernel.CodePanelWidth {
		var some [][]int16
		for q := first; q < min(first+kernel.CodePanelWidth, len(s.codes)); q++ {
			some = append(some, s.codes[q].codes)
		}
		p := codePanel{first, len(some), make([]uint8, kernel.CodePanelLen(d))}
		kernel.PackCodes(p.packed, some, d)
		panels = append(panels, p)
	}
	return panels
}

// codePanelBlock scores the rows of a block that panels of codes say may be among
// the best of their queries.
func (s *search) codePanelBlock(c *scan, b block) {
	rowsAtOnce := panelRows(s.shape.Dim)
	for from := b.from; from < b.to; from += rowsAtOnce {
		sub := block{b.part, from, min(from+rowsAtOnce, b.to)}
		if c.blind > 0 { // codes only cost, see codeBlock
			c.blind -= min(c.blind, sub.to-sub.from)
			s.panelBlock(c, sub)
			continue
		}
		n, named := sub.to-sub.from, 0
		c.rowSums = sized(c.rowSums, n)
		p := &s.parts[b.part]
		stride := codeStride(s.shape.Dim)
		rows := p.Segment.codes.rows[sub.from*stride : sub.to*stride]
		// Besides giving the sums, this brings the rows into the cache in order.
		kernel.CodeDot(c.rowSums[:n], s.ones, rows, stride)
		for i := range s.codePanels {
			named += s.codePanel(c, &s.codePanels[i], sub, rows)
		}
		if named > n*len(s.queries)/2 {
			c.blind = blindness * n
			c.part = -1 // the limits of panelBlock are out of date
		}
	}
}

// codePanel does one panel's part, and returns how many rows its queries named.
func (s *search) codePanel(c *scan, panel *codePanel, b block, rows []int8) (named int) {
	const w = kernel.CodePanelWidth
	p, n := &s.parts[b.part], b.to-b.from
	c.lanes = sized(c.lanes, max(w, kernel.PanelWidth()))
	bound := &c.bound
	waiting := 0
	for j := range w {
		bound.Limit[j] = float32(math.Inf(1))
		if j >= panel.n {
			continue
		}
		q := panel.first + j
		limit := c.tops[q].threshold()
		if math.IsInf(float64(limit), -1) { // every row is a hit, until there are enough
			s.codeBlock(c, q, b)
			waiting++
			continue
		}
		one := s.codes[q].at(s.shape, limit)
		bound.Unit[j], bound.Base[j], bound.Slope[j], bound.Limit[j] = one.Unit, one.Base, one.Slope, one.Limit
	}
	if waiting == panel.n {
		return 0
	}
	c.panelSums, c.hits = sized(c.panelSums, n*w), sized(c.hits, n*w)
	kernel.CodePanelDot(c.panelSums, panel.packed, rows, c.rowSums, codeStride(s.shape.Dim), n, s.shape.Dim)
	columns := p.Segment.codes.columns(p.Segment.shape, b)
	hits := c.hits[:kernel.CodePanelSelect(c.hits, c.panelSums, columns.scale, columns.err, columns.level, bound, n)]
	for _, h := range hits {
		if row, lane := int(h)/w, int(h)%w; lane < panel.n && p.has(b.from+row) {
			c.lanes[lane] = append(c.lanes[lane], uint32(row))
		}
	}
	for j, at := range c.lanes {
		if len(at) > 0 {
			named += len(at)
			s.gather(c, panel.first+j, b, at)
			c.lanes[j] = at[:0]
		}
	}
	return named
}

// onesFor is a query whose inner product with a row is the sum of its codes.
func onesFor(dim int) []int16 { return slices.Repeat([]int16{1}, codeStride(dim)) }
