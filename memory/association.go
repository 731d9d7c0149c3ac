package memory

import (
	"cmp"
	"slices"
)

// What a record gets of the scores of those around it in the order of the conversation.
// Memory recalls by association (Anderson, "A Spreading Activation Theory of Memory",
// 1983): what answers a question often stands beside the words that it has, and most of
// all behind the turn that asked it. Chosen on three dialogues of LoCoMo and confirmed on
// two others: docs/evaluation.md.
const (
	shareOfPrevious = 0.5
	shareOfNext     = 0.3
	shareOfSecond   = 0.2 // of those two away, each
	shareOfQuestion = 0.4 // more of the previous one where that asks
	handedOn        = 0.3 // what a record that asks loses of its own score
	shareOfSession  = 1.0 // of the lexical score of its session as one text
)

// associate fills in association: of what similarity (where above zero) and lexical search
// give each record, weighed as the ranking does, the shares that spread to its neighbours.
func (k *ranker) associate() {
	k.own = zeroed(k.own, k.rows)
	sim, lex := float32(k.ranking.Similarity), float32(k.ranking.Lexical)
	for i := range k.own {
		k.own[i] = float32(sim*max(0, k.similarity[i])) + float32(lex*k.lexical[i])
	}
	var sessions []float32
	if lex > 0 && k.scorer.Weight > 0 {
		scores := k.scorer.Sessions(k.session, k.sessions)
		sessions = make([]float32, k.sessions+1)
		for i, x := range scores {
			sessions[i] = lex * float32(shareOfSession*x/k.scorer.Weight)
		}
	}
	part := 0
	for v, view := range k.views {
		first := part
		for part < len(k.parts) && k.group[part] == v {
			part++
		}
		if len(view.segments) == 0 {
			continue
		}
		s := spread{k: k, first: first, end: part, order: k.order[v]}
		s.from = k.base[first]
		s.n = len(s.order)
		if s.order == nil {
			s.n = view.Rows()
		}
		s.run(sessions)
	}
}

// Rows is how many rows the records take, dead ones included.
func (v *View) Rows() (n int) {
	for i := range v.segments {
		n += int(v.segments[i].n)
	}
	return n
}

// A spread goes through the records of one view in the order of the conversation.
type spread struct {
	k          *ranker
	first, end int // its parts
	part       int // where asks looked last
	from       int // its first row
	order      []uint32
	n          int
}

func (s *spread) at(i int) int {
	if s.order == nil {
		return s.from + i
	}
	return int(s.order[i])
}

// asks is true of a row that ends with a question mark.
func (s *spread) asks(row int) bool {
	k := s.k
	for s.part = max(s.part, s.first); row < k.base[s.part]; s.part-- {
	}
	for s.part+1 < s.end && row >= k.base[s.part+1] {
		s.part++
	}
	return k.parts[s.part].Asks(row - k.base[s.part])
}

func (s *spread) run(sessions []float32) {
	k := s.k
	var before2, before, here, after float32 // scores of their own, of records around i
	beforeAsks := false
	own := func(i int) float32 {
		if i >= s.n {
			return 0
		}
		return k.own[s.at(i)]
	}
	here, after = own(0), own(1)
	for i := range s.n {
		at := s.at(i)
		after2 := own(i + 2)
		x := float32(shareOfNext*after) + float32(shareOfSecond*float32(before2+after2))
		if before != 0 {
			share := float32(shareOfPrevious)
			if beforeAsks {
				share += shareOfQuestion
			}
			x += float32(share * before)
		}
		asks := here != 0 && s.asks(at)
		if asks {
			x -= float32(handedOn * here)
		}
		if sessions != nil {
			x += sessions[k.session[at]]
		}
		k.association[at] = x
		before2, before, here, after, beforeAsks = before, here, after, after2, asks
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
