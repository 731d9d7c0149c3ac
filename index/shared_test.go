package index

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"engram/kernel"
)

// seen gives what one reader sees of a fixture: some of its segments, of each fewer
// rows than there are or all, under a mask of its own or none. Where a mask has bits at
// all it has most, so that the read rides, but blocks may be sparse or empty.
func (f *fixture) seen(r *rand.Rand) *fixture {
	out := &fixture{shape: f.shape}
	for i, p := range f.parts {
		if len(f.parts) > 1 && r.IntN(4) == 0 {
			continue
		}
		if r.IntN(2) == 0 {
			p.Rows = r.IntN(p.Rows + 1)
		}
		p.Mask = nil
		if r.IntN(3) > 0 {
			p.Mask = make([]uint64, (p.Rows+63)/64)
			for w := 0; w < len(p.Mask); {
				kind := r.IntN(4)
				for range 1 + r.IntN(12) {
					if w == len(p.Mask) {
						break
					}
					switch kind {
					case 0:
						p.Mask[w] = 0
					case 1:
						p.Mask[w] = 1 << r.IntN(64)
					case 2:
						p.Mask[w] = r.Uint64()
					default:
						p.Mask[w] = ^uint64(0)
					}
					w++
				}
			}
		}
		out.parts, out.ages = append(out.parts, p), append(out.ages, f.ages[i])
	}
	return out
}

// A company is a number of readers that ride together.
type company struct {
	f       *fixture
	sharing *Sharing
	kind    vectors
	reads   sync.Map // *testing or rapid failures, gathered from goroutines
}

func (c *company) failf(format string, args ...any) {
	c.reads.Store(fmt.Sprintf(format, args...), true)
}

func (c *company) report(t failer) {
	t.Helper()
	c.reads.Range(func(k, _ any) bool {
		t.Fatalf("%s", k)
		return false
	})
}

// retrieve searches in company and alone, and compares the bits. cut cancels some.
func (c *company) retrieve(r *rand.Rand, cut bool) {
	f := c.f.seen(r)
	queries := f.queries(r, c.kind, []int{1, 1, 1, 2, 7, 40}[r.IntN(6)])
	opt := SearchOptions{K: []int{0, 1, 10, 500}[r.IntN(4)], MinScore: []float32{never, never, 0, 0.5}[r.IntN(4)]}
	want, wantStats, err := Search(context.Background(), f.shape, f.parts, queries, opt)
	if err != nil {
		c.failf("alone: %v", err)
		return
	}
	opt.Sharing = c.sharing
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if cut {
		go cancel()
	}
	got, gotStats, err := Search(ctx, f.shape, f.parts, queries, opt)
	if cut && errors.Is(err, context.Canceled) {
		return
	}
	if err != nil || gotStats != wantStats {
		c.failf("in company: %v, %+v; alone %+v", err, gotStats, wantStats)
		return
	}
	for q := range want {
		if !slices.Equal(got[q], want[q]) {
			c.failf("query %d of %d, %+v: in company\n%v\nalone\n%v", q, len(queries), opt, got[q], want[q])
		}
	}
}

// attend attends in company and holds the answer to the bounds.
func (c *company) attend(r *rand.Rand, cut bool) {
	f := c.f.seen(r)
	queries := f.queries(r, c.kind, []int{1, 1, 1, 3, 9}[r.IntN(5)])
	opt := AttendOptions{Scale: []float64{0, 0.16, 3}[r.IntN(3)], TopWeights: []int{0, 0, 5, 100}[r.IntN(4)], Sharing: c.sharing}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if cut {
		go cancel()
	}
	got, stats, err := Attend(ctx, f.shape, f.parts, queries, opt)
	if cut && errors.Is(err, context.Canceled) {
		return
	}
	if err != nil {
		c.failf("Attend in company: %v", err)
		return
	}
	scanned := int64(0)
	for q, query := range queries {
		delta := f.delta(query, opt.Scale)
		e := f.attend(query, opt.Scale)
		e.check((*companion)(c), got[q], delta)
		f.checkTop((*companion)(c), got[q], query, opt, true, delta)
		scanned += int64(e.attended)
	}
	if stats.RowsScanned != scanned {
		c.failf("Attend in company scanned %d rows, want %d", stats.RowsScanned, scanned)
	}
}

