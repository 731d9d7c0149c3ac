package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHull(t *testing.T) {
	got := hull([]rated{{0.9, 100}, {0.8, 200}, {0.85, 90}, {0.99, 10}, {0.8, 150}})
	if want := []rated{{0.8, 200}, {0.9, 100}, {0.99, 10}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestRateAt(t *testing.T) {
	measured := []rated{{0.9, 1000}, {0.99, 10}, {0.95, 5}}
	for _, c := range []struct{ recall, want float64 }{
		{0.5, 1000},
		{0.9, 1000},
		{0.945, 100}, // half way, in the logarithm
		{0.99, 10},
		{0.995, 0},
	} {
		if got := rateAt(c.recall, measured); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("at %v: %v, want %v", c.recall, got, c.want)
		}
	}
	if got := rateAt(0.5, nil); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// Points that another beats clearly aren't measured, those that it may not beat are.
func TestFrontier(t *testing.T) {
	got := frontier([]point{
		{recall: 0.9, perCall: 100},
		{recall: 0.8, perCall: 110}, // as slow, nearly
		{recall: 0.7, perCall: 120}, // slower
		{recall: 0.6, perCall: 10},
	})
	var recalls []float64
	for _, p := range got {
		recalls = append(recalls, p.recall)
	}
	if want := []float64{0.6, 0.8, 0.9}; !slices.Equal(recalls, want) {
		t.Errorf("%v, want %v", recalls, want)
	}
}

// Around a recall are at most two points on either side.
func TestAround(t *testing.T) {
	var points []point
	for _, r := range []float64{0.5, 0.6, 0.8, 0.9, 0.96, 0.97, 0.98} {
		points = append(points, point{recall: r})
	}
	for _, c := range []struct {
		recall float64
		want   []float64
	}{
		{0.95, []float64{0.8, 0.9, 0.96, 0.97}},
		{0.1, []float64{0.5, 0.6}},
		{0.99, []float64{0.98}},
	} {
		var got []float64
		for _, p := range around(points, c.recall) {
			got = append(got, p.recall)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("around %v: %v, want %v", c.recall, got, c.want)
		}
	}
}

// Our own exact scans find all, and so, nearly, do all lists at their last setting; rows
// are counted once, and only those that are there and near enough.
func TestRecall(t *testing.T) {
	b := &bench{ctx: t.Context(), short: true, peers: peers{dir: t.TempDir()}}
	for _, s := range datasets {
		if s.size.rows == 0 {
			continue // needs embeddings
		}
		s.size = size{2000, 32}
		d, err := s.make(b)
		if err != nil {
			t.Fatal(err)
		}
		truth, err := d.truth(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range d.ours() {
			made, err := e.build()
			if err != nil {
				t.Fatal(err)
			}
			last := made.series[len(made.series)-1]
			found, _, err := e.search(last[len(last)-1], len(d.queries), 2)
			if err != nil {
				t.Fatal(err)
			}
			want := 1.0
			switch {
			case strings.HasSuffix(e.name, "only"):
				want = 0.8
			case strings.HasSuffix(e.name, "IVF"):
				want = 0.99
			}
			if r := truth.recall(found); r < want {
				t.Errorf("%s, %s: recall %v", s.name, e.name, r)
			}
			spoilt := slices.Clone(found[0])
			spoilt[0], spoilt[1], spoilt[2] = spoilt[3], -1, d.rows
			if r := truth.recall([][]int{spoilt}); r > 0.7+1e-9 {
				t.Errorf("%s: recall %v of an answer with three wrong rows", e.name, r)
			}
			if e.close != nil {
				e.close()
			}
		}
		d.free()
	}
}

// A sweep asks each series until recall is complete or stands still.
func TestSweep(t *testing.T) {
	b := &bench{ctx: t.Context(), short: true, peers: peers{dir: t.TempDir()}}
	d, err := dataset{name: "sphere", size: size{1000, 16}, next: sphere}.make(b)
	if err != nil {
		t.Fatal(err)
	}
	defer d.free()
	truth, err := d.truth(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := d.search(len(d.queries))
	if err != nil {
		t.Fatal(err)
	}
	e := entrant{search: func(setting []int, queries, _ int) ([][]int, time.Duration, error) {
		var found [][]int
		for _, rows := range rowsOf(whole)[:queries] {
			found = append(found, rows[:min(setting[0], topK)])
		}
		return found, time.Duration(queries) * time.Millisecond, nil
	}}
	points, err := truth.sweep(t.Context(), e, 1, [][][]int{{{2}, {10}, {11}}, {{5}, {5}, {5}, {5}}})
	if err != nil {
		t.Fatal(err)
	}
	var got []float64
	for _, p := range points {
		got = append(got, p.recall)
	}
	if want := []float64{0.2, 1, 0.5, 0.5, 0.5}; !slices.Equal(got, want) {
		t.Errorf("recalls %v, want %v", got, want)
	}
	broken := errors.New("broken")
	e.search = func([]int, int, int) ([][]int, time.Duration, error) { return nil, 0, broken }
	if _, err := truth.sweep(t.Context(), e, 1, exact); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}

func TestPlot(t *testing.T) {
	var b strings.Builder
	if err := writePlot(&b, []panel{
		{"one & <two>", []drawn{{"ours", true, []rated{{0.7, 1e5}, {0.99, 1e3}}}, {"theirs", false, []rated{{1, 20}}}, {"none", false, nil}}},
		{"empty", nil},
	}); err != nil {
		t.Fatal(err)
	}
	checkPlot(t, b.String(), "one &amp; &lt;two&gt;", "ours", "theirs", ourColour)
}

// checkPlot checks that a plot is XML, has what is wanted, and no number that is none.
func checkPlot(t *testing.T, svg string, wanted ...string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range wanted {
		if !strings.Contains(svg, want) {
			t.Errorf("no %q in\n%s", want, svg)
		}
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Errorf("a number is none in\n%s", svg)
	}
}

func TestRaw(t *testing.T) {
	m := raw{}.number(1, 300).bytes(2, raw{}.string(5, "a").string(5, "b").b).string(2, "")
	var found []string
	if err := m.each(2, func(v raw) error {
		return v.each(5, func(v raw) error {
			found = append(found, string(v.b))
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b"}; !slices.Equal(found, want) {
		t.Errorf("%q, want %q", found, want)
	}
	if v, err := (raw{}.bytes(2, raw{}.string(5, "c").b)).in(2, 5); err != nil || string(v.b) != "c" {
		t.Errorf("%q, %v", v.b, err)
	}
	if _, err := (raw{[]byte{0x12, 9}}).in(2); err == nil {
		t.Error("a message that is cut is read")
	}
}
