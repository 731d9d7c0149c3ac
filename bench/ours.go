package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"engram/index"
)

// ours are Engram's curves over a data set, a function each.
func (d *data) ours() []entrant {
	return []entrant{
		d.scanned("float32", "exact", index.F32),
		d.scanned("int8", "exact: int8 codes beside float32", index.Int8),
		d.scanned("int8 only", "int8 codes alone", index.Int8Only),
		d.inverted(),
	}
}

// exact is the one setting of what has none.
var exact = [][][]int{{{}}}

// scanned is the scan of all rows, in an encoding.
func (d *data) scanned(name, told string, e index.Encoding) entrant {
	shape := d.shape
	shape.Encoding = e
	var parts []index.Part
	return entrant{
		name: engram + " " + name,
		ours: true,
		build: func() (b built, err error) {
			start := time.Now()
			if parts = d.parts; e != index.F32 {
				if parts, err = d.encoded(shape); err != nil {
					return built{}, err
				}
			}
			b = built{told: told, seconds: time.Since(start).Seconds(), series: exact}
			for _, p := range parts {
				b.bytes += p.Segment.Bytes()
			}
			return b, nil
		},
		search: func(_ []int, queries, threads int) ([][]int, time.Duration, error) {
			start := time.Now()
			hits, _, err := index.Search(context.Background(), shape, parts, d.queries[:queries],
				index.SearchOptions{K: topK, MinScore: float32(math.Inf(-1)), Workers: threads})
			return rowsOf(hits), time.Since(start), err
		},
		close: func() {
			if e == index.F32 { // the data set's own
				return
			}
			for _, p := range parts {
				p.Segment.Free()
			}
		},
	}
}

// inverted is the inverted file, whose knobs are the lists looked into and the bound on
// the error of codes, in hundredths of a standard deviation.
func (d *data) inverted() entrant {
	var x *index.IVF
	return entrant{
		name: engram + " IVF",
		ours: true,
		build: func() (b built, err error) {
			start := time.Now()
			if x, err = index.BuildIVF(context.Background(), d.pool, d.shape, d.parts, index.IVFOptions{Seed: 1}); err != nil {
				return built{}, err
			}
			b = built{told: fmt.Sprintf("%d lists, codes of 2 bits, float32 last", x.Lists()), seconds: time.Since(start).Seconds(), bytes: x.Bytes()}
			for _, p := range d.parts {
				b.bytes += p.Segment.Bytes()
			}
			for _, bound := range []int{50, 100, 150, 200, 300} {
				var settings [][]int
				for probes := 1; probes <= x.Lists(); probes = max(probes+1, probes*4/3) {
					settings = append(settings, []int{probes, bound})
				}
				b.series = append(b.series, settings)
			}
			return b, nil
		},
		search: func(setting []int, queries, threads int) ([][]int, time.Duration, error) {
			start := time.Now()
			opt := index.IVFSearchOptions{SearchOptions: index.SearchOptions{K: topK, MinScore: float32(math.Inf(-1)), Workers: threads}}
			opt.Probes, opt.Bound = setting[0], float64(setting[1])/100
			hits, _, err := index.SearchIVF(context.Background(), x, d.parts, d.queries[:queries], opt)
			return rowsOf(hits), time.Since(start), err
		},
		close: func() {
			if x != nil {
				x.Release()
			}
		},
	}
}

// encoded are segments of a shape with the rows of d.
func (d *data) encoded(shape index.Shape) (parts []index.Part, err error) {
	for _, p := range d.parts {
		s, err := index.NewSegment(d.pool, shape, p.Rows, false)
		if err != nil {
			return nil, err
		}
		for r := range p.Rows {
			if err := s.Append(p.Segment.Key(r), nil); err != nil {
				return nil, err
			}
		}
		parts = append(parts, index.Part{Segment: s, Rows: p.Rows, Age: p.Age})
	}
	return parts, nil
}

func rowsOf(hits [][]index.Hit) [][]int {
	all := make([][]int, len(hits))
	for q, of := range hits {
		for _, h := range of {
			all[q] = append(all[q], row(h.Part, h.Row))
		}
	}
	return all
}
