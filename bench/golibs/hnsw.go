package main

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/hnsw"
	"github.com/viterin/vek/vek32"
)

// mostBuilding is how long a build may take: graphs are built by one thread.
const mostBuilding = 10 * time.Minute

// graph is coder/hnsw's.
type graph struct{ made *hnsw.Graph[int] }

func (g *graph) build(rows [][]float32) (string, [][][]int, error) {
	g.made = hnsw.NewGraph[int]()
	g.made.M, g.made.EfSearch, g.made.Rng = 32, 100, rand.New(rand.NewSource(1))
	g.made.Distance = func(a, b []float32) float32 { return -vek32.Dot(a, b) }
	start := time.Now()
	for i, r := range rows {
		g.made.Add(hnsw.MakeNode(i, r))
		if took := time.Since(start); took > mostBuilding {
			g.made = nil
			return "", nil, fmt.Errorf("%d of %d rows were added in %v, after which the build was ended", i, len(rows), took.Round(time.Second))
		}
	}
	var counts [][]int
	for n := 10; n <= 2560; n *= 2 {
		counts = append(counts, []int{n}, []int{n * 3 / 2})
	}
	return "M 32, EfSearch 100 when built; asked for more rows than wanted", [][][]int{counts}, nil
}

// search asks for as many rows as the setting says and keeps the best: what this
// graph's EfSearch says has no effect, for a search ends as soon as it has as many rows
// as it was asked for and the next ones aren't nearer.
func (g *graph) search(queries [][]float32, setting []int, top int) ([][]int, error) {
	g.made.EfSearch = max(100, setting[0])
	found := make([][]int, len(queries))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(queries); i = int(next.Add(1)) - 1 {
				near := g.made.Search(queries[i], setting[0])
				score := make(map[int]float32, len(near))
				for _, n := range near {
					score[n.Key] = vek32.Dot(queries[i], n.Value)
				}
				best := slices.SortedFunc(maps.Keys(score), func(a, b int) int { return cmp.Compare(score[b], score[a]) })
				found[i] = best[:min(top, len(best))]
			}
		})
	}
	wg.Wait()
	return found, nil
}
