package prompt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A talk is sessions of turns, which lie one after the other in the order of the
// conversation, with hits among them; a model of what memory gathers.
type talk struct {
	turns   Turns
	lines   []string
	session []int
}

func (k *talk) write(b []byte, turn int) []byte { return append(b, k.lines[turn]...) }

func talks(t *rapid.T, counter Counter) (*talk, Options) {
	n := rapid.IntRange(0, 24).Draw(t, "turns")
	k := &talk{}
	opt := Options{
		MaxTokens: rapid.IntRange(1, 120).Draw(t, "max"), Count: counter,
		Separator: rapid.SampledFrom([]string{"\n", "", "---\n", "and later: "}).Draw(t, "separator"),
		Order:     rapid.SampledFrom([]Order{ByTime, ByRelevance}).Draw(t, "order"),
	}
	opt.Write = k.write
	words := rapid.SampledFrom([]string{"one", " two", "3", "...", "é", "camping ", "\n", " it's", "   "})
	session := 0
	for i := range n {
		if rapid.IntRange(0, 4).Draw(t, "cut") == 0 {
			session++
		}
		k.session = append(k.session, session)
		k.lines = append(k.lines, fmt.Sprintf("%d:%s\n", i, strings.Join(rapid.SliceOfN(words, 0, 8).Draw(t, "line"), "")))
		turn := Turn{Place: i, Next: -1, Empty: rapid.IntRange(0, 9).Draw(t, "empty") == 0}
		if i > 0 && k.session[i-1] == session {
			k.turns.All[i-1].Next = i
		}
		k.turns.All = append(k.turns.All, turn)
	}
	for i := range rapid.IntRange(0, n).Draw(t, "last") {
		k.turns.Last = append(k.turns.Last, n-1-i)
	}
	if n > 0 {
		best := rapid.Permutation(slices.Collect(func(yield func(int) bool) {
			for i := range n {
				if !yield(i) {
					return
				}
			}
		})).Draw(t, "hits")[:rapid.IntRange(0, n).Draw(t, "best")]
		before, after := rapid.IntRange(0, 3).Draw(t, "before"), rapid.IntRange(0, 3).Draw(t, "after")
		for i, turn := range best {
			k.turns.All[turn].Hit, k.turns.All[turn].Score = true, float32(-i)
			h := Hit{Turn: turn}
			for j := 1; j <= before && turn-j >= 0 && k.session[turn-j] == k.session[turn]; j++ {
				h.Before = append(h.Before, turn-j)
			}
			for j := 1; j <= after && turn+j < n && k.session[turn+j] == k.session[turn]; j++ {
				h.After = append(h.After, turn+j)
			}
			k.turns.Hits = append(k.turns.Hits, h)
		}
	}
	return k, opt
}

// What holds of every prompt, whatever counts its tokens.
func TestPrompt(t *testing.T) {
	cl100k, _ := CounterOf("cl100k_base")
	// More of lines together than one by one, which no tokenizer is proven not to make.
	greedy := func(text []byte) int {
		return len(text)/8 + bytes.Count(text, []byte("\n"))*bytes.Count(text, []byte("\n"))
	}
	for name, counter := range map[string]Counter{"estimate": Estimate, "cl100k_base": cl100k, "greedy": greedy} {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			k, opt := talks(t, counter)
			p, err := NewPlan(context.Background(), &k.turns, opt)
			if err != nil {
				t.Fatal(err)
			}
			text, tokens, records := p.Prompt()
			if tokens != counter(text) || tokens > opt.MaxTokens {
				t.Fatalf("%d tokens of %d: %q has %d", tokens, opt.MaxTokens, text, counter(text))
			}
			if len(text) > p.Bytes {
				t.Fatalf("%d bytes; at most %d were announced", len(text), p.Bytes)
			}
			k.checkText(t, opt, text, records)
			k.checkOrder(t, opt, records)
			k.checkLeftOut(t, p, records)
			if name != "greedy" { // which takes turns out again
				k.checkChoice(t, opt, p)
			}
		}))
	}
}

