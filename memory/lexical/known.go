package lexical

import (
	"encoding/binary"

	"engram/internal/words"
)

// An english is what English texts need: the terms of words that were met. Few words make
// up most of a text, and to find one here takes a fifth of what taking it apart does.
type english struct {
	known [1 << knownBits]knownWord // by hash of the word; the last one that had it
	stem  []byte
}

const knownBits = 12

// A knownWord is a packed word, and its term.
type knownWord struct {
	word [2]uint64
	hash uint64
	none bool // it is a function word, which is no term
}

// term gives the hash of a word's term; false: it has none.
func (e *english) term(w []byte) (hash uint64, ok bool) {
	if len(w) > longestKnown {
		return e.analyse(w)
	}
	word := pack(w)
	k := &e.known[(word[0]*0x9e3779b97f4a7c15^word[1]*0xbf58476d1ce4e5b9)>>(64-knownBits)]
	if k.word != word {
		hash, ok = e.analyse(w)
		*k = knownWord{word, hash, !ok}
	}
	return k.hash, !k.none
}

// longestKnown is the length up to which words can be packed.
const longestKnown = 15

// pack gives a word as two numbers: its bytes from the lowest on, its length the highest.
// It is quicker where 16 bytes are there to read, whatever is behind the word.
func pack(w []byte) [2]uint64 {
	if cap(w) < longestKnown+1 {
		w = append(make([]byte, 0, longestKnown+1), w...)
	}
	n, b := len(w), w[:longestKnown+1]
	return [2]uint64{
		binary.LittleEndian.Uint64(b) & (1<<(8*n) - 1),
		binary.LittleEndian.Uint64(b[8:])&(1<<(8*max(n-8, 0))-1) | uint64(n)<<56,
	}
}

// analyse is term of a word that isn't known.
func (e *english) analyse(w []byte) (hash uint64, ok bool) {
	if len(w) <= longestForm {
		if form, ok := forms[string(w)]; ok {
			if w = form; w == nil {
				return 0, false
			}
		}
	}
	e.stem = words.AppendStem(e.stem[:0], w)
	return termHash(e.stem), true
}
