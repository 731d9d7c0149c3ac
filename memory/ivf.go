package memory

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"engram/index"
	"engram/internal/slab"
)

// An ivf is the index that a namespace with a recall has, as views share it. Views hold
// references to the index.IVF; the rest is plain memory.
type ivf struct {
	*index.IVF
	covered     map[*index.Segment]int // the first rows of each
	built       int                    // rows when it was trained
	calibration *index.Calibration
	byKeys      bool // calibrated by stored keys, for want of queries
	rows        int  // of the namespace when it was calibrated
}

// newIVF takes over an index.
func newIVF(x *index.IVF, built int) *ivf { return &ivf{IVF: x, covered: x.Covered(), built: built} }

// setIVF takes over an index, or nil, in the place of the draft's.
func (d *draft) setIVF(x *ivf) {
	if d.ivf != nil {
		d.ivf.Release()
	}
	d.ivf, d.changed = x, true
}

// moveIVF tells the draft's index that rows it covers lie elsewhere now: see
// index.IVF.Moved. Where that fails, or it covers more of a segment than whoever moved
// it knew of, the rows are searched as ones that it lacks.
func (d *draft) moveIVF(from []segView, to *index.Segment, where func(segment int, row uint32) (uint32, bool)) {
	if d.ivf == nil {
		return
	}
	covers := false
	segments := make([]*index.Segment, len(from))
	for i := range from {
		n, ok := d.ivf.covered[from[i].vectors]
		if n > int(from[i].n) {
			return
		}
		covers = covers || ok
		segments[i] = from[i].vectors
	}
	if !covers {
		return
	}
	x, err := d.ivf.Moved(segments, to, where)
	if err != nil {
		return
	}
	next := *d.ivf
	next.IVF, next.covered = x, x.Covered()
	d.setIVF(&next)
}

// uncovered is how many rows the view's index lacks.
func (v *View) uncovered() (n int) {
	for i := range v.segments {
		s := &v.segments[i]
		n += int(s.n) - min(v.ivf.covered[s.vectors], int(s.n))
	}
	return n
}

// An asking is what a namespace with a recall remembers of the queries it was asked, by
// which its index is calibrated.
type asking struct {
	mu      sync.Mutex
	queries [][]float32 // a sample of all (Vitter, Random sampling with a reservoir, 1985)
	seen    int
	rng     *rand.Rand

	refused atomic.Int64 // records for which there was no room for an index; 0: there was
}

// sampledQueries is how many queries are kept; an index is calibrated by them once there
// are so many, and by stored keys before.
const sampledQueries = 256

// asked is a namespace's asking.
func (n *Namespace) asked() *asking {
	if a := n.asking.Load(); a != nil {
		return a
	}
	n.asking.CompareAndSwap(nil, &asking{rng: rand.New(rand.NewPCG(rand.Uint64(), 0))})
	return n.asking.Load()
}

// note remembers a query, perhaps, and says whether there are enough only now.
func (a *asking) note(query []float32) bool {
	if !a.mu.TryLock() {
		return false // others are asked, too
	}
	defer a.mu.Unlock()
	a.seen++
	if len(a.queries) < sampledQueries {
		a.queries = append(a.queries, slices.Clone(query))
		return len(a.queries) == sampledQueries
	}
	if i := a.rng.IntN(a.seen); i < sampledQueries {
		a.queries[i] = slices.Clone(query)
	}
	return false
}

// enough gives the queries if there are enough.
func (a *asking) enough() [][]float32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queries) < sampledQueries {
		return nil
	}
	return slices.Clone(a.queries)
}

