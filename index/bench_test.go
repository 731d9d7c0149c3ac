package index

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"engram/internal/slab"
	"engram/kernel/roofline"
)

// Benchmarks run what they measure and what the machine allows by turns, and
// report the ratio of the best times of each: of/bandwidth, where the limit is
// reading the vectors once; of/peak, where it is multiplying and adding.

type benchShape struct {
	name      string
	rows, dim int
}

var benchShapes = []benchShape{
	{"1M×128", 1_000_000, 128},
	{"200k×768", 200_000, 768},
}

// benchFixture is kept from one benchmark to the next of the same shape.
var benchFixture struct {
	sync.Mutex
	*fixture
	free func()
}

func benchParts(b *testing.B, rows int, shape Shape, values bool) *fixture {
	c := &benchFixture
	c.Lock()
	defer c.Unlock()
	if c.fixture != nil && c.shape == shape && c.rows() == rows && c.parts[0].Segment.HasValues() == values {
		return c.fixture
	}
	if c.fixture != nil {
		c.free()
	}
	pool := slab.NewPool(16 << 30)
	c.fixture = &fixture{shape: shape}
	c.free = func() {
		for _, p := range c.parts {
			p.Segment.Free()
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	key, value := make([]float32, shape.Dim), make([]float32, shape.ValueDim)
	for left := rows; left > 0; {
		n := min(left, MaxRows)
		s, err := NewSegment(pool, shape, n, values)
		if err != nil {
			b.Fatal(err)
		}
		for range n {
			uniform(r, key)
			if values {
				uniform(r, value)
				err = s.Append(key, value)
			} else {
				err = s.Append(key, nil)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		c.parts = append(c.parts, Part{Segment: s, Rows: n, Age: func(row uint32) (uint64, uint32) { return 1, row }})
		left -= n
	}
	return c.fixture
}

func (f *fixture) rows() (n int) {
	for i := range f.parts {
		n += f.parts[i].Rows
	}
	return n
}

// read loads all keys, and values, once, on all processors; readCodes all codes.
func (f *fixture) read() {
	readAll(f.parts, func(s *Segment) [][]byte { return [][]byte{s.keys, s.values} })
}

func (f *fixture) readCodes() {
	readAll(f.parts, func(s *Segment) [][]byte { return [][]byte{s.codes.block} })
}

func readAll(parts []Part, of func(s *Segment) [][]byte) {
	var wg sync.WaitGroup
	n := runtime.GOMAXPROCS(0)
	for w := range n {
		wg.Go(func() {
			for i := range parts {
				for _, m := range of(parts[i].Segment) {
					roofline.Read(m[len(m)/n*w : len(m)/n*(w+1)])
				}
			}
		})
	}
	wg.Wait()
}

// multiplyAdd does so many multiply-adds on all processors.
func multiplyAdd(count int) {
	var wg sync.WaitGroup
	n := runtime.GOMAXPROCS(0)
	for range n {
		wg.Go(func() {
			for left := count / n; left > 0; {
				left -= max(1, roofline.MultiplyAdd(1<<16))
			}
		})
	}
	wg.Wait()
}

// byTurns runs functions by turns, and gives the best time of each.
func byTurns(b *testing.B, run ...func()) []time.Duration {
	best := slices.Repeat([]time.Duration{math.MaxInt64}, len(run))
	for b.Loop() {
		for i, f := range run {
			start := time.Now()
			f()
			best[i] = min(best[i], time.Since(start))
		}
	}
	b.ReportMetric(float64(best[0].Nanoseconds())/1e6, "best-ms")
	b.ReportMetric(0, "ns/op") // of all together, so of nothing
	return best
}

// against runs work and limit by turns and reports the limit's best time over the
// work's as the metric.
func against(b *testing.B, metric string, work, limit func()) {
	best := byTurns(b, work, limit)
	b.ReportMetric(float64(best[1])/float64(best[0]), metric)
}

func BenchmarkSearch(b *testing.B) {
	for _, s := range benchShapes {
		for _, name := range []string{"dot", "cosine", "l2"} {
			for _, batch := range []int{1, 2, 4, 8, 16, 64, 256} {
				b.Run(fmt.Sprintf("%s/%s/batch=%d", s.name, name, batch), func(b *testing.B) {
					f := benchParts(b, s.rows, Shape{metrics[name], s.dim, s.dim, F32, F32, 1}, false)
					queries := f.queries(rand.New(rand.NewPCG(2, 2)), uniform, batch)
					work := func() {
						if _, _, err := Search(context.Background(), f.shape, f.parts, queries, SearchOptions{K: 10, MinScore: never}); err != nil {
							b.Fatal(err)
						}
					}
					if batch < 16 {
						against(b, "of/bandwidth", work, f.read)
						return
					}
					against(b, "of/peak", work, func() { multiplyAdd(s.rows * s.dim * batch) })
				})
			}
		}
	}
}

// BenchmarkSearchCodes runs the same search by codes and by keys, and what reads the
// codes once, by turns.
func BenchmarkSearchCodes(b *testing.B) {
	for _, s := range append(benchShapes, benchShape{"1000×384", 1000, 384}, benchShape{"100×128", 100, 128}) {
		for _, name := range []string{"dot", "cosine", "l2"} {
			for _, batch := range []int{1, 2, 4, 8, 16, 64, 256} {
				b.Run(fmt.Sprintf("%s/%s/batch=%d", s.name, name, batch), func(b *testing.B) {
					f := benchParts(b, s.rows, Shape{metrics[name], s.dim, s.dim, Int8, F32, 1}, false)
					queries := f.queries(rand.New(rand.NewPCG(2, 2)), uniform, batch)
					search := func(encoding Encoding) func() {
						shape := f.shape
						shape.Encoding = encoding
						return func() {
							if _, _, err := Search(context.Background(), shape, f.parts, queries, SearchOptions{K: 10, MinScore: never}); err != nil {
								b.Fatal(err)
							}
						}
					}
					best := byTurns(b, search(Int8), search(F32), f.readCodes)
					b.ReportMetric(float64(best[1])/float64(best[0]), "×f32")
					b.ReportMetric(float64(best[2])/float64(best[0]), "of/bandwidth")
				})
			}
		}
	}
}

func BenchmarkSearchMasked(b *testing.B) {
	f := benchParts(b, 1_000_000, Shape{Cosine, 128, 128, F32, F32, 1}, false)
	for _, one := range []int{2, 3, 4, 6, 8, 16, 64} {
		r := rand.New(rand.NewPCG(3, 3))
		parts := make([]Part, len(f.parts))
		for i, p := range f.parts {
			p.Mask = make([]uint64, (p.Rows+63)/64)
			for row := range p.Rows {
				if r.IntN(one) == 0 {
					p.Mask[row/64] |= 1 << (row % 64)
				}
			}
			parts[i] = p
		}
		for _, batch := range []int{1, 64} {
			b.Run(fmt.Sprintf("1M×128/1 in %d/batch=%d", one, batch), func(b *testing.B) {
				queries := f.queries(r, uniform, batch)
				for b.Loop() {
					if _, _, err := Search(context.Background(), f.shape, parts, queries, SearchOptions{K: 10, MinScore: never}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// A small namespace: what a Retrieve costs beside the call itself.
func BenchmarkSearchSmall(b *testing.B) {
	f := benchParts(b, 1000, Shape{Cosine, 384, 384, F32, F32, 1}, false)
	queries := f.queries(rand.New(rand.NewPCG(4, 4)), uniform, 1)
	b.Run("1000×384/batch=1", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := Search(context.Background(), f.shape, f.parts, queries, SearchOptions{K: 10, MinScore: never}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAttend(b *testing.B) {
	for _, s := range benchShapes {
		for _, name := range []string{"dot", "cosine"} {
			for _, batch := range []int{1, 2, 4, 8, 16, 64} {
				for _, top := range []int{0, 10} {
					if top > 0 && batch != 1 && batch != 64 {
						continue
					}
					run := fmt.Sprintf("%s/%s/batch=%d", s.name, name, batch)
					if top > 0 {
						run += "/top=10"
					}
					b.Run(run, func(b *testing.B) {
						f := benchParts(b, s.rows, Shape{metrics[name], s.dim, s.dim, F32, F32, 1}, true)
						queries := f.queries(rand.New(rand.NewPCG(5, 5)), uniform, batch)
						scale := 1 / math.Sqrt(float64(s.dim))
						if strings.HasPrefix(name, "cos") {
							scale = 1 / scale
						}
						work := func() {
							if _, _, err := Attend(context.Background(), f.shape, f.parts, queries, AttendOptions{Scale: scale, TopWeights: top}); err != nil {
								b.Fatal(err)
							}
						}
						if batch < 16 {
							against(b, "of/bandwidth", work, f.read)
							return
						}
						against(b, "of/peak", work, func() { multiplyAdd(2 * s.rows * s.dim * batch) })
					})
				}
			}
		}
	}
}

// BenchmarkAttendHeads is BenchmarkAttend of 8 heads of 64: as many bytes and multiply-adds
// as of one head.
func BenchmarkAttendHeads(b *testing.B) {
	const rows, dim, heads = 200_000, 512, 8
	for _, name := range []string{"dot", "cosine"} {
		for _, batch := range []int{1, 2, 4, 8, 64} {
			b.Run(fmt.Sprintf("%s/batch=%d", name, batch), func(b *testing.B) {
				f := benchParts(b, rows, Shape{metrics[name], dim, dim, F32, F32, heads}, true)
				queries := f.queries(rand.New(rand.NewPCG(5, 5)), uniform, batch)
				work := func() {
					if _, _, err := Attend(context.Background(), f.shape, f.parts, queries, AttendOptions{Scale: 1.0 / 8}); err != nil {
						b.Fatal(err)
					}
				}
				if batch < 16 {
					against(b, "of/bandwidth", work, f.read)
					return
				}
				against(b, "of/peak", work, func() { multiplyAdd(2 * rows * dim * batch) })
			})
		}
	}
}
