package index

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"engram/kernel"
)

// rows are vectors of dim components by number. load may be called from several
// goroutines at once.
type rows struct {
	n, dim int
	load   func(dst []float32, i int)
}

// centroids are k points in rows of pad(dim) components.
type centroids struct {
	k, dim int
	// spherical centroids have the norm 1, and the nearest is that of the greatest
	// inner product; else it is that of the least distance.
	spherical bool
	data      []float32
	bias      []float32 // −½‖c‖², which makes an inner product a measure of distance; 0 of spherical ones
}

func newCentroids(k, dim int, spherical bool) *centroids {
	return &centroids{k: k, dim: dim, spherical: spherical, data: make([]float32, k*pad(dim)), bias: make([]float32, k)}
}

func (c *centroids) at(i int) []float32 {
	stride := pad(c.dim)
	return c.data[i*stride:][:c.dim:c.dim]
}

// set makes v, or the point of the sphere in its direction, the i-th centroid.
func (c *centroids) set(i int, v []float32) {
	c.put(i, v)
	if norm := Norm(v); c.spherical && norm > 0 {
		to := c.at(i)
		for j := range to {
			to[j] = float32(float64(to[j]) / norm)
		}
	}
}

// put makes v the i-th centroid as it is.
func (c *centroids) put(i int, v []float32) {
	copy(c.at(i), v)
	if !c.spherical {
		norm := Norm(v)
		c.bias[i] = float32(-0.5 * norm * norm)
	}
}

// first is the first n centroids.
func (c *centroids) first(n int) *centroids {
	return &centroids{k: n, dim: c.dim, spherical: c.spherical, data: c.data, bias: c.bias}
}

// panelsAtOnce is how many panels of rows meet a block of centroids while that stays
// in the second-level cache.
func panelsAtOnce(dim int) int {
	return max(1, min(16, 128<<10/(4*kernel.PackedLen(max(1, dim)))))
}

// nearest raises best[i], and sets at[i] to the centroid's number, wherever one of
// the centroids from the given one on is nearer to row i than best says: best is the
// inner product plus the bias. It is done at the speed of multiply-adds: rows are packed
// in panels, and centroids are the rows that panels meet.
func (c *centroids) nearest(ctx context.Context, src rows, from, workers int, best []float32, at []uint32) error {
	w, stride := kernel.PanelWidth(), pad(c.dim)
	rowsAtOnce, panels := panelRows(c.dim), panelsAtOnce(c.dim)
	size := kernel.PackedLen(c.dim)
	chunk := panels * w
	return parallel(ctx, (src.n+chunk-1)/chunk, workers, func() func(int) {
		vectors, queries := make([]float32, w*c.dim), make([][]float32, w)
		packed := make([]float32, panels*size)
		scores := make([]float32, rowsAtOnce*w)
		b, a := make([]float32, chunk), make([]uint32, chunk)
		return func(i int) {
			first, last := i*chunk, min((i+1)*chunk, src.n)
			used := (last - first + w - 1) / w
			for p := range used {
				n := min(w, last-first-p*w)
				for j := range n {
					queries[j] = vectors[j*c.dim:][:c.dim]
					src.load(queries[j], first+p*w+j)
				}
				kernel.Pack(packed[p*size:][:size], queries[:n], c.dim)
			}
			copy(b, best[first:last])
			copy(a, at[first:last])
			for k := from; k < c.k; k += rowsAtOnce {
				n := min(rowsAtOnce, c.k-k)
				for p := range used {
					kernel.PanelDot(scores, packed[p*size:][:size], c.data[k*stride:], stride, n, c.dim)
					kernel.PanelArgMax(b[p*w:][:w], a[p*w:][:w], scores, c.bias[k:k+n], n, uint32(k))
				}
			}
			copy(best[first:last], b)
			copy(at[first:last], a)
		}
	})
}

// parallel does work number 0 to n−1 on several goroutines, each with what start
// gives it; it ends early when ctx ends.
func parallel(ctx context.Context, n, workers int, start func() func(i int)) error {
	var next atomic.Int64
	run := func() {
		var do func(int)
		for {
			i := int(next.Add(1)) - 1
			if i >= n || ctx.Err() != nil {
				return
			}
			if do == nil {
				do = start()
			}
			do(i)
		}
	}
	var wg sync.WaitGroup
	for w := 1; w < min(workers, n); w++ {
		wg.Go(run)
	}
	run()
	wg.Wait()
	return ctx.Err()
}

// kmeansRounds is the most rounds of Lloyd's algorithm; it ends sooner when fewer
// than one row in kmeansStill changes its list.
const (
	kmeansRounds = 10
	kmeansStill  = 200
)

