package index

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"engram/kernel"
)

// headScore is the canonical score of a head of one row for a query head.
func (f *fixture) headScore(p *Part, row, head int, query []float32) float32 {
	var s [1]float32
	d := f.shape.HeadDim()
	key := p.Segment.KeyInto(nil, row)[head*d : (head+1)*d]
	if f.shape.Metric == L2 {
		kernel.L2(s[:], query, key, d)
		return s[0]
	}
	kernel.Dot(s[:], query, key, d)
	if f.shape.Metric == Cosine {
		if Norm(key) == 0 { // Int8Only has rounded it
			return 0
		}
		return float32(float32(s[0]*inverseNorm(key)) * inverseNorm(query))
	}
	return s[0]
}

// A logit is a row's in the reference.
type logit struct {
	part, row int
	age       uint64
	score     float32
	logit     float64
}

// attendHead is the reference for one head of one query: all eligible logits, or the best of
// them, and their softmax in float64.
func (f *fixture) attendHead(query []float32, number, head int, opt *AttendOptions) ([]logit, expected) {
	group := opt.QueryHeads / f.shape.heads()
	d, dv := f.shape.HeadDim(), f.shape.HeadValueDim()
	q := query[head*d : (head+1)*d]
	var all []logit
	for i := range f.parts {
		p := &f.parts[i]
		for row := range p.Rows {
			if !p.has(row) {
				continue
			}
			score := f.headScore(p, row, head/group, q)
			x := opt.Scale * float64(score)
			if opt.Bias != nil {
				var b, at [1]float64
				p.Bias(b[:], row)
				p.Position(at[:], row)
				x += b[0]
				if opt.Bias.Slopes != nil && !math.IsNaN(at[0]) {
					x -= opt.Bias.Slopes[head] * math.Abs(at[0]-opt.Bias.Positions[number])
				}
			}
			all = append(all, logit{i, row, f.ages[i][row], score, x})
		}
	}
	slices.SortFunc(all, func(a, b logit) int {
		if opt.Bias == nil { // a scale of 0 makes logits equal, and scores tell
			return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.age, b.age))
		}
		return cmp.Or(cmp.Compare(float32(b.logit), float32(a.logit)), cmp.Compare(a.age, b.age))
	})
	if opt.TopK > 0 {
		all = all[:min(opt.TopK, len(all))]
	}
	e := expected{context: make([]float64, dv), lse: math.Inf(-1), attended: uint64(len(all))}
	most := math.Inf(-1)
	for _, l := range all {
		most = max(most, l.logit)
	}
	var sum accurate
	for _, l := range all {
		sum.add(math.Exp(l.logit - most))
	}
	if len(all) > 0 {
		e.lse = most + math.Log(sum.value())
	}
	for _, l := range all {
		w := math.Exp(l.logit-most) / sum.value()
		value := f.parts[l.part].Segment.ValueInto(nil, l.row)[head/group*dv : (head/group+1)*dv]
		for k, x := range value {
			e.context[k] += w * float64(x)
		}
		if w > 0 {
			e.entropy -= w * (l.logit - e.lse)
		}
		e.norms += w * Norm(value)
		e.longest = max(e.longest, Norm(value))
	}
	return all, e
}

// checkHeads compares every head of every query to the reference.
func (f *fixture) checkHeads(t failer, queries [][]float32, opt AttendOptions) {
	t.Helper()
	got, _, err := Attend(context.Background(), f.shape, f.parts, queries, opt)
	if err != nil {
		t.Fatal(err)
	}
	f.checkHeadAnswers(t, got, queries, opt, len(queries)*opt.QueryHeads/f.shape.heads() >= attendPanelQueries && opt.TopK == 0)
}

