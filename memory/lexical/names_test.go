package lexical

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"engram/internal/slab"
)

func TestUnnamed(t *testing.T) {
	rows := testSource{
		{speaker: "Caroline"}, {speaker: "Jean-Luc Picard"}, {speaker: "Will"}, {speaker: "Zoë"},
		{speaker: "Gone", dead: true}, {speaker: ""}, {speaker: "李雷"},
	}
	live := []uint64{(1<<len(rows) - 1) &^ (1 << 4)}
	for text, want := range map[string]string{
		"When did Caroline go to the lake?":    "When did go to the lake?",
		"What is CAROLINE'S plan, Caroline?":   "What is plan, ?",
		"What did Jean-Luc tell Picard's crew": "What did - tell crew", // a hyphen parts words
		"Will Will come?":                      "Will Will come?",      // a function word, no name
		"Did zoë, or ZOE\u0308, sing?":         "Did , or , sing?",
		"Has Gone gone?":                       "Has Gone gone?", // nobody of that name speaks
		"Caroline":                             "Caroline",
		"Caroline Picard?":                     "Caroline Picard?",
		"nothing to leave out":                 "nothing to leave out",
		"":                                     "",
	} {
		if got := English.Unnamed(text, []Part{{Source: rows, Rows: len(rows), Live: live}}); got != want {
			t.Errorf("%q without names is %q, want %q", text, got, want)
		}
	}
}

// However rows are spread over segments and however far indexes reach, words go that are of
// a live row's speaker, and no others.
func TestUnnamedAnywhere(t *testing.T) {
	pool := slab.NewPool(1 << 30)
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t)
		parts, _, _, free := layout(t, pool, rows)
		defer free()
		asked := rapid.SliceOfN(rapid.SampledFrom(strings.Fields("a b x y z")), 0, 8).Draw(t, "asked")
		var left []string
		for _, w := range asked {
			speaks := false
			for _, r := range rows {
				speaks = speaks || !r.dead && r.speaker == w
			}
			if !speaks {
				left = append(left, w)
			}
		}
		if len(left) == 0 {
			left = asked
		}
		if got, want := Words.Unnamed(strings.Join(asked, " "), parts), strings.Join(left, " "); got != want {
			t.Fatalf("%q without names is %q, want %q", asked, got, want)
		}
	})
}
