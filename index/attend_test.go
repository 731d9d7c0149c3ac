package index

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// An expected is Attend's answer in float64 from given scores, and the norms of the
// values, which its error is measured by.
type expected struct {
	context      []float64
	lse, entropy float64
	norms        float64 // Σ wᵢ‖vᵢ‖
	longest      float64 // the greatest ‖vᵢ‖
	attended     uint64
}

// attend is the reference for Attend, from canonical scores.
func (f *fixture) attend(query []float32, scale float64) expected {
	return f.attendTo(scale, func(p *Part, row int) float64 { return float64(f.score(p, row, query)) })
}

// attendTo is the reference for Attend from any scores: two passes, Neumaier's sums.
func (f *fixture) attendTo(scale float64, score func(p *Part, row int) float64) expected {
	e := expected{context: make([]float64, f.shape.ValueDim), lse: math.Inf(-1)}
	m := math.Inf(-1)
	var shifts []float64
	var values [][]float32
	for i := range f.parts {
		p := &f.parts[i]
		for row := range p.Rows {
			if p.has(row) {
				s := scale * score(p, row)
				shifts, values = append(shifts, s), append(values, p.Segment.ValueInto(nil, row))
				m = max(m, s)
			}
		}
	}
	e.attended = uint64(len(shifts))
	if len(shifts) == 0 {
		return e
	}
	var sum accurate
	for i := range shifts {
		shifts[i] -= m
		sum.add(math.Exp(shifts[i]))
	}
	e.lse = m + math.Log(sum.value())
	context := make([]accurate, f.shape.ValueDim)
	var entropy, norms accurate
	for i, s := range shifts {
		e.longest = max(e.longest, Norm(values[i]))
		w := math.Exp(s) / sum.value()
		if w == 0 {
			continue
		}
		entropy.add(-w * (s - math.Log(sum.value())))
		norms.add(w * Norm(values[i]))
		for k, v := range values[i] {
			context[k].add(w * float64(v))
		}
	}
	e.entropy, e.norms = entropy.value(), norms.value()
	for k := range context {
		e.context[k] = context[k].value()
	}
	return e
}

// An accurate is Neumaier's compensated sum.
type accurate struct{ sum, lost float64 }

func (a *accurate) add(x float64) {
	t := a.sum + x
	if math.Abs(a.sum) >= math.Abs(x) {
		a.lost += float64(a.sum-t) + x
	} else {
		a.lost += float64(x-t) + a.sum
	}
	a.sum = t
}

func (a *accurate) value() float64 { return a.sum + a.lost }

// lost bounds what a context loses to the end of float32's range: each row that weighs less
// than its normal numbers counts as nothing, and components below those numbers are rounded
// to their spacing.
func (e expected) lost() float64 {
	return float64(e.attended)*0x1.0002p-126*e.longest + 1e-44*math.Sqrt(float64(len(e.context)))
}

// check holds an answer to the published bounds, widened by delta, what the scaled
// scores may differ by from those the reference took (0 where they are the same).
func (e expected) check(t failer, got Attention, delta float64) {
	t.Helper()
	if got.Attended != e.attended || len(got.Context) != len(e.context) {
		t.Fatalf("attended %d rows to a context of %d, want %d and %d", got.Attended, len(got.Context), e.attended, len(e.context))
	}
	if e.attended == 0 {
		if !math.IsInf(got.LogSumExp, -1) || got.Entropy != 0 || slices.ContainsFunc(got.Context, func(x float32) bool { return x != 0 }) {
			t.Fatalf("of nothing: %+v", got)
		}
		return
	}
	var dist float64
	for k, x := range got.Context {
		d := float64(x) - e.context[k]
		dist += d * d
	}
	if bound := (4e-6+2*delta)*e.norms + e.lost(); !(math.Sqrt(dist) <= bound) {
		t.Fatalf("the context is off by %g, more than %g = 4e-6 of Σw‖v‖ (δ %g)", math.Sqrt(dist), bound, delta)
	}
	if d := math.Abs(got.LogSumExp - e.lse); !(d <= 1e-6+delta) {
		t.Fatalf("LogSumExp is %v, want %v: off by %g (δ %g)", got.LogSumExp, e.lse, d, delta)
	}
	if d := math.Abs(got.Entropy - e.entropy); !(d <= 1e-5+2*delta*(1+e.entropy+math.Log(float64(e.attended)))) {
		t.Fatalf("Entropy is %v, want %v (δ %g)", got.Entropy, e.entropy, delta)
	}
}

