package main

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"

	chromem "github.com/philippgille/chromem-go"
)

// scan is chromem-go's exact search.
type scan struct{ collection *chromem.Collection }

func (s *scan) build(rows [][]float32) (string, [][][]int, error) {
	c, err := chromem.NewDB().CreateCollection("rows", nil, nil)
	if err != nil {
		return "", nil, err
	}
	s.collection = c
	documents := make([]chromem.Document, len(rows))
	for i, r := range rows {
		documents[i] = chromem.Document{ID: strconv.Itoa(i), Embedding: r, Content: "-"}
	}
	return "exact", [][][]int{{{}}}, c.AddDocuments(context.Background(), documents, runtime.GOMAXPROCS(0))
}

// search asks as many queries at once as there are processors, over which chromem-go
// spreads each.
func (s *scan) search(queries [][]float32, _ []int, top int) ([][]int, error) {
	found := make([][]int, len(queries))
	var next atomic.Int64
	var wg sync.WaitGroup
	var failed atomic.Value
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(queries); i = int(next.Add(1)) - 1 {
				results, err := s.collection.QueryEmbedding(context.Background(), queries[i], top, nil, nil)
				if err != nil {
					failed.Store(err)
					return
				}
				for _, r := range results {
					id, _ := strconv.Atoi(r.ID)
					found[i] = append(found[i], id)
				}
			}
		})
	}
	wg.Wait()
	if err, ok := failed.Load().(error); ok {
		return nil, err
	}
	return found, nil
}
