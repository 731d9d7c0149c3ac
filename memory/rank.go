package memory

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"

	"engram/index"
	"engram/memory/lexical"
)

// Parts are what the parts of a ranking give a record, before they are weighed.
type Parts struct{ Similarity, Lexical, Association, Mention, Retention, Importance, Kin float32 }

// RankBytes is about what a ranking that isn't plain takes for each row of its views
// (View.Rows) while it is made.
const RankBytes = 60

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

	similarity, lexical, kin, association, mention, own, score []float32
	retention, importance                                      []float32 // the same for all queries
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
func newRanker(r *reading, views []*View, ranking Ranking, now int64) *ranker {
	k := rankers.Get().(*ranker)
	k.r, k.views, k.ranking = r, views, ranking
	k.analysis = views[0].settings.Value().lexical
	k.base, k.group, k.parts, k.rows, k.counts = k.base[:0], k.group[:0], k.parts[:0], 0, lexical.Counts{}
	for _, v := range views {
		k.counts.Add(v.words)
	}
	for i := range r.parts {
		s := r.at[i].segment
		k.base, k.group, k.parts = append(k.base, k.rows), append(k.group, r.at[i].view), append(k.parts, s.words(r.parts[i].Mask))
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
	k.retention, k.importance = k.retention[:0], k.importance[:0]
	if ranking.Retention > 0 {
		k.retention = zeroed(k.retention, k.rows)
		k.retain(now)
	}
	if ranking.Importance > 0 {
		k.importance = zeroed(k.importance, k.rows)
		for p := range r.parts {
			for row, of := range r.at[p].segment.rows[:r.parts[p].Rows] {
				k.importance[k.base[p]+row] = of.importance
			}
		}
	}
	return k
}

// words are a segment's for lexical search, of which the rows of a mask are scored; nil: all
// live ones.
func (s *segView) words(mask []uint64) lexical.Part {
	p := lexical.Part{Source: s, Rows: int(s.n), Live: s.liveMask(), Mask: mask}
	if s.lexical != nil {
		p.Index = s.lexical.Index
	}
	return p
}

// retain makes the retention of all rows.
func (k *ranker) retain(now int64) {
	var block [512]float64
	for p := range k.r.parts {
		s, rows := k.r.at[p].segment, k.r.parts[p].Rows
		keep := k.views[k.group[p]].settings.Value().retention
		last, x := math.NaN(), float32(0)
		for from := 0; from < rows; from += len(block) {
			logs := block[:min(len(block), rows-from)]
			s.logRetention(logs, from, &keep, now)
			for i, log := range logs {
				if log != last { // seldom, where many were stored together
					last, x = log, float32(math.Exp2(log))
				}
				k.retention[k.base[p]+from+i] = x
			}
		}
	}
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

// rank gives the best of one query, as choose picks them.
func (k *ranker) rank(ctx context.Context, q *Query, opt *RetrieveOptions, choose *chooser, excluded int, excludedRow uint32, workers int) ([]Hit, index.Stats, error) {
	w := &k.ranking
	var stats index.Stats
	shape := k.views[0].settings.Value().shape()
	floor := !math.IsInf(float64(opt.MinScore), -1)
	similar := w.Similarity > 0 || floor
	k.similarity, k.lexical, k.kin, k.mention, k.association = k.similarity[:0], k.lexical[:0], k.kin[:0], k.mention[:0], k.association[:0]
	// Vectors are read from memory, words are reckoned with: one core does the latter while
	// others wait for the former.
	var scored error
	var scoring sync.WaitGroup
	if similar {
		k.similarity = zeroed(k.similarity, k.rows)
		score := func() {
			stats, scored = index.Scores(ctx, shape, k.r.parts, q.Vector, k.base, k.similarity, workers)
		}
		if k.rows < besideRows {
			score()
		} else {
			scoring.Go(score)
		}
	}
	words := k.analysis.Query(q.Text)
	k.scorer.Begin(words, k.parts, k.base, k.counts, w.Kin > 0)
	if w.Lexical > 0 {
		k.lexical = zeroed(k.lexical, k.rows)
		k.scorer.Rows(k.lexical, k.scorer.Weight)
	}
	if w.Kin > 0 {
		k.kin = zeroed(k.kin, k.rows)
		k.scorer.Kin(k.kin, k.unit())
	}
	if w.Mention > 0 {
		k.mention = zeroed(k.mention, k.rows)
		k.mentions(words, q.Text)
	}
	var sessions []float32
	if w.Association > 0 {
		sessions = k.sessionScores()
	}
	scoring.Wait()
	if err := cmp.Or(scored, ctx.Err()); err != nil {
		return nil, stats, err
	}
	if w.Association > 0 {
		k.association = zeroed(k.association, k.rows)
		k.associate(sessions)
	}
	k.fuse()

	least := float32(math.Inf(-1))
	if !k.findsAll() { // what no part found is no hit
		least = math.SmallestNonzeroFloat32
	}
	found, notes, err := choose.choose(ctx, func(depth int) ([]index.Hit, bool, error) {
		return bestOf(ctx, k.r.parts, k.base, k.score, depth, least, func(p int, row uint32) bool {
			return (!floor || k.similarity[k.base[p]+int(row)] >= opt.MinScore) && (p != excluded || row != excludedRow)
		})
	})
	if err != nil {
		return nil, stats, err
	}
	out := make([]Hit, len(found))
	for i, h := range found {
		at := k.base[h.Part] + int(h.Row)
		out[i].Score = h.Score
		out[i].Parts = Parts{partAt(k.similarity, at), partAt(k.lexical, at), partAt(k.association, at), partAt(k.mention, at), partAt(k.retention, at), partAt(k.importance, at), partAt(k.kin, at)}
		out[i].View, out[i].Ref = k.r.ref(h.Part, h.Row)
		if notes != nil {
			out[i].Group, out[i].Diversity = notes[i].group, notes[i].diversity
		}
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

// besideRows is from how many rows on similarity is worth a goroutine beside the words.
const besideRows = 1 << 13

// partAt is a part of a row's score; 0 of a part that isn't there.
func partAt(values []float32, at int) float32 {
	if len(values) == 0 {
		return 0
	}
	return values[at]
}

// offer shows top all eligible rows that may be among the best and that keep lets through.
func (k *ranker) offer(top *index.Top, values []float32, keep func(part int, row uint32) bool) {
	for p := range k.r.parts {
		offer(top, k.r.parts, p, values[k.base[p]:k.base[p]+k.r.parts[p].Rows], keep)
	}
}

// offer shows top those rows of one part, whose values are given.
func offer(top *index.Top, parts []index.Part, p int, values []float32, keep func(part int, row uint32) bool) {
	limit, mask := top.Threshold(), parts[p].Mask
	for row, x := range values {
		if x < limit || mask != nil && mask[row/64]>>(row%64)&1 == 0 || !keep(p, uint32(row)) {
			continue
		}
		top.Offer(index.Hit{Part: p, Row: uint32(row), Score: x})
		limit = top.Threshold()
	}
}

// findsAll is true if every eligible record is a hit: there is a similarity, or nothing that
// depends on the query. Otherwise those are that the words found.
func (k *ranker) findsAll() bool { return k.ranking.Similarity > 0 || !k.ranking.Words() }

// fuse makes the score of each row of its parts. Retention and importance, which every record
// has, come last, and are given to what was found alone.
func (k *ranker) fuse() {
	k.score = zeroed(k.score, k.rows)
	var found func(at int) bool // nil: all
	for _, part := range []struct {
		weight          float64
		of              []float32
		signed, unasked bool
	}{
		{weight: k.ranking.Similarity, of: k.similarity, signed: true},
		{weight: k.ranking.Lexical, of: k.lexical},
		{weight: k.ranking.Kin, of: k.kin},
		{weight: k.ranking.Association, of: k.association},
		{weight: k.ranking.Mention, of: k.mention},
		{weight: k.ranking.Retention, of: k.retention, unasked: true},
		{weight: k.ranking.Importance, of: k.importance, unasked: true},
	} {
		if part.unasked && !k.findsAll() {
			found = func(at int) bool { return k.score[at] > 0 }
		}
		switch {
		case part.weight == 0:
		case k.ranking.Fusion == ReciprocalRank:
			k.addPlaces(part.weight, part.of, part.signed, found)
		default:
			w, score := float32(part.weight), k.score[:len(part.of)]
			if found == nil {
				for i, x := range part.of {
					score[i] += float32(w * x)
				}
				continue
			}
			for i, x := range part.of {
				if found(i) {
					score[i] += float32(w * x)
				}
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

// addPlaces adds weight/(60 + place) to the best rows of a part among those found, which are
// above zero unless it is signed. Equal values have one place, all of them: many records have
// one importance, or were stored at one time.
func (k *ranker) addPlaces(weight float64, values []float32, signed bool, found func(at int) bool) {
	least := float32(math.SmallestNonzeroFloat32)
	if signed {
		least = float32(math.Inf(-1))
	}
	top := index.NewTop(k.r.parts, fusionPlaces, least)
	k.offer(top, values, func(p int, row uint32) bool { return found == nil || found(k.base[p]+int(row)) })
	type step struct{ value, gain float32 }
	var steps []step // falling
	for i, h := range top.Best() {
		if i == 0 || h.Score != steps[len(steps)-1].value {
			steps = append(steps, step{h.Score, float32(weight / float64(fusionK+i+1))})
		}
	}
	if len(steps) == 0 {
		return
	}
	last := steps[0]
	for p := range k.r.parts {
		mask := k.r.parts[p].Mask
		for row := range k.r.parts[p].Rows {
			at := k.base[p] + row
			x := values[at]
			if x < steps[len(steps)-1].value || mask != nil && mask[row/64]>>(row%64)&1 == 0 || found != nil && !found(at) {
				continue
			}
			if x != last.value {
				n, _ := slices.BinarySearchFunc(steps, x, func(s step, x float32) int { return cmp.Compare(x, s.value) })
				last = steps[n]
			}
			k.score[at] += last.gain
		}
	}
}
