package main

import (
	"context"
	"fmt"
	"math"
	"slices"

	"engram/index"
)

// attended is the queries of the larger call.
const attended = 64

func (d *data) attend(queries int) ([]index.Attention, error) {
	a, _, err := index.Attend(context.Background(), d.shape, d.parts, d.queries[:queries], index.AttendOptions{Scale: 1 / math.Sqrt(float64(d.dim))})
	return a, err
}

func (d *data) attending(queries int) contender {
	return timed(engram, func() error {
		_, err := d.attend(queries)
		return err
	})
}

// agreeContext checks a peer's attention: contexts of averages of many rows, which are
// small, within a thousandth of the values' norm.
func (d *data) agreeContext(p *peer, queries int) error {
	ours, err := d.attend(queries)
	if err != nil {
		return err
	}
	for _, variant := range p.variants {
		theirs, err := p.ask(question{Op: "answer", Variant: variant, Queries: queries, Threads: p.threads[0]})
		if err != nil {
			return err
		}
		if len(theirs.Context) != queries {
			return fmt.Errorf("%s answered %d of %d queries", p.name, len(theirs.Context), queries)
		}
		for q, a := range ours {
			off := 0.0
			for i, x := range a.Context {
				off += math.Pow(float64(x)-theirs.Context[q][i], 2)
			}
			if norm := math.Sqrt(float64(d.dim)); math.Sqrt(off) > 1e-3*norm {
				return fmt.Errorf("%s %s, query %d: its context is off by %g", p.name, variant, q, math.Sqrt(off))
			}
		}
	}
	return nil
}

// How PyTorch is asked: softmax(q·Kᵀ)·V in so many words, or by its fused function,
// which not every version has.
const (
	worded = ""
	fused  = "fused"
)

// attend measures attention against read bandwidth, the multiply-add peak and PyTorch.
func attend(b *bench) error {
	torch := b.python("PyTorch", "torch_attend.py", "numpy", "torch")
	defer torch.stop()
	for i, s := range b.sizes() {
		d, err := newData(b.peers.dir, s, attended, true)
		if err != nil {
			return err
		}
		for _, queries := range []int{1, attended} {
			what := fmt.Sprintf("attend, %d queries, %v keys and values", queries, s)
			contenders, limit, goal, peerGoal := []contender{d.attending(queries)}, multiplyAddPeak, 0.0, [...]float64{1.5, 1.2}[min(i, 1)]
			work := 2 * float64(queries) * float64(s.rows) * float64(s.dim)
			if queries == 1 {
				what = fmt.Sprintf("attend, one query, %v keys and values", s)
				limit, goal, peerGoal = readBandwidth, 0.9, 1
				contenders = append(contenders, bandwidth(d))
			} else {
				contenders = append(contenders, multiplyAdds(work))
			}
			rivals := []rival{{peer: torch, variant: worded, told: "softmax(q·Kᵀ)·V", goal: peerGoal, check: d.agreeContext}}
			if torch != nil && slices.Contains(torch.variants, fused) {
				rivals = append(rivals, rival{peer: torch, variant: fused, told: "scaled_dot_product_attention"})
			}
			err := b.race(what, d, queries, contenders, rivals, func(t times) { b.report.compare(what, t, limit, limit, goal) })
			if err != nil {
				d.free()
				return err
			}
		}
		d.free()
	}
	return nil
}
