package memory

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"engram/index"
	"engram/memory/filter"
)

// A Query is what a read looks for.
type Query struct {
	Vector   []float32
	Text     string   // whose words a Ranking looks for
	Exclude  *Exclude // a record that is left out of this query's answer; nil: none
	Position int64    // in the records' sequence; for attention with slopes
}

// Exclude names a record in one of the views of a read.
type Exclude struct {
	View int
	ID   string
}

// RetrieveOptions say what Retrieve returns.
type RetrieveOptions struct {
	K        int
	Filter   *filter.Filter // validated; nil: all records
	MinScore float32        // of similarity; −Inf: any
	Near     Nearness       // where the ranking is plain; others look at every record
	Ranking  Ranking

	Group     *Grouping  // nil: none
	Diversity *Diversity // nil: none
	// Before and After say how many neighbours of each hit are found, that match the Filter
	// as it does: what a filter keeps from an answer nothing in the answer shows. At most
	// MostNeighbours.
	Before, After int
}

// A Hit is a record that was found.
type Hit struct {
	View  int     // in the order given
	Ref   Ref     // in that view
	Score float32 // what hits are ordered by: with a plain ranking, the similarity
	Parts Parts
	// Error bounds how far the similarity may be from that of the key that was given, which
	// index.Int8Only has rounded.
	Error float32

	Group      int         // the place of its group, from 0, with a Grouping
	Diversity  float32     // what Diversity took off its relevance
	Neighbours *Neighbours // in its view; nil where none are asked for
}

// A reading is what a read needs of its views while it lasts: every segment of
// every view as a part of one search. It is kept from read to read, so that a read
// allocates nothing for the size of what it reads.
type reading struct {
	masks
	parts []index.Part
	at    []*partOf // where parts come from; as long as the longest read so far
}

// partOf is where a part comes from. Its age is made once: a method value each
// read would be garbage.
type partOf struct {
	segment *segView
	view    int
	number  uint32
	age     func(row uint32) (lsn uint64, place uint32)
}

var readings = sync.Pool{New: func() any { return new(reading) }}

// read lists the eligible rows of views.
func read(views []*View, f *filter.Filter) *reading {
	r := readings.Get().(*reading)
	for v, view := range views {
		for i := range view.segments {
			s := &view.segments[i]
			n := len(r.parts)
			if n == len(r.at) {
				p := new(partOf)
				p.age = func(row uint32) (uint64, uint32) { return p.segment.age(row) }
				r.at = append(r.at, p)
			}
			p := r.at[n]
			p.segment, p.view, p.number = s, v, uint32(i)
			r.parts = append(r.parts, index.Part{
				Segment: s.vectors, Rows: int(s.n), Mask: r.of(s, f), Age: p.age,
			})
		}
	}
	return r
}

func (r *reading) done() {
	for i := range r.parts {
		r.at[i].segment = nil
	}
	clear(r.parts)
	r.parts = r.parts[:0]
	r.used = 0
	readings.Put(r)
}

func (r *reading) ref(part int, row uint32) (view int, ref Ref) {
	p := r.at[part]
	return p.view, Ref{p.number, row}
}

// excluded gives the part and row of a query's excluded record, part −1 for none.
func (r *reading) excluded(views []*View, e *Exclude) (part int, row uint32) {
	if e == nil {
		return -1, 0
	}
	ref, ok := views[e.View].Find(e.ID)
	if !ok {
		return -1, 0
	}
	part = int(ref.segment)
	for _, v := range views[:e.View] {
		part += len(v.segments)
	}
	return part, ref.row
}

func vectorsOf(queries []Query) [][]float32 {
	out := make([][]float32, len(queries))
	for i := range queries {
		out[i] = queries[i].Vector
	}
	return out
}

// largest is the namespace of the view with the most records: that whose passes a read
// of all of them rides.
func largest(views []*View) *Namespace {
	return slices.MaxFunc(views, func(a, b *View) int { return cmp.Compare(a.count, b.count) }).ns
}

// ranked answers by a ranking of more than similarity.
func (db *DB) ranked(ctx context.Context, r *reading, views []*View, queries []Query, opt *RetrieveOptions) ([][]Hit, index.Stats, error) {
	k := newRanker(r, views, opt.Ranking, db.clock.Now().UnixNano())
	defer k.done()
	choose := r.chooser(views, opt)
	var stats index.Stats
	out := make([][]Hit, len(queries))
	for q := range queries {
		part, row := r.excluded(views, queries[q].Exclude)
		hits, st, err := k.rank(ctx, &queries[q], opt, choose, part, row, db.workers)
		if err != nil {
			return nil, stats, err
		}
		stats.Add(st)
		out[q] = hits
	}
	return out, stats, nil
}

// Retrieve gives for each query the K records with the best scores over all the
// views, best first and of equal scores the older first; or those that Group and Diversity
// choose, in their order. The views are of one metric and dimension, and the queries of that
// dimension (CheckVector).
func (db *DB) Retrieve(ctx context.Context, views []*View, queries []Query, opt RetrieveOptions) ([][]Hit, index.Stats, error) {
	if len(views) == 0 || opt.K <= 0 {
		return make([][]Hit, len(queries)), index.Stats{}, ctx.Err()
	}
	if err := opt.Ranking.fits(views); err != nil {
		return nil, index.Stats{}, err
	}
	r := read(views, opt.Filter)
	defer r.done()
	find := db.ranked
	if opt.Ranking.Plain() {
		find = db.similar
	}
	hits, stats, err := find(ctx, r, views, queries, &opt)
	if err == nil && opt.Before+opt.After > 0 {
		r.addNeighbours(views, hits, opt.Before, opt.After)
	}
	return hits, stats, err
}

// similar answers by similarity alone.
func (db *DB) similar(ctx context.Context, r *reading, views []*View, queries []Query, opt *RetrieveOptions) ([][]Hit, index.Stats, error) {
	search := index.SearchOptions{K: opt.depth(), MinScore: opt.MinScore, Workers: db.workers, Sharing: db.sharing, Group: largest(views)}
	for i := range queries {
		if queries[i].Exclude != nil {
			search.K++ // one may have to go
			break
		}
	}
	found, stats, err := r.nearest(ctx, views, vectorsOf(queries), search, opt.Near)
	if err != nil {
		return nil, stats, err
	}
	db.noteQueries(views, queries)
	choose := r.chooser(views, opt)
	out := make([][]Hit, len(queries))
	for q := range found {
		part, row := r.excluded(views, queries[q].Exclude)
		norm := index.Norm(queries[q].Vector)
		deep := deepening{r: r, search: &search, query: queries[q].Vector, found: found[q], part: part, row: row, stats: &stats}
		hits, notes, err := choose.choose(ctx, func(depth int) ([]index.Hit, bool, error) { return deep.best(ctx, choose.shape, depth) })
		if err != nil {
			return nil, stats, err
		}
		out[q] = make([]Hit, len(hits))
		for i, h := range hits {
			view, ref := r.ref(h.Part, h.Row)
			out[q][i] = Hit{
				View: view, Ref: ref, Score: h.Score, Parts: Parts{Similarity: h.Score},
				Error: r.parts[h.Part].Segment.ScoreError(int(h.Row), h.Score, norm),
			}
			if notes != nil {
				out[q][i].Group, out[q][i].Diversity = notes[i].group, notes[i].diversity
			}
		}
	}
	return out, stats, nil
}
