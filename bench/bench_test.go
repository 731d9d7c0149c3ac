package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want spread
	}{
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{2, 1}, spread{1.25, 1.5, 1.75}},
		{[]float64{5, 1, 4, 2, 3}, spread{2, 3, 4}},
	} {
		if got := spreadOf(c.of); got != c.want {
			t.Errorf("of %v: %v, want %v", c.of, got, c.want)
		}
	}
}

// Contenders take turns, each round beginning with another, and the first round
// doesn't count.
func TestRace(t *testing.T) {
	var ran []string
	contend := func(name string, took ...time.Duration) contender {
		n := 0
		return contender{name, func() (time.Duration, error) {
			ran = append(ran, name)
			n++
			return took[(n-1)%len(took)], nil
		}}
	}
	got, err := race(t.Context(), 3, []contender{contend("a", 9*time.Second, time.Second, 2*time.Second, 3*time.Second), contend("b", 6*time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Split("ababbaab", ""); !slices.Equal(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
	if !slices.Equal(got["a"], []float64{1, 2, 3}) || !slices.Equal(got["b"], []float64{6, 6, 6}) {
		t.Errorf("times %v", got)
	}
	if f := got.faster("a", "b"); f.median != 3 {
		t.Errorf("a is %v times as fast as b, want 3", f)
	}
	if best := got.best([]string{"b", "a"}); best != "a" {
		t.Errorf("the best is %s, want a", best)
	}
}

func TestRaceEnds(t *testing.T) {
	broken := errors.New("broken")
	if _, err := race(t.Context(), 3, []contender{{"c", func() (time.Duration, error) { return 0, broken }}}); !errors.Is(err, broken) || !strings.Contains(err.Error(), "c:") {
		t.Errorf("the error is %v", err)
	}
}

// A report says of each line whether its goal is met, whichever way it goes.
func TestReport(t *testing.T) {
	r := report{
		command: "go run ./bench",
		machine: []string{"processor: one"},
		lines: []line{
			{what: "above", ratio: spread{1, 1.1, 1.2}, goal: 1},
			{what: "below", ratio: spread{0.7, 0.79, 0.9}, goal: 0.8},
			{what: "most", ratio: spread{1.4, 1.5, 1.6}, goal: 1.5, atMost: true},
			{what: "over", ratio: spread{1, 3, 3}, unit: " ms longer", goal: 2, atMost: true},
			{what: "free", ratio: spread{1, 2, 3}},
		},
		missing: []string{"Faiss isn't here"},
	}
	r.note("a fact of %d", 1)
	r.note("a fact of %d", 1)
	var b strings.Builder
	if err := r.write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"go run ./bench\n",
		"- processor: one\n",
		"| above |  |  |  | 1.10 (1.00–1.20) | ≥ 1 | yes |\n",
		"| below |  |  |  | 0.79 (0.70–0.90) | ≥ 0.8 | **no** |\n",
		"| most |  |  |  | 1.50 (1.40–1.60) | ≤ 1.5 | yes |\n",
		"| over |  |  |  | 3.00 ms longer (1.00–3.00) | ≤ 2 | **no** |\n",
		"| free |  |  |  | 2.00 (1.00–3.00) |  |  |\n",
		"- Faiss isn't here\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
	if strings.Count(b.String(), "a fact of 1") != 1 {
		t.Error("a fact isn't told once")
	}
}
