package memory

import (
	"fmt"

	"engram/memory/lexical"
)

// Fusion says how the parts of a ranking become one score.
type Fusion uint8

// The fusions.
const (
	Weighted       Fusion = iota // the sum of weight × part
	ReciprocalRank               // the sum of weight / (60 + place by that part)
)

// A Ranking weighs the parts of a record's score:
//
//   - Similarity of its key to the query's vector, as the metric gives it.
//   - Lexical: how well its text has the query's words, BM25 divided by what a text would
//     have that has them all (lexical.Scorer), from 0 to 1.
//   - Kin: how well it has other words that begin as the query's do (lexical.Scorer.Kin),
//     in units of Lexical.
//   - Association: what it gets of the scores of what was said around it.
//   - Mention: whether the query names who said it, or when.
//   - Retention: how much is left of it (Retention.Of).
//   - Importance: that which it was stored with.
//
// The last two know no query. Beside weights of the words' parts (Words) and none of
// similarity they order what those found, and find nothing. The zero Ranking is similarity
// alone.
type Ranking struct {
	Similarity, Lexical, Association, Mention, Retention, Importance, Kin float64
	Fusion                                                                Fusion
}

// maxWeight bounds weights, so that sums stay finite.
const maxWeight = 1e6

// Check says what is wrong with a ranking, or gives "".
func (r Ranking) Check() string {
	for _, w := range []struct {
		name string
		of   float64
	}{{"similarity", r.Similarity}, {"lexical", r.Lexical}, {"association", r.Association}, {"mention", r.Mention}, {"retention", r.Retention}, {"importance", r.Importance}, {"kin", r.Kin}} {
		if !(w.of >= 0 && w.of <= maxWeight) {
			return fmt.Sprintf("has a weight of %s of %v; weights are from 0 to %g", w.name, w.of, float64(maxWeight))
		}
	}
	if r.Fusion > ReciprocalRank {
		return fmt.Sprintf("has fusion %d, which is none", r.Fusion)
	}
	return ""
}

// Plain is true of rankings by similarity alone, whatever its weight.
func (r Ranking) Plain() bool {
	return !r.Words() && r.Retention == 0 && r.Importance == 0
}

// Words is true of rankings for which a query's text is looked at.
func (r Ranking) Words() bool {
	return r.Lexical > 0 || r.Kin > 0 || r.Association > 0 || r.Mention > 0
}

// indexed names the first part of a ranking that needs lexical search, and its weight; ""
// where none does.
func (r Ranking) indexed() (part string, weight float64) {
	switch {
	case r.Lexical > 0:
		return "lexical", r.Lexical
	case r.Kin > 0:
		return "kin", r.Kin
	}
	return "", 0
}

// fits refuses a ranking by words where they aren't indexed, or not alike.
func (r Ranking) fits(views []*View) error {
	if !r.Words() {
		return nil
	}
	first := views[0].settings.Value().lexical
	part, _ := r.indexed()
	for _, v := range views {
		switch a := v.settings.Value().lexical; {
		case a == lexical.None && part != "":
			return precondition("namespace %q has no lexical search: give a ranking whose weights of lexical and kin are 0", v.ns.name)
		case a != first:
			return precondition("namespaces %q and %q take texts apart differently: ask them one by one, or by similarity alone", views[0].ns.name, v.ns.name)
		}
	}
	return nil
}

// DefaultsFor gives what a namespace has that is made without saying: where an embedder
// makes keys of texts, texts are English, and ranked by all that is known of them. How the
// weights were chosen: docs/evaluation.md.
func DefaultsFor(e EmbedderID) (lexical.Analysis, Ranking) {
	switch e.Name {
	case "":
		return lexical.None, Ranking{}
	case "lexical": // whose vectors are of words too, and add little to them
		return lexical.English, Ranking{Similarity: 0.2, Lexical: 1, Association: 1, Mention: 2, Kin: 0.6}
	}
	return lexical.English, Ranking{Similarity: 0.5, Lexical: 1, Association: 0.6, Mention: 2, Kin: 0.4}
}
