package lexical

import (
	"encoding/binary"
	"slices"
	"sync"
	"unicode/utf8"

	"engram/internal/words"
)

// An Analysis says what of a text counts as a word. It belongs to a namespace and never
// changes, for the terms of stored records would be others.
type Analysis uint8

// The analyses. Words are Unicode's (Standard Annex 29), folded.
const (
	None    Analysis = iota // texts have no terms
	Words                   // every word as it is
	English                 // without function words, the others by their stems
)

// Valid is false for a number that is no analysis.
func (a Analysis) Valid() bool { return a <= English }

const (
	entryBytes = 6 // of a term: its hash and how often it occurs
	maxCount   = 255
	maxLen     = 1<<15 - 1
)

// Terms is a text as it is searched: a header of two bytes, the number of its words
// (counted to 32,767) and, as the highest bit, whether it asks; then of each distinct term
// the hash of 40 bits (termHash), ascending, and how often it occurs (counted to 255). A
// text without words has no bytes at all.
type Terms []byte

func (t Terms) header() uint16 {
	if len(t) == 0 {
		return 0
	}
	return binary.LittleEndian.Uint16(t)
}

// Len is the number of words.
func (t Terms) Len() int { return int(t.header() & maxLen) }

// Asks is true for a text that ends with a question mark.
func (t Terms) Asks() bool { return t.header() > maxLen }

// each yields the terms by ascending hash.
func (t Terms) each(yield func(hash uint64, count uint8)) {
	if len(t) == 0 {
		return
	}
	for t = t[2:]; len(t) >= entryBytes; t = t[entryBytes:] {
		yield(uint64(binary.LittleEndian.Uint32(t))|uint64(t[4])<<32, t[5])
	}
}

// scratch is what analysing one text needs.
type scratch struct {
	folded  []byte
	hashes  []uint64
	english english
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// keepHashes bounds the scratch that is kept for the next text.
const keepHashes = 1 << 14

func (s *scratch) put() {
	if cap(s.hashes) <= keepHashes {
		scratches.Put(s)
	}
}

// hash fills s.hashes with those of the text's words, in order.
func (s *scratch) hash(a Analysis, text string) {
	s.hashes = s.hashes[:0]
	s.folded = words.AppendFolded(s.folded[:0], text)
	s.folded = slices.Grow(s.folded, longestKnown+1)
	if a == English {
		words.Each(s.folded, func(w []byte) {
			if hash, ok := s.english.term(w); ok {
				s.hashes = append(s.hashes, hash)
			}
		})
		return
	}
	words.Each(s.folded, func(w []byte) { s.hashes = append(s.hashes, termHash(w)) })
}

// Append appends the Terms of a text. Two words of one hash are one term.
func (a Analysis) Append(dst []byte, text string) []byte {
	if a == None || text == "" {
		return dst
	}
	s := scratches.Get().(*scratch)
	defer s.put()
	s.hash(a, text)
	if len(s.hashes) == 0 {
		return dst
	}
	header := uint16(min(len(s.hashes), maxLen))
	if asks(text) {
		header |= maxLen + 1
	}
	slices.Sort(s.hashes)
	distinct := 1
	for i := 1; i < len(s.hashes); i++ {
		if s.hashes[i] != s.hashes[i-1] {
			distinct++
		}
	}
	dst = slices.Grow(dst, 2+entryBytes*distinct)
	dst = binary.LittleEndian.AppendUint16(dst, header)
	for i := 0; i < len(s.hashes); {
		j := i + 1
		for j < len(s.hashes) && s.hashes[j] == s.hashes[i] {
			j++
		}
		dst = binary.LittleEndian.AppendUint32(dst, uint32(s.hashes[i]))
		dst = append(dst, uint8(s.hashes[i]>>32), uint8(min(j-i, maxCount)))
		i = j
	}
	return dst
}

// asks is true if the last of a text but space, quotes and brackets is a question mark,
// of whatever script.
func asks(text string) bool {
	for len(text) > 0 {
		r, n := utf8.DecodeLastRuneInString(text)
		switch r {
		case '?', '？', '؟', '⁇', '⁈', '⁉', '՞', '\u037e':
			return true
		case ' ', '\t', '\n', '\r', '"', '\'', '”', '’', '»', ')', ']', '!', '.', '…':
			text = text[:len(text)-n]
		default:
			return false
		}
	}
	return false
}

// A Query is the distinct terms that are looked for, by ascending hash.
type Query struct{ hashes []uint64 }

// Query analyses what is looked for.
func (a Analysis) Query(text string) Query {
	if a == None {
		return Query{}
	}
	s := scratches.Get().(*scratch)
	defer s.put()
	s.hash(a, text)
	slices.Sort(s.hashes)
	return Query{slices.Clone(slices.Compact(s.hashes))}
}

// Terms is how many there are.
func (q Query) Terms() int { return len(q.hashes) }

// Common appends which of the query's terms another has too, as their numbers.
func (q Query) Common(dst []int, other Query) []int {
	for i, h := range q.hashes {
		if _, found := slices.BinarySearch(other.hashes, h); found {
			dst = append(dst, i)
		}
	}
	return dst
}
