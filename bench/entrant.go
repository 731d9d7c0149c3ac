package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"engram/index"
)

// An entrant is one index, of Engram's or of a peer's, over a data set, or a server.
type entrant struct {
	name  string
	ours  bool
	build func() (built, error)
	// search gives the rows nearest to each of the first queries, and how long that took
	// on so many threads, or so many clients.
	search func(setting []int, queries, threads int) ([][]int, time.Duration, error)
	close  func() // nil: nothing to do
}

// built says what building an index took, and what it can be asked.
type built struct {
	told    string // its parameters
	seconds float64
	bytes   int64
	series  [][][]int // settings, of each series from the quickest
}

// A point is an entrant at one setting.
type point struct {
	setting []int
	recall  float64
	perCall time.Duration // of one query, in the sweep
	queries int           // of one measurement
}

// A truth tells what the rows nearest to each query are.
type truth struct {
	d     *data
	least []float64 // score of each query's last
	turn  time.Duration
	// patience is about how long the queries of one setting take in a sweep.
	patience time.Duration
}

// slack is the rounding by which the score of a row may differ from itself.
const slack = 1e-6

// truth searches exactly. One measurement is to take about as long as a turn, a setting
// of a sweep twenty times that.
func (d *data) truth(turn time.Duration) (truth, error) {
	hits, err := d.search(len(d.queries))
	if err != nil {
		return truth{}, err
	}
	t := truth{d: d, turn: turn, patience: 20 * turn}
	for q, h := range hits {
		t.least = append(t.least, d.dot(q, row(h[topK-1].Part, h[topK-1].Row)))
	}
	return t, nil
}

func (d *data) dot(query, row int) float64 {
	var sum float64
	for i, x := range d.parts[row/index.MaxRows].Segment.Key(row % index.MaxRows) {
		sum += float64(x) * float64(d.queries[query][i])
	}
	return sum
}

// recall is the share of the nearest rows that answers to the first queries have. A
// row that is as near as the last of the nearest counts as one of them.
func (t truth) recall(answers [][]int) float64 {
	found := 0
	for q, rows := range answers {
		rows = slices.Compact(slices.Sorted(slices.Values(rows)))
		for _, r := range rows[:min(len(rows), topK)] {
			if r >= 0 && r < t.d.rows && t.d.dot(q, r) >= t.least[q]-slack {
				found++
			}
		}
	}
	return float64(found) / float64(topK*len(answers))
}

// A series of a sweep ends where recall is complete or gains less than saturated twice
// on end.
const (
	complete  = 0.9995
	saturated = 0.0005
)

// sweep asks an entrant at all settings that are worth it.
func (t truth) sweep(ctx context.Context, e entrant, threads int, series [][][]int) ([]point, error) {
	var all []point
	for _, settings := range series {
		queries, last, stuck := 0, 0.0, 0
		for _, s := range settings {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if queries == 0 { // a few tell how many are bearable
				_, took, err := e.search(s, few, threads)
				if err != nil {
					return nil, err
				}
				queries = within(took/few, t.patience, len(t.d.queries))
			}
			found, took, err := e.search(s, queries, threads)
			if err != nil {
				return nil, err
			}
			each := took / time.Duration(queries)
			p := point{s, t.recall(found), each, within(each, t.turn, len(t.d.queries))}
			all = append(all, p)
			if stuck++; p.recall-last >= saturated {
				stuck = 0
			}
			if last = p.recall; last >= complete || stuck == 2 || took > 3*t.patience {
				break
			}
		}
	}
	return all, nil
}

// few queries are the least of one measurement.
const few = 50

// within is how many calls fit in a time.
func within(each, all time.Duration, most int) int {
	return min(most, max(few, int(all/max(each, 1))))
}

// frontier keeps the points that no other beats in recall by as much speed, by
// recall. One that is slower by a little may yet prove faster.
func frontier(points []point) []point {
	const little = 1.15
	var kept []point
	for _, p := range points {
		beaten := slices.ContainsFunc(points, func(o point) bool {
			return o.recall >= p.recall && float64(o.perCall)*little < float64(p.perCall)
		})
		if !beaten {
			kept = append(kept, p)
		}
	}
	slices.SortStableFunc(kept, func(a, b point) int { return cmp.Compare(a.recall, b.recall) })
	return kept
}

// around keeps those of a frontier's points that a figure at one of the recalls is
// drawn between.
func around(points []point, recalls ...float64) (kept []point) {
	for i, p := range points {
		for _, r := range recalls {
			below := p.recall < r && (i+1 == len(points) || points[min(i+2, len(points)-1)].recall >= r)
			above := p.recall >= r && (i < 2 || points[i-2].recall < r)
			if below || above {
				kept = append(kept, p)
				break
			}
		}
	}
	return kept
}

// A rated is a point with the queries a second that were measured.
type rated struct{ recall, rate float64 }

// hull keeps what no other beats in both, from the quickest.
func hull(measured []rated) (kept []rated) {
	for _, m := range slices.SortedFunc(slices.Values(measured), func(a, b rated) int {
		return cmp.Or(cmp.Compare(b.rate, a.rate), cmp.Compare(b.recall, a.recall))
	}) {
		if len(kept) == 0 || m.recall > kept[len(kept)-1].recall {
			kept = append(kept, m)
		}
	}
	return kept
}

// rateAt is the queries a second at a recall, drawn between the two measurements
// around it in the logarithm of the rate; 0 if none reaches it.
func rateAt(recall float64, measured []rated) float64 {
	h := hull(measured)
	i := slices.IndexFunc(h, func(m rated) bool { return m.recall >= recall })
	switch {
	case i < 0:
		return 0
	case i == 0:
		return h[0].rate
	}
	under, over := h[i-1], h[i]
	share := (recall - under.recall) / (over.recall - under.recall)
	return math.Exp((1-share)*math.Log(under.rate) + share*math.Log(over.rate))
}

func (e entrant) at(p point, threads int) contender {
	return contender{e.key(p, threads), func() (time.Duration, error) {
		_, took, err := e.search(p.setting, p.queries, threads)
		return took / time.Duration(p.queries), err
	}}
}

func (e entrant) key(p point, threads int) string { return fmt.Sprint(e.name, p.setting, "@", threads) }
