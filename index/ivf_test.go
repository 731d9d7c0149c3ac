package index

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"engram/internal/slab"
)

// ages gives parts records as old as their order.
func ages(part int) func(uint32) (uint64, uint32) {
	return func(row uint32) (uint64, uint32) { return uint64(part), row }
}

// partsOf stores vectors in segments of at most size rows.
func partsOf(t testing.TB, pool *slab.Pool, shape Shape, v [][]float32, size int) []Part {
	t.Helper()
	var parts []Part
	for from := 0; from < len(v); from += size {
		n := min(size, len(v)-from)
		s, err := NewSegment(pool, shape, size, false)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Free)
		for _, x := range v[from : from+n] {
			if err := s.Append(x, nil); err != nil {
				t.Fatal(err)
			}
		}
		parts = append(parts, Part{Segment: s, Rows: n, Age: ages(len(parts))})
	}
	return parts
}

func buildIVF(t testing.TB, pool *slab.Pool, shape Shape, parts []Part, opt IVFOptions) *IVF {
	t.Helper()
	x, err := BuildIVF(context.Background(), pool, shape, parts, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Release)
	return x
}

func searchIVF(t failer, x *IVF, parts []Part, queries [][]float32, opt IVFSearchOptions) ([][]Hit, Stats) {
	t.Helper()
	if opt.MinScore == 0 {
		opt.MinScore = never
	}
	hits, stats, err := SearchIVF(context.Background(), x, parts, queries, opt)
	if err != nil {
		t.Fatal(err)
	}
	return hits, stats
}

func searchExact(t failer, shape Shape, parts []Part, queries [][]float32, opt SearchOptions) [][]Hit {
	t.Helper()
	if opt.MinScore == 0 {
		opt.MinScore = never
	}
	hits, _, err := Search(context.Background(), shape, parts, queries, opt)
	if err != nil {
		t.Fatal(err)
	}
	return hits
}

// recallOf is the share of the exact hits that were found.
func recallOf(got, want [][]Hit) float64 {
	n, found := 0, 0
	for q := range want {
		for _, h := range want[q] {
			n++
			if slices.Contains(got[q], h) {
				found++
			}
		}
	}
	if n == 0 {
		return 1
	}
	return float64(found) / float64(n)
}

// all is an effort that loses nothing: all lists, and a bound that nothing exceeds.
func all(k int) IVFSearchOptions {
	return IVFSearchOptions{SearchOptions: SearchOptions{K: k}, IVFEffort: IVFEffort{Probes: MaxLists, Bound: 8}, always: true}
}

// distributions are what indexes are tried on. Each gives vectors and queries of the
// same kind.
var distributions = map[string]func(r *rand.Rand, n, queries int) (shape Shape, v, q [][]float32){
	"mixture, cosine": func(r *rand.Rand, n, queries int) (Shape, [][]float32, [][]float32) {
		v := clusters(r, n+queries, 48, 40, 1)
		return Shape{Cosine, 48, 48, F32, F32, 1}, v[:n], v[n:]
	},
	"mixture, dot": func(r *rand.Rand, n, queries int) (Shape, [][]float32, [][]float32) {
		v := clusters(r, n+queries, 32, 40, 0.7)
		for i := range v {
			for j := range v[i] {
				v[i][j] *= 1 + 0.1*float32(i%5)
			}
		}
		return Shape{Dot, 32, 32, F32, F32, 1}, v[:n], v[n:]
	},
	"mixture far from the origin, l2": func(r *rand.Rand, n, queries int) (Shape, [][]float32, [][]float32) {
		v := clusters(r, n+queries, 40, 40, 0.5)
		for i := range v {
			v[i][3] += 20
		}
		return Shape{L2, 40, 40, F32, F32, 1}, v[:n], v[n:]
	},
	"sphere, cosine": func(r *rand.Rand, n, queries int) (Shape, [][]float32, [][]float32) {
		v := clusters(r, n+queries, 24, 1, 1000)
		return Shape{Cosine, 24, 24, F32, F32, 1}, v[:n], v[n:]
	},
	"skewed, l2": func(r *rand.Rand, n, queries int) (Shape, [][]float32, [][]float32) {
		// Components of falling size, and one cluster with half of all rows.
		v := clusters(r, n+queries, 30, 60, 1)
		for i := range v {
			if r.IntN(2) == 0 {
				for j := range v[i] {
					v[i][j] = 0.3 * float32(r.NormFloat64())
				}
			}
			for j := range v[i] {
				v[i][j] /= float32(j + 1)
			}
		}
		return Shape{L2, 30, 30, F32, F32, 1}, v[:n], v[n:]
	},
	"duplicates, cosine": func(r *rand.Rand, n, queries int) (Shape, [][]float32, [][]float32) {
		v := clusters(r, n+queries, 24, 30, 0.8)
		for i := range n {
			if r.IntN(2) == 0 {
				v[i] = v[r.IntN(n/10)]
			}
		}
		return Shape{Cosine, 24, 24, F32, F32, 1}, v[:n], v[n:]
	},
	// Few directions hold most of the variance, all rows share a mean, and what is near
	// to what has every scale: as of embeddings of text.
	"like text, cosine": func(r *rand.Rand, n, queries int) (Shape, [][]float32, [][]float32) {
		coarse, fine := clusters(r, n+queries, 64, 20, 0), clusters(r, n+queries, 64, 400, 0)
		for i := range coarse {
			for j := range coarse[i] {
				x := 0.5 + float64(coarse[i][j])*8 + float64(fine[i][j])*5 + 0.6*r.NormFloat64()
				coarse[i][j] = float32(x / math.Sqrt(float64(j+1)))
			}
		}
		return Shape{Cosine, 64, 64, F32, F32, 1}, coarse[:n], coarse[n:]
	},
}

