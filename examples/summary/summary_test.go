package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"engram/internal/servertest"
)

func TestSummary(t *testing.T) {
	memory := servertest.Start(t)
	ctx := t.Context()
	// Three things are said, one of them three times, and one by itself.
	text := `The harbour of Tarn is closed by ice. Bread is dear this winter.
The harbour is closed, for the ice of the bay came early. Ships wait at Tarn while ice closes the harbour.

Flour for bread is dear, too. A fiddler plays on Sundays.`
	got, err := summarise(ctx, memory, strings.NewReader(text), 2, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "harbour") }) ||
		!slices.ContainsFunc(got, func(s string) bool {
			return strings.Contains(s, "read is dear") || strings.Contains(s, "bread is dear")
		}) {
		t.Errorf("the summary is %q", got)
	}
	for n := range memory.Namespaces(ctx, "") {
		t.Errorf("namespace %q is left", n.Name)
	}
	f, err := os.Open("../qa/log.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if got, err := summarise(ctx, memory, f, 5, 0.5); err != nil || len(got) != 5 {
		t.Errorf("%q, %v", got, err)
	}
	for _, c := range []struct {
		text      string
		n         int
		diversity float64
	}{{"", 1, 0}, {"One.", 0, 0}, {"One.", 1, 2}} {
		if _, err := summarise(ctx, memory, strings.NewReader(c.text), c.n, c.diversity); err == nil {
			t.Errorf("%+v is summarised", c)
		}
	}
}

// Likeness counts however little attention a sentence gets.
func TestSummaryOfRepeats(t *testing.T) {
	text := strings.Repeat("The harbour is closed by ice. ", 30) + "A fiddler plays on Sundays."
	got, err := summarise(t.Context(), servertest.Start(t), strings.NewReader(text), 2, 0.5)
	if want := []string{"The harbour is closed by ice.", "A fiddler plays on Sundays."}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestSentences(t *testing.T) {
	got, err := sentences(strings.NewReader("One. Two\ngoes on! \"Three?\" he said\n\nFour"))
	if want := []string{"One.", "Two goes on!", "\"Three?\"", "he said", "Four"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}