// attendHeads is attend where keys have several heads, and queries once or twice as many.
func (c *company) attendHeads(r *rand.Rand, cut bool) {
	f := c.f.seen(r)
	opt := AttendOptions{
		Scale: []float64{0, 0.16, 3}[r.IntN(3)], TopWeights: []int{0, 0, 5}[r.IntN(3)],
		QueryHeads: f.shape.Heads * (1 + r.IntN(2)), Sharing: c.sharing,
	}
	queries := make([][]float32, []int{1, 1, 1, 3, 9}[r.IntN(5)])
	for i := range queries {
		queries[i] = make([]float32, opt.QueryHeads*f.shape.HeadDim())
		c.kind(r, queries[i])
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if cut {
		go cancel()
	}
	got, stats, err := Attend(ctx, f.shape, f.parts, queries, opt)
	if cut && errors.Is(err, context.Canceled) {
		return
	}
	if err != nil {
		c.failf("Attend of heads in company: %v", err)
		return
	}
	f.checkHeadAnswers((*companion)(c), got, queries, opt, true)
	if want := int64(got[0].Attended) * int64(len(queries)); stats.RowsScanned != want {
		c.failf("Attend of heads in company scanned %d rows, want %d", stats.RowsScanned, want)
	}
}

// A companion fails for the goroutines of a company, whose test fails at its end.
type companion company

func (c *companion) Helper()                           {}
func (c *companion) Fatal(args ...any)                 { (*company)(c).failf("%s", fmt.Sprint(args...)) }
func (c *companion) Fatalf(format string, args ...any) { (*company)(c).failf(format, args...) }
func (c *companion) Errorf(format string, args ...any) { (*company)(c).failf(format, args...) }

// run has readers make reads of a kind at once.
func (c *company) run(seed uint64, readers, reads int, read func(r *rand.Rand, cut bool)) {
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for range reads {
				for range r.IntN(3) {
					runtime.Gosched()
				}
				read(r, r.IntN(4) == 0)
			}
		})
	}
	wg.Wait()
}

// idle waits until no worker has a goroutine, and checks that nothing is left of the
// passes.
func (s *Sharing) checkIdle(t failer) {
	t.Helper()
	for {
		s.mu.Lock()
		idle, passes, riding := len(s.idle), len(s.passes), s.stats.Riding
		s.mu.Unlock()
		if passes > 0 || riding > 0 {
			t.Fatalf("%d passes and %d riders are left", passes, riding)
		}
		if idle == len(s.workers) {
			return
		}
		runtime.Gosched()
	}
}

// Search gives the same bits in any company, whoever joins and leaves meanwhile, and
// with Attend riding along.
func TestSharedSearch(t *testing.T) {
	turn := 0 // of the encodings
	for name, metric := range metrics {
		for kind, make := range kinds {
			for _, workers := range []int{1, 3} {
				turn++
				encoding := Encoding(turn % 5)
				t.Run(fmt.Sprintf("%s/%s/%d/%d", name, kind, workers, encoding), func(t *testing.T) {
					f := newFixture(t, rand.New(rand.NewPCG(51, 52)), Shape{metric, 37, 37, encoding, F32, 1}, make, false, 0, 3000, 0, 1, 700)
					c := &company{f: f, sharing: NewSharing(ShareOptions{Workers: workers, Least: 1, Yield: 1}), kind: make}
					c.run(1, 10, 2, func(r *rand.Rand, cut bool) {
						if moderate := kind == "uniform" || kind == "few" || kind == "near"; moderate && r.IntN(8) == 0 {
							c.attend(r, cut)
							return
						}
						c.retrieve(r, cut)
					})
					c.report(t)
					c.sharing.checkIdle(t)
					if st := c.sharing.Stats(); st.Reads == 0 || float64(st.Reads) < st.Passes {
						t.Errorf("%+v: nothing was shared", st)
					}
				})
			}
		}
	}
}