// ivfJob gives what there is to do on the index of a view; nil if there is nothing.
func (v *View) ivfJob(db *DB) func(*maintenance, *View) error {
	recall, least := v.settings.Value().recall, int(db.sizes.ivfRows)
	if v.ns.saved.Load() != nil {
		least /= 2 // there was one
	}
	switch {
	case v.ivf == nil && (recall == 0 || v.count < least):
		v.ns.saved.Store(nil)
		return nil
	case v.ivf != nil && (recall == 0 || v.count < least/2):
		return (*maintenance).dropIVF
	}
	if refused := v.ns.asked().refused.Load(); int64(v.count) <= refused+refused/4 {
		return nil
	}
	switch {
	case v.ivf == nil || v.count > 4*v.ivf.built:
		return (*maintenance).buildIVF
	case v.uncovered() > max(least/4, v.ivf.Rows()/8):
		return (*maintenance).extendIVF
	case v.ivf.byKeys && v.ns.asked().enough() != nil, 4*v.count > 5*v.ivf.rows, 4*v.count < 3*v.ivf.rows:
		return (*maintenance).calibrateIVF
	}
	return nil
}

// backgroundWorkers leaves processors to those who wait for answers.
func (db *DB) backgroundWorkers() int {
	n := db.workers
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return max(1, n/2)
}

func (m *maintenance) dropIVF(v *View) error {
	return m.swapIVF(v, func(_ *committer, d *draft) error {
		d.setIVF(nil)
		return nil
	})
}

// swapIVF changes the index of a namespace if it still is the view's.
func (m *maintenance) swapIVF(v *View, swap func(*committer, *draft) error) error {
	return m.db.commit(m.ctx, func(c *committer) error {
		d := c.draft(v.ns.name)
		if d != nil && d.ns == v.ns && d.ivf == v.ivf {
			return swap(c, d)
		}
		return nil
	})
}

// putIVF hands a calibrated index, which it takes over, to the namespace.
func (m *maintenance) putIVF(v *View, x *ivf) error {
	taken := false
	err := m.swapIVF(v, func(c *committer, d *draft) error {
		more := x.Bytes()
		if d.ivf != nil {
			more -= d.ivf.Bytes()
		}
		ok := d.settings.Value().recall > 0
		var err error
		if ok {
			ok, err = c.makeRoom(d, more)
		}
		if !ok {
			d.ns.asked().refused.Store(int64(d.count))
			return err
		}
		d.setIVF(x)
		d.ns.asked().refused.Store(0)
		taken = true
		return nil
	})
	if !taken {
		x.Release()
	}
	return err
}

// renewIVF makes an index from a view's parts, calibrates it unless it is, and hands it
// over.
func (m *maintenance) renewIVF(v *View, renew func(parts []index.Part) (*ivf, error)) error {
	r := read([]*View{v}, nil)
	defer r.done()
	x, err := renew(r.parts)
	if err != nil {
		if errors.Is(err, slab.ErrBudget) {
			v.ns.asked().refused.Store(int64(v.count))
		}
		return err
	}
	if x.calibration == nil {
		if err := m.calibrate(v, r.parts, x); err != nil {
			x.Release()
			return err
		}
	}
	return m.putIVF(v, x)
}

func (m *maintenance) buildIVF(v *View) error {
	saved := v.ns.saved.Swap(nil)
	return m.renewIVF(v, func(parts []index.Part) (*ivf, error) {
		if saved != nil {
			x, err := saved.assemble(m, v, parts)
			if err == nil || !errors.Is(err, index.ErrTrained) {
				return x, err
			}
			m.db.log.Error("a snapshot's index is no use; it is built anew", "namespace", v.ns.name, "error", err.Error())
		}
		x, err := index.BuildIVF(m.ctx, m.db.pool, v.settings.Value().shape(), parts, index.IVFOptions{Seed: 1, Workers: m.db.backgroundWorkers()})
		if err != nil {
			return nil, err
		}
		m.db.log.Info("an index is built", "namespace", v.ns.name, "rows", x.Rows(), "lists", x.Lists(), "bytes", x.Bytes())
		return newIVF(x, v.count), nil
	})
}

func (m *maintenance) extendIVF(v *View) error {
	return m.renewIVF(v, func(parts []index.Part) (*ivf, error) {
		x, err := v.ivf.Extend(m.ctx, parts, m.db.backgroundWorkers())
		if err != nil {
			return nil, err
		}
		return newIVF(x, v.ivf.built), nil
	})
}

func (m *maintenance) calibrateIVF(v *View) error {
	return m.renewIVF(v, func([]index.Part) (*ivf, error) {
		x := *v.ivf
		x.calibration = nil
		x.Retain()
		return &x, nil
	})
}

