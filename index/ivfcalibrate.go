package index

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// A Calibration is what an index gave for some queries: the recall by the number of
// lists looked into, for each of several numbers of hits. It is a table of a few
// hundred bytes, immutable, and no part of the index: as data change, so may it.
type Calibration struct {
	curves []curve // by k, ascending
	lists  int
	cost   costs
}

// A curve is of one number of hits.
type curve struct {
	k      int
	points []CurvePoint
	bounds []boundLoss
}

// A CurvePoint is the recall of one number of probes, with codes that lose no row.
type CurvePoint struct {
	Probes int
	Recall float32 // the mean over the queries
	Error  float32 // its standard error
}

// A boundLoss is what a Bound loses and costs.
type boundLoss struct {
	bound    float32
	kept     float32 // of the recall
	err      float32 // its standard error
	rescored float32 // rows a query
}

// costs are of a list with its rows, and of a row that is scored: only their ratio
// counts.
type costs struct{ list, rescore float32 }

// CalibrateOptions say how an index is calibrated.
type CalibrateOptions struct {
	Ks      []int // numbers of hits; the filter of a search makes more of them
	Keys    bool  // the queries are stored keys: that each finds itself says nothing
	Workers int
}

// calibrated bounds; the last loses next to nothing, and is the one for which the
// curves hold.
var calibratedBounds = []float64{0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3.5}

// ErrNoQueries is the error of calibrating by no queries.
var ErrNoQueries = errors.New("no queries, or numbers of hits, to calibrate by")

// Calibrate measures the recall of an index on queries, of which there had better be
// several hundred. Rows that x doesn't cover are left out of account.
func Calibrate(ctx context.Context, x *IVF, parts []Part, queries [][]float32, opt CalibrateOptions) (*Calibration, error) {
	ks := slices.Clone(opt.Ks)
	slices.Sort(ks)
	ks = slices.Compact(ks)
	if len(queries) == 0 || len(ks) == 0 || ks[0] < 1 {
		return nil, ErrNoQueries
	}
	v := x.view(parts)
	covered := slices.Clone(parts)
	for i := range covered {
		covered[i].Rows = v.covered[i]
	}
	own := 0
	if opt.Keys {
		own = 1
	}
	m := measure{x: x, parts: covered, queries: queries, own: own, workers: opt.Workers}
	search := SearchOptions{K: ks[len(ks)-1] + own, MinScore: float32(math.Inf(-1)), Workers: opt.Workers}
	// A few queries at a time, for their hits may be many.
	for from := 0; from < len(queries); from += 64 {
		hits, _, err := Search(ctx, x.shape, covered, queries[from:min(from+64, len(queries))], search)
		if err != nil {
			return nil, err
		}
		for _, h := range hits {
			m.exact = append(m.exact, keysOf(h, own))
		}
	}
	c := &Calibration{lists: x.Lists()}
	mean := float64(x.rows) / float64(x.centroids.k)
	c.cost.list = float32(costList + mean*(costRow+costGroup*float64(x.coder.groups)))
	c.cost.rescore = float32(costRescore + costPer*float64(x.shape.Dim))
	for _, k := range ks {
		one, err := m.curve(ctx, k)
		if err != nil {
			return nil, err
		}
		c.curves = append(c.curves, one)
	}
	return c, nil
}

// costRescore is to score a row that lies anywhere, besides its components.
const costRescore = 60.0

// keysOf gives hits by their rows alone, without the first few.
func keysOf(hits []Hit, without int) []uint64 {
	out := make([]uint64, 0, len(hits))
	for _, h := range hits[min(without, len(hits)):] {
		out = append(out, uint64(h.Part)<<32|uint64(h.Row))
	}
	return out
}

// A measure searches an index where the exact hits are known.
type measure struct {
	x       *IVF
	parts   []Part
	queries [][]float32
	own     int        // hits that don't count
	exact   [][]uint64 // per query, without those
	workers int
}