// delta bounds how far scale times a panel's score is from scale times the
// canonical one.
func (f *fixture) delta(query []float32, scale float64) float64 {
	g := gamma(2*f.shape.Dim + 40)
	most := 0.0
	for i := range f.parts {
		p := &f.parts[i]
		for row := range p.Rows {
			if !p.has(row) {
				continue
			}
			switch f.shape.Metric {
			case Dot:
				most = max(most, Norm(query)*Norm(p.Segment.KeyInto(nil, row)))
			case Cosine:
				most = 1
			case L2:
				most = max(most, -f.exact(p, row, query))
			}
		}
	}
	return scale * g * most
}

func (f *fixture) checkAttend(t failer, queries [][]float32, opt AttendOptions) {
	t.Helper()
	got, stats, err := Attend(context.Background(), f.shape, f.parts, queries, opt)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(queries) {
		t.Fatalf("%d answers to %d queries", len(got), len(queries))
	}
	scanned := int64(0)
	for q, query := range queries {
		delta, panels := 0.0, len(queries) >= attendPanelQueries
		if panels {
			delta = f.delta(query, opt.Scale)
		}
		e := f.attend(query, opt.Scale)
		e.check(t, got[q], delta)
		f.checkTop(t, got[q], query, opt, panels, delta)
		scanned += int64(e.attended)
	}
	if stats.RowsScanned != scanned {
		t.Fatalf("RowsScanned is %d, want %d", stats.RowsScanned, scanned)
	}
}

// checkTop holds the heaviest rows to what Search finds: the same, or where panels
// score, as heavy within delta.
func (f *fixture) checkTop(t failer, got Attention, query []float32, opt AttendOptions, panels bool, delta float64) {
	t.Helper()
	want := f.search(query, opt.TopWeights, never)
	if len(got.Top) != len(want) {
		t.Fatalf("%d top weights, want %d", len(got.Top), len(want))
	}
	for i, w := range got.Top {
		if !panels && (Hit{w.Part, w.Row, w.Score}) != want[i] {
			t.Fatalf("top weight %d is %+v, want %+v", i, w, want[i])
		}
		if d := opt.Scale * math.Abs(float64(w.Score)-float64(want[i].Score)); d > delta {
			t.Fatalf("top weight %d has score %v, want %v (δ %g)", i, w.Score, want[i].Score, delta)
		}
		if exact := math.Exp(opt.Scale*float64(w.Score) - got.LogSumExp); math.Abs(w.Weight-exact) > 1e-12 {
			t.Fatalf("top weight %d is %v, want %v", i, w.Weight, exact)
		}
		if i > 0 && order(f.parts, Hit{got.Top[i-1].Part, got.Top[i-1].Row, got.Top[i-1].Score}, Hit{w.Part, w.Row, w.Score}) >= 0 {
			t.Fatalf("top weights %d and %d are out of order", i-1, i)
		}
	}
}

func TestAttend(t *testing.T) {
	turn := 0 // of the encodings
	for name, metric := range metrics {
		for _, kind := range []string{"uniform", "few", "near"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				r := rand.New(rand.NewPCG(21, 22))
				turn++
				for _, masked := range []int{0, 2, 20} {
					for _, valueDim := range []int{37, 50} {
						turn++
						f := newFixture(t, r, Shape{metric, 37, valueDim, Encoding(turn % 5), valueEncodings[turn%3], 1}, kinds[kind], masked == 2, masked, 600, 0, 1, 64, 129)
						for _, n := range []int{0, 1, 3, 20} {
							for _, scale := range []float64{0, 0.16, 3} {
								f.checkAttend(t, f.queries(r, kinds[kind], n), AttendOptions{Scale: scale, TopWeights: n % 4 * 5, Workers: 1 + n%3})
							}
						}
					}
				}
			})
		}
	}
}

func TestAttendDimensions(t *testing.T) {
	r := rand.New(rand.NewPCG(23, 24))
	for i, d := range []int{1, 2, 15, 16, 17, 63, 64, 65, 128, 384, 1000, 8192, 1, 31, 128, 1001} {
		f := newFixture(t, r, Shape{Dot, d, d, []Encoding{F32, Int8Only, F16, BF16}[i/4], valueEncodings[i%3], 1}, uniform, false, 0, 90, 70)
		for _, n := range []int{1, 5} {
			f.checkAttend(t, f.queries(r, uniform, n), AttendOptions{Scale: 1 / math.Sqrt(float64(d)), TopWeights: 3})
		}
	}
}

