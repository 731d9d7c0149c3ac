package memory

import (
	"context"
	"math"
	"sync"

	"engram/index"
	"engram/memory/lexical"
)

// Parts are what the parts of a ranking give a record, before they are weighed.
type Parts struct{ Similarity, Lexical, Association, Mention float32 }

// RankBytes is about what a ranking that isn't plain takes for each row of its views
// (View.Rows) while it is made.
const RankBytes = 48

// A ranker scores all eligible rows of a read by every part of a ranking. Its slices have
// an element for each row of each part of the reading, one after the other.
type ranker struct {
	r        *reading
	views    []*View
	ranking  Ranking
	analysis lexical.Analysis

	base   []int // where the rows of a part begin
	group  []int // the view that a part is of
	rows   int
	parts  []lexical.Part
	counts lexical.Counts
	scorer lexical.Scorer

	order    [][]uint32 // by view, its eligible rows in the order of the conversation; nil: all, as they lie
	session  []uint32
	sessions int
	speaker  []uint32
	speakers []lexical.Query // by number, the words of their names

	similarity, lexical, association, mention, own, score []float32
}

var rankers = sync.Pool{New: func() any { return new(ranker) }}

// zeroed gives v with n elements, all zero.
func zeroed[T any](v []T, n int) []T {
	if cap(v) < n {
		return make([]T, n)
	}
	v = v[:n]
	clear(v)
	return v
}

// newRanker prepares what all queries of a read have in common.
func newRanker(r *reading, views []*View, ranking Ranking) *ranker {
	k := rankers.Get().(*ranker)
	k.r, k.views, k.ranking = r, views, ranking
	k.analysis = views[0].settings.Value().lexical
	k.base, k.group, k.parts, k.rows, k.counts = k.base[:0], k.group[:0], k.parts[:0], 0, lexical.Counts{}
	for _, v := range views {
		k.counts.Add(v.words)
	}
	for i := range r.parts {
		s := r.at[i].segment
		p := lexical.Part{Source: s, Rows: int(s.n), Live: s.liveMask(), Mask: r.parts[i].Mask}
		if s.lexical != nil {
			p.Index = s.lexical.Index
		}
		k.base, k.group, k.parts = append(k.base, k.rows), append(k.group, r.at[i].view), append(k.parts, p)
		k.rows += int(s.n)
	}
	if ranking.Association > 0 {
		k.session = zeroed(k.session, k.rows)
		k.sessions = lexical.Sessions(k.session, k.parts, k.base, k.group)
		k.inOrder()
	}
	if ranking.Mention > 0 {
		k.speaker = zeroed(k.speaker, k.rows)
		k.speakers = k.speakers[:0]
		for _, name := range lexical.Speakers(k.speaker, k.parts, k.base) {
			k.speakers = append(k.speakers, k.analysis.Query(name))
		}
	}
	return k
}

// keepRows bounds the scratch that is kept for the next read.
const keepRows = 1 << 18

func (k *ranker) done() {
	k.r, k.views = nil, nil
	clear(k.parts)
	k.scorer.End()
	if k.rows <= keepRows {
		rankers.Put(k)
	}
}