// recalls are the share of the k best that an effort finds, per query, and the rows
// that were scored a query.
func (m *measure) recalls(ctx context.Context, k int, e IVFEffort) (recalls []float64, rescored float64, err error) {
	opt := IVFSearchOptions{SearchOptions: SearchOptions{K: k + m.own, MinScore: float32(math.Inf(-1)), Workers: m.workers}, IVFEffort: e, always: true}
	found := make(map[uint64]bool)
	// Not all at once, for the hits may be many.
	for from := 0; from < len(m.queries); from += groupQueries {
		hits, stats, err := SearchIVF(ctx, m.x, m.parts, m.queries[from:min(from+groupQueries, len(m.queries))], opt)
		if err != nil {
			return nil, 0, err
		}
		rescored += float64(stats.Rescored) / float64(len(m.queries))
		for i, h := range hits {
			clear(found)
			for _, key := range keysOf(h, 0) {
				found[key] = true
			}
			exact := m.exact[from+i]
			exact = exact[:min(k, len(exact))]
			n := 0
			for _, key := range exact {
				if found[key] {
					n++
				}
			}
			recalls = append(recalls, 1)
			if len(exact) > 0 {
				recalls[from+i] = float64(n) / float64(len(exact))
			}
		}
	}
	return recalls, rescored, nil
}

// meanOf gives the mean of f(0) to f(n−1), and its standard error.
func meanOf(n int, f func(i int) float64) (mean, err float64) {
	sum, squares := 0.0, 0.0
	for i := range n {
		x := f(i)
		sum += x
		squares += x * x
	}
	mean = sum / float64(n)
	// That none of a few queries went wrong doesn't say that none can: one might.
	variance := max(squares/float64(n)-mean*mean, 1/float64(n))
	return mean, math.Sqrt(variance / float64(n))
}

// curve measures one number of hits.
func (m *measure) curve(ctx context.Context, k int) (curve, error) {
	c := curve{k: k}
	most := calibratedBounds[len(calibratedBounds)-1]
	// What bounds lose hardly depends on the probes; it is measured where recall is
	// about what is asked for.
	var at IVFEffort
	var whole []float64
	for probes := 1; ; probes = max(probes+1, probes*4/3) {
		probes = min(probes, m.x.Lists())
		recalls, _, err := m.recalls(ctx, k, IVFEffort{probes, most})
		if err != nil {
			return c, err
		}
		mean, e := meanOf(len(recalls), func(i int) float64 { return recalls[i] })
		c.points = append(c.points, CurvePoint{probes, float32(mean), float32(e)})
		last := probes == m.x.Lists() || mean > 0.9995
		if whole == nil && (mean > 0.95 || last) {
			at, whole = IVFEffort{Probes: probes}, recalls
		}
		if last {
			break
		}
	}
	total, _ := meanOf(len(whole), func(i int) float64 { return whole[i] })
	total = max(total, 1e-9)
	for _, at.Bound = range calibratedBounds {
		recalls, rescored, err := m.recalls(ctx, k, at)
		if err != nil {
			return c, err
		}
		kept, e := meanOf(len(whole), func(i int) float64 { return 1 - (whole[i]-recalls[i])/total })
		c.bounds = append(c.bounds, boundLoss{float32(at.Bound), float32(min(1, kept)), float32(min(1, e)), float32(rescored)})
	}
	return c, nil
}

// Curve is the recall by probes for k hits.
func (c *Calibration) Curve(k int) []CurvePoint {
	return slices.Clone(c.curves[c.near(k)].points)
}

// near is the least calibrated k that isn't below one, or the greatest.
func (c *Calibration) near(k int) int {
	i := slices.IndexFunc(c.curves, func(v curve) bool { return v.k >= k })
	if i < 0 {
		return len(c.curves) - 1
	}
	return i
}

// Effort is the least that gives a recall for k hits, as far as the queries tell that
// it was calibrated by, and the recall to expect. Where none does it is to look into all
// lists.
func (c *Calibration) Effort(recall float64, k int) (IVFEffort, float64) {
	v := &c.curves[c.near(k)]
	best, least := IVFEffort{c.lists, float64(v.bounds[len(v.bounds)-1].bound)}, math.Inf(1)
	for _, b := range v.bounds {
		probes, ok := c.probes(recall/c.keeps(float64(b.bound), k), k)
		if !ok {
			continue
		}
		if cost := float64(probes)*float64(c.cost.list) + float64(b.rescored)*float64(c.cost.rescore); cost < least {
			best, least = IVFEffort{probes, float64(b.bound)}, cost
		}
	}
	return best, c.Recall(best, k)
}