// The bounds hold for scores to ±1e4: one row with all the weight, scores that
// crowd at 1e4, and scores that rise, so that the running maximum keeps moving.
func TestAttendLargeScores(t *testing.T) {
	r := rand.New(rand.NewPCG(25, 26))
	shapes := map[string]func(i int) float32{
		"rising":       func(i int) float32 { return -1e4 + float32(i)*5 },
		"falling":      func(i int) float32 { return 1e4 - float32(i)*5 },
		"crowded":      func(int) float32 { return 1e4 - r.Float32() },
		"low":          func(int) float32 { return -1e4 + 2*r.Float32() },
		"wide":         func(int) float32 { return 2e4*r.Float32() - 1e4 },
		"one":          func(i int) float32 { return map[bool]float32{true: 1e4, false: -1e4}[i == 1234] },
		"equal":        func(int) float32 { return 9999.999 },
		"far in steps": func(i int) float32 { return float32(i/100) * 100 },
	}
	for name, score := range shapes {
		for _, scale := range []float64{1, 0.1234567} {
			t.Run(fmt.Sprintf("%s/%v", name, scale), func(t *testing.T) {
				// The first component is the score; queries pick it out, so panels'
				// scores are exact as well.
				i := 0
				f := newFixture(t, r, Shape{Dot, 20, 33, F32, F32, 1}, func(_ *rand.Rand, v []float32) {
					clear(v)
					v[0] = score(i)
					i++
				}, true, 0, 3000, 1000)
				for _, n := range []int{1, 7, 40} {
					queries := make([][]float32, n)
					for q := range queries {
						queries[q] = make([]float32, 20)
						queries[q][0] = 1
					}
					for _, w := range []int{1, 2} {
						got, _, err := Attend(context.Background(), f.shape, f.parts, queries, AttendOptions{Scale: scale, Workers: w, TopWeights: 3})
						if err != nil {
							t.Fatal(err)
						}
						e := f.attend(queries[0], scale)
						for _, a := range got {
							e.check(t, a, 0)
						}
					}
				}
			})
		}
	}
}

// Attending again, with other workers or batches, stays within the bound of the
// same reference, and one worker gives the same bits each time.
func TestAttendOneWorkerRepeats(t *testing.T) {
	r := rand.New(rand.NewPCG(27, 28))
	f := newFixture(t, r, Shape{Cosine, 64, 64, F32, F32, 1}, uniform, false, 2, 5000, 3000)
	queries := f.queries(r, uniform, 1)
	opt := AttendOptions{Scale: 8, TopWeights: 10, Workers: 1}
	first, _, err := Attend(context.Background(), f.shape, f.parts, queries, opt)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		again, _, err := Attend(context.Background(), f.shape, f.parts, queries, opt)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(again) != fmt.Sprint(first) {
			t.Fatalf("one worker gave\n%v and then\n%v", first, again)
		}
	}
	for _, opt.Workers = range []int{2, 3, 8} {
		f.checkAttend(t, queries, opt)
	}
}

func TestAttendProperties(t *testing.T) {
	names := []string{"dot", "cosine", "l2"}
	rapid.Check(t, func(rt *rapid.T) {
		metric := metrics[rapid.SampledFrom(names).Draw(rt, "metric")]
		kind := kinds[rapid.SampledFrom([]string{"uniform", "few", "near"}).Draw(rt, "kind")]
		d := rapid.IntRange(1, 100).Draw(rt, "dim")
		valueDim := rapid.SampledFrom([]int{d, 1, 77}).Draw(rt, "value dim")
		rows := rapid.SliceOfN(rapid.IntRange(0, 400), 0, 4).Draw(rt, "rows")
		masked := rapid.SampledFrom([]int{0, 1, 2, 5, 50}).Draw(rt, "masked")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		encoding := rapid.SampledFrom([]Encoding{F32, Int8, Int8Only, F16, BF16}).Draw(rt, "encoding")
		f := newFixture(t, r, Shape{metric, d, valueDim, encoding, rapid.SampledFrom(valueEncodings).Draw(rt, "value encoding"), 1}, kind, rapid.Bool().Draw(rt, "values"), masked, rows...)
		f.checkAttend(rt, f.queries(r, kind, rapid.IntRange(0, 20).Draw(rt, "queries")), AttendOptions{
			Scale:      rapid.Float64Range(0, 10).Draw(rt, "scale"),
			TopWeights: rapid.IntRange(0, 30).Draw(rt, "top"),
			Workers:    rapid.IntRange(0, 4).Draw(rt, "workers"),
		})
	})
}
