package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"engram/kernel"
)

var metrics = map[string]Metric{"dot": Dot, "cosine": Cosine, "l2": L2}

// Every answer is the reference's, whatever the data, the batch, the mask and the
// number of workers.
func TestSearch(t *testing.T) {
	turn := 0 // of the encodings
	for name, metric := range metrics {
		for kind, make := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, 2))
				for _, masked := range []int{0, 0, 2, 20, 1 << 30} {
					turn++
					shape := Shape{metric, 37, 37, Encoding(turn % 5), valueEncodings[turn%3], 1}
					f := newFixture(t, r, shape, make, false, masked, 700, 0, 1, 64, 129)
					for _, n := range []int{1, 4, codeQueries + 3} {
						queries := f.queries(r, make, n)
						for _, k := range []int{10, 2000} {
							f.checkSearch(t, queries, SearchOptions{K: k, MinScore: never, Workers: 1 + n%3})
						}
					}
				}
			})
		}
	}
}

func TestSearchDimensions(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, metric := range metrics {
		for i, d := range []int{1, 2, 15, 16, 17, 63, 64, 65, 128, 384, 1000, 8192, 1, 16, 33, 128, 8191} {
			f := newFixture(t, r, Shape{metric, d, d, Encoding(i % 5), F32, 1}, uniform, false, 0, 150, 70)
			f.checkSearch(t, f.queries(r, uniform, 1), SearchOptions{K: 5, MinScore: never})
			f.checkSearch(t, f.queries(r, uniform, 20), SearchOptions{K: 5, MinScore: never})
		}
	}
}

func TestSearchEdges(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	f := newFixture(t, r, Shape{Cosine, 8, 8, F32, F32, 1}, few, false, 0, 200)
	none := newFixture(t, r, Shape{Cosine, 8, 8, F32, F32, 1}, few, false, 0)
	empty := newFixture(t, r, Shape{Cosine, 8, 8, F32, F32, 1}, few, false, 0, 0, 0)
	best := f.search(f.queries(r, few, 1)[0], 1, never)[0].Score
	for _, n := range []int{0, 1, 40} {
		queries := f.queries(r, few, n)
		for _, opt := range []SearchOptions{
			{K: 0, MinScore: never},
			{K: 1, MinScore: never},
			{K: 200, MinScore: never},
			{K: 201, MinScore: never},
			{K: 300, MinScore: best},                               // exactly what some have
			{K: 300, MinScore: math.Nextafter32(best, float32(2))}, // just over it
			{K: 10, MinScore: 2},                                   // over all
			{K: 10, MinScore: float32(math.Inf(1)), Workers: 1 << 20},
		} {
			f.checkSearch(t, queries, opt)
			none.checkSearch(t, queries, opt)
			empty.checkSearch(t, queries, opt)
		}
	}
}

// A row that is much longer than the rest widens the margin for its block, and
// must not hide rows that panels score a little too low.
func TestSearchMargin(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for i := range 6 {
		metric := Metric(i % 3)
		f := newFixture(t, r, Shape{metric, 300, 300, Encoding(i / 3), F32, 1}, func(r *rand.Rand, v []float32) {
			near(r, v)
			if r.IntN(50) == 0 {
				for i := range v {
					v[i] *= -1e10
				}
			}
		}, false, 0, 3000)
		f.checkSearch(t, f.queries(r, near, codeQueries), SearchOptions{K: 7, MinScore: never})
		f.checkSearch(t, f.queries(r, near, 3), SearchOptions{K: 7, MinScore: never})
	}
}

// Many blocks: more than one goroutine really runs, and blocks end within parts.
func TestSearchManyBlocks(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for _, e := range []Encoding{F32, Int8, Int8Only} {
		f := newFixture(t, r, Shape{Cosine, 128, 128, e, F32, 1}, few, false, 3, 4000, 500, 5000)
		for _, w := range []int{1, 2, 5} {
			f.checkSearch(t, f.queries(r, few, 2), SearchOptions{K: 100, MinScore: never, Workers: w})
			f.checkSearch(t, f.queries(r, uniform, 5), SearchOptions{K: 100, MinScore: never, Workers: w})
		}
		f.checkSearch(t, f.queries(r, uniform, codeQueries), SearchOptions{K: 100, MinScore: never, Workers: 3})
	}
}

// The same bits for any number of workers and any batch: each query alone by one
// worker is the measure.
func TestSearchSameBits(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for name, metric := range metrics {
		f := newFixture(t, r, Shape{metric, 96, 96, Encoding(metric) % 3, F32, 1}, near, false, 2, 6000, 5000)
		queries := f.queries(r, near, 65)
		opt := SearchOptions{K: 20, MinScore: never, Workers: 1}
		var alone [][]Hit
		for _, q := range queries {
			hits, _, err := Search(context.Background(), f.shape, f.parts, [][]float32{q}, opt)
			if err != nil {
				t.Fatal(err)
			}
			alone = append(alone, hits[0])
		}
		for _, batch := range []int{2, 5, 33, 65} {
			for _, opt.Workers = range []int{1, 2, 5} {
				for from := 0; from < len(queries); from += batch {
					to := min(from+batch, len(queries))
					got, _, err := Search(context.Background(), f.shape, f.parts, queries[from:to], opt)
					if err != nil {
						t.Fatal(err)
					}
					for i, hits := range got {
						if !slices.Equal(hits, alone[from+i]) {
							t.Fatalf("%s: query %d in a batch of %d by %d workers:\n%v\nalone:\n%v", name, from+i, batch, opt.Workers, hits, alone[from+i])
						}
					}
				}
			}
		}
	}
}

