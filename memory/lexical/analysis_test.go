package lexical

import (
	"slices"
	"strings"
	"testing"
)

// of gives the terms of a text as a map.
func of(t Terms) map[uint64]int {
	m := map[uint64]int{}
	t.each(func(hash uint64, count uint8) { m[hash] = int(count) })
	return m
}

func TestAnalysis(t *testing.T) {
	for _, c := range []struct {
		analysis Analysis
		a, b     string
		same     bool
	}{
		{English, "She painted two lakes", "painting a lake", true},
		{English, "I went there", "go", true},
		{English, "the children wrote", "A child writes!", true},
		{English, "Größe", "GRÖSSE", true},
		{English, "adopt", "adept", false},
		{Words, "the lake", "lake the", true},
		{Words, "lakes", "lake", false},
		{Words, "I’ve", "i've", true},
	} {
		a, b := of(c.analysis.Append(nil, c.a)), of(c.analysis.Append(nil, c.b))
		same := len(a) == len(b)
		for h := range a {
			same = same && b[h] > 0
		}
		if same != c.same {
			t.Errorf("%d: %q and %q have the same terms: %t", c.analysis, c.a, c.b, same)
		}
	}
	if got := None.Append([]byte("x"), "a text"); string(got) != "x" {
		t.Errorf("without an analysis there are %d bytes of terms", len(got)-1)
	}
	for _, text := range []string{"", " …", "The and of", "🚀"} {
		if got := English.Append(nil, text); len(got) != 0 {
			t.Errorf("%q has terms", text)
		}
	}
}

func TestTerms(t *testing.T) {
	terms := Terms(Words.Append(nil, strings.Repeat("again ", 300)+"and once"))
	if terms.Len() != 302 || len(of(terms)) != 3 {
		t.Errorf("%d words, %d terms", terms.Len(), len(of(terms)))
	}
	if n := of(terms)[Words.Query("again").hashes[0]]; n != maxCount {
		t.Errorf("300 occurrences count as %d", n)
	}
	if long := Terms(Words.Append(nil, strings.Repeat("a ", 1<<15+5))); long.Len() != maxLen || long.Asks() {
		t.Errorf("a long text has %d words", long.Len())
	}
	for text, want := range map[string]bool{
		"Is it?": true, `"Is it?" `: true, "Is it?!": true, "何ですか？": true, "It is.": false, "? it is": false, "why": false, "so;": false, "γιατί\u037e": true,
	} {
		if got := Terms(Words.Append(nil, text)).Asks(); got != want {
			t.Errorf("%q asks: %t", text, got)
		}
	}
}

func TestCommon(t *testing.T) {
	q := English.Query("What did Caroline and Jon research?")
	for name, want := range map[string]int{"Caroline": 1, "Jon Snow": 1, "Caroline Jon": 2, "Melanie": 0, "": 0} {
		if got := q.Common(nil, English.Query(name)); len(got) != want {
			t.Errorf("%q has %d words of the query, want %d", name, len(got), want)
		}
	}
}

// Terms of any text are well-formed: hashes ascend, counts add up to the length.
func FuzzAnalysis(f *testing.F) {
	f.Add("She painted two lakes, didn't she?")
	f.Add("a\xff’ \u0345 月に行く 1,202")
	f.Fuzz(func(t *testing.T, text string) {
		for _, a := range []Analysis{Words, English} {
			terms := Terms(a.Append(nil, text))
			if len(terms) == 0 {
				continue
			}
			var hashes []uint64
			sum, capped := 0, false
			terms.each(func(hash uint64, count uint8) {
				hashes = append(hashes, hash)
				sum += int(count)
				capped = capped || count == maxCount
			})
			if len(terms) != 2+entryBytes*len(hashes) || !slices.IsSorted(hashes) || len(slices.Compact(slices.Clone(hashes))) != len(hashes) {
				t.Fatalf("%q: malformed", text)
			}
			if sum != terms.Len() && !capped && terms.Len() < maxLen {
				t.Fatalf("%q: %d words, whose counts add up to %d", text, terms.Len(), sum)
			}
			if q := a.Query(text); !slices.Equal(q.hashes, hashes) {
				t.Fatalf("%q: a query has %d terms, a text %d", text, len(q.hashes), len(hashes))
			}
		}
	})
}