// probesAt is how many lists give a recall for k hits with a bound.
func (c *Calibration) probesAt(recall float64, k int, bound float64) (int, bool) {
	return c.probes(recall/c.keeps(bound, k), k)
}

// keeps is the share of the recall that a bound keeps for sure for k hits. It keeps more
// of many than of few, so between two calibrated numbers it is the lesser's.
func (c *Calibration) keeps(bound float64, k int) float64 {
	i := c.near(k)
	share := c.curves[i].loss(bound).sure()
	if i > 0 && c.curves[i].k > k {
		share = min(share, c.curves[i-1].loss(bound).sure())
	}
	return share
}

// sureErrors is how many standard errors below its mean a recall is promised: the
// mean over all queries there might be lies below that with a probability of 0.023.
const sureErrors = 2

// sure is the recall that the point gives for sure.
func (p *CurvePoint) sure() float64 { return float64(p.Recall) - sureErrors*float64(p.Error) }

// sure is the share of the recall that a bound keeps for sure.
func (b *boundLoss) sure() float64 { return max(1e-9, float64(b.kept)-sureErrors*float64(b.err)) }

// probes is how many lists give a recall for k hits, for sure; false if all don't.
func (c *Calibration) probes(recall float64, k int) (int, bool) {
	i := c.near(k)
	n, ok := c.curves[i].probes(recall)
	if !ok {
		return 0, false
	}
	factor := 1.0
	switch at := c.curves[i].k; {
	case at < k: // beyond what was calibrated
		factor = math.Sqrt(float64(k) / float64(at))
	case at > k && i > 0:
		// Between two, by the logarithms of both.
		under := &c.curves[i-1]
		if m, ok := under.probes(recall); ok {
			part := math.Log(float64(k)/float64(under.k)) / math.Log(float64(at)/float64(under.k))
			n = math.Exp(math.Log(m)*(1-part) + math.Log(n)*part)
		}
	}
	return min(c.lists, int(math.Ceil(n*factor-1e-9))), true
}

// probes is for the curve's own k, and no whole number.
func (v *curve) probes(recall float64) (n float64, ok bool) {
	for i, p := range v.points {
		if p.sure() < recall {
			continue
		}
		if i == 0 {
			return float64(p.Probes), true
		}
		// The curve is nearly straight in the logarithm of the probes.
		q := v.points[i-1]
		part := (recall - q.sure()) / (p.sure() - q.sure())
		return math.Exp(math.Log(float64(q.Probes))*(1-part) + math.Log(float64(p.Probes))*part), true
	}
	return 0, false
}

// Recall is what to expect of an effort for k hits.
func (c *Calibration) Recall(e IVFEffort, k int) float64 {
	i := c.near(k)
	r := c.curves[i].recall(e)
	if at := c.curves[i].k; at > k && i > 0 {
		under := &c.curves[i-1]
		part := math.Log(float64(k)/float64(under.k)) / math.Log(float64(at)/float64(under.k))
		r = under.recall(e)*(1-part) + r*part
	}
	return r
}

// recall is for the curve's own k.
func (v *curve) recall(e IVFEffort) float64 {
	at, exact := slices.BinarySearchFunc(v.points, e.Probes, func(p CurvePoint, n int) int { return cmp.Compare(p.Probes, n) })
	r := float64(v.points[min(at, len(v.points)-1)].Recall)
	if !exact && at > 0 && at < len(v.points) {
		p, q := v.points[at-1], v.points[at]
		part := math.Log(float64(e.Probes)/float64(p.Probes)) / math.Log(float64(q.Probes)/float64(p.Probes))
		r = float64(p.Recall)*(1-part) + float64(q.Recall)*part
	}
	return r * float64(v.loss(e.Bound).kept)
}

