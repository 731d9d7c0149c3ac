package index

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"engram/internal/slab"
)

// Any history of additions, deaths and rewritten segments leaves an index that finds
// what Search finds.
func TestIVFHistories(t *testing.T) {
	names := []string{"mixture, cosine", "mixture, dot", "skewed, l2", "duplicates, cosine"}
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		shape, v, queries := distributions[rapid.SampledFrom(names).Draw(rt, "data")](r, 3000, 8)
		h := newHistory(t, shape, v)
		defer h.end()
		h.add(rapid.IntRange(100, 1000).Draw(rt, "first"))
		x, err := BuildIVF(context.Background(), h.pool, shape, h.parts(), IVFOptions{Lists: rapid.IntRange(1, 30).Draw(rt, "lists"), Seed: 1})
		if err != nil {
			rt.Fatal(err)
		}
		h.x = x
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"add", "kill", "extend", "extend", "compact", "grow", "assemble"}).Draw(rt, "step") {
			case "add":
				h.add(rapid.IntRange(1, 400).Draw(rt, "rows"))
			case "kill":
				h.kill(r, rapid.Float64Range(0, 0.5).Draw(rt, "share"))
			case "extend":
				h.swap(h.x.Extend(context.Background(), h.parts(), 2))
			case "compact":
				at := rapid.IntRange(0, len(h.segments)-1).Draw(rt, "segment")
				h.compact(at, min(len(h.segments), at+rapid.IntRange(1, 2).Draw(rt, "together")))
			case "grow":
				h.more()
			case "assemble":
				h.assemble()
			}
			h.check(rt, queries)
		}
	})
}

// A history is of segments, as memory has them.
type history struct {
	t        *testing.T
	pool     *slab.Pool
	shape    Shape
	vectors  [][]float32
	next     int
	segments []*Segment
	numbers  [][]int // per segment and row, its vector
	dead     []map[int]bool
	x        *IVF
}

const historyRows = 500

func newHistory(t *testing.T, shape Shape, v [][]float32) *history {
	return &history{t: t, pool: slab.NewPool(1 << 30), shape: shape, vectors: v}
}

func (h *history) end() {
	if h.x != nil {
		h.x.Release()
	}
	for _, s := range h.segments {
		s.Free()
	}
	if n := h.pool.InUse(); n != 0 {
		h.t.Errorf("%d bytes are left", n)
	}
}

func (h *history) open(capacity int) {
	s, err := NewSegment(h.pool, h.shape, capacity, false)
	if err != nil {
		h.t.Fatal(err)
	}
	h.segments, h.numbers, h.dead = append(h.segments, s), append(h.numbers, nil), append(h.dead, map[int]bool{})
}

func (h *history) add(n int) {
	for range min(n, len(h.vectors)-h.next) {
		last := len(h.segments) - 1
		if last < 0 || h.segments[last].Rows() == h.segments[last].Cap() {
			h.open(historyRows)
			last++
		}
		if err := h.segments[last].Append(h.vectors[h.next], nil); err != nil {
			h.t.Fatal(err)
		}
		h.numbers[last] = append(h.numbers[last], h.next)
		h.next++
	}
}

func (h *history) kill(r *rand.Rand, share float64) {
	for i := range h.segments {
		for row := range h.numbers[i] {
			if r.Float64() < share {
				h.dead[i][row] = true
			}
		}
	}
}

func (h *history) parts() []Part {
	var parts []Part
	for i, s := range h.segments {
		p := Part{Segment: s, Rows: s.Rows(), Age: func(row uint32) (uint64, uint32) { return uint64(h.numbers[i][row]), 0 }}
		if len(h.dead[i]) > 0 {
			p.Mask = make([]uint64, (p.Rows+63)/64)
			for row := range p.Rows {
				if !h.dead[i][row] {
					p.Mask[row/64] |= 1 << (row % 64)
				}
			}
		}
		parts = append(parts, p)
	}
	return parts
}

func (h *history) swap(x *IVF, err error) {
	if err != nil {
		h.t.Fatal(err)
	}
	h.x.Release()
	h.x = x
}

// compact writes segments anew as one, without the dead.
func (h *history) compact(from, to int) {
	s, err := NewSegment(h.pool, h.shape, 2*historyRows, false)
	if err != nil {
		h.t.Fatal(err)
	}
	var numbers []int
	went := make([]map[uint32]uint32, to-from)
	for i := range went {
		went[i] = map[uint32]uint32{}
		for row, n := range h.numbers[from+i] {
			if !h.dead[from+i][row] && len(numbers) < 2*historyRows {
				went[i][uint32(row)] = uint32(len(numbers))
				numbers = append(numbers, n)
				if err := s.Append(h.vectors[n], nil); err != nil {
					h.t.Fatal(err)
				}
			}
		}
	}
	h.swap(h.x.Moved(h.segments[from:to], s, func(i int, row uint32) (uint32, bool) {
		at, ok := went[i][row]
		return at, ok
	}))
	for _, old := range h.segments[from:to] {
		old.Free()
	}
	h.segments = slices.Replace(h.segments, from, to, s)
	h.numbers = slices.Replace(h.numbers, from, to, numbers)
	h.dead = slices.Replace(h.dead, from, to, map[int]bool{})
}

// more gives the last segment more room.
func (h *history) more() {
	last := len(h.segments) - 1
	s, err := h.segments[last].Copy(h.pool, h.segments[last].Cap()+100, false)
	if err != nil {
		h.t.Fatal(err)
	}
	h.swap(h.x.Moved(h.segments[last:], s, nil))
	h.segments[last].Free()
	h.segments[last] = s
}

