// Package embed turns text into key vectors.
//
// [Lexical] needs nothing: it hashes the words of a text, and the character
// n-grams of these words, into a vector. Texts that share words are near each
// other, those that share only meaning are not; it is what a server uses until
// it is given a model. [OpenAI] asks an endpoint that speaks OpenAI's
// POST /v1/embeddings, which most model servers do. Package bert, below this one,
// runs a model itself.
//
// All are safe for concurrent use, give one vector a text in the order of the
// texts, and refuse a text without a visible character with [ErrEmpty]. A vector
// is only comparable with vectors of the same embedder: name, version and
// dimension together say which that is.
package embed
