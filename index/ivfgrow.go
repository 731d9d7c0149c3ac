package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"engram/internal/slab"
	"engram/kernel"
)

// derive is an index with what x has, to be changed before others see it.
func (x *IVF) derive() *IVF {
	y := &IVF{
		pool: x.pool, shape: x.shape, trained: x.trained, rows: x.rows,
		lists: slices.Clone(x.lists), places: slices.Clone(x.places), runs: slices.Clone(x.runs),
	}
	y.refs.Store(1)
	for s := range x.held() {
		s.retain()
	}
	return y
}

// Extend gives an index that covers all rows of parts: those that x lacks are put into
// its lists, rows that can no longer be read are dropped where a list is written anew,
// and lists that have outgrown the rest are split. The centroids stay else as they are.
// What it writes takes the place of what x alone had once x is released; no more than
// the new rows' lists exist twice.
func (x *IVF) Extend(ctx context.Context, parts []Part, workers int) (*IVF, error) {
	s := newSource(x.shape, parts)
	v := x.view(parts)
	copy(s.from, v.covered)
	s.count()
	return x.derive().grow(ctx, s, workersOr(workers), v)
}

// grow puts the rows of a source into the lists of x, which nobody else sees yet, and
// gives x; if that fails it releases it. v is the index that x came from, as the
// source's parts show it; nil: x is empty.
func (x *IVF) grow(ctx context.Context, s *source, workers int, v *ivfView) (*IVF, error) {
	err := x.add(ctx, s, workers, v)
	if err == nil {
		err = x.split(ctx, s.parts, workers)
	}
	if err != nil {
		x.Release()
		return nil, err
	}
	return x, nil
}

func (x *IVF) add(ctx context.Context, s *source, workers int, v *ivfView) error {
	return x.put(ctx, s, workers, v, func(refs, at []uint32) error {
		best := make([]float32, s.n)
		restart(best)
		return x.centroids.nearest(ctx, s.at(refs), 0, workers, best, at)
	})
}

// put writes the rows of a source into lists: assign sets at to those of the rows that
// refs names.
func (x *IVF) put(ctx context.Context, s *source, workers int, v *ivfView, assign func(refs, at []uint32) error) error {
	refs, err := x.scratch(s.n)
	if err != nil {
		return err
	}
	defer x.pool.Free(bytesOf(refs))
	s.rows(refs[:0])
	at, err := x.scratch(s.n)
	if err != nil {
		return err
	}
	defer x.pool.Free(bytesOf(at))
	if err := assign(refs, at); err != nil {
		return err
	}
	place, err := x.cover(s, v)
	if err != nil {
		return err
	}
	starts, order := sortByList(at, x.centroids.k)
	for i, n := range order {
		order[i] = refs[n]
	}
	var rows atomic.Int64
	var failed atomic.Pointer[error]
	err = parallel(ctx, x.centroids.k, workers, func() func(int) {
		w := &listWriter{ivf: x, view: v, source: s, place: place, encoder: x.coder.encoder(), vector: make([]float32, x.shape.Dim)}
		return func(i int) {
			if failed.Load() != nil {
				return
			}
			n, err := w.write(i, order[starts[i]:starts[i+1]])
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
			rows.Add(int64(n))
		}
	})
	if f := failed.Load(); f != nil {
		return fmt.Errorf("writing lists: %w", *f)
	}
	x.rows = int(rows.Load())
	return err
}

// cover makes x cover all rows of a source, and gives for each of its parts the place
// that names its new rows.
func (x *IVF) cover(s *source, v *ivfView) ([]uint32, error) {
	runOf := make([]int, len(s.parts))
	for i := range runOf {
		runOf[i] = -1
	}
	if v != nil {
		for r, part := range v.partOf {
			if part >= 0 {
				runOf[part] = r
			}
		}
	}
	placeOf := make([]uint32, len(s.parts))
	for i := range s.parts {
		p := &s.parts[i]
		r := runOf[i]
		if r < 0 {
			r = x.freeRun()
		}
		x.runs[r] = run{p.Segment, max(uint32(p.Rows), x.runs[r].rows)}
		at := slices.IndexFunc(x.places, func(q place) bool { return int(q.run) == r && q.moved == nil && q.rows > 0 })
		if at < 0 {
			at = len(x.places)
			x.places = append(x.places, place{})
			if at >= MaxRows {
				return nil, errors.New("an index names rows in at most 65,536 places")
			}
		}
		x.places[at].run, x.places[at].rows = uint32(r), x.runs[r].rows
		placeOf[i] = uint32(at)
	}
	return placeOf, nil
}

// freeRun is a run that has no segment.
func (x *IVF) freeRun() int {
	if r := slices.IndexFunc(x.runs, func(r run) bool { return r.segment == nil }); r >= 0 {
		return r
	}
	x.runs = append(x.runs, run{})
	return len(x.runs) - 1
}

