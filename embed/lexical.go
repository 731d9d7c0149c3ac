package embed

import (
	"context"
	"fmt"
	"math"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/text/unicode/norm"

	"engram/internal/words"
)

const (
	// DefaultDimension of Lexical. On dialogues, half of it finds about a tenth
	// less of the evidence among the first ten hits, twice as much finds a
	// twentieth more.
	DefaultDimension = 512
	// MinDimension and MaxDimension bound what NewLexical takes.
	MinDimension = 64
	MaxDimension = 8192
)

// Lexical embeds text by the words in it, without a model. It is feature
// hashing (Weinberger et al., "Feature Hashing for Large Scale Multitask
// Learning", ICML 2009): each feature of a text adds its weight, with a sign, to
// the component that its hash picks, so that a dot product of two vectors is,
// but for collisions, that of the two bags of features.
//
// The features are the stem of each word and its character n-grams of 3 to 5
// runes, so that other forms and misspellings of a word are near it. A word
// weighs 1+ln of how often it occurs in the text, times the fourth root of its
// length, but common English words have small weights of their own. Words of
// other languages are treated alike, without stems. A text without words (only
// emoji, say) is embedded by its runes.
//
// Vectors have norm 1. In a document, though, part of that is kept from queries
// where the text is short: a document with less than fillMass of weight is
// filled up to that with a second hashing of its words, into components that a
// query leaves zero. Without that a greeting that shares just a name with a
// question would come before any answer, since normalising makes that name the
// whole of it. So the similarity of a short document with a query of the same
// text is below 1; two equal documents, or two equal queries, have 1.
//
// The same text gives the same bits on every platform: weights are integers,
// so sums are exact, and what follows is one square root and one division a
// component, which IEEE 754 rounds alike everywhere.
type Lexical struct {
	dimension int
}

// NewLexical gives a Lexical whose vectors have dimension components:
// DefaultDimension, or any number from MinDimension to MaxDimension.
func NewLexical(dimension int) (*Lexical, error) {
	if dimension < MinDimension || dimension > MaxDimension {
		return nil, fmt.Errorf("embed: dimension %d of the lexical embedder: want %d to %d", dimension, MinDimension, MaxDimension)
	}
	return &Lexical{dimension: dimension}, nil
}

// Name is "lexical".
func (*Lexical) Name() string { return "lexical" }

// Version names the recipe, and the version of Unicode's tables, which decides
// how the newest characters fold.
func (*Lexical) Version() string { return "1+unicode" + norm.Version }

// Dimension is that given to NewLexical.
func (l *Lexical) Dimension() int { return l.dimension }

// Embed gives a vector of norm 1 for each text. query says that the texts are
// questions to look for, not documents to keep. The vectors share one
// allocation. The error is ErrEmpty or that of ctx.
func (l *Lexical) Embed(ctx context.Context, texts []string, query bool) ([][]float32, error) {
	if err := checkTexts(texts); err != nil {
		return nil, err
	}
	all := make([]float32, len(texts)*l.dimension)
	vectors := make([][]float32, len(texts))
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	for i, text := range texts {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("embed: after %d of %d texts: %w", i, len(texts), err)
		}
		vectors[i] = all[i*l.dimension : (i+1)*l.dimension : (i+1)*l.dimension]
		s.embed(vectors[i], text, query)
	}
	return vectors, nil
}

// Weights are integers in units of 1/one.
const (
	one      = 1 << 10
	fillMass = 16 * one * one // of squared weights: what a dozen rare words weigh
	// A fillShare-th of the components is kept for filling.
	fillShare = 16
	// ngramShare is the norm of a word's n-grams, relative to its stem's weight.
	ngramShare = 0.5
	// ngramRunes bounds the n-grams of one word, so that a megabyte without a
	// space costs no more than its length.
	ngramRunes = 32
	// reference is the length in runes of a word that weighs one.
	reference = 6
	// keepWords bounds the scratch that is kept for the next text.
	keepWords = 4096
)

// gradeWeights are the weights of words on the lists of grades.go.
var gradeWeights = [...]int64{1: 102, 2: 512, 3: 819}

// Kinds of features, so that a stem and an equal n-gram are different ones.
const (
	kindStem  = 0x9e3779b97f4a7c15
	kindNgram = 0xbf58476d1ce4e5b9
	kindFill  = 0x94d049bb133111eb
	kindText  = 0xd6e8feb86659fd93
)

// logs[n] is 1+ln n, written out because math.Log may differ between platforms
// in the last bit. Counts beyond it weigh no more.
var logs = [...]float64{
	1:  1,
	2:  1.6931471805599454,
	3:  2.09861228866811,
	4:  2.386294361119891,
	5:  2.6094379124341005,
	6:  2.791759469228055,
	7:  2.9459101490553135,
	8:  3.079441541679836,
	9:  3.1972245773362196,
	10: 3.302585092994046,
	11: 3.3978952727983707,
	12: 3.4849066497880004,
	13: 3.5649493574615367,
	14: 3.6390573296152584,
	15: 3.70805020110221,
	16: 3.772588722239781,
}

