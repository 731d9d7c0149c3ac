// Command bleve is a peer of bench: full-text search by Bleve, the library of Go, over texts
// in memory. It is a module of its own so that Engram doesn't depend on it.
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
	"strconv"
	"time"

	"github.com/blevesearch/bleve/v2"
	_ "github.com/blevesearch/bleve/v2/analysis/lang/en"
	"github.com/blevesearch/bleve/v2/index/scorch"
)

type question struct {
	Op    string
	Keys  string // the file of texts, a JSON string a line
	Asked string // the file of questions, likewise
	Top   int
}

type answer struct {
	Error   string  `json:"error,omitempty"`
	About   string  `json:"about,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	var texts, asked []string
	var index bleve.Index
	for in.Scan() {
		var q question
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			log.Fatal(err)
		}
		var a answer
		var err error
		switch q.Op {
		case "about":
			a.About = about()
		case "load":
			if texts, err = read(q.Keys); err == nil {
				asked, err = read(q.Asked)
			}
		case "build":
			start := time.Now()
			index, err = build(texts)
			a.Seconds = time.Since(start).Seconds()
		case "run":
			a.Seconds, err = search(index, asked, q.Top)
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
	version := ""
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, m := range b.Deps {
			if m.Path == "github.com/blevesearch/bleve/v2" {
				version = m.Version
			}
		}
	}
	return fmt.Sprintf("Bleve %s, scorch in memory, BM25, analyzer en (%s)", version, runtime.Version())
}

func read(path string) (lines []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	d := json.NewDecoder(f)
	for d.More() {
		var s string
		if err := d.Decode(&s); err != nil {
			return nil, err
		}
		lines = append(lines, s)
	}
	return lines, nil
}

// build indexes the texts. Positions, which BM25 doesn't need, are left out.
func build(texts []string) (bleve.Index, error) {
	field := bleve.NewTextFieldMapping()
	field.Analyzer, field.Store, field.IncludeTermVectors, field.IncludeInAll, field.DocValues = "en", false, false, false, false
	m := bleve.NewIndexMapping()
	m.ScoringModel = "bm25"
	m.DefaultMapping.Dynamic = false
	m.DefaultMapping.AddFieldMappingsAt("text", field)
	index, err := bleve.NewUsing("", m, scorch.Name, scorch.Name, nil)
	if err != nil {
		return nil, err
	}
	for at := 0; at < len(texts); at += 10_000 {
		batch := index.NewBatch()
		for i, text := range texts[at:min(at+10_000, len(texts))] {
			if err := batch.Index(strconv.Itoa(at+i), map[string]string{"text": text}); err != nil {
				return nil, err
			}
		}
		if err := index.Batch(batch); err != nil {
			return nil, err
		}
	}
	return index, nil
}

// search gives the median time of a question.
func search(index bleve.Index, asked []string, top int) (float64, error) {
	took := make([]float64, len(asked))
	for i, text := range asked {
		q := bleve.NewMatchQuery(text)
		q.SetField("text")
		start := time.Now()
		found, err := index.Search(bleve.NewSearchRequestOptions(q, top, 0, false))
		took[i] = time.Since(start).Seconds()
		if err != nil {
			return 0, err
		}
		if len(found.Hits) == 0 {
			return 0, fmt.Errorf("nothing is found for %q", text)
		}
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
