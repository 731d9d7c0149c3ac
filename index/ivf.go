package index

import (
	"context"
	"errors"
	"iter"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"engram/internal/slab"
)

// ErrNoRows is the error of building an index of no rows.
var ErrNoRows = errors.New("no rows to build an index of")

// An IVF is an inverted file: rows in lists, each around a centroid, as codes that
// take a few bits a component. It covers the first rows of the segments it was built
// of; the vectors stay in those, and what it has of a row is its code, two factors and
// where it lies.
//
// It is immutable. What changes it (Extend, Moved) gives another that shares what is
// alike. It is made with one reference; the last Release frees what no other has.
type IVF struct {
	refs  atomic.Int32
	pool  *slab.Pool
	shape Shape
	*trained
	lists  [][]*chunk
	places []place
	runs   []run
	rows   int // in lists, those that have died since among them

	measured sync.Once
	extents  []extent // see extent
}

// trained is what does not depend on the rows once they have given it.
type trained struct {
	seed      uint64
	centroids *centroids
	norms     []float64 // of the centroids, squared
	coder     *coder
	coarse    listCodes // the centroids', around the origin
}

// A run is the rows of a segment that an IVF covers: the first rows of it.
type run struct {
	segment *Segment
	rows    uint32
}

// A place is where the rows lie that lists name by a number: the run of the same
// number until they move.
type place struct {
	run   uint32
	rows  uint32 // those that lists name
	moved *moved // nil: they haven't
}

// A moved says where each row of a place lies now: a run's number times MaxRows plus
// the row there, or gone.
type moved struct {
	shared
	to []uint32
}

const gone = math.MaxUint32

// A shared is memory that several IVFs have.
type shared struct {
	refs atomic.Int32
	pool *slab.Pool
	mem  []byte
}

func (s *shared) retain() { s.refs.Add(1) }

func (s *shared) release() {
	if s.refs.Add(-1) == 0 {
		s.pool.Free(s.mem)
	}
}

// A chunk is some rows of a list: their codes, and for each a reference, the number of
// its place times MaxRows plus its row there.
type chunk struct {
	shared
	listCodes
	refs []uint32
}

// newChunk makes a chunk with room for n rows.
func newChunk(pool *slab.Pool, c *coder, n int) (*chunk, error) {
	b, err := pool.Alloc(c.codeBytes(n, 4))
	if err != nil {
		return nil, err
	}
	x := &chunk{}
	x.shared.pool, x.mem = pool, b
	x.shared.refs.Store(1)
	codes, rest := c.place(b, n)
	x.listCodes, x.refs = codes, slab.Slice[uint32](rest[:4*n])
	return x, nil
}

// IVFOptions say how an IVF is made.
type IVFOptions struct {
	Lists   int    // 0: by the number of rows
	Seed    uint64 // of all that is random
	Workers int    // at most; 0: GOMAXPROCS
}

// MaxLists is the most lists.
const MaxLists = 1 << 16

// listsFor is how many lists are best for n rows, by measurement: see
// docs/decisions/0009-ivf.md.
func listsFor(n int) int {
	return max(1, min(MaxLists, n/listRows, int(2*math.Sqrt(float64(n)))))
}

// listRows is the least mean of a list's rows that pays.
const listRows = 64

// A list is trained on at most sampleRows rows; all of them on sampleBytes at most.
const (
	sampleRows  = 256
	sampleBytes = 1 << 30
)

// BuildIVF trains an index on a sample of the eligible rows of parts, and puts all
// of them in it. Besides the index itself it takes 12 bytes a row while it builds. The
// segments stay as they are, for the caller to keep until the index is released.
func BuildIVF(ctx context.Context, pool *slab.Pool, shape Shape, parts []Part, opt IVFOptions) (*IVF, error) {
	workers := workersOr(opt.Workers)
	s := newSource(shape, parts)
	if s.n == 0 {
		return nil, ErrNoRows
	}
	k := opt.Lists
	if k <= 0 {
		k = listsFor(s.n)
	}
	k = min(k, s.n, MaxLists)
	t, err := train(ctx, s, k, opt.Seed, workers)
	if err != nil {
		return nil, err
	}
	return newIVF(pool, shape, t).grow(ctx, s, workers, nil)
}

func newIVF(pool *slab.Pool, shape Shape, t *trained) *IVF {
	x := &IVF{pool: pool, shape: shape, trained: t, lists: make([][]*chunk, t.centroids.k)}
	x.refs.Store(1)
	return x
}

// A source is the eligible rows of parts, by number, in order.
type source struct {
	shape  Shape
	parts  []Part
	starts []int // the number of each part's first row, and of all
	from   []int // per part, the first row that counts
	n      int
}

func newSource(shape Shape, parts []Part) *source {
	s := &source{shape: shape, parts: parts, from: make([]int, len(parts))}
	s.count()
	return s
}

func (s *source) count() {
	s.starts, s.n = s.starts[:0], 0
	for i := range s.parts {
		s.starts = append(s.starts, s.n)
		s.n += s.parts[i].eligibleFrom(s.from[i])
	}
	s.starts = append(s.starts, s.n)
}

