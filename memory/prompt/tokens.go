package prompt

import (
	"slices"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/tiktoken-go/tokenizer/codec"
)

// A Counter says how many tokens a text has.
type Counter func(text []byte) int

// Tokenizers are the names of the counters, the default first.
var Tokenizers = []string{"estimate", "cl100k_base", "o200k_base"}

// CounterOf gives the counter of a name, false if there is none. The vocabularies of byte pair
// encodings are unpacked when first asked for: 3 MiB of the heap the one, 7 MiB the other.
func CounterOf(name string) (Counter, bool) {
	switch slices.Index(Tokenizers, name) {
	case 0:
		return Estimate, true
	case 1:
		return pairs(cl100k()), true
	case 2:
		return pairs(o200k()), true
	}
	return nil, false
}

var (
	cl100k = sync.OnceValue(codec.NewCl100kBase)
	o200k  = sync.OnceValue(codec.NewO200kBase)
)

// pairs counts by a byte pair encoding. Names of special tokens are text as any other.
func pairs(c *codec.Codec) Counter {
	return func(text []byte) int {
		n, err := c.Count(string(text))
		if err != nil { // its pattern can't fail without a time limit
			return len(text) // no text has more tokens than bytes
		}
		return n
	}
}

// What the characters of a run take, in thirtieths of a token. A byte pair encoding knows
// most words of English, and parts of four letters or so of those that it doesn't know.
const (
	whole       = 30
	small       = 6
	capital     = 10 // words in capitals are known less
	accented    = 15 // other Latin letters
	alphabetic  = 17 // Cyrillic and Greek
	consonantal = 27 // Arabic and Hebrew
	syllabic    = 42 // letters of other scripts, Han among them
	punctuation = 15
	symbolic    = 60 // arrows, dashes, signs
	pictorial   = 90 // what is none of these
)

// So many digits are a token, and so many spaces.
const (
	digitGroup = 3
	spaceGroup = 16
)

// Estimate is about how many tokens a text has, rather more: see docs/recall.md. It goes by
// runs of letters, digits, punctuation and spaces, each rounded up to a whole token. So the
// estimate of two texts one after the other is never above the sum of their estimates.
func Estimate(text []byte) int {
	tokens, weight := 0, 0
	end := func() {
		tokens += (weight + whole - 1) / whole
		weight = 0
	}
	kind, digits, spaces := other, 0, 0
	for i := 0; i < len(text); {
		r, n := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRune(text[i:])
		}
		i += n
		k, w := classify(r)
		// A capital after a small letter begins a new word.
		if k != kind && (k != lower || kind != upper) {
			end()
			if kind == space && spaces == 1 && (k == lower || k == upper || k == mark) {
				tokens-- // the space is the word's
			}
			digits, spaces = 0, 0
		}
		switch kind = k; k {
		case digit:
			if digits%digitGroup == 0 {
				tokens++
			}
			digits++
		case space:
			if spaces%spaceGroup == 0 {
				tokens++
			}
			spaces++
		case newline:
			tokens++
		default:
			weight += w
		}
	}
	end()
	return tokens
}

// The kinds of characters.
const (
	other = iota
	lower
	upper
	digit
	space
	newline
	mark
)

// classify gives a character's kind and what it takes.
func classify(r rune) (kind, weight int) {
	switch {
	case r >= 'a' && r <= 'z':
		return lower, small
	case r >= 'A' && r <= 'Z':
		return upper, capital
	case r >= '0' && r <= '9':
		return digit, 0
	case r == ' ' || r == '\t':
		return space, 0
	case r == '\n' || r == '\r':
		return newline, 0
	case r < utf8.RuneSelf:
		return mark, punctuation
	case unicode.Is(unicode.Latin, r):
		return lower, accented
	case unicode.In(r, unicode.Cyrillic, unicode.Greek):
		return lower, alphabetic
	case unicode.In(r, unicode.Arabic, unicode.Hebrew):
		return lower, consonantal
	case unicode.In(r, unicode.L, unicode.M):
		return lower, syllabic
	case r < 0x3000: // general punctuation, arrows, symbols
		return mark, symbolic
	}
	return mark, pictorial
}
