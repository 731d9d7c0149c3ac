package lexical

import (
	"slices"
	"strings"

	"github.com/clipperhouse/uax29/v2/words"
)

// Unnamed is a text without its words that are of the name of whoever spoke in a live row of
// parts. Where no other words are left it is the text itself.
func (a Analysis) Unnamed(text string, parts []Part) string {
	q := a.Query(text)
	named := make([]bool, q.Terms())
	if !q.names(a, parts, named) {
		return text
	}
	var out strings.Builder
	spaced, left := true, false // spaced: there is no need of space before what comes
	for tokens := words.FromString(text); tokens.Next(); {
		token := tokens.Value()
		space := strings.TrimSpace(token) == ""
		terms := a.Query(token)
		switch common := q.Common(nil, terms); {
		case len(common) > 0 && !slices.ContainsFunc(common, func(i int) bool { return !named[i] }):
		case space && spaced:
		default:
			left = left || terms.Terms() > 0
			spaced = space
			out.WriteString(token)
		}
	}
	if !left {
		return text
	}
	return strings.TrimSpace(out.String())
}

// names marks the terms that are of a live row's speaker, and says whether there are any.
func (q Query) names(a Analysis, parts []Part, named []bool) (any bool) {
	shared := make(map[string][]int) // by speaker
	common := func(speaker string) []int {
		terms, ok := shared[speaker]
		if !ok {
			terms = q.Common(nil, a.Query(speaker))
			shared[speaker] = terms
		}
		return terms
	}
	mark := func(terms []int) {
		for _, i := range terms {
			named[i], any = true, true
		}
	}
	for i := range parts {
		p := &parts[i]
		indexed := p.indexed()
		if indexed > 0 {
			for k, first := range p.Index.speakers {
				if int(first) >= p.Rows { // the view doesn't show where the name is
					continue
				}
				_, _, speaker := p.Words(uint32(first))
				if terms := common(speaker); len(terms) > 0 && p.speaks(uint16(k), indexed) {
					mark(terms)
				}
			}
		}
		for r := indexed; r < p.Rows; r++ {
			if has(p.Live, uint32(r)) {
				_, _, speaker := p.Words(uint32(r))
				mark(common(speaker))
			}
		}
	}
	return any
}

// speaks is true if one of the live rows that the index answers for is of a speaker.
func (p *Part) speaks(speaker uint16, indexed int) bool {
	for r, k := range p.Index.speaker[:indexed] {
		if k == speaker && has(p.Live, uint32(r)) {
			return true
		}
	}
	return false
}
