package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"engram/client"
	"engram/internal/servertest"
)

func TestTranslation(t *testing.T) {
	memory := servertest.Start(t)
	ctx := t.Context()
	run := func(c interface {
		Run(ctx context.Context, memory *client.Client, out io.Writer) error
	}) string {
		t.Helper()
		var out bytes.Buffer
		if err := c.Run(ctx, memory, &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if got := run(&loadCmd{"ship", "ship.tsv"}); got != "32 pairs\n" {
		t.Errorf("loaded: %q", got)
	}
	match := &matchCmd{Namespace: "ship", Sentence: "The Marigold sails to Cape Sorrow at dawn.", Matches: 2, AtLeast: 0.3}
	got := run(match)
	for _, want := range []string{"Term: Marigold = Marigold\n", "Term: Cape Sorrow = Kap Kummer\n", ": The Marigold sails at dawn. = Die Marigold segelt im Morgengrauen.\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q isn't in %q", want, got)
		}
	}
	if strings.Contains(got, "chart") || strings.Count(got, "Like it") != 1 {
		t.Errorf("what isn't like it is recalled: %q", got)
	}
	// A term that was decided anew is the one that is recalled.
	if got := run(&addCmd{"ship", "Cape Sorrow", "Kap der Sorge", true}) + run(match); !strings.HasPrefix(got, "replaced\n") ||
		!strings.Contains(got, "Term: Cape Sorrow = Kap der Sorge\n") || strings.Contains(got, "Term: Cape Sorrow = Kap Kummer") {
		t.Errorf("after a new translation: %q", got)
	}
	if got := run(&addCmd{"ship", "The Marigold sails to Cape Sorrow at dawn.", "Die Marigold segelt im Morgengrauen zum Kap der Sorge.", false}) + run(match); !strings.HasPrefix(got, "added\n") ||
		!firstLike(got, "The Marigold sails to Cape Sorrow at dawn.") {
		t.Errorf("after it was translated: %q", got)
	}
}

func firstLike(got, source string) bool {
	_, like, found := strings.Cut(got, "Like it (")
	_, like, _ = strings.Cut(like, "): ")
	return found && strings.HasPrefix(like, source+" = ")
}

func TestPairs(t *testing.T) {
	for _, bad := range []string{"sentence\tone", "word\ta\tb", "term\t\tb", "term\ta\tb\tc"} {
		for _, err := range pairs(strings.NewReader(bad + "\n")) {
			if err == nil {
				t.Errorf("%q is taken for a pair", bad)
			}
		}
	}
}

func TestHas(t *testing.T) {
	for _, c := range []struct {
		sentence, term string
		want           bool
	}{
		{"the last sounding", "sound", false}, {"a sound, closed", "sound", true}, {"sound", "sound", true}, {"unsound and sound", "sound", true},
		{"zum süd", "üd", false}, {"cape sorrow.", "cape sorrow", true}, {"", "sound", false},
	} {
		if got := has(c.sentence, c.term); got != c.want {
			t.Errorf("%q has %q: %v", c.sentence, c.term, got)
		}
	}
}