// word is one distinct word of a text; its bytes lie in scratch.folded, but for
// numbers that lost separators.
type word struct {
	text  []byte
	count int
}

// scratch holds what embedding one text needs, for the next text to use again.
type scratch struct {
	folded []byte
	words  []word
	byHash map[uint64]int // index into words
	stem   []byte
	framed []byte
	bounds []int // where the runes of framed begin, and its length
	sums   []int64
}

var scratches = sync.Pool{New: func() any { return &scratch{byHash: map[uint64]int{}} }}

func (s *scratch) embed(v []float32, text string, query bool) {
	s.split(text)
	fill := len(v) / fillShare
	if cap(s.sums) < len(v) {
		s.sums = make([]int64, len(v))
	}
	s.sums = s.sums[:len(v)]
	clear(s.sums)
	features, filling := s.sums[:len(v)-fill], s.sums[len(v)-fill:]

	for i := range s.words {
		w := &s.words[i]
		weight, grade := w.weight()
		s.stem = words.AppendStem(s.stem[:0], w.text)
		h := xxhash.Sum64(s.stem)
		add(features, h^kindStem, weight)
		if !query {
			add(filling, h^kindFill, weight)
		}
		if r, _ := utf8.DecodeRune(w.text); grade != 1 && unicode.IsLetter(r) {
			s.addNgrams(features, w.text, weight)
		}
	}

	mass := squares(features)
	if mass == 0 { // no words and no runes, or all cancelled out
		add(features, xxhash.Sum64(s.folded)^kindText, one)
		mass = one * one
	}
	if missing := fillMass - mass; !query && missing > 0 {
		f := squares(filling)
		if f == 0 {
			add(filling, xxhash.Sum64(s.folded)^kindFill, one)
			f = one * one
		}
		scale(v[len(features):], filling, math.Sqrt(missing/f)/math.Sqrt(fillMass))
		mass = fillMass
	}
	scale(v[:len(features)], features, 1/math.Sqrt(mass))
	if len(s.words) > keepWords {
		*s = scratch{byHash: map[uint64]int{}, sums: s.sums}
	}
}

// split fills words with the distinct words of the text, or its runes if it has
// none.
func (s *scratch) split(text string) {
	clear(s.byHash)
	s.words = s.words[:0]
	s.folded = words.AppendFolded(s.folded[:0], text)
	words.Each(s.folded, s.count)
	if len(s.words) > 0 {
		return
	}
	for b := s.folded; len(b) > 0; {
		r, n := utf8.DecodeRune(b)
		if !unicode.IsSpace(r) {
			s.count(b[:n])
		}
		b = b[n:]
	}
}

func (s *scratch) count(w []byte) {
	h := xxhash.Sum64(w)
	if i, ok := s.byHash[h]; ok {
		s.words[i].count++
		return
	}
	s.byHash[h] = len(s.words)
	s.words = append(s.words, word{text: w, count: 1})
}

// weight gives what the word weighs, and its grade.
func (w *word) weight() (weight int64, grade uint8) {
	grade = grades[string(w.text)]
	base := float64(gradeWeights[grade])
	if grade == 0 {
		base = one * math.Sqrt(math.Sqrt(float64(utf8.RuneCount(w.text))/reference))
	}
	return int64(base * logs[min(w.count, len(logs)-1)]), grade
}

// addNgrams adds the n-grams of the word between marks of its start and end.
func (s *scratch) addNgrams(sums []int64, w []byte, weight int64) {
	s.framed = append(append(append(s.framed[:0], '<'), w...), '>')
	s.bounds = s.bounds[:0]
	end := 0
	for end < len(s.framed) && len(s.bounds) < ngramRunes {
		s.bounds = append(s.bounds, end)
		_, n := utf8.DecodeRune(s.framed[end:])
		end += n
	}
	s.bounds = append(s.bounds, end)
	runes := len(s.bounds) - 1
	number := 0
	for n := 3; n <= 5; n++ {
		number += max(0, runes-n+1)
	}
	if number == 0 {
		return
	}
	each := int64(float64(weight) * ngramShare / math.Sqrt(float64(number)))
	for n := 3; n <= 5; n++ {
		for i := 0; i+n <= runes; i++ {
			add(sums, xxhash.Sum64(s.framed[s.bounds[i]:s.bounds[i+n]])^kindNgram, each)
		}
	}
}

// add adds a feature's weight to the component that its hash picks, with the
// sign that its lowest bit picks.
func add(sums []int64, h uint64, weight int64) {
	// The finaliser of MurmurHash3, so that kinds differ in every bit.
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	i := (h >> 32) * uint64(len(sums)) >> 32
	if h&1 == 0 {
		weight = -weight
	}
	sums[i] += weight
}

func squares(sums []int64) float64 {
	var total float64
	for _, x := range sums {
		// The conversion rounds the product, which forbids a fused multiply-add.
		total += float64(float64(x) * float64(x))
	}
	return total
}

func scale(v []float32, sums []int64, factor float64) {
	for i, x := range sums {
		v[i] = float32(float64(x) * factor)
	}
}