// eligibleFrom counts the rows from one on that may be read.
func (p *Part) eligibleFrom(from int) int {
	n := 0
	for ; from < p.Rows && from%64 != 0; from++ {
		if p.has(from) {
			n++
		}
	}
	if from < p.Rows {
		n += p.eligible(from, p.Rows)
	}
	return n
}

// rows gives the references of all rows, in order: the part times MaxRows plus the row.
func (s *source) rows(dst []uint32) []uint32 {
	for i := range s.parts {
		p := &s.parts[i]
		for row := s.from[i]; row < p.Rows; row++ {
			if p.has(row) {
				dst = append(dst, uint32(i)*MaxRows+uint32(row))
			}
		}
	}
	return dst
}

// load gives a row's vector, of norm 1 under Cosine.
func (s *source) load(dst []float32, ref uint32) {
	seg, row := s.parts[ref/MaxRows].Segment, int(ref%MaxRows)
	seg.KeyInto(dst[:0], row)
	if s.shape.Metric == Cosine {
		inv := seg.inverseNorms(row, row+1)[0]
		for i := range dst {
			dst[i] *= inv
		}
	}
}

// at is the rows of some references.
func (s *source) at(refs []uint32) rows {
	return rows{n: len(refs), dim: s.shape.Dim, load: func(dst []float32, i int) { s.load(dst, refs[i]) }}
}

// train finds k centroids on a sample. Under Cosine they lie on the sphere, where the
// rows do; under Dot as under L2 they are means, because a row's norm counts there and
// its code is the shorter the nearer the centroid is.
func train(ctx context.Context, s *source, k int, seed uint64, workers int) (*trained, error) {
	all := s.rows(make([]uint32, 0, s.n))
	most := min(k*sampleRows, max(k, sampleBytes/(4*s.shape.Dim)))
	if len(all) > most {
		r := rand.New(rand.NewPCG(seed, 0x73616d706c65))
		for i := range most {
			j := i + r.IntN(len(all)-i)
			all[i], all[j] = all[j], all[i]
		}
		all = all[:most]
		slices.Sort(all) // memory is read fastest in order
	}
	c, err := kmeans(ctx, s.at(all), k, s.shape.Metric == Cosine, seed, workers)
	if err != nil {
		return nil, err
	}
	return newTrained(newCoder(s.shape, seed, c.mean()), c, seed), nil
}

// mean is that of the centroids.
func (c *centroids) mean() []float32 {
	mean, sum := make([]float32, c.dim), make([]float64, c.dim)
	for i := range c.k {
		for j, x := range c.at(i) {
			sum[j] += float64(x)
		}
	}
	for j, x := range sum {
		mean[j] = float32(x / float64(c.k))
	}
	return mean
}

func newTrained(coder *coder, c *centroids, seed uint64) *trained {
	t := &trained{seed: seed, centroids: c, norms: make([]float64, c.k), coder: coder}
	t.coarse, _ = t.coder.place(make([]byte, t.coder.codeBytes(c.k, 0)), c.k)
	e := t.coder.encoder()
	e.list(coder.origin)
	for i := range c.k {
		v := c.at(i)
		norm := Norm(v)
		t.norms[i] = norm * norm
		e.append(&t.coarse, v)
	}
	return t
}

// Retain adds a reference.
func (x *IVF) Retain() { x.refs.Add(1) }

// Release lets go of a reference; the last frees what no other index has.
func (x *IVF) Release() {
	if x.refs.Add(-1) != 0 {
		return
	}
	for s := range x.held() {
		s.release()
	}
}

// held goes through the memory that x has, alone or with others.
func (x *IVF) held() iter.Seq[*shared] {
	return func(yield func(*shared) bool) {
		for _, l := range x.lists {
			for _, c := range l {
				if !yield(&c.shared) {
					return
				}
			}
		}
		for _, p := range x.places {
			if p.moved != nil && !yield(&p.moved.shared) {
				return
			}
		}
	}
}

// Lists is how many lists there are, Rows how many rows were put into them.
func (x *IVF) Lists() int { return x.centroids.k }

// Rows is how many rows the lists hold, the dead among them until they are dropped.
func (x *IVF) Rows() int { return x.rows }

// Covered gives the segments of which x covers the first rows, and how many.
func (x *IVF) Covered() map[*Segment]int {
	out := make(map[*Segment]int, len(x.runs))
	for _, r := range x.runs {
		if r.segment != nil {
			out[r.segment] = int(r.rows)
		}
	}
	return out
}

// Bytes is what the index takes outside the heap, with what it shares.
func (x *IVF) Bytes() (n int64) {
	for s := range x.held() {
		n += int64(cap(s.mem))
	}
	return n
}

// workersOr is how many goroutines were asked for: 0 stands for GOMAXPROCS.
func workersOr(asked int) int {
	if asked > 0 {
		return asked
	}
	return runtime.GOMAXPROCS(0)
}
