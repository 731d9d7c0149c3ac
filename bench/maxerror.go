package main

import (
	"fmt"
	"log"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"engram/index"
)

// maxErrorOf is the max_error that is measured.
const maxErrorOf = 1e-3

// realQueries is how many queries there are of real data.
const realQueries = 32

// A bounded is a memory of which Attend with max_error is measured against Attend without.
type bounded struct {
	told    string
	queries int // asked one by one, in each round
	scales  []float64
	next    func(b *bench) (size size, heads int, next func(v []float32), err error)
}

// The scales go from where nearly all of the mass is in few rows to the memory's own: that of a
// model's attention, and for embeddings that are compared by cosine √d. Clusters are random, and
// have none.
var boundeds = []bounded{
	{"clusters of a hundredth of the rows", 8, []float64{0.4, 0.2, 0.12, 0.06, 0}, clusters},
	{"MiniLM's embeddings of sentences", realQueries, []float64{400, 200, 150, 100, 60, math.Sqrt(384)}, sentenceKeys},
	{"a character model's keys, head 1 of 2", realQueries, ownScales(32, 64, 32, 16, 8, 4, 1), characterKeys(0)},
	{"a character model's keys, head 2 of 2", realQueries, ownScales(32, 64, 32, 16, 8, 4, 1), characterKeys(1)},
}

// ownScales are multiples of 1/√dim.
func ownScales(dim int, times ...float64) (all []float64) {
	for _, t := range times {
		all = append(all, t/math.Sqrt(float64(dim)))
	}
	return all
}

// maxError measures Attend with max_error against Attend without, by an index: from attention
// that is all to a few rows to attention to everything.
func maxError(b *bench) error {
	for _, m := range boundeds {
		if err := m.measure(b); err != nil {
			return fmt.Errorf("%s: %w", m.told, err)
		}
	}
	return nil
}

func (m bounded) measure(b *bench) error {
	s, heads, next, err := m.next(b)
	if err != nil {
		b.report.miss(m.told, err)
		return nil
	}
	if b.rows > 0 {
		s.rows = min(s.rows, b.rows)
	}
	d, err := dataOf(b.peers.dir, s, heads, m.queries, next)
	if err != nil {
		return err
	}
	defer d.free()
	log.Printf("attend within max_error, %v, %s …", s, m.told)
	x, err := index.BuildIVF(b.ctx, d.pool, d.shape, d.parts, index.IVFOptions{Seed: 1})
	if err != nil {
		return err
	}
	defer x.Release()
	drawn := sharpened{name: m.told}
	for _, scale := range m.scales {
		at, err := d.attendWithin(b, m.told, scale, x)
		if err != nil {
			return err
		}
		drawn.at = append(drawn.at, at)
	}
	b.report.sharpened = append(b.report.sharpened, drawn)
	return nil
}

