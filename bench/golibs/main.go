// Command golibs is a peer of bench: the vector libraries of Go, chromem-go's scan and
// coder/hnsw's graph. It is a module of its own so that Engram doesn't depend on them.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

type question struct {
	Op      string
	Keys    string
	Asked   string
	Dim     int
	Queries int
	Threads int
	Variant string
	Setting []int
	Top     int
}

type answer struct {
	Error    string    `json:"error,omitempty"`
	About    string    `json:"about,omitempty"`
	Variants []string  `json:"variants,omitempty"`
	Seconds  float64   `json:"seconds,omitempty"`
	Bytes    int64     `json:"bytes,omitempty"`
	Series   [][][]int `json:"series,omitempty"`
	IDs      [][]int   `json:"ids,omitempty"`
}

// A library builds an index of rows and asks it.
type library interface {
	build(rows [][]float32) (told string, series [][][]int, err error)
	search(queries [][]float32, setting []int, top int) ([][]int, error)
}

var libraries = map[string]library{"chromem-go": new(scan), "coder/hnsw": new(graph)}

func main() {
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	var keys, asked [][]float32
	for in.Scan() {
		var q question
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			log.Fatal(err)
		}
		var a answer
		var err error
		switch q.Op {
		case "about":
			a = answer{About: about(), Variants: []string{"chromem-go", "coder/hnsw"}}
		case "load":
			if keys, err = read(q.Keys, q.Dim); err == nil {
				asked, err = read(q.Asked, q.Dim)
			}
		case "build":
			runtime.GOMAXPROCS(q.Threads)
			before, start := held(), time.Now()
			a.About, a.Series, err = libraries[q.Variant].build(keys)
			a.Seconds, a.Bytes = time.Since(start).Seconds(), held()-before
		case "run", "answer":
			runtime.GOMAXPROCS(q.Threads)
			start := time.Now()
			a.IDs, err = libraries[q.Variant].search(asked[:q.Queries], q.Setting, q.Top)
			a.Seconds = time.Since(start).Seconds()
		}
		if err != nil {
			a = answer{Error: err.Error()}
		}
		if err := out.Encode(a); err != nil {
			log.Fatal(err)
		}
	}
}

func about() string {
	var versions []string
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, m := range b.Deps {
			if m.Path == "github.com/philippgille/chromem-go" || m.Path == "github.com/coder/hnsw" {
				versions = append(versions, strings.TrimPrefix(m.Path, "github.com/")+" "+m.Version)
			}
		}
	}
	return fmt.Sprintf("%s (%s)", strings.Join(versions, ", "), runtime.Version())
}

// read maps a file of raw float32 as rows.
func read(path string, dim int) ([][]float32, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	about, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, int(about.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	all := unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
	rows := make([][]float32, len(all)/dim)
	for i := range rows {
		rows[i] = all[i*dim:][:dim:dim]
	}
	return rows, nil
}

// held is the bytes on the heap.
func held() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
