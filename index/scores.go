package index

import (
	"context"
	"sync"
)

// Scores writes the canonical score of every eligible row of the parts for one query:
// that of row r of part p to dst[base[p]+r]. Other elements may be written, too, and mean
// nothing. asked is as SearchOptions.Workers.
func Scores(ctx context.Context, shape Shape, parts []Part, query []float32, base []int, dst []float32, asked int) (Stats, error) {
	stride := pad(shape.Dim)
	rows := blockRows(stride)
	n := workers(asked, parts, rows, stride)
	inverse := float32(1 / Norm(query))
	scratch := make([]scoresScratch, n)
	err := walk(ctx, parts, rows, stride, n, func(worker int, b block) {
		scratch[worker].block(&parts[b.part], b, query, inverse, dst[base[b.part]:])
	})
	var stats Stats
	for i := range scratch {
		stats.RowsScanned += scratch[i].scanned
	}
	return stats, err
}

type scoresScratch struct {
	keys, gathered, scores []float32
	at                     []uint32
	scanned                int64
}

func (c *scoresScratch) block(p *Part, b block, query []float32, inverse float32, dst []float32) {
	n := p.eligible(b.from, b.to)
	c.scanned += int64(n)
	switch {
	case n == 0:
	case n < (b.to-b.from)/sparse:
		c.at = p.at(c.at[:0], b.from, b.to)
		c.scores = sized(c.scores, len(c.at))
		p.Segment.scoreAt(c.scores, query, inverse, b, c.at, &c.gathered)
		for i, r := range c.at {
			dst[b.from+int(r)] = c.scores[i]
		}
	default:
		atOnce := p.Segment.shape.Encoding.atOnce(p.Segment.shape.Dim, b.to-b.from)
		for from := b.from; from < b.to; from += atOnce {
			to := min(from+atOnce, b.to)
			p.Segment.score(dst[from:to], query, inverse, p.Segment.keyBlock(&c.keys, from, to), from)
		}
	}
}

// ScoreHits sets the canonical scores of hits for a query, whatever they are.
func ScoreHits(parts []Part, query []float32, hits []Hit) {
	inverse := float32(1 / Norm(query))
	var scratch []float32
	for i := range hits {
		h := &hits[i]
		var score [1]float32
		at := [1]uint32{0}
		row := int(h.Row)
		parts[h.Part].Segment.scoreAt(score[:], query, inverse, block{h.Part, row, row + 1}, at[:], &scratch)
		h.Score = score[0]
	}
}

// A Top gathers the best hits of parts, ties going to the older.
type Top struct {
	parts []Part
	t     top
}

var tops = sync.Pool{New: func() any { return new(Top) }}

// NewTop begins with none of the k wanted, which is at least 1.
func NewTop(parts []Part, k int, floor float32) *Top {
	t := tops.Get().(*Top)
	t.parts = parts
	t.t.reset(k, floor)
	return t
}

// Threshold is the score from which on a hit may still be among the best.
func (t *Top) Threshold() float32 { return t.t.threshold() }

// Offer shows it a hit, of a score no less than the threshold.
func (t *Top) Offer(h Hit) { t.t.offer(t.parts, h) }

// Best gives the hits, best first. The Top is of no use afterwards.
func (t *Top) Best() []Hit {
	out := merge(t.parts, t.t.k, []*top{&t.t})
	t.parts = nil
	tops.Put(t)
	return out
}
