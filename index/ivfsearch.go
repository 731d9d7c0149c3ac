package index

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"

	"engram/kernel"
)

// IVFSearchOptions say how SearchIVF searches.
type IVFSearchOptions struct {
	SearchOptions
	IVFEffort
	// Recall is asked of Calibration, whose effort then takes the place of IVFEffort;
	// 0: it isn't.
	Recall      float64
	Calibration *Calibration

	always bool // look into lists, whatever it costs
}

// An IVFEffort is how hard an index is searched.
type IVFEffort struct {
	// Probes is how many lists are looked into, the nearest first; more where a filter
	// leaves few of their rows. All of them if there are fewer.
	Probes int
	// Bound is by how many standard deviations of its error a row's code may wrong
	// the row before that is lost: a row whose score would be the K-th best is lost
	// with the probability of a normal variable to exceed the bound, one of a better
	// score more seldom. 0 stands for DefaultBound.
	Bound float64
}

// DefaultBound loses a row with a probability below 0.0014.
const DefaultBound = 3

// SearchIVF is Search of parts of which x covers the first rows: those are looked for
// in the lists nearest to a query, by their codes, and what may be among the K best is
// scored as Search does; rows that x doesn't cover are all scored. So a score is always
// exact, and of the K best rows some may be missing. Where few rows are eligible, and to
// score them all is less work, the answer is Search's. The answer to a query may depend
// on the batch it came in, by which the order of lists does.
func SearchIVF(ctx context.Context, x *IVF, parts []Part, queries [][]float32, opt IVFSearchOptions) ([][]Hit, Stats, error) {
	v := x.view(parts)
	v.effort(&opt)
	if !opt.always && !v.worthwhile(v.need(&opt, v.farthest(opt.K))) {
		return Search(ctx, x.shape, parts, queries, opt.SearchOptions)
	}
	var tail [][]Hit
	var stats Stats
	if v.tail > 0 {
		var err error
		if tail, stats, err = Search(ctx, x.shape, v.tailParts(), queries, opt.SearchOptions); err != nil {
			return nil, Stats{}, err
		}
	}
	out := make([][]Hit, len(queries))
	var mu sync.Mutex
	workers := workersFor(opt.Workers, len(queries))
	size := 1
	if each := min(groupQueries, (len(queries)+workers-1)/workers); !v.filtered && each*opt.Probes >= v.centroids.k {
		size = each
	}
	err := parallel(ctx, (len(queries)+size-1)/size, workers, func() func(int) {
		return func(i int) {
			w := ivfWorks.Get().(*ivfWork)
			defer ivfWorks.Put(w)
			from, to := i*size, min((i+1)*size, len(queries))
			w.begin(v, queries[from:to], opt)
			if tail != nil {
				for j := range w.scans {
					for _, h := range tail[from+j] {
						w.scans[j].top.offer(parts, h)
					}
				}
			}
			w.search(ctx)
			for j := range w.scans {
				out[from+j] = merge(parts, opt.K, []*top{&w.scans[j].top})
			}
			mu.Lock()
			stats.Add(w.stats)
			mu.Unlock()
		}
	})
	if err != nil {
		return nil, Stats{}, err
	}
	if opt.Calibration != nil && stats.ListsProbed > 0 {
		stats.Recall = opt.Calibration.Recall(opt.IVFEffort, opt.K)
	}
	return out, stats, nil
}

// groupQueries is how many queries are looked for together, list by list, so that a
// list comes from memory once: their tables and hits stay in the second-level cache, or
// nearly. It pays where they look into each list once, on average.
const groupQueries = 512

// workersFor is how many goroutines serve n queries.
func workersFor(asked, n int) int {
	return max(1, min(workersOr(asked), n))
}

// An ivfWork is a worker's searches, with their scratch.
type ivfWork struct {
	view    *ivfView
	opt     IVFSearchOptions
	scans   []ivfScan
	at      []uint32
	scores  []float32
	keys    []float32 // decoded
	coarse  []listScore
	sums    []uint16
	hits    []uint32
	best    []ivfHit // a heap
	taken   []uint64 // rows of a chunk, a bit each
	done    []uint64 // lists
	pending []ivfHit // to be scored
	seen    []seenChunk
	kept    int // sums of those
	visits  []visit
	stats   Stats
}

var ivfWorks = sync.Pool{New: func() any { return new(ivfWork) }}

// An ivfScan is the search for one query.
type ivfScan struct {
	asked   []float32
	inverse float32   // of the query's norm
	unit    []float32 // the query as codes have it: of norm 1 under Cosine
	square  float64   // of its norm
	code    lookup
	lists   []listScore
	top     top
}

// A visit is of a list, for a scan.
type visit struct {
	scan  uint32
	score float32 // of the list
}

// A seenChunk is a chunk that was looked at, with a filter: its sums are kept.
type seenChunk struct {
	*chunk
	score float32 // of its list
}

// A listScore is a list and how near its centroid is.
type listScore struct {
	list  uint32
	score float32
}

// An ivfHit is a row that may be among the best of a scan.
type ivfHit struct {
	most float32 // what it scores at most
	at   uint32  // in its chunk
	row  uint32
	part int32
	scan *ivfScan
}

func (w *ivfWork) begin(v *ivfView, queries [][]float32, opt IVFSearchOptions) {
	w.view, w.opt, w.stats = v, opt, Stats{}
	w.seen, w.kept, w.pending = w.seen[:0], 0, w.pending[:0]
	w.scans = sized(w.scans, len(queries))
	for i, q := range queries {
		c := &w.scans[i]
		c.asked = q
		norm := Norm(q)
		c.inverse, c.square = float32(1/norm), norm*norm
		c.unit = append(c.unit[:0], q...)
		if v.shape.Metric == Cosine {
			for i, x := range q {
				c.unit[i] = float32(float64(x) / norm)
			}
			c.square = 1
		}
		c.top.reset(opt.K, opt.MinScore)
	}
}

