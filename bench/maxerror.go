package main

import (
	"fmt"
	"math"
	"math/rand/v2"

	"engram/index"
)

// maxError measures Attend with max_error against Attend without, over clusters of a
// hundredth of the rows each, by an index: from attention that is all in one cluster to
// attention to everything.
func maxError(b *bench) error {
	const clusters, within = 100, 1e-3
	s := b.sizes()[0]
	r := rand.New(rand.NewPCG(9, 9))
	centres := make([][]float32, clusters)
	for i := range centres {
		centres[i] = make([]float32, s.dim)
		fill(r, centres[i])
	}
	const queries = 8
	n := 0
	d, err := dataOf(b.peers.dir, s, 1, queries, func(v []float32) {
		n++
		fill(r, v)
		if n > queries && (n-queries)%2 == 0 {
			return // a value
		}
		for i, x := range centres[r.IntN(clusters)] {
			v[i] = x + v[i]/10
		}
	})
	if err != nil {
		return err
	}
	defer d.free()
	x, err := index.BuildIVF(b.ctx, d.pool, d.shape, d.parts, index.IVFOptions{Seed: 1})
	if err != nil {
		return err
	}
	defer x.Release()
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
	for _, c := range []struct{ scale, goal float64 }{{0.4, 10}, {0.2, 10}, {0.12, 0}, {0.06, 0}, {0, 0.95}} {
		opt := index.AttendOptions{Scale: c.scale}
		bounded := opt
		bounded.MaxError, bounded.Indexes = within, []*index.IVF{x}
		t, err := race(b.ctx, b.rounds, []contender{
			timed(engram, func() error { _, err := attend(bounded); return err }),
			timed(full, func() error { _, err := attend(opt); return err }),
		})
		if err != nil {
			return err
		}
		opt.TopWeights = s.rows / clusters
		whole, err := attend(opt)
		if err != nil {
			return err
		}
		got, err := attend(bounded)
		if err != nil {
			return err
		}
		effective, mass, read, bound := 0.0, 0.0, 0.0, 0.0
		for i, a := range whole {
			effective += math.Exp(a.Entropy) / queries
			for _, w := range a.Top {
				mass += w.Weight / queries
			}
			read += float64(got[i].Attended) / queries
			bound = max(bound, got[i].ErrorBound)
		}
		what := fmt.Sprintf("attend within max_error %v, one query, %v, %.3g rows in effect", within, s, effective)
		b.report.compare(what, t, full, "our own full Attend", c.goal)
		b.report.note("%s: %.4g %% of the mass in a hundredth of the rows; %.0f rows read, error_bound at most %.2g; the times are of %d queries one by one",
			what, 100*mass, read, bound, queries)
	}
	return nil
}
