package memory

import "context"

// An Embedder makes vectors of texts. Two embedders of one name and version make
// the same vectors.
type Embedder interface {
	Name() string
	Version() string
	Dimension() int
	// Embed gives a vector of Dimension components for each text. query is true
	// for texts that are looked for, false for those that are stored.
	Embed(ctx context.Context, texts []string, query bool) ([][]float32, error)
}

// An EmbedderID says what made a namespace's keys from text. The zero EmbedderID
// stands for none.
type EmbedderID struct {
	Name, Version string
	Dimension     int
}
