package lexical

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// Words that begin alike often mean alike: "dance" and "dancer", "compete" and
// "competition", which no light stemmer may make one. Kin are the words of texts that have
// the beginning of one of the query's and aren't in the query themselves. With F for the
// words of one beginning, and the query's among them Q,
//
//	kin(d)  = Σ_F idf(F) · Σ_{t ∈ F∖Q} tf·(K1+1) / (tf + K1·(1 − B + B·|d|/avg|d|))
//	idf(F)  = ln(1 + (N − df + ½) / (df + ½)), df = min(N, Σ_{t ∈ F} df(t))
//
// They cost no memory: words of one beginning have neighbouring hashes, so that in an
// index they are neighbours.

// Of the 40 bits of a term's hash the upper are those of its beginning. 20,000 words
// of 5,000 beginnings: one word in 800 has false kin, one of 60,000 is taken for another.
const (
	wordBits      = 18
	beginningBits = 22
	beginning     = 4 // letters
)

// termHash is the hash of a word that is compared, of 40 bits.
func termHash(w []byte) uint64 {
	h := xxhash.Sum64(w)
	f := h
	if n := begins(w); n < len(w) {
		f = xxhash.Sum64(w[:n])
	}
	return f>>(64-beginningBits)<<wordBits | h&(1<<wordBits-1)
}

// begins is how many bytes of a word are its beginning: four letters, or where it doesn't
// begin with so many, all.
func begins(w []byte) int {
	at := 0
	for range beginning {
		if at == len(w) {
			return len(w)
		}
		if c := w[at]; 'a' <= c && c <= 'z' {
			at++
			continue
		}
		r, n := utf8.DecodeRune(w[at:])
		if !unicode.IsLetter(r) {
			return len(w)
		}
		at += n
	}
	return at
}

// A family is the words of one beginning.
type family struct {
	first, end int // which of the query's
	df         int // how many live texts have a word of it, counted for each such word
}

// group puts the query's words into families, by ascending hash.
func (s *Scorer) group() {
	s.families, s.familyOf = s.families[:0], s.familyOf[:0]
	for i, h := range s.query.hashes {
		if i == 0 || h>>wordBits != s.query.hashes[i-1]>>wordBits {
			s.families = append(s.families, family{first: i})
		}
		s.families[len(s.families)-1].end = i + 1
		s.familyOf = append(s.familyOf, uint32(len(s.families)-1))
	}
}

// kinOf gives the family of a hash that lies before that of the query's word at, and is of
// none of them; false: none.
func (s *Scorer) kinOf(hash uint64, at int) (uint32, bool) {
	if at < len(s.query.hashes) && s.query.hashes[at]>>wordBits == hash>>wordBits {
		return s.familyOf[at], true
	}
	if at > 0 && s.query.hashes[at-1]>>wordBits == hash>>wordBits {
		return s.familyOf[at-1], true
	}
	return 0, false
}

// eachKin yields the postings of each word of a family that isn't the query's, by
// ascending hash, of the rows that the part shows.
func (s *Scorer) eachKin(p *Part, f *family, yield func(rows []uint16, tfs []tfLen)) {
	x := p.Index
	if x == nil {
		return
	}
	own := s.query.hashes[f.first:f.end]
	i, _ := slices.BinarySearch(x.hashes, own[0]>>wordBits<<wordBits)
	for ; i < len(x.hashes) && x.hashes[i]>>wordBits == own[0]>>wordBits; i++ {
		if slices.Contains(own, x.hashes[i]) {
			continue
		}
		yield(p.shown(x.row[x.starts[i]:x.starts[i+1]], x.tf[x.starts[i]:x.starts[i+1]]))
	}
}

// countKin adds to how frequent families are what indexes have, and the query's own words,
// and fills in KinWeight.
func (s *Scorer) countKin() {
	for i := range s.families {
		f := &s.families[i]
		for _, n := range s.df[f.first:f.end] {
			f.df += n
		}
		for j := range s.parts {
			p := &s.parts[j]
			s.eachKin(p, f, func(rows []uint16, _ []tfLen) { f.df += p.live(rows) })
		}
		f.df = min(f.df, s.counts.Texts)
		if f.df > 0 {
			s.KinWeight += IDF(s.counts.Texts, f.df) * (K1 + 1)
		}
	}
}

// Kin adds to scores the kin of the rows that are scored, divided by unit, as Rows does
// BM25. The Scorer has begun with kin.
func (s *Scorer) Kin(scores []float32, unit float64) {
	for i := range s.families {
		f := &s.families[i]
		if f.df == 0 {
			continue
		}
		weight := float32(IDF(s.counts.Texts, f.df) * (K1 + 1) / unit)
		s.tabulate(weight, f.df)
		for j := range s.parts {
			p := &s.parts[j]
			s.eachKin(p, f, func(rows []uint16, tfs []tfLen) {
				s.add(scores[s.base[j]:s.base[j]+p.Rows], p, rows, tfs, weight)
			})
		}
		for _, x := range s.akin.of(i) {
			scores[x.row] += s.gain(weight, x.tf, x.length)
		}
	}
}