// Attend stays within its bounds in any company.
func TestSharedAttend(t *testing.T) {
	turn := 0 // of the encodings
	for name, metric := range metrics {
		for _, kind := range []string{"uniform", "few", "near"} {
			for _, valueDim := range []int{37, 50} {
				turn++
				encoding := Encoding(turn % 5)
				t.Run(fmt.Sprintf("%s/%s/%d/%d", name, kind, valueDim, encoding), func(t *testing.T) {
					f := newFixture(t, rand.New(rand.NewPCG(53, 54)), Shape{metric, 37, valueDim, encoding, valueEncodings[turn%3], 1}, kinds[kind], true, 0, 400, 1, 300, 0, 200)
					c := &company{f: f, sharing: NewSharing(ShareOptions{Workers: 2, Least: 1, Yield: 1}), kind: kinds[kind]}
					c.run(2, 10, 2, c.attend)
					c.report(t)
					c.sharing.checkIdle(t)
				})
			}
		}
	}
}

// So does Attend of several heads, in company of Search, which knows only whole keys.
func TestSharedHeads(t *testing.T) {
	turn := 0 // of the encodings
	for name, metric := range metrics {
		for _, shape := range []Shape{{Dim: 3 * 20, ValueDim: 3 * 7, Heads: 3}, {Dim: 2 * 64, ValueDim: 2 * 64, Heads: 2}} {
			for _, kind := range []string{"uniform", "near"} {
				turn++
				shape.Metric, shape.Encoding, shape.Values = metric, Encoding(turn%5), valueEncodings[turn%3]
				t.Run(fmt.Sprintf("%s/%s/%d×%d/%d", name, kind, shape.Heads, shape.HeadDim(), shape.Encoding), func(t *testing.T) {
					f := newFixture(t, rand.New(rand.NewPCG(55, 56)), shape, kinds[kind], true, 0, 400, 1, 300, 0, 200)
					c := &company{f: f, sharing: NewSharing(ShareOptions{Workers: 2, Least: 1, Yield: 1}), kind: kinds[kind]}
					c.run(3, 10, 2, func(r *rand.Rand, cut bool) {
						if r.IntN(4) == 0 {
							c.retrieve(r, cut)
							return
						}
						c.attendHeads(r, cut)
					})
					c.report(t)
					c.sharing.checkIdle(t)
					if st := c.sharing.Stats(); st.Reads == 0 || float64(st.Reads) < st.Passes {
						t.Errorf("%+v: nothing was shared", st)
					}
				})
			}
		}
	}
}

// A lane that nobody has any more may score infinitely, which nobody is to see.
func TestSharedInfinite(t *testing.T) {
	rnd := rand.New(rand.NewPCG(69, 70))
	f := newFixture(t, rnd, Shape{Metric: Dot, Dim: 16, ValueDim: 16}, func(r *rand.Rand, v []float32) {
		uniform(r, v)
		v[0] = 1e25
	}, false, 0, 20_000)
	huge := f.queries(rnd, func(_ *rand.Rand, v []float32) { v[0] = 1e25 }, 10)
	s := byHand(1)
	p, gone := f.board(s, "n", huge, 5)
	_, stays := f.board(s, "n", f.queries(rnd, uniform, 8), 5)
	s.claim(&s.workers[0])
	s.walkOn(&s.workers[0])
	s.cancel(p, gone)
	for s.step(0) {
	}
	if !gone.ended() || !stays.ended() {
		t.Error("they never left")
	}
}

