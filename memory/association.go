package memory

import (
	"cmp"
	"slices"
)

// What a record gets of the scores of those around it in the order of the conversation.
// Memory recalls by association (Anderson, "A Spreading Activation Theory of Memory",
// 1983): what answers a question often stands beside the words that it has, and most of
// all behind the turn that asked it. How they were chosen: docs/evaluation.md.
const (
	shareOfPrevious = 0.4
	shareOfNext     = 0.3
	shareOfSecond   = 0.2 // of those two away, each
	shareOfQuestion = 0.5 // more of the previous one where that asks
	handedOn        = 0.4 // what a record that asks loses of its own score
	shareOfSession  = 1.0 // of lexical and kin of its session as one text
)

// unit is what lexical scores are divided by, and kin: what a text would have that has all
// the words of the query or, where no text has any, all their kin. 0: no text has those.
func (k *ranker) unit() float64 { return cmp.Or(k.scorer.Weight, k.scorer.KinWeight) }

// sessionScores gives by session what it has of lexical search and of kin as one text,
// weighed and in units of the lexical part; the last is of rows without one. nil: none has
// anything.
func (k *ranker) sessionScores() []float32 {
	lex, akin, unit := k.ranking.Lexical, k.ranking.Kin, k.unit()
	if lex == 0 && akin == 0 || unit == 0 {
		return nil
	}
	out := make([]float32, k.sessions+1)
	scores, kin := k.scorer.Sessions(k.session, k.sessions)
	for i, x := range scores {
		if kin != nil {
			out[i] = float32(akin * shareOfSession * kin[i] / unit)
		}
		out[i] += float32(lex * shareOfSession * x / unit)
	}
	return out
}

// associate fills in association: of what similarity (where above zero), lexical search and
// kin give each record, weighed as the ranking does, the shares that spread to its neighbours,
// and what its session has.
func (k *ranker) associate(sessions []float32) {
	k.weigh()
	part := 0
	for v, view := range k.views {
		first := part
		for part < len(k.parts) && k.group[part] == v {
			part++
		}
		if len(view.segments) == 0 {
			continue
		}
		if order := k.order[v]; order != nil {
			k.spread(len(order), func(i int) int { return int(order[i]) }, sessions)
		} else {
			from := k.base[first]
			k.spread(view.Rows(), func(i int) int { return from + i }, sessions)
		}
	}
}

// Rows is how many rows the records take, dead ones included.
func (v *View) Rows() (n int) {
	for i := range v.segments {
		n += int(v.segments[i].n)
	}
	return n
}

// weigh fills in own, what similarity, lexical search and kin give each row. None is below zero:
// the sign says that the row asks.
func (k *ranker) weigh() {
	k.own = zeroed(k.own, k.rows)
	sim, lex := float32(k.ranking.Similarity), float32(k.ranking.Lexical)
	if sim > 0 {
		for i, x := range k.similarity {
			k.own[i] = float32(sim * max(0, x))
		}
	}
	if lex > 0 {
		for i, x := range k.lexical {
			k.own[i] += float32(lex * x)
		}
	}
	if akin := float32(k.ranking.Kin); akin > 0 {
		for i, x := range k.kin {
			k.own[i] += float32(akin * x)
		}
	}
	for p := range k.parts {
		k.parts[p].MarkAsking(k.own[k.base[p] : k.base[p]+k.parts[p].Rows])
	}
}

// spread goes through n records of one view in the order of the conversation, at giving
// where each lies among all rows.
func (k *ranker) spread(n int, at func(i int) int, sessions []float32) {
	abs := func(x float32) float32 { return max(x, -x) }
	own := func(i int) float32 {
		if i >= n {
			return 0
		}
		return k.own[at(i)]
	}
	var before2, before float32
	here, after := own(0), own(1)
	for i := range n {
		after2 := own(i + 2)
		x := float32(shareOfNext*abs(after)) + float32(shareOfSecond*float32(abs(before2)+abs(after2)))
		if before < 0 {
			x += float32((shareOfPrevious + shareOfQuestion) * -before)
		} else {
			x += float32(shareOfPrevious * before)
		}
		if here < 0 {
			x += float32(handedOn * here)
		}
		row := at(i)
		if sessions != nil {
			x += sessions[k.session[row]]
		}
		k.association[row] = x
		before2, before, here, after = before, here, after, after2
	}
}

// inOrder fills in the order of each view's eligible records.
func (k *ranker) inOrder() {
	k.order = k.order[:0]
	part := 0
	for v := range k.views {
		first := part
		whole, sorted := true, true
		for ; part < len(k.parts) && k.group[part] == v; part++ {
			s := k.r.at[part].segment
			whole = whole && k.parts[part].Mask == nil
			sorted = sorted && s.sorted()
			if part > first && sorted {
				before := k.r.at[part-1].segment
				sorted = before.n == 0 || s.n == 0 || TimeAsc.compare(before.rows[before.n-1].position(), s.rows[0].position()) < 0
			}
		}
		if whole && sorted {
			k.order = append(k.order, nil)
			continue
		}
		k.order = append(k.order, k.eligible(first, part, sorted))
	}
}

// sorted says whether the rows lie in the order of the conversation. What was found out
// about the first rows holds for good.
func (s *segView) sorted() bool {
	at := s.inOrder.Load()
	if at >= s.n {
		return true
	}
	for from := at; at < s.n; at++ {
		if at > 0 && TimeAsc.compare(s.rows[at-1].position(), s.rows[at].position()) >= 0 {
			s.inOrder.CompareAndSwap(from, at)
			return false
		}
	}
	for {
		known := s.inOrder.Load()
		if known >= at || s.inOrder.CompareAndSwap(known, at) {
			return true
		}
	}
}

// eligible lists the eligible rows of parts in the order of the conversation. Few are out
// of place as a rule, updated ones mostly: those are sorted, and merged with the others.
func (k *ranker) eligible(first, end int, sorted bool) []uint32 {
	type placed struct {
		Position
		at uint32
	}
	out := []uint32{}
	var last Position
	var strays []placed
	position := func(p int, row uint32) Position { return k.r.at[p].segment.rows[row].position() }
	for p := first; p < end; p++ {
		each(k.parts[p].Mask, k.parts[p].Rows, func(row uint32) {
			at := uint32(k.base[p]) + row
			if !sorted {
				here := position(p, row)
				if len(out) > 0 && TimeAsc.compare(here, last) < 0 {
					strays = append(strays, placed{here, at})
					return
				}
				last = here
			}
			out = append(out, at)
		})
	}
	if len(strays) == 0 {
		return out
	}
	slices.SortFunc(strays, func(a, b placed) int {
		return cmp.Or(TimeAsc.compare(a.Position, b.Position), cmp.Compare(a.at, b.at))
	})
	merged := make([]uint32, 0, len(out)+len(strays))
	p := first
	for _, at := range out {
		for p+1 < end && int(at) >= k.base[p+1] {
			p++
		}
		here := position(p, at-uint32(k.base[p]))
		for len(strays) > 0 && TimeAsc.compare(strays[0].Position, here) < 0 {
			merged = append(merged, strays[0].at)
			strays = strays[1:]
		}
		merged = append(merged, at)
	}
	for _, s := range strays {
		merged = append(merged, s.at)
	}
	return merged
}
