package memory

import (
	"math"
	"slices"
	"strings"
	"testing"

	"engram/index"
	"engram/memory/lexical"
)

// naiveKin is kin by the formula, of the texts in scored, with the statistics of all, and
// what a text would have that had all of it; with whole that of sessions. query has no word
// twice, and words are of ASCII letters.
func naiveKin(query []string, scored, all [][]string, whole bool) (scores []float64, weight float64) {
	n, total := 0.0, 0.0
	for _, d := range all {
		if len(d) > 0 {
			n, total = n+1, total+float64(len(d))
		}
	}
	alike := func(a, b string) bool { return a == b || len(a) >= 4 && len(b) >= 4 && a[:4] == b[:4] }
	scores = make([]float64, len(scored))
	for i, w := range query {
		if slices.ContainsFunc(query[:i], func(x string) bool { return alike(x, w) }) {
			continue // that family was counted
		}
		// count gives how often a text has each word of the family.
		count := func(d []string) map[string]float64 {
			tf := map[string]float64{}
			for _, x := range d {
				if alike(x, w) {
					tf[x]++
				}
			}
			return tf
		}
		df := 0.0
		for _, d := range all {
			words := float64(len(count(d)))
			if whole {
				words = min(words, 1)
			}
			df += words
		}
		if df = min(df, n); df == 0 {
			continue
		}
		gain := math.Log(1+(n-df+0.5)/(df+0.5)) * 2.2
		weight += gain
		for k, d := range scored {
			add := func(tf float64) { scores[k] += gain * tf / (tf + 1.2*(0.25+0.75*float64(len(d))*n/total)) }
			together := 0.0
			for x, tf := range count(d) {
				switch {
				case slices.Contains(query, x):
				case whole:
					together += tf
				default:
					add(tf)
				}
			}
			if together > 0 {
				add(together)
			}
		}
	}
	return scores, weight
}

// A ranking with kin finds what has only other forms of the question's words, behind what
// has those; one without doesn't.
func TestKin(t *testing.T) {
	db := newTestDB(t)
	cfg := Config{Name: "n", Metric: index.Dot, Dimension: 2, ValueDimension: 2, Lexical: lexical.English}
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{cfg}); err != nil {
		t.Fatal(err)
	}
	puts := []Put{{Record: Record{ID: "other"}}, {Record: Record{ID: "akin"}}, {Record: Record{ID: "same"}}}
	for i, text := range []string{"A lake at night", "She teaches dancers", "She teaches dance"} {
		puts[i].Record.Text, puts[i].Record.Key = text, []float32{1, 0}
	}
	mustStore(t, db, "n", puts...)
	v := view(t, db, "n")
	defer v.Release()
	for _, c := range []struct {
		question string
		ranking  Ranking
		want     string
	}{
		{"Who will dance?", Ranking{Lexical: 1}, "same"},
		{"Who will dance?", Ranking{Lexical: 1, Kin: 0.5}, "same akin"},
		{"Who will dance?", Ranking{Kin: 1}, "akin"},
		{"Is there a danceable song?", Ranking{Lexical: 1, Kin: 0.5}, "akin same"}, // of which no text has a word
	} {
		hits, _, err := db.Retrieve(t.Context(), []*View{v}, []Query{{Text: c.question}}, RetrieveOptions{K: 3, MinScore: float32(math.Inf(-1)), Ranking: c.ranking})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range hits[0] {
			got = append(got, v.At(h.Ref, 0).ID)
			if h.Parts.Kin > 0 != (got[len(got)-1] == "akin" || strings.Contains(c.question, "able")) && c.ranking.Kin > 0 {
				t.Errorf("%q: %s has kin %v", c.question, got[len(got)-1], h.Parts.Kin)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%q by %+v finds %q, want %q", c.question, c.ranking, s, c.want)
		}
	}
}