// checkHeadAnswers compares answers whose scores may be panels', or are canonical.
func (f *fixture) checkHeadAnswers(t failer, got []Attention, queries [][]float32, opt AttendOptions, panels bool) {
	t.Helper()
	if len(got) != len(queries)*opt.QueryHeads {
		t.Fatalf("%d answers of %d heads to %d queries", len(got), opt.QueryHeads, len(queries))
	}
	d := f.shape.HeadDim()
	for q, query := range queries {
		for head := range opt.QueryHeads {
			delta := 0.0
			if panels {
				delta = opt.Scale * gamma(2*d+40) * f.longest(query[head*d:(head+1)*d], head/(opt.QueryHeads/f.shape.heads()))
			}
			all, e := f.attendHead(query, q, head, &opt)
			a := got[q*opt.QueryHeads+head]
			e.check(t, a, delta)
			if len(a.Top) != min(opt.TopWeights, len(all)) {
				t.Fatalf("%d top weights of %d rows, want %d", len(a.Top), len(all), opt.TopWeights)
			}
			for i, w := range a.Top {
				want := math.Exp(all[i].logit - e.lse)
				if !panels && (w.Part != all[i].part || int(w.Row) != all[i].row || w.Score != all[i].score) {
					t.Fatalf("top weight %d is %+v, want %+v", i, w, all[i])
				}
				if math.Abs(w.Weight-want) > want*(3e-6+2*delta) {
					// Rows whose logits float32 can't tell apart may change places.
					if next := all[i].logit; math.Abs(math.Log(w.Weight)+a.LogSumExp-next) > 1e-6*math.Abs(next)+2*delta {
						t.Fatalf("top weight %d is %v, want %v (δ %g)", i, w.Weight, want, delta)
					}
				}
			}
		}
	}
}

// longest bounds |score| before it is rounded, for a query head.
func (f *fixture) longest(q []float32, head int) (most float64) {
	d := f.shape.HeadDim()
	for i := range f.parts {
		p := &f.parts[i]
		for row := range p.Rows {
			key := p.Segment.KeyInto(nil, row)[head*d : (head+1)*d]
			switch f.shape.Metric {
			case Cosine:
				most = 1
			case Dot:
				most = max(most, Norm(q)*Norm(key))
			case L2:
				most = max(most, (Norm(q)+Norm(key))*(Norm(q)+Norm(key))/2)
			}
		}
	}
	return most
}

// A head that Int8Only rounds to zero has cosines of 0.
func TestHeadRoundedToZero(t *testing.T) {
	f := newFixture(t, rand.New(rand.NewPCG(1, 2)), Shape{Cosine, 4, 4, Int8Only, F32, 2}, func(_ *rand.Rand, v []float32) {
		copy(v, []float32{100, 3, 0.001, 0.002})
	}, false, 0, 100)
	for _, n := range []int{1, 10} {
		queries := make([][]float32, n)
		for i := range queries {
			queries[i] = []float32{1, 1, 1, 0}
		}
		f.checkHeads(t, queries, AttendOptions{Scale: 3, QueryHeads: 2})
	}
}