// passages are the runs of turns that follow one another in a prompt.
func (k *talk) passages(records []Choice) (out [][]int) {
	for i, c := range records {
		if i > 0 && k.turns.All[records[i-1].Turn].Next == c.Turn {
			out[len(out)-1] = append(out[len(out)-1], c.Turn)
		} else {
			out = append(out, []int{c.Turn})
		}
	}
	return out
}

// checkText checks that the text is the lines of the passages with separators between.
func (k *talk) checkText(t *rapid.T, opt Options, text []byte, records []Choice) {
	var parts []string
	for _, passage := range k.passages(records) {
		lines := ""
		for _, turn := range passage {
			lines += k.lines[turn]
		}
		parts = append(parts, lines)
	}
	if want := strings.Join(parts, opt.Separator); want != string(text) {
		t.Fatalf("the prompt is %q, its records are %q", text, want)
	}
}

// checkOrder checks the order of passages, and that what touches is joined.
func (k *talk) checkOrder(t *rapid.T, opt Options, records []Choice) {
	passage := map[int]int{} // of a turn
	reason := map[int]Reason{}
	for i, p := range k.passages(records) {
		for _, turn := range p {
			if _, twice := passage[turn]; twice {
				t.Fatalf("turn %d stands twice", turn)
			}
			passage[turn] = i
		}
	}
	for _, c := range records {
		reason[c.Turn] = c.Reason
		if next := k.turns.All[c.Turn].Next; next >= 0 {
			if at, in := passage[next]; in && at != passage[c.Turn] {
				t.Fatalf("turns %d and %d touch, and stand in passages %d and %d", c.Turn, next, passage[c.Turn], at)
			}
		}
	}
	type key struct {
		last  bool
		score float32
		place int
	}
	var keys []key
	for _, p := range k.passages(records) {
		key := key{score: -1e9, place: p[0]}
		for _, turn := range p {
			key.last = key.last || reason[turn] == Last
			if k.turns.All[turn].Hit {
				key.score = max(key.score, k.turns.All[turn].Score)
			}
		}
		keys = append(keys, key)
	}
	for i := 1; i < len(keys); i++ {
		a, b := keys[i-1], keys[i]
		inOrder := a.place < b.place
		if opt.Order == ByRelevance {
			inOrder = !a.last && b.last || a.last && b.last && inOrder || !a.last && !b.last && a.score > b.score
		}
		if !inOrder {
			t.Fatalf("passages %+v and %+v are out of order", a, b)
		}
	}
}

// checkLeftOut checks that each turn that was wanted is in the prompt or said to be left out.
func (k *talk) checkLeftOut(t *rapid.T, p *Plan, records []Choice) {
	at := map[int]int{}
	for _, c := range append(slices.Clone(records), p.Out...) {
		at[c.Turn]++
		if want := len(k.lines[c.Turn]); !k.turns.All[c.Turn].Empty && c.Bytes != want {
			t.Fatalf("the line of turn %d has %d bytes, not %d", c.Turn, want, c.Bytes)
		}
	}
	for turn, n := range at {
		if n != 1 {
			t.Fatalf("turn %d is told %d times", turn, n)
		}
	}
	for _, turn := range k.turns.Last {
		if at[turn] == 0 {
			t.Fatalf("nothing is said of the last turn %d", turn)
		}
	}
	for _, h := range k.turns.Hits {
		if at[h.Turn] == 0 {
			t.Fatalf("nothing is said of the hit %d", h.Turn)
		}
	}
	for _, c := range records {
		if k.turns.All[c.Turn].Empty {
			t.Fatalf("turn %d has no text", c.Turn)
		}
		if c.Reason != Neighbour {
			continue
		}
		ok := slices.ContainsFunc(k.turns.Hits, func(h Hit) bool {
			return slices.ContainsFunc(records, func(in Choice) bool { return in.Turn == h.Turn }) &&
				(slices.Contains(h.Before, c.Turn) || slices.Contains(h.After, c.Turn))
		})
		if !ok {
			t.Fatalf("turn %d is in as a neighbour of nothing", c.Turn)
		}
	}
}

