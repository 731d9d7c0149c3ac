// Package words takes text apart into the words that an embedder and a lexical index
// compare: by the boundaries of Unicode Standard Annex 29, folded, and with light
// English stems.
package words

import (
	"bytes"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/words"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// AppendFolded appends text to dst as it is compared: valid UTF-8, NFKC, full
// case folding, and one apostrophe for the typographic ones.
func AppendFolded(dst []byte, text string) []byte {
	folded := slices.Grow(dst, len(text))[:len(dst)+len(text)]
	to, all := folded[len(dst):], byte(0)
	for i := range to {
		c := text[i]
		all |= c
		to[i] = lower[c]
	}
	if all >= utf8.RuneSelf {
		return appendFoldedUnicode(dst, text)
	}
	return folded
}

func appendFoldedUnicode(dst []byte, text string) []byte {
	b := bytes.ToValidUTF8([]byte(text), []byte("\uFFFD"))
	b = cases.Fold().Bytes(norm.NFKC.Bytes(b))
	// Folding can leave the normal form: U+0345 folds to a letter, for one.
	b = norm.NFKC.Bytes(b)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == '\u2019' || r == '\u02BC' {
			dst = append(dst, '\'')
		} else {
			dst = append(dst, b[:n]...)
		}
		b = b[n:]
	}
	return dst
}

// Each calls f with each word of a folded text, by the boundaries of
// Unicode Standard Annex 29. English contractions and possessives lose their
// tail ("Armstrong's", "we'll"), numbers their separators of thousands.
func Each(folded []byte, f func(word []byte)) {
	n := ascii(folded)
	if n < len(folded) {
		// A character beyond ASCII may belong to the word before it.
		for n > 0 && folded[n-1] > ' ' {
			n--
		}
	}
	eachASCII(folded[:n], f)
	tokens := words.FromBytes(folded[n:])
	for tokens.Next() {
		if w := tokens.Value(); hasLetterOrNumber(w) {
			f(plain(w))
		}
	}
}

// plain gives a word as it is compared.
func plain(w []byte) []byte {
	if w[0] <= '9' && bytes.IndexByte(w, ',') >= 0 {
		w = bytes.ReplaceAll(w, []byte{','}, nil)
	}
	return cutContraction(w)
}

func hasLetterOrNumber(w []byte) bool {
	for len(w) > 0 {
		r, n := utf8.DecodeRune(w)
		if unicode.IsLetter(r) || unicode.IsNumber(r) {
			return true
		}
		w = w[n:]
	}
	return false
}

func cutContraction(w []byte) []byte {
	i := bytes.LastIndexByte(w, '\'')
	if i <= 0 {
		return w
	}
	switch string(w[i+1:]) {
	case "", "s", "ll", "re", "ve", "d", "m":
		return w[:i]
	case "t": // "didn't" is "did", "can't" is "ca": both function words
		if i > 1 && w[i-1] == 'n' {
			return w[:i-1]
		}
	}
	return w
}

// AppendStem appends the word without the commonest English endings. It is
// rougher than Porter's, as character n-grams catch what it misses; words with
// anything but a–z in them stay as they are.
func AppendStem(dst, w []byte) []byte {
	start := len(dst)
	dst = append(dst, w...)
	for _, c := range w {
		if c < 'a' || c > 'z' {
			return dst
		}
	}
	s := dst[start:]
	ends := func(suffix string, longer int) bool {
		return len(s) > longer && bytes.HasSuffix(s, []byte(suffix))
	}
	cutVerb := func(ending int) {
		root := s[:len(s)-ending]
		if !bytes.ContainsAny(root, "aeiouy") {
			return
		}
		s = root
		// "stopped" is "stop", but "called" is "call".
		if n := len(s); n > 2 && s[n-1] == s[n-2] && bytes.IndexByte([]byte("lsz"), s[n-1]) < 0 {
			s = s[:n-1]
		}
	}
	if len(s) <= 3 {
		return dst
	}
	switch {
	case ends("ies", 4):
		s = append(s[:len(s)-3], 'y')
	case ends("sses", 4):
		s = s[:len(s)-2]
	case ends("ss", 0), ends("us", 0), ends("is", 0):
	case ends("s", 0):
		s = s[:len(s)-1]
	}
	switch {
	case ends("ing", 5):
		cutVerb(3)
	case ends("ied", 4):
		s = append(s[:len(s)-3], 'y')
	case ends("ed", 4):
		cutVerb(2)
	case ends("ly", 5):
		s = s[:len(s)-2]
	}
	if ends("e", 3) {
		s = s[:len(s)-1]
	}
	if ends("y", 3) {
		s[len(s)-1] = 'i'
	}
	return dst[:start+len(s)]
}