// With all lists and a wide bound the answer is Search's, whatever the data.
func TestSearchIVFAll(t *testing.T) {
	for name, make := range distributions {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 1))
			pool := slab.NewPool(1 << 30)
			shape, v, queries := make(r, 4000, 40)
			parts := partsOf(t, pool, shape, v, 1500)
			x := buildIVF(t, pool, shape, parts, IVFOptions{Lists: 50, Seed: 1})
			for _, k := range []int{1, 10, 300, 5000} {
				got, _ := searchIVF(t, x, parts, queries, all(k))
				want := searchExact(t, shape, parts, queries, SearchOptions{K: k})
				for q := range want {
					if !slices.Equal(got[q], want[q]) {
						t.Fatalf("K=%d, query %d:\ngot  %v\nwant %v", k, q, got[q], want[q])
					}
				}
			}
		})
	}
}

// The share of the best rows that a bound loses is below what it states.
func TestSearchIVFBound(t *testing.T) {
	for name, make := range distributions {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(2, 2))
			pool := slab.NewPool(1 << 30)
			shape, v, queries := make(r, 6000, 200)
			parts := partsOf(t, pool, shape, v, 4000)
			x := buildIVF(t, pool, shape, parts, IVFOptions{Lists: 60, Seed: 2})
			want := searchExact(t, shape, parts, queries, SearchOptions{K: 10})
			for _, bound := range []float64{1, 2, 3} {
				opt := all(10)
				opt.Bound = bound
				got, stats := searchIVF(t, x, parts, queries, opt)
				lost := 1 - recallOf(got, want)
				if states := 0.5 * math.Erfc(bound/math.Sqrt2); lost > states+0.002 {
					t.Errorf("bound %v lost %.4f of the rows; it states %.4f", bound, lost, states)
				}
				if stats.RowsScanned != int64(len(v)*len(queries)) || stats.Rescored == 0 || stats.Rescored > stats.RowsScanned {
					t.Errorf("bound %v: %+v", bound, stats)
				}
			}
		})
	}
}

// More probes find more, and enough of them nearly all.
func TestSearchIVFProbes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	pool := slab.NewPool(1 << 30)
	shape, v, queries := distributions["mixture, cosine"](r, 20000, 100)
	parts := partsOf(t, pool, shape, v, 8000)
	x := buildIVF(t, pool, shape, parts, IVFOptions{Seed: 3})
	want := searchExact(t, shape, parts, queries, SearchOptions{K: 10})
	before := 0.0
	for _, probes := range []int{1, 4, 16, 64, x.Lists()} {
		opt := IVFSearchOptions{SearchOptions: SearchOptions{K: 10}, IVFEffort: IVFEffort{Probes: probes}, always: true}
		got, stats := searchIVF(t, x, parts, queries, opt)
		recall := recallOf(got, want)
		if recall < before {
			t.Errorf("%d probes give %.3f, fewer gave %.3f", probes, recall, before)
		}
		if stats.ListsProbed != int64(probes*len(queries)) {
			t.Errorf("%d probes looked into %d lists for %d queries", probes, stats.ListsProbed, len(queries))
		}
		before = recall
	}
	if before < 0.998 {
		t.Errorf("all lists give %.4f", before)
	}
}