// checkChoice repeats the choice naively: from nothing, always counting everything.
func (k *talk) checkChoice(t *rapid.T, opt Options, p *Plan) {
	in := map[int]bool{}
	cost := func() int {
		n, passages := 0, 0
		for turn := range in {
			n += opt.Count([]byte(k.lines[turn]))
			before := turn - 1
			if before < 0 || k.session[before] != k.session[turn] || !in[before] {
				passages++
			}
		}
		return n + max(0, passages-1)*opt.Count([]byte(opt.Separator))
	}
	try := func(turn int) bool {
		if in[turn] {
			return true
		}
		if k.turns.All[turn].Empty {
			return false
		}
		in[turn] = true
		if cost() > opt.MaxTokens {
			delete(in, turn)
			return false
		}
		return true
	}
	for _, turn := range k.turns.Last {
		if !k.turns.All[turn].Empty && !try(turn) {
			break
		}
	}
	for _, h := range k.turns.Hits {
		if !try(h.Turn) {
			continue
		}
		sides := [2][]int{h.Before, h.After}
		for range 3 {
			for i, side := range sides {
				if len(side) > 0 && try(side[0]) {
					sides[i] = side[1:]
				} else {
					sides[i] = nil
				}
			}
		}
	}
	var got []int
	for _, c := range p.In {
		got = append(got, c.Turn)
	}
	slices.Sort(got)
	var want []int
	for turn := range in {
		want = append(want, turn)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("in are %v, should be %v", got, want)
	}
}

// The rules of MemoryService.Recall, by example: a token a word.
func TestChoice(t *testing.T) {
	words := func(text []byte) int { return len(bytes.Fields(text)) }
	k := &talk{lines: []string{"a a a\n", "b b\n", "c c c c c\n", "d\n", "e e\n", "f f f\n"}}
	for i := range k.lines {
		k.turns.All = append(k.turns.All, Turn{Place: i, Next: i + 1})
	}
	k.turns.All[5].Next = -1
	k.turns.Last = []int{5, 4}
	k.turns.Hits = []Hit{{Turn: 2, Before: []int{1, 0}, After: []int{3}}, {Turn: 0, After: []int{1}}}
	for i, h := range k.turns.Hits {
		k.turns.All[h.Turn].Hit, k.turns.All[h.Turn].Score = true, float32(1-i)
	}
	for _, c := range []struct {
		max      int
		in, left string
	}{
		{2, "", "5 4 2 0"},      // the newest doesn't fit, and none before it may
		{4, "5", "4 2 0"},       // one fits
		{5, "5 4", "2 0"},       // both
		{8, "5 4 0", "2 1"},     // the best hit doesn't fit, a smaller one does, its neighbour doesn't
		{11, "5 4 2 3", "1 0"},  // the hit and a neighbour; then neither the other nor the next hit
		{13, "5 4 2 1 3", "0"},  // a neighbour before the one after
		{16, "5 4 2 1 3 0", ""}, // all
	} {
		p, err := NewPlan(context.Background(), &k.turns, Options{MaxTokens: c.max, Count: words, Write: k.write})
		if err != nil {
			t.Fatal(err)
		}
		list := func(choices []Choice) string {
			var out []string
			for _, c := range choices {
				out = append(out, fmt.Sprint(c.Turn))
			}
			return strings.Join(out, " ")
		}
		if in, left := list(p.In), list(p.Out); in != c.in || left != c.left {
			t.Errorf("under %d tokens: in are %q, left out %q; should be %q and %q", c.max, in, left, c.in, c.left)
		}
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := NewPlan(cancelled, &k.turns, Options{MaxTokens: 9, Count: words, Write: k.write}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