// assemble writes the index to bytes and reads it.
func (h *history) assemble() {
	lists := make([][]uint32, len(h.segments))
	for i, s := range h.segments {
		lists[i] = make([]uint32, s.Rows())
	}
	h.x.ListsOf(h.segments, lists)
	h.swap(AssembleIVF(context.Background(), h.pool, h.shape, h.parts(), h.x.AppendTrained(nil),
		func(part int, row uint32) uint32 { return lists[part][row] }, 2))
}

func (h *history) check(t *rapid.T, queries [][]float32) {
	want := searchExact(t, h.shape, h.parts(), queries, SearchOptions{K: 12})
	got, _ := searchIVF(t, h.x, h.parts(), queries, all(12))
	for q := range want {
		if !slices.Equal(got[q], want[q]) {
			t.Fatalf("query %d:\ngot  %v\nwant %v", q, got[q], want[q])
		}
	}
	rows := 0
	seen := map[uint32]bool{}
	for _, l := range h.x.lists {
		for _, c := range l {
			rows += c.n
			for _, ref := range c.refs[:c.n] {
				if seen[ref] {
					t.Fatalf("a row is in the lists twice: %x", ref)
				}
				seen[ref] = true
			}
		}
	}
	if rows != h.x.Rows() {
		t.Fatalf("the lists have %d rows, the index says %d", rows, h.x.Rows())
	}
}

// Rows that moved out of order are refused.
func TestMovedOutOfOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 10))
	pool := slab.NewPool(1 << 30)
	shape, v, _ := distributions["mixture, cosine"](r, 400, 0)
	parts := partsOf(t, pool, shape, v, 200)
	x := buildIVF(t, pool, shape, parts[:1], IVFOptions{Lists: 3})
	_, err := x.Moved([]*Segment{parts[0].Segment}, parts[1].Segment, func(_ int, row uint32) (uint32, bool) { return row + 100, row < 100 })
	if !errors.Is(err, ErrMoved) {
		t.Errorf("%v", err)
	}
}

// A list that has outgrown the rest is split, and a list of twins is not.
func TestIVFSplit(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 11))
	pool := slab.NewPool(1 << 30)
	shape := Shape{L2, 16, 16, F32, F32, 1}
	even := clusters(r, 4000, 16, 40, 0.1)
	parts := partsOf(t, pool, shape, even, 4000)
	x := buildIVF(t, pool, shape, parts, IVFOptions{Lists: 40})
	lists := x.Lists()
	// All near one of the clusters.
	more := make([][]float32, 6000)
	for i := range more {
		more[i] = slices.Clone(even[0])
		for j := range more[i] {
			more[i][j] += 0.05 * float32(r.NormFloat64())
		}
	}
	grown := append(parts, partsOf(t, pool, shape, more, 6000)...)
	y, err := x.Extend(context.Background(), grown, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer y.Release()
	most := 0
	for _, l := range y.lists {
		most = max(most, rowsOfChunks(l))
	}
	if y.Lists() <= lists || most > outgrown*2*y.Rows()/y.Lists() {
		t.Errorf("%d lists became %d, the largest of %d rows of %d", lists, y.Lists(), most, y.Rows())
	}
	for i := range more {
		more[i] = even[0]
	}
	twins := append(parts, partsOf(t, pool, shape, more, 6000)...)
	z, err := x.Extend(context.Background(), twins, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Release()
	if z.Lists() > lists+outgrown {
		t.Errorf("twins made %d lists of %d", z.Lists(), lists)
	}
	if x.Lists() != lists || x.Rows() != 4000 {
		t.Errorf("the index before has %d lists and %d rows now", x.Lists(), x.Rows())
	}
}

// Readers of an index aren't disturbed by its successors, and the last lets go of it.
func TestIVFReadersAndBuilder(t *testing.T) {
	r := rand.New(rand.NewPCG(12, 12))
	pool := slab.NewGuardedPool(1 << 30)
	shape, v, queries := distributions["mixture, cosine"](r, 6000, 20)
	parts := partsOf(t, slab.NewPool(1<<30), shape, v, 1000)
	x, err := BuildIVF(context.Background(), pool, shape, parts[:2], IVFOptions{Lists: 20})
	if err != nil {
		t.Fatal(err)
	}
	type state struct {
		x     *IVF
		parts []Part
	}
	var mu sync.Mutex
	now := state{x, parts[:2]}
	acquire := func() state {
		mu.Lock()
		defer mu.Unlock()
		now.x.Retain()
		return now
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := acquire()
				got, _, err := SearchIVF(context.Background(), s.x, s.parts, queries, IVFSearchOptions{SearchOptions: SearchOptions{K: 5, MinScore: never}, IVFEffort: IVFEffort{Probes: 20, Bound: 8}, always: true})
				if err != nil || len(got[0]) != 5 {
					t.Errorf("%v, %v", got, err)
				}
				s.x.Release()
			}
		})
	}
	for n := 3; n <= len(parts); n++ {
		for _, from := range []int{n - 1, n} {
			next, err := now.x.Extend(context.Background(), parts[:from], 2)
			if err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			old := now
			now = state{next, parts[:n]}
			mu.Unlock()
			old.x.Release()
		}
	}
	close(stop)
	wg.Wait()
	now.x.Release()
	if n := pool.InUse(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}
