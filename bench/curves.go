package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The recalls that are compared.
var recalls = []float64{0.95, 0.99}

// leastShown is the recall from which on points are measured and drawn.
const leastShown = 0.6

// A library is a peer that searches in process.
type library struct {
	name  string // before those of its indexes
	start func(*bench) *peer
}

// libraries are the peers of the curves.
var libraries = []library{
	{"Faiss", func(b *bench) *peer { return b.python("Faiss", "faiss_curve.py", "numpy", "faiss-cpu") }},
	{"hnswlib", func(b *bench) *peer { return b.python("hnswlib", "hnswlib_curve.py", "numpy", "hnswlib") }},
	{"usearch", func(b *bench) *peer { return b.python("usearch", "usearch_curve.py", "numpy", "usearch") }},
	{"ScaNN", func(b *bench) *peer { return b.python("ScaNN", "scann_curve.py", "numpy", "scann") }},
	{"", func(b *bench) *peer {
		return b.peer("Go's libraries", func(ctx context.Context) (*peer, error) { return b.peers.golang(ctx, "golibs", "golibs") })
	}},
}

// entrants are the indexes of a peer.
func (l library) entrants(p *peer) (all []entrant) {
	variants := p.variants
	if len(variants) == 0 {
		variants = []string{""}
	}
	for _, v := range variants {
		all = append(all, entrant{
			name: strings.TrimSpace(l.name + " " + v),
			build: func() (built, error) {
				a, err := p.ask(question{Op: "build", Variant: v, Threads: runtime.NumCPU()})
				return built{a.About, a.Seconds, a.Bytes, a.Series}, err
			},
			search: func(setting []int, queries, threads int) ([][]int, time.Duration, error) {
				a, err := p.ask(question{Op: "answer", Variant: v, Setting: setting, Queries: queries, Threads: threads, TopCount: topK})
				return a.IDs, time.Duration(a.Seconds * 1e9), err
			},
		})
	}
	return all
}

// A curve is what was measured of an entrant.
type curve struct {
	entrant
	built
	points  []point
	perCall map[int]times // seconds of a query, by number of threads, then by point's key
}

// measured gives what was measured on so many threads, in a round, or with round below
// 0 the medians.
func (c *curve) measured(threads, round int) (all []rated) {
	for _, p := range c.points {
		s := c.perCall[threads][c.key(p, threads)]
		switch {
		case len(s) == 0:
		case round < 0:
			all = append(all, rated{p.recall, 1 / spreadOf(s).median})
		default:
			all = append(all, rated{p.recall, 1 / s[round]})
		}
	}
	return all
}

// curves measures Engram and its peers on a data set.
func (b *bench) curves(s dataset) error {
	d, err := s.make(b)
	if err != nil {
		b.report.miss(s.name, err)
		return nil
	}
	defer d.free()
	t, err := d.truth(b.turn())
	if err != nil {
		return err
	}
	entrants := d.ours()
	for _, l := range libraries {
		p := l.start(b)
		defer p.stop()
		if p == nil {
			continue
		}
		if err := p.load(d); err != nil {
			return err
		}
		entrants = append(entrants, l.entrants(p)...)
	}
	return b.contest(contest{name: s.name, told: s.told, at: slices.Compact([]int{1, runtime.NumCPU()}), unit: "cores", goal: s.goal}, t, entrants)
}

// turn is about how long one measurement of a point takes.
func (b *bench) turn() time.Duration {
	if b.short {
		return 10 * time.Millisecond
	}
	return 200 * time.Millisecond
}

// A contest is what is compared on one data set.
type contest struct {
	name, told string
	at         []int // numbers of threads or clients; the goal is for the first
	unit       string
	goal       float64
}

// with names a number of threads or clients.
func (c contest) with(n int) string {
	if n == 1 {
		return "1 " + strings.TrimSuffix(c.unit, "s")
	}
	return fmt.Sprintf("%d %s", n, c.unit)
}

// contest measures entrants against each other and reports.
func (b *bench) contest(c contest, t truth, entrants []entrant) error {
	defer func() {
		for _, e := range entrants {
			if e.close != nil {
				e.close()
			}
		}
	}()
	all, err := b.swept(c, t, entrants)
	if err != nil {
		return err
	}
	if err := b.measure(c, all); err != nil {
		return err
	}
	b.reportCurves(c, t.d, all)
	return nil
}

// swept builds the entrants' indexes, one after the other, and sweeps their settings.
// One that fails is missing.
func (b *bench) swept(c contest, t truth, entrants []entrant) ([]*curve, error) {
	var all []*curve
	for _, e := range entrants {
		made, err := e.build()
		if err != nil {
			b.report.miss(fmt.Sprintf("%s over %s, %v,", e.name, c.name, t.d.size), err)
			continue
		}
		points, err := t.sweep(b.ctx, e, c.at[0], made.series)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		most := slices.MaxFunc(points, func(p, q point) int { return cmp.Compare(p.recall, q.recall) }).recall
		points = slices.DeleteFunc(frontier(points), func(p point) bool { return p.recall < leastShown })
		if len(points) == 0 {
			b.report.miss(fmt.Sprintf("%s over %s, %v,", e.name, c.name, t.d.size), fmt.Errorf("its recall is %.3f at most", most))
			continue
		}
		log.Printf("  %s: built in %.1f s, %d settings to measure, recall to %.4f", e.name, made.seconds, len(points), points[len(points)-1].recall)
		all = append(all, &curve{entrant: e, built: made, points: points, perCall: map[int]times{}})
	}
	return all, nil
}