// search looks for all of the queries.
func (w *ivfWork) search(ctx context.Context) {
	v := w.view
	if w.opt.K == 0 || v.rows == 0 {
		return
	}
	for i := range w.scans {
		c := &w.scans[i]
		c.lists = c.lists[:0]
		if !v.coder.query(&c.code, c.unit) {
			w.flat(c)
			continue
		}
		w.probe(c, w.opt.Probes)
	}
	if len(w.scans) > 1 {
		w.together(ctx)
		return
	}
	c := &w.scans[0]
	for _, l := range c.lists {
		w.list(c, l)
	}
	w.flush()
	if v.filtered && len(c.lists) > 0 {
		w.farther(c)
	}
}

// together looks into each query's nearest list first, so that there is a threshold,
// and then into one list after the other for all queries that are near it.
func (w *ivfWork) together(ctx context.Context) {
	v := w.view
	starts := make([]uint32, v.centroids.k+1)
	for i := range w.scans {
		c := &w.scans[i]
		if ctx.Err() != nil {
			return
		}
		for len(c.lists) > 0 {
			w.list(c, c.lists[0])
			w.flush()
			c.lists = c.lists[1:]
			if len(c.top.heap) == w.opt.K {
				break
			}
		}
		for _, l := range c.lists {
			starts[l.list+1]++
		}
	}
	for l := range v.centroids.k {
		starts[l+1] += starts[l]
	}
	w.visits = sized(w.visits, int(starts[v.centroids.k]))
	next := slices.Clone(starts)
	for i := range w.scans {
		for _, l := range w.scans[i].lists {
			w.visits[next[l.list]] = visit{uint32(i), l.score}
			next[l.list]++
		}
	}
	for l := range v.centroids.k {
		visits := w.visits[starts[l]:starts[l+1]]
		if ctx.Err() != nil {
			return
		}
		for _, k := range v.lists[l] {
			w.chunks(k, uint32(l), visits)
		}
		w.stats.ListsProbed += int64(len(visits))
	}
	w.flush()
}

// probe finds the n lists nearest to the query, in order.
func (w *ivfWork) probe(c *ivfScan, n int) {
	v := w.view
	k := v.centroids.k
	w.at = w.at[:0]
	if more := n + n/2 + 8; more < k/2 {
		w.estimate(c, more)
	} else {
		for i := range k {
			w.at = append(w.at, uint32(i))
		}
	}
	w.scores = sized(w.scores, len(w.at))
	scores := w.scores[:len(w.at)]
	stride := pad(v.centroids.dim)
	if v.shape.Metric == L2 {
		kernel.L2At(scores, c.unit, v.centroids.data, stride, w.at)
	} else {
		kernel.DotAt(scores, c.unit, v.centroids.data, stride, w.at)
	}
	c.lists = c.lists[:0]
	for i, l := range w.at {
		c.lists = append(c.lists, listScore{l, scores[i]})
	}
	nearer := func(a, b listScore) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.list, b.list))
	}
	// What is near comes in order; of the rest it is enough to know it is nearer than
	// what is left out.
	const inOrder = 8
	choose(c.lists, n, nearer)
	c.lists = c.lists[:n]
	choose(c.lists, inOrder, nearer)
	slices.SortFunc(c.lists[:min(n, inOrder)], nearer)
}

// choose brings the n first of v in some order to its beginning (Hoare's quickselect).
func choose[T any](v []T, n int, compare func(a, b T) int) {
	for n > 0 && n < len(v) {
		middle := v[len(v)/2]
		i, j := 0, len(v)-1
		for i <= j {
			for compare(v[i], middle) < 0 {
				i++
			}
			for compare(v[j], middle) > 0 {
				j--
			}
			if i <= j {
				v[i], v[j] = v[j], v[i]
				i++
				j--
			}
		}
		switch {
		case n <= j:
			v = v[:j+1]
		case n > i:
			v, n = v[i:], n-i
		default:
			return
		}
	}
}

// estimate sets at to the n centroids nearest to the query by their codes.
func (w *ivfWork) estimate(c *ivfScan, n int) {
	v := w.view
	const most = 512
	var sums [most]uint16
	w.coarse = w.coarse[:0]
	w.hits = sized(w.hits, most)
	limit := float32(math.Inf(-1))
	rows := len(v.coarse.mul)
	// A few at first, for they all are the best so far.
	for from, size := 0, 2*kernel.FastScanRows; from < rows; from, size = from+size, min(2*size, most) {
		size = min(size, rows-from)
		codes := v.coarse.bits[from/kernel.FastScanRows*kernel.FastScanBytes(v.coder.groups):]
		mul, add := v.coarse.mul[from:], v.coarse.add[from:]
		kernel.FastScan(sums[:], codes, c.code.table, v.coder.groups, size/kernel.FastScanRows)
		found := kernel.FastSelect(w.hits, sums[:], mul, add, c.code.scale, c.code.shift, limit, size)
		for _, h := range w.hits[:found] {
			if s := c.code.score(sums[h], mul[h], add[h], 0); len(w.coarse) < n || s > w.coarse[0].score {
				w.coarse = push(w.coarse, listScore{uint32(from) + h, s}, n, func(a, b listScore) bool { return a.score < b.score })
				if len(w.coarse) == n {
					limit = w.coarse[0].score
				}
			}
		}
	}
	for _, l := range w.coarse {
		w.at = append(w.at, l.list)
	}
}

// score is what a row's code says.
func (x *lookup) score(sum uint16, mul, add, more float32) float32 {
	return mul*(float32(sum)*x.scale+(x.shift+more)) + add
}
