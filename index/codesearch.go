package index

import (
	"math"

	"engram/kernel"
)

const (
	// codeQueries is the number of queries from which on panels of float32 pay more
	// than codes, where there are no panels of codes.
	codeQueries = 32
	// leastCodeRows is the number of rows from which on codes pay.
	leastCodeRows = 256
	// codeRows is how many rows codes judge at a time at most, so that the limit is
	// seldom out of date and the sums stay in the first-level cache; fewCodeRows is
	// where that begins.
	codeRows, fewCodeRows = 1024, 64
	// blindness is for how many times as many rows codes aren't asked once they
	// selected most rows.
	blindness = 8
)

// byCodes says whether a search reads the codes of segments that have some.
func byCodes(parts []Part, queries int) bool {
	if queries >= codeQueries && !kernel.CodePanels() {
		return false
	}
	rows := 0
	for i := range parts {
		if parts[i].Segment.codes != nil {
			rows += parts[i].Rows
		}
	}
	return rows >= leastCodeRows
}

func (s *search) codeQueries() []codeQuery {
	codes := make([]codeQuery, len(s.queries))
	for q, v := range s.queries {
		codes[q] = newCodeQuery(s.shape, v, s.norms[q], s.inverse[q])
	}
	return codes
}

// A judge is how codes serve one query in one worker's scan.
type judge struct {
	seen  int // rows so far
	blind int // rows to come that codes aren't asked about
}

// codeBlock scores the rows of a block that codes say may be among the best of one
// query: a few at first, so that there soon is a limit to judge by.
func (s *search) codeBlock(c *scan, q int, b block) {
	t, j := &c.tops[q], &c.judges[q]
	for from, to := b.from, 0; from < b.to; from = to {
		limit := t.threshold()
		switch {
		case math.IsInf(float64(limit), -1): // every row is a hit
			to = min(from+fewCodeRows, b.to)
			s.single(c, q, block{b.part, from, to}, s.parts[b.part].Segment.keyBlock(&c.keys, from, to))
		case j.blind > 0:
			to = min(from+j.blind, from+codeRows, b.to)
			s.single(c, q, block{b.part, from, to}, s.parts[b.part].Segment.keyBlock(&c.keys, from, to))
			j.blind -= to - from
		default:
			to = min(from+max(fewCodeRows, j.seen), from+codeRows, b.to)
			n := to - from
			at := s.candidates(c, q, limit, block{b.part, from, to})
			if len(at) > n/2 {
				j.blind = blindness * n
			}
			if len(at) > 0 {
				s.gather(c, q, block{b.part, from, to}, at)
			}
		}
		j.seen += to - from
	}
}

// candidates are the eligible rows of at most codeRows, counted from the first, whose
// canonical score for one query may reach limit.
func (s *search) candidates(c *scan, q int, limit float32, b block) []uint32 {
	p, n := &s.parts[b.part], b.to-b.from
	codes, query := p.Segment.codes, &s.codes[q]
	stride := codeStride(s.shape.Dim)
	c.sums, c.hits = sized(c.sums, n), sized(c.hits, n)
	kernel.CodeDot(c.sums[:n], query.codes, codes.rows[b.from*stride:b.to*stride], stride)
	columns := codes.columns(p.Segment.shape, b)
	bound := query.at(s.shape, limit)
	at := c.hits[:kernel.CodeSelect(c.hits, c.sums[:n], columns.scale, columns.err, columns.level, &bound)]
	if p.Mask == nil {
		return at
	}
	kept := at[:0]
	for _, i := range at {
		if p.has(b.from + int(i)) {
			kept = append(kept, i)
		}
	}
	return kept
}