// A mask is kept to, and recall holds however few rows it leaves; the few that one
// leaves are all found.
func TestSearchIVFFilters(t *testing.T) {
	for _, name := range []string{"mixture, cosine", "skewed, l2", "mixture, dot"} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(4, 4))
			pool := slab.NewPool(1 << 30)
			shape, v, queries := distributions[name](r, 20000, 100)
			parts := partsOf(t, pool, shape, v, 9000)
			x := buildIVF(t, pool, shape, parts, IVFOptions{Lists: 200, Seed: 4})
			c, err := Calibrate(context.Background(), x, parts, queries, CalibrateOptions{Ks: []int{10, 100, 1000}})
			if err != nil {
				t.Fatal(err)
			}
			for _, eligible := range []int{0, 1, 10, 100, 1000, 10000, 19000, 20000} {
				for _, near := range []bool{false, true} {
					masked := maskParts(r, parts, v, eligible, near)
					want := searchExact(t, shape, masked, queries, SearchOptions{K: 10})
					for _, recall := range []float64{0.9, 0.99} {
						got, stats := searchIVF(t, x, masked, queries, IVFSearchOptions{SearchOptions: SearchOptions{K: 10}, Recall: recall, Calibration: c})
						if r := recallOf(got, want); r < recall-0.02 {
							t.Errorf("%d eligible, near %v, recall %v: %.4f with %+v", eligible, near, recall, r, stats)
						}
						for q := range got {
							if len(got[q]) != len(want[q]) {
								t.Fatalf("%d eligible: %d hits, there are %d", eligible, len(got[q]), len(want[q]))
							}
							for _, h := range got[q] {
								if !masked[h.Part].has(int(h.Row)) {
									t.Fatalf("a hit is not eligible: %v", h)
								}
							}
						}
					}
				}
			}
		})
	}
}

// maskParts leaves n rows eligible: any, or those that lie together.
func maskParts(r *rand.Rand, parts []Part, v [][]float32, n int, near bool) []Part {
	order := r.Perm(len(v))
	if near {
		slices.SortFunc(order, func(a, b int) int {
			switch {
			case v[a][0] < v[b][0]:
				return -1
			case v[a][0] > v[b][0]:
				return 1
			}
			return 0
		})
	}
	out := slices.Clone(parts)
	for i := range out {
		out[i].Mask = make([]uint64, (out[i].Rows+63)/64)
	}
	size := parts[0].Rows
	for _, row := range order[:n] {
		out[row/size].Mask[row%size/64] |= 1 << (row % size % 64)
	}
	return out
}

// Rows that the index doesn't cover are found at once, those that died no more.
func TestSearchIVFTail(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	pool := slab.NewPool(1 << 30)
	shape, v, queries := distributions["mixture, cosine"](r, 5000, 30)
	parts := partsOf(t, pool, shape, v, 1000)
	for _, covered := range []int{1, 500, 1000, 1064, 3700} {
		seen := slices.Clone(parts[:(covered+999)/1000])
		seen[len(seen)-1].Rows = (covered-1)%1000 + 1
		x := buildIVF(t, pool, shape, seen, IVFOptions{Lists: 20, Seed: 5})
		for _, alive := range []int{5000, 4000, 3} {
			now := parts
			if alive < 5000 {
				now = maskParts(r, parts, v, alive, false)
			}
			got, _ := searchIVF(t, x, now, queries, all(20))
			want := searchExact(t, shape, now, queries, SearchOptions{K: 20})
			for q := range want {
				if !slices.Equal(got[q], want[q]) {
					t.Fatalf("%d covered, %d alive, query %d:\ngot  %v\nwant %v", covered, alive, q, got[q], want[q])
				}
			}
		}
	}
}