// The same, of any shape.
func TestSharedProperties(t *testing.T) {
	names := []string{"dot", "cosine", "l2"}
	rapid.Check(t, func(rt *rapid.T) {
		metric := metrics[rapid.SampledFrom(names).Draw(rt, "metric")]
		kind := kinds[rapid.SampledFrom([]string{"uniform", "few", "near"}).Draw(rt, "kind")]
		d := rapid.SampledFrom([]int{1, 16, 37, 300, 700}).Draw(rt, "dim")
		valueDim := rapid.SampledFrom([]int{d, 1, 77}).Draw(rt, "value dim")
		rows := rapid.SliceOfN(rapid.IntRange(0, 500), 1, 4).Draw(rt, "rows")
		seed := rapid.Uint64().Draw(rt, "seed")
		f := newFixture(t, rand.New(rand.NewPCG(seed, 0)), Shape{Metric: metric, Dim: d, ValueDim: valueDim}, kind, rapid.Bool().Draw(rt, "values"), 0, rows...)
		c := &company{f: f, sharing: NewSharing(ShareOptions{Workers: rapid.IntRange(1, 4).Draw(rt, "workers"), Least: 1, Yield: 1}), kind: kind}
		attends := rapid.IntRange(0, 4).Draw(rt, "attends of 4")
		c.run(seed, rapid.IntRange(1, 10).Draw(rt, "readers"), 2, func(r *rand.Rand, cut bool) {
			if r.IntN(4) < attends {
				c.attend(r, cut)
			} else {
				c.retrieve(r, cut)
			}
		})
		c.report(rt)
		c.sharing.checkIdle(rt)
	})
}

// byHand is a Sharing whose workers have no goroutines: a test walks its blocks.
func byHand(workers int) *Sharing {
	s := NewSharing(ShareOptions{Workers: workers, Least: 1})
	s.idle = nil
	return s
}

// step has a worker walk a block, and says whether there was one.
func (s *Sharing) step(worker int) bool {
	w := &s.workers[worker]
	for s.claim(w) {
		if s.walkOn(w) {
			return true
		}
	}
	return false
}

// walkOn has a worker that holds a run walk a block of it, or give the run back where it
// is cut.
func (s *Sharing) walkOn(w *worker) (walked bool) {
	if !w.cut.Load() {
		w.walk()
		walked = true
	}
	if w.block == w.end || w.cut.Load() {
		s.finish(w)
	}
	return walked
}

// board has a search join, and gives what to see it by.
func (f *fixture) board(s *Sharing, group any, queries [][]float32, k int) (*sharedPass, *rider) {
	a := newSearch(f.shape, f.parts, queries, SearchOptions{K: k, MinScore: never}, len(s.workers))
	r := &rider{shape: f.shape, parts: f.parts, queries: queries, search: a, slots: make([]slot, len(s.workers)), done: make(chan struct{}, 1)}
	p, _ := s.join(passKey{group, f.shape}, r)
	return p, r
}

func (r *rider) ended() bool {
	return len(r.done) == 1
}

// Whoever joins leaves after as many blocks as it has, with any company and whenever
// others come and go: a slow one holds nobody up.
func TestSharedRound(t *testing.T) {
	rnd := rand.New(rand.NewPCG(55, 56))
	f := newFixture(t, rnd, Shape{Metric: Dot, Dim: 16, ValueDim: 16}, uniform, false, 0, 40_000, 30_000)
	n := blocks(f.parts, sharedRows(16))
	if n < 10 {
		t.Fatalf("%d blocks are too few for this test", n)
	}
	for _, joins := range []int{0, 1, 7, n - 1} {
		s := byHand(1)
		_, slow := f.board(s, "n", f.queries(rnd, uniform, 20), 1000)
		for range joins {
			s.step(0)
		}
		_, quick := f.board(s, "n", f.queries(rnd, uniform, 1), 1)
		left := 0
		for !quick.ended() {
			if !s.step(0) {
				t.Fatalf("after %d blocks nothing is left to walk, and the quick one waits", left)
			}
			if left++; left == 3 { // one that comes in between and goes again changes nothing
				p, third := f.board(s, "n", f.queries(rnd, uniform, 3), 10)
				s.cancel(p, third)
				if !third.ended() {
					t.Error("one that nobody works for did not leave at once")
				}
			}
		}
		if left != n {
			t.Errorf("joined after %d blocks, the quick one left after %d; it has %d", joins, left, n)
		}
		if !slow.ended() {
			t.Errorf("joined %d blocks before, the slow one is still there", joins)
		}
		if s.step(0) {
			t.Error("a block was walked for nobody")
		}
		if st := s.Stats(); st.Passes < 1 || st.Passes > 2 || st.Reads != 3 || st.Riding != 0 {
			t.Errorf("%+v", st)
		}
	}
}