// kmeans finds k centroids of rows: k-means++ in rounds, then Lloyd's algorithm. The
// same rows and seed give the same centroids, whatever the number of workers.
func kmeans(ctx context.Context, src rows, k int, spherical bool, seed uint64, workers int) (*centroids, error) {
	r := rand.New(rand.NewPCG(seed, 0x6b6d65616e73))
	c := newCentroids(k, src.dim, spherical)
	best, at := make([]float32, src.n), make([]uint32, src.n)
	if err := c.spread(ctx, src, r, workers, best, at); err != nil {
		return nil, err
	}
	before := make([]uint32, src.n)
	for range kmeansRounds {
		copy(before, at)
		if err := c.update(ctx, src, at, r, workers); err != nil {
			return nil, err
		}
		restart(best)
		if err := c.nearest(ctx, src, 0, workers, best, at); err != nil {
			return nil, err
		}
		moved := 0
		for i := range at {
			if at[i] != before[i] {
				moved++
			}
		}
		if moved*kmeansStill <= src.n {
			break
		}
	}
	return c, c.update(ctx, src, at, r, workers)
}

// restart makes any centroid the nearest so far.
func restart(best []float32) {
	for i := range best {
		best[i] = float32(math.Inf(-1))
	}
}

// spread chooses rows as first centroids, far from one another: k-means++ (Arthur &
// Vassilvitskii, 2007), in rounds like k-means‖ (Bahmani et al., 2012), each of which
// takes as many rows as there are centroids, by the square of the distance to those.
// So all the distances cost one pass over rows and centroids. It leaves each row's
// nearest in at.
func (c *centroids) spread(ctx context.Context, src rows, r *rand.Rand, workers int, best []float32, at []uint32) error {
	restart(best)
	squares := make([]float64, src.n)
	err := parallel(ctx, (src.n+4095)/4096, workers, func() func(int) {
		v := make([]float32, src.dim)
		return func(i int) {
			for j := i * 4096; j < min((i+1)*4096, src.n); j++ {
				src.load(v, j)
				n := Norm(v)
				squares[j] = n * n
			}
		}
	})
	if err != nil {
		return err
	}
	v := make([]float32, src.dim)
	take := func(i, row int) {
		src.load(v, row)
		c.set(i, v)
	}
	take(0, r.IntN(src.n))
	sums := make([]float64, src.n)
	for have, from := 1, 0; ; {
		if err := c.first(have).nearest(ctx, src, from, workers, best, at); err != nil {
			return err
		}
		if have == c.k {
			return nil
		}
		total := 0.0
		for i, s := range squares {
			// Of a spherical centroid: ½‖c‖² is missing from the bias.
			d := s - 2*float64(best[i])
			if c.spherical {
				d++
			}
			total += max(0, d)
			sums[i] = total
		}
		n := min(have, c.k-have)
		for i := range n {
			row := r.IntN(src.n)
			if total > 0 && !math.IsInf(total, 0) {
				// One in each n-th of the sum: spread, and by the same odds.
				row, _ = slices.BinarySearch(sums, (float64(i)+r.Float64())/float64(n)*total)
			}
			take(have+i, min(row, src.n-1))
		}
		from, have = have, have+n
	}
}

// update moves each centroid to the mean of its rows. An empty one takes a row of
// the largest list, which so is split.
func (c *centroids) update(ctx context.Context, src rows, at []uint32, r *rand.Rand, workers int) error {
	starts, order := sortByList(at, c.k)
	err := parallel(ctx, c.k, workers, func() func(int) {
		v, mean, sum := make([]float32, c.dim), make([]float32, c.dim), make([]float64, c.dim)
		return func(i int) {
			list := order[starts[i]:starts[i+1]]
			if len(list) == 0 {
				return
			}
			clear(sum)
			for _, row := range list {
				src.load(v, int(row))
				for j, x := range v {
					sum[j] += float64(x)
				}
			}
			for j, x := range sum {
				mean[j] = float32(x / float64(len(list)))
			}
			c.set(i, mean)
		}
	})
	if err != nil {
		return err
	}
	c.repair(src, starts, order, r)
	return nil
}

// repair gives each empty list a row of the largest, whose share halves.
func (c *centroids) repair(src rows, starts, order []uint32, r *rand.Rand) {
	type list struct {
		i int
		n float64 // its share of rows
	}
	var lists []list
	var empty []int
	for i := range c.k {
		if n := starts[i+1] - starts[i]; n > 0 {
			lists = append(lists, list{i, float64(n)})
		} else {
			empty = append(empty, i)
		}
	}
	if len(empty) == 0 || len(lists) == 0 {
		return
	}
	larger := func(a, b list) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.i, b.i)) }
	slices.SortFunc(lists, larger)
	v := make([]float32, c.dim)
	for _, e := range empty {
		l := lists[0]
		n := starts[l.i+1] - starts[l.i]
		src.load(v, int(order[starts[l.i]+r.Uint32N(n)]))
		c.set(e, v)
		l.n /= 2
		to, _ := slices.BinarySearchFunc(lists[1:], l, larger)
		copy(lists, lists[1:to+1])
		lists[to] = l
	}
}

// sortByList gives the numbers of at in the order of their lists, in each list
// ascending, and where each of k lists starts, with the end after the last.
func sortByList(at []uint32, k int) (starts, order []uint32) {
	starts, order = make([]uint32, k+1), make([]uint32, len(at))
	for _, l := range at {
		starts[l+1]++
	}
	for i := range k {
		starts[i+1] += starts[i]
	}
	next := slices.Clone(starts[:k])
	for i, l := range at {
		order[next[l]] = uint32(i)
		next[l]++
	}
	return starts, order
}
