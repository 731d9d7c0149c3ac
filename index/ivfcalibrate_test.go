package index

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"engram/internal/slab"
)

// The recall that a calibration promises is delivered within 0.01 on other queries.
func TestCalibrate(t *testing.T) { checkCalibration(t, 2500, 800, 2500, 1, 5, 10) }

// checkCalibration calibrates indexes of so many rows by so many known queries, at the
// least and the greatest of ks, and checks what fresh ones find.
func checkCalibration(t *testing.T, rows, known, fresh int, ks ...int) {
	for name, make := range distributions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(13, 13))
			pool := slab.NewPool(1 << 30)
			shape, v, queries := make(r, rows, known+fresh)
			parts := partsOf(t, pool, shape, v, 3000)
			x := buildIVF(t, pool, shape, parts, IVFOptions{Seed: 13})
			c, err := Calibrate(context.Background(), x, parts, queries[:known], CalibrateOptions{Ks: []int{ks[0], ks[len(ks)-1]}})
			if err != nil {
				t.Fatal(err)
			}
			if c, err = ReadCalibration(c.AppendTo(nil)); err != nil {
				t.Fatal(err)
			}
			queries = queries[known:]
			for _, k := range ks {
				want := searchExact(t, shape, parts, queries, SearchOptions{K: k})
				for _, recall := range []float64{0.8, 0.9, 0.95, 0.99} {
					effort, expected := c.Effort(recall, k)
					got, _ := searchIVF(t, x, parts, queries, IVFSearchOptions{SearchOptions: SearchOptions{K: k}, IVFEffort: effort, always: true})
					if r := recallOf(got, want); r < recall-0.01 || r < expected-0.05 || expected < recall-0.01 {
						t.Errorf("K=%d: %v was promised, %.4f expected of %+v, %.4f delivered", k, recall, expected, effort, r)
					}
				}
			}
		})
	}
}

// Stored keys find themselves, which says nothing: as queries they give the recall of
// the rest.
func TestCalibrateByKeys(t *testing.T) {
	r := rand.New(rand.NewPCG(14, 14))
	pool := slab.NewPool(1 << 30)
	shape, v, queries := distributions["mixture, cosine"](r, 10000, 1000)
	parts := partsOf(t, pool, shape, v, 10000)
	x := buildIVF(t, pool, shape, parts, IVFOptions{Seed: 14})
	keys, err := Calibrate(context.Background(), x, parts, v[:1000], CalibrateOptions{Ks: []int{10}, Keys: true})
	if err != nil {
		t.Fatal(err)
	}
	asked, err := Calibrate(context.Background(), x, parts, queries, CalibrateOptions{Ks: []int{10}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range keys.Curve(10) {
		if got, want := float64(p.Recall), asked.Recall(IVFEffort{p.Probes, 3.5}, 10); math.Abs(got-want) > 0.05 {
			t.Errorf("%d probes: %.3f by keys, %.3f by queries", p.Probes, got, want)
		}
	}
}

func TestCalibrateEdges(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 15))
	pool := slab.NewPool(1 << 30)
	shape, v, queries := distributions["sphere, cosine"](r, 1000, 50)
	parts := partsOf(t, pool, shape, v, 1000)
	x := buildIVF(t, pool, shape, parts, IVFOptions{Lists: 10})
	if _, err := Calibrate(context.Background(), x, parts, nil, CalibrateOptions{Ks: []int{1}}); !errors.Is(err, ErrNoQueries) {
		t.Errorf("no queries: %v", err)
	}
	if _, err := Calibrate(context.Background(), x, parts, queries, CalibrateOptions{}); !errors.Is(err, ErrNoQueries) {
		t.Errorf("no numbers of hits: %v", err)
	}
	c, err := Calibrate(context.Background(), x, parts, queries, CalibrateOptions{Ks: []int{10}})
	if err != nil {
		t.Fatal(err)
	}
	if e, expected := c.Effort(1, 10); e.Probes != x.Lists() || expected < 0.99 {
		t.Errorf("a recall of 1 takes %+v, which gives %v", e, expected)
	}
}

func FuzzReadCalibration(f *testing.F) {
	c := &Calibration{lists: 3, cost: costs{1, 2}, curves: []curve{{10, []CurvePoint{{1, 0.5, 0.1}, {3, 1, 0}}, []boundLoss{{1, 0.9, 0.1, 10}, {3, 1, 0, 20}}}}}
	f.Add(c.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ReadCalibration(b)
		if err != nil {
			return
		}
		if !slices.Equal(c.AppendTo(nil), b) {
			t.Errorf("%x reads as %+v", b, c)
		}
		for _, k := range []int{1, 7, 1 << 20} {
			e, r := c.Effort(0.9, k)
			if e.Probes < 1 || e.Probes > c.lists || !(r >= 0) || !(c.Recall(e, k) >= 0) {
				t.Errorf("%x, K=%d: %+v, %v", b, k, e, r)
			}
		}
	})
}