// loss is of the greatest calibrated bound not above one, or the least.
func (v *curve) loss(bound float64) *boundLoss {
	if bound == 0 {
		bound = DefaultBound
	}
	loss := &v.bounds[0]
	for i := range v.bounds {
		if b := &v.bounds[i]; float64(b.bound) <= bound {
			loss = b
		}
	}
	return loss
}

// calibrationMagic begins the bytes of AppendTo, and changes with their meaning.
const calibrationMagic = "cal1"

// ErrCalibration is the error of bytes that AppendTo didn't write.
var ErrCalibration = errors.New("no calibration")

// AppendTo appends c. In little endian it is "cal1", then lists, cost of a list, cost of
// a row, number of curves; for each curve k, number of points, number of bounds; for each
// point probes, recall, error; for each bound it, what it keeps, error, rows rescored. Counts,
// probes and k are uint32, all else float32.
func (c *Calibration) AppendTo(b []byte) []byte {
	count := func(n int) { b = binary.LittleEndian.AppendUint32(b, uint32(n)) }
	floats := func(v ...float32) { b = appendFloats(b, v) }
	b = append(b, calibrationMagic...)
	count(c.lists)
	floats(c.cost.list, c.cost.rescore)
	count(len(c.curves))
	for _, v := range c.curves {
		count(v.k)
		count(len(v.points))
		count(len(v.bounds))
		for _, p := range v.points {
			count(p.Probes)
			floats(p.Recall, p.Error)
		}
		for _, l := range v.bounds {
			floats(l.bound, l.kept, l.err, l.rescored)
		}
	}
	return b
}

// ReadCalibration reads what AppendTo wrote. It takes memory in proportion to b.
func ReadCalibration(b []byte) (*Calibration, error) {
	r := calibrationReader{left: b}
	if len(b) < 4 || string(b[:4]) != calibrationMagic {
		return nil, fmt.Errorf("%w: no such beginning", ErrCalibration)
	}
	r.left = b[4:]
	c := &Calibration{lists: r.count(MaxLists, 0)}
	c.cost.list, c.cost.rescore = r.float(math.MaxFloat32), r.float(math.MaxFloat32)
	for range r.count(1<<10, 12) {
		v := curve{k: r.count(math.MaxInt32, 0)}
		if len(c.curves) > 0 && v.k <= c.curves[len(c.curves)-1].k {
			r.bad = true
		}
		points, bounds := r.count(1<<16, 12), r.count(1<<8, 16)
		for range points {
			p := CurvePoint{r.count(c.lists, 0), r.float(1), r.float(1)}
			if len(v.points) > 0 && p.Probes <= v.points[len(v.points)-1].Probes {
				r.bad = true
			}
			v.points = append(v.points, p)
		}
		for range bounds {
			l := boundLoss{r.float(100), r.float(1), r.float(1), r.float(math.MaxFloat32)}
			if len(v.bounds) > 0 && l.bound <= v.bounds[len(v.bounds)-1].bound {
				r.bad = true
			}
			v.bounds = append(v.bounds, l)
		}
		c.curves = append(c.curves, v)
		if r.bad {
			break
		}
	}
	if r.bad || len(r.left) > 0 {
		return nil, fmt.Errorf("%w: wrong numbers", ErrCalibration)
	}
	return c, nil
}

// A calibrationReader reads numbers until one is bad.
type calibrationReader struct {
	left []byte
	bad  bool
}

func (r *calibrationReader) next() uint32 {
	if len(r.left) < 4 {
		r.bad = true
		return 1
	}
	x := binary.LittleEndian.Uint32(r.left)
	r.left = r.left[4:]
	return x
}

// count reads a number from 1 to most, of things of size bytes that are to follow.
func (r *calibrationReader) count(most, size int) int {
	n := r.next()
	if n < 1 || uint64(n) > uint64(most) || uint64(n)*uint64(size) > uint64(len(r.left)) {
		r.bad = true
		return 1
	}
	return int(n)
}

// float reads a number from 0 to most.
func (r *calibrationReader) float(most float32) float32 {
	x := math.Float32frombits(r.next())
	if !(x >= 0 && x <= most) {
		r.bad = true
		return 1
	}
	return x
}
