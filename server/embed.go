package server

import (
	"context"
	"fmt"

	"engram/memory"
)

// embedBatch is how many texts are embedded at once, so that a call which is cancelled
// ends soon.
const embedBatch = 64

// embedderID names the server's embedder as namespaces remember it; zero without one.
func (s *Server) embedderID() memory.EmbedderID {
	if s.embedder == nil {
		return memory.EmbedderID{}
	}
	return memory.EmbedderID{Name: s.embedder.Name(), Version: s.embedder.Version(), Dimension: s.embedder.Dimension()}
}

// embed turns texts into vectors, in order.
func (s *Server) embed(ctx context.Context, texts []string, query bool) ([][]float32, error) {
	out := make([][]float32, 0, len(texts))
	for len(texts) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		batch := texts[:min(embedBatch, len(texts))]
		vectors, err := s.embedder.Embed(ctx, batch, query)
		if err != nil {
			return nil, &embedError{name: s.embedder.Name(), err: err}
		}
		if len(vectors) != len(batch) {
			return nil, &embedError{name: s.embedder.Name(), err: fmt.Errorf("%d vectors came for %d texts", len(vectors), len(batch))}
		}
		out = append(out, vectors...)
		texts = texts[len(batch):]
	}
	s.metrics.embedded.Add(float64(len(out)))
	return out, nil
}
