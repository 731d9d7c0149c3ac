package main

import (
	"strings"
	"testing"
)

// A curve goes from few rows, on the left, to many, and up where it is faster.
func TestSharpnessPlot(t *testing.T) {
	var b strings.Builder
	if err := writeSharpness(&b, []sharpened{{"one & two", []sharpness{{1, 100}, {1000, 1}}}, {"none", nil}}); err != nil {
		t.Fatal(err)
	}
	checkPlot(t, b.String(), "one &amp; two", "1k", "10×",
		`<circle cx="64.0" cy="36.0"`, `<path d="M64.0 36.0L564.0 300.0"`)
}