// With several workers at once, each with its stretch, every block is walked once for
// each rider.
func TestSharedRoundOfSeveral(t *testing.T) {
	rnd := rand.New(rand.NewPCG(57, 58))
	f := newFixture(t, rnd, Shape{Metric: Dot, Dim: 16, ValueDim: 16}, uniform, false, 50, 60_000, 10, 60_000) // blocks take little
	want := int64(0)
	for i := range f.parts {
		want += int64(f.parts[i].eligible(0, f.parts[i].Rows))
	}
	rapid.Check(t, func(rt *rapid.T) {
		const workers = 3
		s := byHand(workers)
		var riders []*rider
		for range rapid.IntRange(50, 150).Draw(rt, "steps") {
			w := &s.workers[rapid.IntRange(0, workers-1).Draw(rt, "worker")]
			switch {
			case rapid.IntRange(0, 9).Draw(rt, "join") == 0:
				_, r := f.board(s, "n", f.queries(rnd, uniform, 1), 3)
				riders = append(riders, r)
			case w.block < w.end:
				s.walkOn(w)
			default:
				s.claim(w)
			}
		}
		for w := range s.workers {
			for s.step(w) {
			}
		}
		for i, r := range riders {
			if !r.ended() {
				rt.Fatalf("rider %d of %d never left", i, len(riders))
			}
			scanned := int64(0)
			for _, c := range r.search.scans {
				if c != nil {
					scanned += c.scanned
				}
			}
			if scanned != want {
				rt.Fatalf("rider %d was given %d rows, has %d", i, scanned, want)
			}
		}
	})
}

// One who is cancelled leaves with the block in hand, no sooner and no later, and the
// others go on.
func TestSharedCancel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(59, 60))
	f := newFixture(t, rnd, Shape{Metric: Dot, Dim: 64, ValueDim: 64}, uniform, false, 0, 50_000, 50_000)
	s := byHand(2)
	p, goes := f.board(s, "n", f.queries(rnd, uniform, 1), 5)
	_, stays := f.board(s, "n", f.queries(rnd, uniform, 1), 5)
	a, b := &s.workers[0], &s.workers[1]
	s.step(a.id)
	s.claim(b)
	if a.end-a.block < 2 || b.end-b.block < 2 {
		t.Fatalf("runs of %d and %d blocks are too short for this test", a.end-a.block, b.end-b.block)
	}
	s.cancel(p, goes)
	b.walk() // it was at it
	s.walkOn(a)
	if goes.ended() {
		t.Fatal("it left while a worker worked for it")
	}
	s.walkOn(b)
	if !goes.ended() || stays.ended() {
		t.Fatalf("after the blocks in hand: left %v, want true; the other %v, want false", goes.ended(), stays.ended())
	}
	s.claim(a)
	if len(a.riders) != 1 || a.riders[0] != stays {
		t.Errorf("%d riders are worked for, want the one that stays", len(a.riders))
	}
	s.step(a.id)
	s.cancel(p, stays)
	if s.step(0) || len(s.passes) != 0 {
		t.Error("with nobody left the pass goes on")
	}
}

// Passes of two groups go on by turns, a stretch each, however many ride in one.
func TestSharedFairness(t *testing.T) {
	rnd := rand.New(rand.NewPCG(61, 62))
	f := newFixture(t, rnd, Shape{Metric: Dot, Dim: 64, ValueDim: 64}, uniform, false, 0, 60_000, 60_000)
	g := newFixture(t, rnd, Shape{Metric: Dot, Dim: 64, ValueDim: 64}, uniform, false, 0, 60_000, 60_000)
	s := byHand(1)
	crowd, _ := f.board(s, "crowd", f.queries(rnd, uniform, 1), 5)
	for range 20 {
		f.board(s, "crowd", f.queries(rnd, uniform, 1), 5)
	}
	one, lone := g.board(s, "one", g.queries(rnd, uniform, 1), 5)
	n := blocks(g.parts, one.rows)
	stretch := max(1, stretchBytes/(4*64*one.rows))
	walked := map[*sharedPass]int{}
	for !lone.ended() {
		if !s.step(0) {
			t.Fatal("nothing is left to walk")
		}
		walked[s.workers[0].pass]++
		if d := walked[crowd] - walked[one]; d < -stretch || d > stretch {
			t.Fatalf("%d blocks of one, %d of the other: they are more than a stretch of %d apart", walked[crowd], walked[one], stretch)
		}
	}
	if walked[one] != n {
		t.Errorf("the lone one left after %d blocks, it has %d", walked[one], n)
	}
	for s.step(0) {
	}
}