func TestSearchIVFEdges(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	pool := slab.NewPool(1 << 30)
	shape, v, queries := distributions["mixture, cosine"](r, 2000, 5)
	parts := partsOf(t, pool, shape, v, 2000)
	x := buildIVF(t, pool, shape, parts, IVFOptions{Lists: 10})
	if hits, _ := searchIVF(t, x, parts, nil, all(3)); len(hits) != 0 {
		t.Errorf("no queries: %v", hits)
	}
	if hits, _ := searchIVF(t, x, parts, queries, all(0)); len(hits[0]) != 0 {
		t.Errorf("K=0: %v", hits)
	}
	if hits, _ := searchIVF(t, x, nil, queries, all(3)); len(hits[0]) != 0 {
		t.Errorf("no parts: %v", hits)
	}
	opt := all(2000)
	opt.MinScore = 0.5
	got, _ := searchIVF(t, x, parts, queries, opt)
	want := searchExact(t, shape, parts, queries, opt.SearchOptions)
	for q := range want {
		if !slices.Equal(got[q], want[q]) {
			t.Errorf("with a least score:\ngot  %v\nwant %v", got[q], want[q])
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := SearchIVF(ctx, x, parts, queries, all(3)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := BuildIVF(ctx, pool, shape, parts, IVFOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("building, cancelled: %v", err)
	}
	if _, err := BuildIVF(context.Background(), pool, shape, nil, IVFOptions{}); !errors.Is(err, ErrNoRows) {
		t.Errorf("building of nothing: %v", err)
	}
	if _, err := BuildIVF(context.Background(), slab.NewPool(10<<10), shape, parts, IVFOptions{}); !errors.Is(err, slab.ErrBudget) {
		t.Errorf("building without room: %v", err)
	}
}

// Numbers too large, or too small, for codes lose nothing.
func TestSearchIVFExtremes(t *testing.T) {
	turn := 0
	for name, metric := range metrics {
		turn++
		encoding := Encoding(turn % 5) // of keys, which it doesn't depend on
		t.Run(fmt.Sprint(name, encoding), func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, 7))
			pool := slab.NewPool(1 << 30)
			shape := Shape{metric, 20, 20, encoding, F32, 1}
			v := make([][]float32, 1500)
			for i := range v {
				v[i] = make([]float32, 20)
				scaled(r, v[i])
			}
			for i := range 20 { // alike
				v[i] = v[0]
			}
			parts := partsOf(t, pool, shape, v, 700)
			x := buildIVF(t, pool, shape, parts, IVFOptions{Lists: 12})
			queries := append(v[:30:30], make([]float32, 20))
			queries[30][0] = 1
			got, _ := searchIVF(t, x, parts, queries, all(15))
			want := searchExact(t, shape, parts, queries, SearchOptions{K: 15})
			for q := range want {
				if !slices.Equal(got[q], want[q]) {
					t.Fatalf("query %d:\ngot  %v\nwant %v", q, got[q], want[q])
				}
			}
		})
	}
}

// An index takes what it says it does, its codes and 20 bytes a row, and gives all of
// it back.
func TestIVFMemory(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	vectors, pool := slab.NewPool(1<<30), slab.NewPool(1<<30)
	shape, v, _ := distributions["mixture, cosine"](r, 20000, 0)
	parts := partsOf(t, vectors, shape, v, 20000)
	x, err := BuildIVF(context.Background(), pool, shape, parts, IVFOptions{Lists: 80})
	if err != nil {
		t.Fatal(err)
	}
	if x.Bytes() != pool.InUse() {
		t.Errorf("the index says it takes %d bytes, the pool %d", x.Bytes(), pool.InUse())
	}
	if per := float64(x.Bytes()) / 20000; per > float64(48*codeBits/8+20)*1.25 {
		t.Errorf("%.1f bytes a row", per)
	}
	y, err := x.Extend(context.Background(), parts, 1)
	if err != nil {
		t.Fatal(err)
	}
	x.Release()
	y.Retain()
	y.Release()
	y.Release()
	if n := pool.InUse(); n != 0 {
		t.Errorf("%d bytes were not given back", n)
	}
}

// The same rows and seed give the same index, for any number of workers.
func TestBuildIVFSame(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	pool := slab.NewPool(1 << 30)
	shape, v, _ := distributions["mixture, dot"](r, 5000, 0)
	parts := partsOf(t, pool, shape, v, 2000)
	a := buildIVF(t, pool, shape, parts, IVFOptions{Lists: 40, Seed: 5, Workers: 1})
	b := buildIVF(t, pool, shape, parts, IVFOptions{Lists: 40, Seed: 5, Workers: 4})
	if !slices.Equal(a.centroids.data, b.centroids.data) {
		t.Error("other centroids")
	}
	for i := range a.lists {
		for j := range a.lists[i] {
			if !slices.Equal(a.lists[i][j].mem, b.lists[i][j].mem) {
				t.Fatalf("list %d differs", i)
			}
		}
	}
}

func TestChoose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SliceOf(rapid.IntRange(0, 20)).Draw(t, "v")
		n := rapid.IntRange(0, len(v)+1).Draw(t, "n")
		want := slices.Sorted(slices.Values(v))
		choose(v, n, func(a, b int) int { return a - b })
		n = min(n, len(v))
		if got := slices.Sorted(slices.Values(v[:n])); !slices.Equal(got, want[:n]) {
			t.Fatalf("the first %d are %v, want %v", n, got, want[:n])
		}
	})
}
