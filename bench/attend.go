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

// attend gives the answers of each head of the first queries, query by query.
func (d *data) attend(queries int) ([]index.Attention, error) {
	a, _, err := index.Attend(context.Background(), d.shape, d.parts, d.queries[:queries], index.AttendOptions{Scale: 1 / math.Sqrt(float64(d.shape.HeadDim()))})
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
		for i, a := range ours {
			query, head := i/d.shape.Heads, i%d.shape.Heads
			off := 0.0
			for j, x := range a.Context {
				off += math.Pow(float64(x)-theirs.Context[query][head*d.shape.HeadValueDim()+j], 2)
			}
			if norm := math.Sqrt(float64(d.shape.HeadValueDim())); math.Sqrt(off) > 1e-3*norm {
				return fmt.Errorf("%s %s, query %d, head %d: its context is off by %g", p.name, variant, query, head, math.Sqrt(off))
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
	torch := b.torch()
	defer torch.stop()
	for i, s := range b.sizes() {
		if err := b.attendTo(torch, s, 1, [...]float64{1.5, 1.2}[min(i, 1)]); err != nil {
			return err
		}
	}
	return nil
}

// heads measures the same where keys, values and queries are of 8 heads of 64.
func heads(b *bench) error {
	torch := b.torch()
	defer torch.stop()
	// A million rows would take 4 GB, and once more in PyTorch.
	s := size{200_000, 512}
	if b.short {
		s.rows = 40_000
	}
	return b.attendTo(torch, s, 8, 1.5)
}

func (b *bench) torch() *peer { return b.python("PyTorch", "torch_attend.py", "numpy", "torch") }

// attendTo measures one query and many over a memory of a size, of so many heads; goal is
// of the many against PyTorch, which the better of its ways is held to.
func (b *bench) attendTo(torch *peer, s size, heads int, goal float64) error {
	d, err := newData(b.peers.dir, s, heads, attended)
	if err != nil {
		return err
	}
	defer d.free()
	of := fmt.Sprintf("%v keys and values%s", s, ofHeads(heads, s.dim))
	for _, queries := range []int{1, attended} {
		what := fmt.Sprintf("attend, %d queries, %s", queries, of)
		contenders, limit, limitGoal, peerGoal := []contender{d.attending(queries)}, multiplyAddPeak, 0.0, goal
		if queries == 1 {
			what = "attend, one query, " + of
			limit, limitGoal, peerGoal = readBandwidth, 0.9, 1
			contenders = append(contenders, bandwidth(d))
		} else {
			// As many as of one head: each reads its own part of a row.
			contenders = append(contenders, multiplyAdds(2*float64(queries)*float64(s.rows)*float64(s.dim)))
		}
		rivals := []rival{{peer: torch, variant: worded, told: "softmax(q·Kᵀ)·V", goal: peerGoal, check: d.agreeContext}}
		if torch != nil && slices.Contains(torch.variants, fused) {
			rivals = append(rivals, rival{peer: torch, variant: fused, told: "scaled_dot_product_attention", goal: peerGoal})
		}
		if err := b.race(what, d, queries, contenders, rivals, func(t times) { b.report.compare(what, t, limit, limit, limitGoal) }); err != nil {
			return err
		}
	}
	return nil
}