// Reads that have nothing to gain stay out: small ones, sparse ones, and batches.
func TestSharedTakes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(63, 64))
	f := newFixture(t, rnd, Shape{Metric: Dot, Dim: 16, ValueDim: 16}, uniform, false, 0, 1000)
	sparse := newFixture(t, rnd, Shape{Metric: Dot, Dim: 16, ValueDim: 16}, uniform, false, 10, 1000)
	for _, c := range []struct {
		f       *fixture
		queries int
		least   int64
		want    uint64
	}{
		{f, 1, 1000 * 64, 1},
		{f, 1, 1000*64 + 1, 0},
		{f, 0, 1, 0},
		{f, kernel.PanelWidth() - 1, 1, 1},
		{f, kernel.PanelWidth(), 1, 0},
		{sparse, 1, 1, 0},
	} {
		s := NewSharing(ShareOptions{Least: c.least})
		c.f.searchIn(t, s, c.queries)
		if st := s.Stats(); st.Reads != c.want {
			t.Errorf("%d queries of %d rows, least %d: %d rode, want %d", c.queries, c.f.rows(), c.least, st.Reads, c.want)
		}
	}
}

func (f *fixture) searchIn(t *testing.T, s *Sharing, queries int) {
	f.checkSearch(t, f.queries(rand.New(rand.NewPCG(1, 1)), uniform, queries), SearchOptions{K: 3, MinScore: never, Sharing: s})
}

// A segment in two parts of one read can't ride, and is read all the same.
func TestSharedSegmentTwice(t *testing.T) {
	f := newFixture(t, rand.New(rand.NewPCG(65, 66)), Shape{Metric: Dot, Dim: 16, ValueDim: 16}, uniform, false, 0, 900)
	f.parts = append(f.parts, f.parts[0])
	f.ages = append(f.ages, slices.Clone(f.ages[0]))
	for i := range f.ages[1] {
		f.ages[1][i] += 3000
	}
	f.parts[1].Age = func(row uint32) (uint64, uint32) { return f.ages[1][row] / 3, uint32(f.ages[1][row] % 3) }
	s := NewSharing(ShareOptions{Least: 1})
	f.searchIn(t, s, 2)
	if st := s.Stats(); st.Reads != 0 || st.Riding != 0 {
		t.Errorf("%+v", st)
	}
	s.checkIdle(t)
}

// A read whose context has ended rides nowhere, and one that ends meanwhile gives the
// context's error.
func TestSharedContext(t *testing.T) {
	f := newFixture(t, rand.New(rand.NewPCG(67, 68)), Shape{Metric: Dot, Dim: 16, ValueDim: 16}, uniform, false, 0, 50_000)
	s := byHand(1)
	ctx, cancel := context.WithCancel(context.Background())
	read := func() error {
		_, _, err := Search(ctx, f.shape, f.parts, f.queries(rand.New(rand.NewPCG(1, 1)), uniform, 1), SearchOptions{K: 3, MinScore: float32(math.Inf(-1)), Sharing: s})
		return err
	}
	got := make(chan error)
	go func() { got <- read() }()
	for s.Stats().Riding == 0 {
		runtime.Gosched()
	}
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in a pass: %v", err)
	}
	if err := read(); !errors.Is(err, context.Canceled) || s.Stats().Reads != 1 {
		t.Errorf("cancelled before: %v, %+v", err, s.Stats())
	}
}
