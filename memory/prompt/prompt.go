// Package prompt puts remembered turns into a prompt: which of them fit under a budget of
// tokens, how each is written, what stands between them. It knows nothing of where they are
// kept: a turn is a number, and a function that writes it.
package prompt

import (
	"cmp"
	"context"
	"slices"
)

// A Turn is a record that may go into a prompt.
type Turn struct {
	Place int     // its place in the order of the conversation, among all turns
	Next  int     // the turn that follows it directly; −1: none of these
	Hit   bool    // among the best
	Score float32 // of a hit
	Empty bool    // it has no text
}

// Turns are those that may go into a prompt, in the order in which they are tried.
type Turns struct {
	All  []Turn
	Last []int // the last of the conversation, newest first
	Hits []Hit // best first
}

// A Hit is one of the best turns, with its neighbours on both sides, nearest first.
type Hit struct {
	Turn          int
	Before, After []int
}

// Order is the order of a prompt's passages.
type Order uint8

// The orders.
const (
	ByTime      Order = iota // of their first turns
	ByRelevance              // the best score first; those with last turns after all others, by time
)

// Reason says why a turn is in a prompt, or was to be.
type Reason uint8

// The reasons.
const (
	Last Reason = iota
	Best
	Neighbour
)

// Options say what a prompt is like.
type Options struct {
	MaxTokens int
	Count     Counter
	Separator string // between two passages
	Order     Order
	// Write appends a turn's line, its newline with it.
	Write func(b []byte, turn int) []byte
}

// A Choice is a turn that was tried.
type Choice struct {
	Turn   int
	Reason Reason
	Tokens int // of its line by itself; 0 if it is empty
	Bytes  int // likewise
}

// A Plan is what goes into a prompt and what doesn't.
type Plan struct {
	In, Out []Choice // in the order in which they were tried
	Bytes   int      // of the prompt, at most

	turns    *Turns
	opt      Options
	previous []int // by turn
	state    []state
	used     int // tokens at most
	gap      int // tokens of a separator
	passages int
	scratch  []byte
}

// A state is where a turn stands.
type state struct {
	tried, in bool
	choice    Choice
}

// NewPlan tries turns in their order, each while it fits: see MemoryService.Recall.
func NewPlan(ctx context.Context, turns *Turns, opt Options) (*Plan, error) {
	p := &Plan{turns: turns, opt: opt, previous: make([]int, len(turns.All)), state: make([]state, len(turns.All))}
	for i := range p.previous {
		p.previous[i] = -1
	}
	for i, t := range turns.All {
		if t.Next >= 0 {
			p.previous[t.Next] = i
		}
	}
	p.gap = opt.Count([]byte(opt.Separator))
	whole := true
	for _, t := range turns.Last {
		fits := p.try(t, Last, whole)
		whole = whole && (fits || turns.All[t].Empty)
	}
	for _, h := range turns.Hits {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !p.try(h.Turn, Best, true) {
			continue
		}
		before, after := h.Before, h.After
		for len(before) > 0 || len(after) > 0 {
			before = p.along(before)
			after = p.along(after)
		}
	}
	for _, s := range p.state {
		if s.in {
			p.Bytes += s.choice.Bytes + len(opt.Separator)
		}
	}
	return p, ctx.Err()
}

// along tries the nearest of neighbours on one side, and gives those to try after it.
func (p *Plan) along(side []int) []int {
	if len(side) == 0 || !p.try(side[0], Neighbour, true) {
		return nil
	}
	return side[1:]
}

// try takes a turn in if it fits and may, and says whether it is in.
func (p *Plan) try(turn int, why Reason, may bool) bool {
	s := &p.state[turn]
	if s.in {
		return true
	}
	again := s.tried
	if !again {
		s.tried = true
		s.choice = Choice{Turn: turn, Reason: why}
		if !p.turns.All[turn].Empty {
			p.scratch = p.opt.Write(p.scratch[:0], turn)
			s.choice.Tokens, s.choice.Bytes = p.opt.Count(p.scratch), len(p.scratch)
		}
	}
	used, passages := p.with(turn)
	if !may || p.turns.All[turn].Empty || used > p.opt.MaxTokens {
		if !again {
			p.Out = append(p.Out, s.choice)
		}
		return false
	}
	s.in, s.choice.Reason = true, why
	p.used, p.passages = used, passages
	p.In = append(p.In, s.choice)
	if again {
		p.Out = slices.DeleteFunc(p.Out, func(c Choice) bool { return c.Turn == turn })
	}
	return true
}

// with gives the tokens and passages there would be with one more turn.
func (p *Plan) with(turn int) (tokens, passages int) {
	passages = p.passages + 1
	for _, beside := range []int{p.previous[turn], p.turns.All[turn].Next} {
		if beside >= 0 && p.state[beside].in {
			passages--
		}
	}
	return p.used + p.state[turn].choice.Tokens + p.gap*(max(1, passages)-max(1, p.passages)), passages
}

// Prompt writes the prompt and says how many tokens it has: never more than MaxTokens, for
// what a tokenizer that makes more of lines together than one by one has too many is left
// out after all, the last that was taken first. Records are the turns in the order of the
// prompt.
func (p *Plan) Prompt() (text []byte, tokens int, records []Choice) {
	for {
		text, records = p.write()
		tokens = p.opt.Count(text)
		if tokens <= p.opt.MaxTokens {
			return text, tokens, records
		}
		for over := tokens - p.opt.MaxTokens; over > 0 && len(p.In) > 0; {
			last := p.In[len(p.In)-1]
			p.In = p.In[:len(p.In)-1]
			p.state[last.Turn].in = false
			p.Out = append(p.Out, last)
			over -= last.Tokens
		}
	}
}

// write makes the prompt of what is in.
func (p *Plan) write() (text []byte, records []Choice) {
	type passage struct {
		first int
		last  bool
		score float32 // the best
		hit   bool
	}
	var all []passage
	for _, c := range p.In {
		if before := p.previous[c.Turn]; before >= 0 && p.state[before].in {
			continue
		}
		g := passage{first: c.Turn}
		for t := c.Turn; t >= 0 && p.state[t].in; t = p.turns.All[t].Next {
			g.last = g.last || p.state[t].choice.Reason == Last
			if turn := &p.turns.All[t]; turn.Hit && (!g.hit || turn.Score > g.score) {
				g.hit, g.score = true, turn.Score
			}
		}
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b passage) int {
		if p.opt.Order == ByRelevance {
			switch {
			case a.last != b.last:
				if a.last {
					return 1
				}
				return -1
			case !a.last && a.score != b.score:
				return cmp.Compare(b.score, a.score)
			}
		}
		return cmp.Compare(p.turns.All[a.first].Place, p.turns.All[b.first].Place)
	})
	text = make([]byte, 0, p.Bytes)
	records = make([]Choice, 0, len(p.In))
	for i, g := range all {
		if i > 0 {
			text = append(text, p.opt.Separator...)
		}
		for t := g.first; t >= 0 && p.state[t].in; t = p.turns.All[t].Next {
			text = p.opt.Write(text, t)
			records = append(records, p.state[t].choice)
		}
	}
	return text, records
}
