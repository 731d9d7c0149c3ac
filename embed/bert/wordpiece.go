package bert

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// tokeniser splits text into BERT's tokens as Hugging Face's tokenizers library does:
// cleaned, Chinese characters set apart, accents stripped and lower case (where the model
// asks for them), split at spaces and punctuation, then each word into the longest pieces
// of the vocabulary from left to right (Wu et al., "Google's Neural Machine Translation
// System", 2016, §4.1).
type tokeniser struct {
	clean, spaceCJK, strip, lower bool

	added               []string // found in the text as it was given, before all else
	prefix, unknownWord string
	maxRunes            int // of a word; a longer one is unknown
	ids                 map[string]int32

	unknown, start, end int32
	initial, continuing map[string]int32 // pieces that begin a word, or go on (without the prefix)
	longest             int              // runes of the longest piece
}

// words is what splitting one text needs, kept for the next.
type words struct {
	clean, folded []byte
	word          []byte
	bounds        []int // where the word's runes begin, and its length
}

// appendTokens appends the tokens of a text, at most most with the marks of its start
// and end.
func (t *tokeniser) appendTokens(tokens []int32, w *words, text string, most int) []int32 {
	limit := len(tokens) + most - 1
	tokens = append(tokens, t.start)
	for len(text) > 0 && len(tokens) < limit {
		at, added := t.nextAdded(text)
		tokens = t.appendWords(tokens, w, text[:at], limit)
		if added != "" && len(tokens) < limit {
			tokens = append(tokens, t.initial[added])
		}
		text = text[at+len(added):]
	}
	return append(tokens, t.end)
}

// nextAdded finds the first added token in the text, the longest if several begin there.
func (t *tokeniser) nextAdded(text string) (at int, added string) {
	at = len(text)
	for _, a := range t.added {
		if i := strings.Index(text[:min(len(text), at+len(a))], a); i >= 0 && (i < at || i == at && len(a) > len(added)) {
			at, added = i, a
		}
	}
	return at, added
}

func (t *tokeniser) appendWords(tokens []int32, w *words, text string, limit int) []int32 {
	w.fold(t, text)
	w.word = w.word[:0]
	for b := w.folded; len(b) > 0 && len(tokens) < limit; {
		r, n := utf8.DecodeRune(b)
		switch {
		case unicode.IsSpace(r):
			tokens = t.appendPieces(tokens, w, limit)
		case isPunctuation(r):
			tokens = t.appendPieces(tokens, w, limit)
			w.word = append(w.word, b[:n]...)
			tokens = t.appendPieces(tokens, w, limit)
		default:
			w.word = append(w.word, b[:n]...)
		}
		b = b[n:]
	}
	return t.appendPieces(tokens, w, limit)
}

// fold normalises the text into folded.
func (w *words) fold(t *tokeniser, text string) {
	w.clean = w.clean[:0]
	for _, r := range text { // a byte that isn't UTF-8 comes as U+FFFD
		switch {
		case t.clean && (r == 0 || r == utf8.RuneError || isControl(r)):
		case t.clean && unicode.IsSpace(r):
			w.clean = append(w.clean, ' ')
		case t.spaceCJK && isCJK(r):
			w.clean = append(utf8.AppendRune(append(w.clean, ' '), r), ' ')
		default:
			w.clean = utf8.AppendRune(w.clean, r)
		}
	}
	decomposed := w.clean
	if t.strip {
		w.folded = norm.NFD.Append(w.folded[:0], w.clean...)
		w.clean, w.folded = w.folded, w.clean
		decomposed = w.clean
	}
	w.folded = w.folded[:0]
	for len(decomposed) > 0 {
		r, n := utf8.DecodeRune(decomposed)
		decomposed = decomposed[n:]
		if t.strip && unicode.Is(unicode.Mn, r) {
			continue
		}
		if t.lower {
			if r == 'İ' { // the one letter whose lower case is two
				w.folded = append(w.folded, "i̇"...)
				continue
			}
			r = unicode.ToLower(r)
		}
		w.folded = utf8.AppendRune(w.folded, r)
	}
}

// appendPieces appends the pieces of w.word, and empties it.
func (t *tokeniser) appendPieces(tokens []int32, w *words, limit int) []int32 {
	if len(w.word) == 0 {
		return tokens
	}
	word, before := w.word, len(tokens)
	w.word = w.word[:0]
	w.bounds = w.bounds[:0]
	for i := 0; i < len(word); {
		w.bounds = append(w.bounds, i)
		_, n := utf8.DecodeRune(word[i:])
		i += n
	}
	runes := len(w.bounds)
	if runes > t.maxRunes {
		return t.appendUpTo(tokens, t.unknown, limit)
	}
	w.bounds = append(w.bounds, len(word))
	pieces := t.initial
	for from := 0; from < runes; pieces = t.continuing {
		to := min(runes, from+t.longest)
		for ; to > from; to-- {
			if id, ok := pieces[string(word[w.bounds[from]:w.bounds[to]])]; ok {
				tokens = append(tokens, id)
				break
			}
		}
		if to == from { // a word is unknown as a whole
			return t.appendUpTo(tokens[:before], t.unknown, limit)
		}
		from = to
	}
	return tokens[:min(len(tokens), limit)]
}

func (t *tokeniser) appendUpTo(tokens []int32, id int32, limit int) []int32 {
	if len(tokens) < limit {
		tokens = append(tokens, id)
	}
	return tokens
}

// isControl is for what cleaning drops: control and format characters and those for
// private use, but for the three that are spaces.
func isControl(r rune) bool {
	return r != '\t' && r != '\n' && r != '\r' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co)
}

// isPunctuation counts ASCII's symbols ($, +, <, …) among punctuation.
func isPunctuation(r rune) bool {
	return unicode.IsPunct(r) || r < 0x80 && unicode.IsSymbol(r)
}

// isCJK is for the ranges of ideographs that BERT knows. (The one at U+2B920 begins at
// U+2B820 in Unicode; Hugging Face's library has it so.)
func isCJK(r rune) bool {
	return r >= 0x4e00 && r <= 0x9fff || r >= 0x3400 && r <= 0x4dbf || r >= 0x20000 && r <= 0x2a6df ||
		r >= 0x2a700 && r <= 0x2b73f || r >= 0x2b740 && r <= 0x2b81f || r >= 0x2b920 && r <= 0x2ceaf ||
		r >= 0xf900 && r <= 0xfaff || r >= 0x2f800 && r <= 0x2fa1f
}