// attendWithin measures the queries at a scale. What the goal is depends on how sharp attention
// is: ten times where 99.9 % of the mass is in a hundredth of the rows, and where it is so
// diffuse that everything is read, what little the guess costs.
func (d *data) attendWithin(b *bench, told string, scale float64, x *index.IVF) (sharpness, error) {
	attend := func(opt index.AttendOptions) (all []index.Attention, err error) {
		for _, q := range d.queries {
			a, _, err := index.Attend(b.ctx, d.shape, d.parts, [][]float32{q}, opt)
			if err != nil {
				return nil, err
			}
			all = append(all, a...)
		}
		return all, nil
	}
	const full = "full Attend"
	opt := index.AttendOptions{Scale: scale}
	bounded := opt
	bounded.MaxError, bounded.Indexes = maxErrorOf, []*index.IVF{x}
	t, err := race(b.ctx, b.rounds, []contender{
		timed(engram, func() error { _, err := attend(bounded); return err }),
		timed(full, func() error { _, err := attend(opt); return err }),
	})
	if err != nil {
		return sharpness{}, err
	}
	opt.TopWeights = d.rows / 100
	whole, err := attend(opt)
	if err != nil {
		return sharpness{}, err
	}
	got, err := attend(bounded)
	if err != nil {
		return sharpness{}, err
	}
	effective, mass, least, read, bound := 0.0, 0.0, 1.0, 0.0, 0.0
	n := float64(len(whole))
	for i, a := range whole {
		effective += math.Exp(a.Entropy) / n
		hundredth := 0.0
		for _, w := range a.Top {
			hundredth += w.Weight
		}
		mass, least = mass+hundredth/n, min(least, hundredth)
		read += float64(got[i].Attended) / n
		bound = max(bound, got[i].ErrorBound)
	}
	goal := 0.0
	switch {
	case mass >= 0.999:
		goal = 10
	case read == float64(d.rows):
		goal = 0.95
	}
	what := fmt.Sprintf("attend within max_error %v, one query, %v, %s, scale %.3g, %.3g rows in effect", maxErrorOf, d.size, told, scale, effective)
	b.report.compare(what, t, full, "our own full Attend", goal)
	b.report.note("%s: %.5g %% of the mass in a hundredth of the rows, of the least sharp query %.5g %%; %.0f rows read, error_bound at most %.2g; the times are of %d queries one by one",
		what, 100*mass, 100*least, read, bound, len(whole))
	l := b.report.lines[len(b.report.lines)-1]
	log.Printf("  scale %.3g: %.3g rows in effect, %.5g %% in a hundredth, %.0f read: %.2f (%.2f–%.2f)", scale, effective, 100*mass, read, l.ratio.median, l.ratio.low, l.ratio.high)
	return sharpness{effective, l.ratio.median}, nil
}

// clusters makes keys about a hundred centres, and values of no relation to them.
func clusters(b *bench) (size, int, func([]float32), error) {
	s := b.sizes()[0]
	r := rand.New(rand.NewPCG(9, 9))
	centres := make([][]float32, 100)
	for i := range centres {
		centres[i] = make([]float32, s.dim)
		fill(r, centres[i])
	}
	const queries = 8
	n := 0
	return s, 1, func(v []float32) {
		n++
		fill(r, v)
		if n > queries && (n-queries)%2 == 0 {
			return // a value
		}
		for i, x := range centres[r.IntN(len(centres))] {
			v[i] = x + v[i]/10
		}
	}, nil
}

// sentenceKeys are the curves' data set of that name: sentences are asked for that aren't rows,
// and the keys are the values.
func sentenceKeys(b *bench) (size, int, func([]float32), error) {
	var d dataset
	for _, s := range datasets {
		if s.name == "sentences" {
			d = s
		}
	}
	next, err := d.next(b, &d)
	return d.size, 0, next, err
}

// characterKeys are keys, values and queries of the layer with the memory, of a head of its keys,
// in the small Transformer of examples/pytorch.
func characterKeys(head int) func(b *bench) (size, int, func([]float32), error) {
	return func(b *bench) (size, int, func([]float32), error) {
		const dim, heads = 32, 2
		raw, err := transcriptLines(b.ctx)
		if err != nil {
			return size{}, 0, nil, err
		}
		text := filepath.Join(b.peers.dir, "apollo11.jsonl")
		if err := os.WriteFile(text, raw, 0o600); err != nil {
			return size{}, 0, nil, err
		}
		root, err := moduleRoot(b.ctx)
		if err != nil {
			return size{}, 0, nil, err
		}
		next, floats, err := b.made("character-keys.f32", "attention_keys.py", []string{"numpy", "torch"}, text, filepath.Join(root, "examples", "pytorch"))
		if err != nil {
			return size{}, 0, nil, err
		}
		// Each head has so many queries, of which some are asked, and then a key and a value for
		// each row.
		each := floats / heads / dim
		skip := func(n int) {
			v := make([]float32, dim)
			for range n {
				next(v)
			}
		}
		skip(head * each)
		n, apart := 0, heldOut/realQueries
		return size{(each - heldOut) / 2, dim}, 1, func(v []float32) {
			next(v)
			if n++; n <= realQueries {
				skip(apart - 1)
			}
			if n == realQueries {
				skip(heldOut - realQueries*apart)
			}
		}, nil
	}
}