// scratch is n numbers outside the heap.
func (x *IVF) scratch(n int) ([]uint32, error) {
	b, err := x.pool.Alloc(4 * max(n, 1))
	if err != nil {
		return nil, err
	}
	return slab.Slice[uint32](b)[:n], nil
}

// A listWriter writes lists.
type listWriter struct {
	*encoder
	ivf    *IVF
	view   *ivfView // of the index before; nil: there was none
	source *source
	place  []uint32 // per part
	vector []float32
}

// write adds rows of the source to a list, and gives how many rows it has then. Chunks
// at its end that are not much larger than what comes are written anew with it, so that
// a list has few, and so is one of whose rows a quarter is dead.
func (w *listWriter) write(list int, refs []uint32) (int, error) {
	x := w.ivf
	old := x.lists[list]
	var keep, merge []*chunk
	n := len(refs)
	for i := len(old) - 1; i >= 0; i-- {
		c := old[i]
		live := w.live(c)
		if 4*(c.n-live) > c.n || len(refs) > 0 && len(keep) == 0 && live <= 2*max(n, kernel.FastScanRows) {
			merge = append(merge, c)
			n += live
		} else {
			keep = append(keep, c)
		}
	}
	if len(merge) == 0 && len(refs) == 0 {
		return rowsOfChunks(old), nil
	}
	slices.Reverse(keep)
	if n > 0 {
		made, err := newChunk(x.pool, x.coder, n)
		if err != nil {
			return 0, err
		}
		for i := len(merge) - 1; i >= 0; i-- {
			w.copy(made, merge[i])
		}
		w.list(x.centroids.at(list))
		for _, ref := range refs {
			w.source.load(w.vector, ref)
			made.refs[made.n] = w.place[ref/MaxRows]*MaxRows + ref%MaxRows
			w.append(&made.listCodes, w.vector)
		}
		keep = append(keep, made)
	}
	x.lists[list] = keep
	for _, c := range merge {
		c.release()
	}
	return rowsOfChunks(keep), nil
}

func rowsOfChunks(l []*chunk) (n int) {
	for _, c := range l {
		n += c.n
	}
	return n
}

// live is how many rows of a chunk can still be read.
func (w *listWriter) live(c *chunk) (n int) {
	for _, ref := range c.refs[:c.n] {
		if _, _, ok := w.view.find(ref); ok {
			n++
		}
	}
	return n
}

// copy adds the rows of a chunk that can still be read.
func (w *listWriter) copy(to, from *chunk) {
	for i, ref := range from.refs[:from.n] {
		if _, _, ok := w.view.find(ref); ok {
			to.refs[to.n] = ref
			w.coder.copy(&to.listCodes, &from.listCodes, i)
		}
	}
}

// copy adds row i of another list's codes.
func (c *coder) copy(to, from *listCodes, i int) {
	n := to.n
	to.n++
	size := kernel.FastScanBytes(c.groups)
	out, in := to.bits[n/kernel.FastScanRows*size+n%16:], from.bits[i/kernel.FastScanRows*size+i%16:]
	up, down := 4*(n%kernel.FastScanRows/16), 4*(i%kernel.FastScanRows/16)
	for g := range c.groups {
		out[16*g] |= in[16*g] >> down & 15 << up
	}
	to.mul[n], to.add[n] = from.mul[i], from.add[i]
	to.fit[n], to.base[n] = from.fit[i], from.base[i]
	to.spread, to.strain, to.radius = max(to.spread, from.spread), max(to.strain, from.strain), max(to.radius, from.radius)
}

// A list of more than outgrown times the mean, and of outgrownRows at least, is split
// into as many as bring it to the mean; where one of those would have nearly all of its
// rows, which then are nearly all alike, it stays.
const (
	outgrown     = 4
	outgrownRows = 256
	mostSplit    = 64
)

// split splits the lists that have outgrown the rest.
func (x *IVF) split(ctx context.Context, parts []Part, workers int) error {
	mean := x.rows / x.centroids.k
	v := x.view(parts)
	for i := range x.centroids.k {
		n := rowsOfChunks(x.lists[i])
		if n < outgrownRows || n <= outgrown*mean || x.centroids.k >= MaxLists {
			continue
		}
		if err := x.splitList(ctx, v, i, min(mostSplit, MaxLists-x.centroids.k+1, (n+mean-1)/max(mean, 1)), workers); err != nil {
			return err
		}
	}
	return nil
}