// The committed hashes are of the answers' bits, those of F32 and Int8 and those of
// Int8Only; each instruction set must reproduce
// it, in a process of its own. Sets that can't run here say so in the log.
func TestSearchSameBitsEverywhere(t *testing.T) {
	const file = "testdata/search.sha256"
	got := goldenSearch(t, F32)
	if int8 := goldenSearch(t, Int8); int8 != got {
		t.Errorf("%s: the hash of Int8's answers is %s, of F32's %s", kernel.Set(), int8, got)
	}
	got += " " + goldenSearch(t, Int8Only)
	if os.Getenv("INDEX_TEST_GOLDEN") == "child" {
		fmt.Printf("set %s sum %s\n", kernel.Set(), got)
		return
	}
	if os.Getenv("INDEX_TEST_GOLDEN") == "write" {
		if err := os.WriteFile(file, []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSpace(string(b))
	if got != want {
		t.Errorf("%s: the answers' hash is %s, want %s", kernel.Set(), got, want)
	}
	for _, set := range []string{"purego", "avx2", "avx512", "neon"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSearchSameBitsEverywhere$")
		cmd.Env = append(os.Environ(), "INDEX_TEST_GOLDEN=child", "ENGRAM_KERNEL="+set)
		out, err := cmd.CombinedOutput()
		switch {
		case bytes.Contains(out, []byte("can't run")) && set != "purego":
			t.Logf("%s can't run here", set)
		case err != nil:
			t.Errorf("%s: %v\n%s", set, err, out)
		case !bytes.Contains(out, []byte("set "+set+" sum "+want)):
			t.Errorf("%s: other bits:\n%s", set, out)
		}
	}
}

// goldenSearch hashes the bits of answers to fixed data of each metric.
func goldenSearch(t *testing.T, encoding Encoding) string {
	h := sha256.New()
	for _, metric := range []Metric{Dot, Cosine, L2} {
		for _, kind := range []vectors{uniform, few, near} {
			r := rand.New(rand.NewPCG(13, uint64(metric)))
			f := newFixture(t, r, Shape{metric, 130, 130, encoding, F32, 1}, kind, false, 2, 1000, 300)
			for _, n := range []int{1, 40} {
				out, _, err := Search(context.Background(), f.shape, f.parts, f.queries(r, kind, n), SearchOptions{K: 25, MinScore: never})
				if err != nil {
					t.Fatal(err)
				}
				for _, hits := range out {
					for _, hit := range hits {
						_ = binary.Write(h, binary.LittleEndian, []uint32{uint32(hit.Part), hit.Row, math.Float32bits(hit.Score)})
					}
				}
			}
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// A canonical score is near the exact one: the bound of the kernel's, and of the
// roundings of a cosine.
func TestScoresAreNearExact(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for name, metric := range metrics {
		f := newFixture(t, r, Shape{metric, 200, 200, F32, F32, 1}, uniform, false, 0, 300)
		for _, q := range f.queries(r, uniform, 5) {
			hits, _, err := Search(context.Background(), f.shape, f.parts, [][]float32{q}, SearchOptions{K: 300, MinScore: never})
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range hits[0] {
				exact := f.exact(&f.parts[0], int(h.Row), q)
				bound := gamma(16) * Norm(q) * Norm(f.parts[0].Segment.Key(int(h.Row)))
				if metric == Cosine {
					bound = gamma(16)
				}
				if metric == L2 {
					bound = gamma(16) * math.Abs(exact)
				}
				if math.Abs(float64(h.Score)-exact) > bound {
					t.Fatalf("%s: row %d scores %v, exactly %v: over the bound %v", name, h.Row, h.Score, exact, bound)
				}
			}
		}
	}
}

// A scan whose context ends stops within a block.
func TestSearchCancelled(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	f := newFixture(t, r, Shape{Dot, 64, 64, F32, F32, 1}, uniform, false, 0, 20000)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, n := range []int{1, 40} {
		if _, _, err := Search(ctx, f.shape, f.parts, f.queries(r, uniform, n), SearchOptions{K: 3, MinScore: never}); !errors.Is(err, context.Canceled) {
			t.Errorf("Search of %d: %v", n, err)
		}
		if _, _, err := Attend(ctx, f.shape, f.parts, f.queries(r, uniform, n), AttendOptions{Scale: 1}); !errors.Is(err, context.Canceled) {
			t.Errorf("Attend of %d: %v", n, err)
		}
	}
	late, stop := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer stop()
	if _, _, err := Search(late, f.shape, f.parts, f.queries(r, uniform, 1), SearchOptions{K: 3}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("past the deadline: %v", err)
	}

	// Ended in the middle, at most the workers' blocks in hand are still walked.
	ctx, cancel = context.WithCancel(context.Background())
	done := 0
	err := walk(ctx, f.parts, 64, 16, 1, func(int, block) {
		if done++; done == 5 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || done != 5 {
		t.Errorf("%d blocks were walked after the end at the fifth (%v)", done-5, err)
	}
}

// A search of a small memory allocates a fixed number of times, whatever the rows.
func TestSearchAllocations(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 20))
	allocs := func(rows ...int) float64 {
		f := newFixture(t, r, Shape{Cosine, 16, 16, F32, F32, 1}, uniform, false, 0, rows...)
		queries := f.queries(r, uniform, 1)
		return testing.AllocsPerRun(20, func() {
			if _, _, err := Search(context.Background(), f.shape, f.parts, queries, SearchOptions{K: 10, MinScore: never, Workers: 1}); err != nil {
				t.Fatal(err)
			}
		})
	}
	few, many := allocs(100), allocs(40000, 40000)
	if many > few+10 || few > 25 { // with -race, pools let go of some
		t.Errorf("%v allocations for 100 rows, %v for 80,000", few, many)
	}
}

func TestSearchProperties(t *testing.T) {
	names := []string{"dot", "cosine", "l2"}
	rapid.Check(t, func(rt *rapid.T) {
		metric := metrics[rapid.SampledFrom(names).Draw(rt, "metric")]
		kind := kinds[rapid.SampledFrom(slices.Sorted(maps.Keys(kinds))).Draw(rt, "kind")]
		encoding := rapid.SampledFrom([]Encoding{F32, Int8, Int8, Int8Only, F16, BF16}).Draw(rt, "encoding")
		d := rapid.IntRange(1, 100).Draw(rt, "dim")
		rows := rapid.SliceOfN(rapid.IntRange(0, 400), 0, 4).Draw(rt, "rows")
		masked := rapid.SampledFrom([]int{0, 1, 2, 5, 50}).Draw(rt, "masked")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		f := newFixture(t, r, Shape{metric, d, d, encoding, F32, 1}, kind, false, masked, rows...)
		queries := f.queries(r, kind, rapid.IntRange(0, 40).Draw(rt, "queries"))
		f.checkSearch(rt, queries, SearchOptions{
			K:        rapid.IntRange(0, 500).Draw(rt, "k"),
			MinScore: rapid.SampledFrom([]float32{never, never, -1, 0, 0.5, 1}).Draw(rt, "min"),
			Workers:  rapid.IntRange(0, 4).Draw(rt, "workers"),
		})
	})
}

// FuzzSearch takes rows, queries and mask bytes as they come: components are
// halves of small numbers, so that ties abound.
func FuzzSearch(f *testing.F) {
	f.Add([]byte("the eagle has landed"), []byte{0xff, 0x0f}, uint8(3), uint8(1), uint8(2))
	f.Add(bytes.Repeat([]byte{1, 2}, 300), []byte{}, uint8(2), uint8(0), uint8(40))
	f.Add(bytes.Repeat([]byte{9}, 200), []byte{1}, uint8(1), uint8(2), uint8(9))
	f.Add(bytes.Repeat([]byte{3, 200, 7}, 300), []byte{}, uint8(7), uint8(3), uint8(2))
	f.Add(bytes.Repeat([]byte{5, 1, 255}, 300), []byte{0xf0}, uint8(7), uint8(8), uint8(1))
	f.Fuzz(func(t *testing.T, data, mask []byte, dim, metric, batch uint8) {
		d := int(dim%32) + 1
		shape := Shape{Metric(metric % 3), d, d, Encoding(metric / 3 % 5), F32, 1}
		n := min(len(data)/d, 2000)
		next := 0
		fx := newFixture(t, rand.New(rand.NewPCG(1, 1)), shape, func(_ *rand.Rand, v []float32) {
			for i := range v {
				v[i] = 0.5
				if next < n*d {
					v[i] = float32(int8(data[next])) / 2
					next++
				}
			}
			if v[0] == 0 { // Cosine wants a norm
				v[0] = 1
			}
		}, false, 0, n)
		if len(mask) > 0 {
			m := make([]uint64, (n+63)/64)
			for i := range m {
				for j := range 8 {
					m[i] |= uint64(mask[(i*8+j)%len(mask)]) << (8 * j)
				}
			}
			fx.parts[0].Mask = m
		}
		queries := fx.queries(rand.New(rand.NewPCG(uint64(batch), 2)), few, int(batch%80))
		fx.checkSearch(t, queries, SearchOptions{K: int(batch)%17 + 1, MinScore: never})
	})
}