// Multi-head, grouped-query and multi-query attention, with and without bias, all rows and
// the best alone, against the reference.
func TestAttendHeads(t *testing.T) {
	names := []string{"dot", "cosine", "l2"}
	rapid.Check(t, func(rt *rapid.T) {
		metric := metrics[rapid.SampledFrom(names).Draw(rt, "metric")]
		heads := rapid.SampledFrom([]int{1, 2, 3, 8}).Draw(rt, "heads")
		group := rapid.SampledFrom([]int{1, 2, 4}).Draw(rt, "group")
		d, dv := rapid.IntRange(1, 70).Draw(rt, "head dim"), rapid.IntRange(1, 70).Draw(rt, "head value dim")
		if rapid.Bool().Draw(rt, "values are keys") {
			dv = d
		}
		encoding := rapid.SampledFrom([]Encoding{F32, Int8, Int8Only, F16, BF16}).Draw(rt, "encoding")
		rows := rapid.SliceOfN(rapid.IntRange(0, 300), 0, 3).Draw(rt, "rows")
		masked := rapid.SampledFrom([]int{0, 1, 2, 20}).Draw(rt, "masked")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		f := newFixture(t, r, Shape{metric, heads * d, heads * dv, encoding, F32, heads}, uniform, rapid.Bool().Draw(rt, "values"), masked, rows...)
		opt := AttendOptions{
			Scale:      rapid.Float64Range(0, 10).Draw(rt, "scale"),
			QueryHeads: heads * group,
			TopWeights: rapid.IntRange(0, 10).Draw(rt, "top weights"),
			TopK:       rapid.SampledFrom([]int{0, 0, 1, 7, 1000}).Draw(rt, "top k"),
			Workers:    rapid.IntRange(1, 3).Draw(rt, "workers"),
		}
		queries := make([][]float32, rapid.SampledFrom([]int{0, 1, 2, 5}).Draw(rt, "queries"))
		for i := range queries {
			queries[i] = make([]float32, heads*group*d)
			uniform(r, queries[i])
		}
		if rapid.Bool().Draw(rt, "biased") {
			f.bias(r, rapid.SampledFrom([]float64{1, 100, 1e4}).Draw(rt, "bias to"))
			opt.Bias = new(Bias)
			if rapid.Bool().Draw(rt, "slopes") {
				for range opt.QueryHeads {
					opt.Bias.Slopes = append(opt.Bias.Slopes, float64(r.IntN(3))/2)
				}
				for range queries {
					opt.Bias.Positions = append(opt.Bias.Positions, float64(r.IntN(1000)))
				}
			}
		}
		f.checkHeads(rt, queries, opt)
	})
}

// bias gives every row a bias of at most most, and two rows in three a position.
func (f *fixture) bias(r *rand.Rand, most float64) {
	for i := range f.parts {
		biases, positions := make([]float64, f.parts[i].Rows), make([]float64, f.parts[i].Rows)
		for row := range biases {
			biases[row] = -most * r.Float64()
			positions[row] = float64(r.IntN(1000))
			if r.IntN(3) == 0 {
				positions[row] = math.NaN()
			}
		}
		f.parts[i].Bias = func(dst []float64, from int) { copy(dst, biases[from:]) }
		f.parts[i].Position = func(dst []float64, from int) { copy(dst, positions[from:]) }
	}
}

// One head of several has the very scores, and the answer, that a memory of that head alone gives.
func TestHeadsStandAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 32))
	for _, metric := range metrics {
		f := newFixture(t, r, Shape{metric, 3 * 40, 3 * 24, F32, F32, 3}, uniform, true, 3, 700, 200)
		query := make([]float32, 3*40)
		uniform(r, query)
		all, _, err := Attend(context.Background(), f.shape, f.parts, [][]float32{query}, AttendOptions{Scale: 2, TopWeights: 4, Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		for head := range 3 {
			g := newFixture(t, r, Shape{metric, 40, 24, F32, F32, 1}, uniform, true, 0, 700, 200)
			for i := range f.parts {
				one, from := g.parts[i].Segment, f.parts[i].Segment
				for row := range f.parts[i].Rows {
					one.Put(row, from.Key(row)[head*40:][:40], from.Value(row)[head*24:][:24], 0)
				}
				g.parts[i].Mask, g.parts[i].Age = f.parts[i].Mask, f.parts[i].Age
			}
			alone, _, err := Attend(context.Background(), g.shape, g.parts, [][]float32{query[head*40:][:40]}, AttendOptions{Scale: 2, TopWeights: 4, Workers: 1})
			if err != nil {
				t.Fatal(err)
			}
			same := slices.EqualFunc(alone[0].Top, all[head].Top, func(a, b Weight) bool {
				return a.Part == b.Part && a.Row == b.Row && a.Score == b.Score && math.Abs(a.Weight-b.Weight) < 1e-8
			})
			if !same || math.Abs(alone[0].LogSumExp-all[head].LogSumExp) > 1e-9 {
				t.Errorf("head %d: %+v, alone %+v", head, all[head], alone[0])
			}
		}
	}
}