// splitList splits a list into k.
func (x *IVF) splitList(ctx context.Context, v *ivfView, list, k, workers int) error {
	var names, refs []uint32 // of its rows: by place, by part
	for _, c := range x.lists[list] {
		for _, ref := range c.refs[:c.n] {
			if part, row, ok := v.find(ref); ok {
				names, refs = append(names, ref), append(refs, uint32(part)*MaxRows+row)
			}
		}
	}
	if len(refs) < 2*k {
		return nil
	}
	s := &source{shape: x.shape, parts: v.parts}
	src := s.at(refs)
	few := src
	if most := k * sampleRows; few.n > most { // evenly spread
		step := few.n / most
		few = rows{n: most, dim: src.dim, load: func(dst []float32, i int) { src.load(dst, i*step) }}
	}
	c, err := kmeans(ctx, few, k, x.centroids.spherical, x.seed+uint64(list), workers)
	if err != nil {
		return err
	}
	best, at := make([]float32, src.n), make([]uint32, src.n)
	restart(best)
	if err := c.nearest(ctx, src, 0, workers, best, at); err != nil {
		return err
	}
	starts, order := sortByList(at, k)
	for i := range k {
		if 10*int(starts[i+1]-starts[i]) > 9*src.n {
			return nil
		}
	}
	t := x.trained.with(list, c)
	e, vector := t.coder.encoder(), make([]float32, x.shape.Dim)
	made := make([]*chunk, k)
	for i := range k {
		list := order[starts[i]:starts[i+1]]
		if len(list) == 0 {
			continue
		}
		if made[i], err = newChunk(x.pool, t.coder, len(list)); err != nil {
			for _, m := range made[:i] {
				if m != nil {
					m.release()
				}
			}
			return err
		}
		e.list(c.at(i))
		for _, n := range list {
			src.load(vector, int(n))
			made[i].refs[made[i].n] = names[n]
			e.append(&made[i].listCodes, vector)
		}
	}
	for _, c := range x.lists[list] {
		c.release()
	}
	x.lists[list] = nil
	for i, m := range made {
		at := list
		if i > 0 {
			at = len(x.lists)
			x.lists = append(x.lists, nil)
		}
		if m != nil {
			x.lists[at] = []*chunk{m}
		}
	}
	x.trained = t
	return nil
}

// with has the first centroid of c in the place of one, and the others at the end.
func (t *trained) with(list int, c *centroids) *trained {
	k := t.centroids.k
	grown := newCentroids(k+c.k-1, c.dim, c.spherical)
	copy(grown.data, t.centroids.data)
	copy(grown.bias, t.centroids.bias)
	grown.put(list, c.at(0))
	for i := 1; i < c.k; i++ {
		grown.put(k+i-1, c.at(i))
	}
	return newTrained(t.coder, grown, t.seed)
}

// ErrMoved is the error of rows that moved such that those an index covers are no
// longer the first of their segment.
var ErrMoved = errors.New("the rows that the index covers are not the first of the segment they moved to")

// Moved gives an index of rows that lie elsewhere: segments were written anew, without
// rows that had died, as the one segment to. where is told a segment's number in from
// and a row, and gives the row in to, or false of one that is gone; nil says that the
// one segment is the same with more room. The order of rows has stayed, so that x
// covers the first rows of to.
func (x *IVF) Moved(from []*Segment, to *Segment, where func(segment int, row uint32) (uint32, bool)) (*IVF, error) {
	y := x.derive()
	runs := make(map[uint32]int) // that moved
	for i, s := range from {
		if r := slices.IndexFunc(y.runs, func(r run) bool { return r.segment == s }); r >= 0 {
			runs[uint32(r)] = i
		}
	}
	if len(runs) == 0 {
		return y, nil
	}
	if where == nil {
		for r := range runs {
			y.runs[r].segment = to
		}
		return y, nil
	}
	into := uint32(y.freeRun())
	y.runs[into] = run{segment: to}
	stayed := uint32(0)
	for r, i := range runs {
		for row := range y.runs[r].rows {
			if at, ok := where(i, row); ok {
				stayed++
				y.runs[into].rows = max(y.runs[into].rows, at+1)
			}
		}
		y.runs[r] = run{}
	}
	if stayed != y.runs[into].rows {
		y.Release()
		return nil, ErrMoved
	}
	for i := range y.places {
		if err := y.movePlace(i, runs, into, where); err != nil {
			y.Release()
			return nil, err
		}
	}
	return y, nil
}

// movePlace notes where the rows of a place went, if it has some of runs.
func (x *IVF) movePlace(i int, runs map[uint32]int, into uint32, where func(int, uint32) (uint32, bool)) error {
	p := x.places[i]
	at := func(row uint32) uint32 {
		if p.moved != nil {
			return p.moved.to[row]
		}
		return p.run*MaxRows + row
	}
	moves := false
	for row := range p.rows {
		if to := at(row); to != gone {
			_, m := runs[to/MaxRows]
			moves = moves || m
		}
	}
	if !moves {
		return nil
	}
	b, err := x.pool.Alloc(4 * int(p.rows))
	if err != nil {
		return err
	}
	m := &moved{to: slab.Slice[uint32](b)}
	m.pool, m.mem = x.pool, b
	m.refs.Store(1)
	for row := range p.rows {
		to := at(row)
		if to != gone {
			if segment, ok := runs[to/MaxRows]; ok {
				next, ok := where(segment, to%MaxRows)
				if to = gone; ok {
					to = into*MaxRows + next
				}
			}
		}
		m.to[row] = to
	}
	if p.moved != nil {
		p.moved.release()
	}
	x.places[i].moved = m
	return nil
}
