// Package lexical finds texts by their words: BM25 (Robertson & Zaragoza, "The
// Probabilistic Relevance Framework: BM25 and Beyond", 2009) over the rows of segments,
// of which it knows no more than their words, sessions and speakers.
//
// A text is analysed once, when it is stored, into its terms (see [Analysis.Append]),
// which its owner keeps beside it. An [Index] is the inverted file of a segment's first
// rows, immutable and in a slab; rows behind it are looked through term by term. Both
// give the same bits, so an answer depends neither on how far an index reaches nor on how
// records are spread over segments.
//
//	score(d) = Σ_t idf(t) · tf·(K1+1) / (tf + K1·(1 − B + B·|d|/avg|d|))
//	idf(t)   = ln(1 + (N − df + ½) / (df + ½))
//
// N is the number of texts with words, df of those that have the term, |d| a text's
// number of words. All are of the records that the view shows.
package lexical

// The constants of BM25.
const (
	K1 = 1.2
	B  = 0.75
)