// measure races all points on the first number of threads, and those around the
// recalls that are compared on the others.
func (b *bench) measure(c contest, all []*curve) error {
	for i, n := range c.at {
		var contenders []contender
		for _, each := range all {
			points := each.points
			if i > 0 || b.short {
				points = around(points, recalls...)
			}
			for _, p := range points {
				contenders = append(contenders, each.at(p, n))
			}
		}
		log.Printf("  measuring at %d settings with %s", len(contenders), c.with(n))
		t, err := race(b.ctx, max(2, b.rounds/3), contenders)
		if err != nil {
			return err
		}
		for _, each := range all {
			each.perCall[n] = t
		}
	}
	return nil
}

// best is the curve of most queries a second at a recall, of ours or of the others.
func best(all []*curve, recall float64, threads int, ours bool) (found *curve) {
	most := 0.0
	for _, c := range all {
		if rate := rateAt(recall, c.measured(threads, -1)); c.ours == ours && rate > most {
			found, most = c, rate
		}
	}
	return found
}

// rates are the queries a second at a recall, round by round.
func (c *curve) rates(recall float64, threads int) (all []float64) {
	for _, s := range c.perCall[threads] {
		for round := range s {
			all = append(all, rateAt(recall, c.measured(threads, round)))
		}
		break
	}
	return all
}

// ratioAt compares two curves at a recall, round by round.
func ratioAt(a, than *curve, recall float64, threads int) spread {
	x, y := a.rates(recall, threads), than.rates(recall, threads)
	for i := range x {
		x[i] /= y[i]
	}
	return spreadOf(x)
}

func (b *bench) reportCurves(c contest, d *data, all []*curve) {
	for i, n := range c.at {
		for _, r := range recalls {
			mine, theirs := best(all, r, n, true), best(all, r, n, false)
			if mine == nil || theirs == nil {
				continue
			}
			l := line{
				what:    fmt.Sprintf("recall@%d of %v, %s, %v, %s: %s", topK, r, c.name, d.size, c.with(n), mine.name),
				engram:  perSecond(rateAt(r, mine.measured(n, -1))),
				against: "the best peer, " + theirs.name,
				theirs:  perSecond(rateAt(r, theirs.measured(n, -1))),
				ratio:   ratioAt(mine, theirs, r, n),
			}
			if i == 0 {
				l.goal = c.goal
			}
			b.report.lines = append(b.report.lines, l)
			log.Printf("  %s %s against %s %s: %.2f", l.what, l.engram, l.against, l.theirs, l.ratio.median)
		}
	}
	b.report.sections = append(b.report.sections, c.section(d, all))
	b.report.panels = append(b.report.panels, panel{fmt.Sprintf("%s, %v, %s", c.name, d.size, c.with(c.at[0])), drawing(all, c.at[0])})
}

// drawing is the curves on so many threads.
func drawing(all []*curve, threads int) (to []drawn) {
	for _, c := range all {
		to = append(to, drawn{c.name, c.ours, hull(c.measured(threads, -1))})
	}
	return to
}

// perSecond writes a rate in three digits.
func perSecond(rate float64) string {
	switch {
	case rate == 0 || math.IsNaN(rate):
		return "–"
	case rate >= 1e5:
		return fmt.Sprintf("%.0fk/s", rate/1e3)
	case rate >= 1e3:
		return fmt.Sprintf("%.3gk/s", rate/1e3)
	}
	return fmt.Sprintf("%.3g/s", rate)
}

// section is the table of a contest's indexes, the quickest first.
func (c contest) section(d *data, all []*curve) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n### %s, %v\n\n%s; %d queries held out.\n\n| index | parameters |", strings.ToUpper(c.name[:1])+c.name[1:], d.size, strings.ToUpper(c.told[:1])+c.told[1:], len(d.queries))
	for _, r := range recalls {
		for _, n := range c.at {
			fmt.Fprintf(&b, " at %v, %s |", r, c.with(n))
		}
	}
	b.WriteString(" most recall | built in | memory |\n|---|---|" + strings.Repeat("---|", len(recalls)*len(c.at)) + "---|---|---|\n")
	for _, each := range slices.SortedStableFunc(slices.Values(all), func(x, y *curve) int {
		return cmp.Compare(rateAt(recalls[0], y.measured(c.at[0], -1)), rateAt(recalls[0], x.measured(c.at[0], -1)))
	}) {
		fmt.Fprintf(&b, "| %s | %s |", each.name, each.told)
		for _, r := range recalls {
			for _, n := range c.at {
				fmt.Fprintf(&b, " %s |", perSecond(rateAt(r, each.measured(n, -1))))
			}
		}
		fmt.Fprintf(&b, " %.4f | %.1f s | %d MB |\n", each.points[len(each.points)-1].recall, each.seconds, each.bytes/1e6)
	}
	return b.String()
}
