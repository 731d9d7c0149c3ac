// Command vek is a peer of bench: exact search by a loop over viterin/vek's Dot. It
// is a module of its own so that Engram doesn't depend on vek.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/viterin/vek/vek32"
)

type question struct {
	Op      string
	Keys    string
	Asked   string
	Rows    int
	Dim     int
	Queries int
	Threads int
	Top     int
}

type answer struct {
	About   string  `json:"about,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	IDs     [][]int `json:"ids,omitempty"`
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	var keys, asked []float32
	var dim int
	for in.Scan() {
		var q question
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			log.Fatal(err)
		}
		var a answer
		switch q.Op {
		case "about":
			a.About = about()
		case "load":
			keys, asked, dim = read(q.Keys), read(q.Asked), q.Dim
		case "run", "answer":
			runtime.GOMAXPROCS(q.Threads)
			start := time.Now()
			for i := range q.Queries {
				a.IDs = append(a.IDs, search(keys, asked[i*dim:(i+1)*dim], q.Top, q.Threads))
			}
			a.Seconds = time.Since(start).Seconds()
		}
		if err := out.Encode(a); err != nil {
			log.Fatal(err)
		}
	}
}

func about() string {
	version := "?"
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, m := range b.Deps {
			if m.Path == "github.com/viterin/vek" {
				version = m.Version
			}
		}
	}
	return fmt.Sprintf("viterin/vek %s (%s)", version, runtime.Version())
}

func read(path string) []float32 {
	b, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}

type hit struct {
	row   int
	score float32
}

// search gives the top rows for one query, each thread scanning its share of them.
func search(keys, q []float32, top, threads int) []int {
	n := len(keys) / len(q)
	found := make([][]hit, threads)
	var wg sync.WaitGroup
	for t := range threads {
		wg.Go(func() { found[t] = scan(keys, q, top, n*t/threads, n*(t+1)/threads) })
	}
	wg.Wait()
	all := slices.Concat(found...)
	slices.SortFunc(all, better)
	ids := make([]int, 0, top)
	for _, h := range all[:min(top, len(all))] {
		ids = append(ids, h.row)
	}
	return ids
}

func better(a, b hit) int {
	switch {
	case a.score > b.score:
		return -1
	case a.score < b.score:
		return 1
	}
	return a.row - b.row
}

// scan keeps the best of rows from to to in order, the worst last.
func scan(keys, q []float32, top, from, to int) []hit {
	d := len(q)
	best := make([]hit, 0, top+1)
	for r := from; r < to; r++ {
		s := vek32.Dot(q, keys[r*d:(r+1)*d])
		if len(best) == top && s <= best[top-1].score {
			continue
		}
		h := hit{r, s}
		at, _ := slices.BinarySearchFunc(best, h, better)
		best = slices.Insert(best, at, h)
		best = best[:min(top, len(best))]
	}
	return best
}