// calibratedKs are the numbers of hits that indexes are calibrated for; others lie
// between or beyond.
var calibratedKs = []int{1, 10, 100}

// calibrate measures an index on the queries that the namespace was asked, or on keys of
// its own until there are enough.
func (m *maintenance) calibrate(v *View, parts []index.Part, x *ivf) (err error) {
	queries := v.ns.asked().enough()
	x.byKeys, x.rows = queries == nil, v.count
	if x.byKeys {
		queries = v.someKeys(sampledQueries)
	}
	x.calibration, err = index.Calibrate(m.ctx, x.IVF, parts, queries, index.CalibrateOptions{
		Ks: calibratedKs, Keys: x.byKeys, Workers: m.db.backgroundWorkers(),
	})
	return err
}

// someKeys gives keys of n live rows, or of all there are, spread evenly.
func (v *View) someKeys(n int) (keys [][]float32) {
	step, at := max(1, v.count/n), 0
	for i := range v.segments {
		s := &v.segments[i]
		for r := range s.n {
			if s.isDead(r) {
				continue
			}
			if at++; at%step == 0 && len(keys) < n {
				keys = append(keys, s.vectors.KeyInto(nil, int(r)))
			}
		}
	}
	return keys
}

// A Nearness says how near to the exact answer Retrieve's must be. The zero Nearness is a
// namespace's own recall, which is exact where it has none.
type Nearness struct {
	Exact  bool
	Probes int     // or: lists of the index to look into
	Recall float64 // or: the share of the best records that is to be found, on average
}

// of is a search of a view's parts: exact, or by its index.
func (n Nearness) of(v *View, k int) (opt index.IVFSearchOptions, byIndex bool) {
	recall := n.Recall
	if n == (Nearness{}) {
		recall = v.settings.Value().recall
	}
	if v.ivf == nil || n.Exact || recall == 0 && n.Probes == 0 {
		return opt, false
	}
	opt.Calibration = v.ivf.calibration
	if n.Probes > 0 {
		opt.Probes = n.Probes
		return opt, true
	}
	opt.Recall = recall
	return opt, true
}

// nearest searches the parts of views, which the reading lists, each by its index if it
// has one that is to be used, and gives the best of all.
func (r *reading) nearest(ctx context.Context, views []*View, queries [][]float32, search index.SearchOptions, near Nearness) ([][]index.Hit, index.Stats, error) {
	shape := views[0].settings.Value().shape()
	if !slices.ContainsFunc(views, func(v *View) bool { _, by := near.of(v, search.K); return by }) {
		return index.Search(ctx, shape, r.parts, queries, search)
	}
	var stats index.Stats
	out := make([][]index.Hit, len(queries))
	from := 0
	for _, v := range views {
		parts := r.parts[from : from+len(v.segments)]
		var hits [][]index.Hit
		var st index.Stats
		var err error
		if opt, by := near.of(v, search.K); by {
			opt.SearchOptions = search
			hits, st, err = index.SearchIVF(ctx, v.ivf.IVF, parts, queries, opt)
		} else {
			hits, st, err = index.Search(ctx, shape, parts, queries, search)
		}
		if err != nil {
			return nil, stats, err
		}
		stats.Add(st)
		for q := range hits {
			for _, h := range hits[q] {
				h.Part += from
				out[q] = append(out[q], h)
			}
		}
		from += len(v.segments)
	}
	if len(views) > 1 {
		for q := range out {
			out[q] = index.Best(r.parts, search.K, out[q])
		}
	}
	return out, stats, nil
}

// indexesOf are the indexes that views have.
func indexesOf(views []*View) (indexes []*index.IVF) {
	for _, v := range views {
		if v.ivf != nil {
			indexes = append(indexes, v.ivf.IVF)
		}
	}
	return indexes
}

// noteQueries remembers queries by which indexes are calibrated.
func (db *DB) noteQueries(views []*View, queries []Query) {
	for _, v := range views {
		if v.ivf == nil {
			continue
		}
		for i := range queries {
			if v.ns.asked().note(queries[i].Vector) {
				db.indexing.look(v)
			}
		}
	}
}
