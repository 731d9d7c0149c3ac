package main

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"

	"engram/index"
)

const (
	topK    = 10
	batched = 256 // queries of one call
)

// search is Engram's contender: the first queries in one call.
func (d *data) search(queries int) ([][]index.Hit, error) {
	hits, _, err := index.Search(context.Background(), d.shape, d.parts, d.queries[:queries], index.SearchOptions{K: topK, MinScore: float32(math.Inf(-1))})
	return hits, err
}

func (d *data) searching(queries int) contender {
	return timed(engram, func() error {
		_, err := d.search(queries)
		return err
	})
}

// agree checks a peer's answers to the first queries. Scores that differ in their last
// bits may swap neighbours, so one row in a hundred may differ.
func (d *data) agree(p *peer, queries int) error {
	ours, err := d.search(queries)
	if err != nil {
		return err
	}
	theirs, err := p.ask(question{Op: "answer", Queries: queries, Threads: p.threads[0], TopCount: topK})
	if err != nil {
		return err
	}
	if len(theirs.IDs) != queries {
		return fmt.Errorf("%s answered %d of %d queries", p.name, len(theirs.IDs), queries)
	}
	same := 0
	for q, hits := range ours {
		for _, h := range hits {
			if slices.Contains(theirs.IDs[q], row(h.Part, h.Row)) {
				same++
			}
		}
	}
	if total := queries * topK; same < total-total/100 {
		return fmt.Errorf("%s has %d of the %d best rows that Engram found", p.name, same, total)
	}
	return nil
}

// single measures one exact query against read bandwidth and a loop over vek's Dot.
func single(b *bench) error {
	vek := b.peer("vek", b.peers.vek)
	defer vek.stop()
	for _, s := range b.sizes() {
		d, err := newData(b.peers.dir, s, 0, 1)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("one exact query, top %d, %v", topK, s)
		err = b.race(what, d, 1, []contender{d.searching(1), bandwidth(d)}, []rival{{peer: vek, goal: 1, check: d.agree}},
			func(t times) {
				b.report.compare(what, t, readBandwidth, readBandwidth, 0.9)
				b.report.note("read bandwidth beside %v: %.1f GB/s", s, float64(s.bytes())/spreadOf(t[readBandwidth]).median/1e9)
			})
		d.free()
		if err != nil {
			return err
		}
	}
	return nil
}

// codes measures exact queries on keys as int8 codes beside float32 against our own scan
// of float32 alone, whose answers they must give to the bit.
func codes(b *bench) error {
	for _, s := range b.sizes() {
		d, err := newData(b.peers.dir, s, 0, batched)
		if err != nil {
			return err
		}
		shape := d.shape
		shape.Encoding = index.Int8
		parts, err := d.encoded(shape)
		if err != nil {
			return err
		}
		for _, queries := range []int{1, batched} {
			search := func(shape index.Shape, parts []index.Part) ([][]index.Hit, error) {
				hits, _, err := index.Search(b.ctx, shape, parts, d.queries[:queries], index.SearchOptions{K: topK, MinScore: float32(math.Inf(-1))})
				return hits, err
			}
			by := func(name string, shape index.Shape, parts []index.Part) contender {
				return timed(name, func() error { _, err := search(shape, parts); return err })
			}
			const float32s = "float32"
			t, err := race(b.ctx, b.rounds, []contender{by(engram, shape, parts), by(float32s, d.shape, d.parts)})
			if err != nil {
				return err
			}
			ours, _ := search(shape, parts)
			theirs, _ := search(d.shape, d.parts)
			if !reflect.DeepEqual(ours, theirs) {
				return fmt.Errorf("%v: int8 codes give other answers", s)
			}
			what, goal := fmt.Sprintf("%d exact queries in one call, top %d, %v, int8 beside float32", queries, topK, s), 0.0
			if queries == 1 {
				what, goal = fmt.Sprintf("one exact query, top %d, %v, int8 beside float32", topK, s), 3
			}
			b.report.compare(what, t, float32s, "our float32 scan, the same answers to the bit", goal)
		}
		for _, p := range parts {
			p.Segment.Free()
		}
		d.free()
	}
	return nil
}

// batch measures many exact queries in one call against the multiply-add peak and
// Faiss.
func batch(b *bench) error {
	faiss := b.python("Faiss", "faiss_flat.py", "numpy", "faiss-cpu")
	defer faiss.stop()
	for _, s := range b.sizes() {
		d, err := newData(b.peers.dir, s, 0, batched)
		if err != nil {
			return err
		}
		goal := 1.0
		if s.dim == 128 {
			goal = 1.05
		}
		work := float64(batched) * float64(s.rows) * float64(s.dim)
		what := fmt.Sprintf("%d exact queries in one call, top %d, %v", batched, topK, s)
		err = b.race(what, d, batched, []contender{d.searching(batched), multiplyAdds(work)}, []rival{{peer: faiss, goal: goal, check: d.agree}},
			func(t times) {
				b.report.compare(what, t, multiplyAddPeak, multiplyAddPeak, 0.8)
				b.report.note("multiply-add peak beside %v: %.0f G/s", s, work/spreadOf(t[multiplyAddPeak]).median/1e9)
			})
		d.free()
		if err != nil {
			return err
		}
	}
	return nil
}
