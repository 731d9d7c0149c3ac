package memory

import (
	"unique"

	"engram/index"
	"engram/memory/lexical"
)

// Config is what a namespace was made with. Only MaxBytes, Durability, KeyEncoding,
// ValueEncoding, Recall, Ranking, Retention, Repeats, MaxRecords,
// Eviction, Forget and Consolidation can change.
type Config struct {
	Name                      string
	Metric                    index.Metric
	Dimension, ValueDimension int
	// KVHeads is how many heads keys and values are put together of; 0 stands for 1. It
	// divides both dimensions.
	KVHeads  int
	Embedder EmbedderID // zero: none
	// MaxBytes bounds the namespace's slabs (maxbytes.go says how); 0: the server's budget
	// alone does.
	MaxBytes   int64
	Durability Durability
	// KeyEncoding is how keys are kept. After a change of it segments are encoded anew
	// in the background.
	KeyEncoding index.Encoding
	// ValueEncoding is how values are kept, likewise: index.F32, index.F16 or index.BF16.
	// It holds for keys that stand for values too.
	ValueEncoding index.Encoding
	// Recall is the share of the best records that Retrieve is to find by an index, where
	// it isn't told otherwise; 0: all, and there is no index.
	Recall float64
	// Lexical is how texts are taken apart into words, for lexical search.
	Lexical lexical.Analysis
	// Ranking is that of queries by text which bring none; zero: similarity alone.
	Ranking Ranking
	// Retention is how its records fade; zero stands for the default.
	Retention Retention
	// Repeats is the cosine from which on a record stored without an id repeats another of
	// its speaker, which is rehearsed in its place; 0: none does.
	Repeats float64
	// MaxRecords bounds how many records there are, 0: no bound; Eviction says which of them
	// make room at either bound.
	MaxRecords int64
	Eviction   Eviction
	// Forget is the retention below which records are removed; 0: none is.
	Forget float64
	// Consolidation says which records are merged; zero: none are.
	Consolidation Consolidation
	CreateTime    int64 // Unix nanoseconds
	Created       LSN   // of the mutation that made it
}

// settings is what many namespaces have in common. They share one copy, which
// keeps small namespaces small.
type settings struct {
	metric   index.Metric
	dim      int
	valueDim int
	heads    int // at least 1
	embedder EmbedderID
	maxBytes int64

	durability Durability
	encoding   index.Encoding
	values     index.Encoding
	recall     float64
	lexical    lexical.Analysis
	ranking    Ranking
	retention  Retention // never zero
	repeats    float64
	maxRecords int64
	eviction   Eviction
	forget     float64

	consolidation Consolidation
}

func (c *Config) settings() unique.Handle[settings] {
	return unique.Make(settings{c.Metric, c.Dimension, c.ValueDimension, max(1, c.KVHeads), c.Embedder, c.MaxBytes, c.Durability, c.KeyEncoding, c.ValueEncoding, c.Recall, c.Lexical, c.Ranking, c.Retention.OrDefault(), c.Repeats, c.MaxRecords, c.Eviction, c.Forget, c.Consolidation})
}

func (s settings) shape() index.Shape {
	return index.Shape{Metric: s.metric, Dim: s.dim, ValueDim: s.valueDim, Heads: s.heads, Encoding: s.encoding, Values: s.values}
}
