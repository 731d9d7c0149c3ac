package lexical

import (
	"math"
	"slices"
	"testing"
	"unicode/utf8"
)

// beginningOf is by what words are of one family.
func beginningOf(w string) string {
	if utf8.RuneCountInString(w) < 4 || w[0] < 'A' { // a number
		return w
	}
	return string([]rune(w)[:4]) + "…"
}

// naiveKin is Kin by the formula, of the texts in scored, with the statistics of all; with
// whole that of sessions.
func naiveKin(query []string, scored, all [][]string, whole bool) []float64 {
	n, total := 0, 0
	for _, d := range all {
		if len(d) > 0 {
			n, total = n+1, total+len(d)
		}
	}
	families := map[string]bool{}
	for _, w := range query {
		families[beginningOf(w)] = true
	}
	// of counts the words of a family in a text.
	of := func(family string, d []string) map[string]float64 {
		tf := map[string]float64{}
		for _, w := range d {
			if beginningOf(w) == family {
				tf[w]++
			}
		}
		return tf
	}
	out := make([]float64, len(scored))
	for family := range families {
		df := 0
		for _, d := range all {
			if words := len(of(family, d)); whole {
				df += min(words, 1)
			} else {
				df += words
			}
		}
		df = min(df, n)
		idf := math.Log(1 + (float64(n-df)+0.5)/(float64(df)+0.5))
		for i, d := range scored {
			var counts []float64
			sum := 0.0
			for w, tf := range of(family, d) {
				if !slices.Contains(query, w) {
					counts, sum = append(counts, tf), sum+tf
				}
			}
			if whole {
				counts = []float64{sum}
			}
			for _, tf := range counts {
				out[i] += idf * tf * (1.2 + 1) / (tf + 1.2*(1-0.75+0.75*float64(len(d))*float64(n)/float64(max(1, total))))
			}
		}
	}
	return out
}

// Words are of one family if they have their first four letters in common.
func TestFamilies(t *testing.T) {
	family := func(w string) uint64 { return termHash([]byte(w)) >> wordBits }
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"dance", "dancer", true}, {"camp", "campus", true}, {"größe", "größer", true}, {"école", "écolier", true},
		{"dan", "danc", false}, {"dog", "dogma", false}, {"lake", "lark", false}, {"2020", "20201", false}, {"a1bcd", "a1bce", false},
	} {
		if a, b := termHash([]byte(c.a)), termHash([]byte(c.b)); a == b || (a>>wordBits == b>>wordBits) != c.same {
			t.Errorf("%q and %q are of one family: %t", c.a, c.b, family(c.a) == family(c.b))
		}
	}
	if h := termHash([]byte("dance")); h >= 1<<40 {
		t.Errorf("a hash of more than 40 bits: %x", h)
	}
}

// Without kin a Scorer looks for none.
func TestNoKin(t *testing.T) {
	rows := testSource{{words: []string{"dancer"}, session: "s"}}
	var s Scorer
	for _, kin := range []bool{true, false} {
		s.Begin(Words.Query("dance"), []Part{{Source: rows, Rows: 1}}, []int{0}, Counts{1, 1}, kin)
		if found := s.KinWeight > 0; found != kin || s.Weight != 0 {
			t.Errorf("asked for kin: %t; found some: %t", kin, found)
		}
		if _, of := s.Sessions([]uint32{0}, 1); (of != nil) != kin {
			t.Errorf("asked for kin: %t; sessions have %v", kin, of)
		}
	}
}