// rank gives the best of one query.
func (k *ranker) rank(ctx context.Context, q *Query, opt *RetrieveOptions, excluded int, excludedRow uint32, workers int) ([]Hit, index.Stats, error) {
	w := &k.ranking
	var stats index.Stats
	shape := k.views[0].settings.Value().shape()
	floor := !math.IsInf(float64(opt.MinScore), -1)
	similar := w.Similarity > 0 || floor
	k.similarity = zeroed(k.similarity, k.rows)
	if similar {
		var err error
		if stats, err = index.Scores(ctx, shape, k.r.parts, q.Vector, k.base, k.similarity, workers); err != nil {
			return nil, stats, err
		}
	}
	words := k.analysis.Query(q.Text)
	k.scorer.Begin(words, k.parts, k.base, k.counts)
	k.lexical = zeroed(k.lexical, k.rows)
	if w.Lexical > 0 {
		k.scorer.Rows(k.lexical)
		if k.scorer.Weight > 0 {
			scale(k.lexical, 1/k.scorer.Weight)
		}
	}
	k.mention = zeroed(k.mention, k.rows)
	if w.Mention > 0 {
		k.mentions(words, q.Text)
	}
	k.association = zeroed(k.association, k.rows)
	if w.Association > 0 {
		k.associate()
	}
	if err := ctx.Err(); err != nil {
		return nil, stats, err
	}
	k.fuse()

	least := float32(math.Inf(-1))
	if w.Similarity == 0 { // what no part found is no hit
		least = math.SmallestNonzeroFloat32
	}
	top := index.NewTop(k.r.parts, opt.K, least)
	limit := top.Threshold()
	for p := range k.r.parts {
		base := k.base[p]
		each(k.r.parts[p].Mask, k.r.parts[p].Rows, func(row uint32) {
			at := base + int(row)
			if k.score[at] < limit || floor && k.similarity[at] < opt.MinScore || p == excluded && row == excludedRow {
				return
			}
			top.Offer(index.Hit{Part: p, Row: row, Score: k.score[at]})
			limit = top.Threshold()
		})
	}
	found := top.Best()
	out := make([]Hit, len(found))
	for i, h := range found {
		at := k.base[h.Part] + int(h.Row)
		out[i].Score = h.Score
		out[i].Parts = Parts{k.similarity[at], k.lexical[at], k.association[at], k.mention[at]}
		out[i].View, out[i].Ref = k.r.ref(h.Part, h.Row)
	}
	if len(q.Vector) > 0 {
		if !similar {
			index.ScoreHits(k.r.parts, q.Vector, found)
		}
		norm := index.Norm(q.Vector)
		for i, h := range found {
			if !similar {
				out[i].Parts.Similarity = h.Score
			}
			out[i].Error = k.r.parts[h.Part].Segment.ScoreError(int(h.Row), out[i].Parts.Similarity, norm)
		}
	}
	return out, stats, nil
}

func scale(v []float32, by float64) {
	for i := range v {
		if v[i] != 0 {
			v[i] = float32(float64(v[i]) * by)
		}
	}
}

// fuse makes the score of each row of its parts.
func (k *ranker) fuse() {
	k.score = zeroed(k.score, k.rows)
	for _, part := range []struct {
		weight float64
		of     []float32
		signed bool
	}{
		{k.ranking.Similarity, k.similarity, true},
		{k.ranking.Lexical, k.lexical, false},
		{k.ranking.Association, k.association, false},
		{k.ranking.Mention, k.mention, false},
	} {
		switch {
		case part.weight == 0:
		case k.ranking.Fusion == ReciprocalRank:
			k.addPlaces(part.weight, part.of, part.signed)
		default:
			w := float32(part.weight)
			for i, x := range part.of {
				k.score[i] += float32(w * x)
			}
		}
	}
}

// Reciprocal rank fusion (Cormack, Clarke & Büttcher, SIGIR 2009) with the constant of the
// paper, over so many best of each part.
const (
	fusionK      = 60
	fusionPlaces = 1000
)

// addPlaces adds weight/(60 + place) to the best rows of a part, which are above zero unless
// it is signed. Equal values have one place.
func (k *ranker) addPlaces(weight float64, values []float32, signed bool) {
	least := float32(math.SmallestNonzeroFloat32)
	if signed {
		least = float32(math.Inf(-1))
	}
	top := index.NewTop(k.r.parts, fusionPlaces, least)
	limit := top.Threshold()
	for p := range k.r.parts {
		base := k.base[p]
		each(k.r.parts[p].Mask, k.r.parts[p].Rows, func(row uint32) {
			if x := values[base+int(row)]; x >= limit {
				top.Offer(index.Hit{Part: p, Row: row, Score: x})
				limit = top.Threshold()
			}
		})
	}
	place := 0
	best := top.Best()
	for i, h := range best {
		if i == 0 || h.Score != best[i-1].Score {
			place = i + 1
		}
		k.score[k.base[h.Part]+int(h.Row)] += float32(weight / float64(fusionK+place))
	}
}
