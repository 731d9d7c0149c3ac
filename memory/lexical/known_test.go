package lexical

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A word has the term that it would have if none had been met before, wherever it lies, and
// though others have had its place.
func TestKnownWords(t *testing.T) {
	var met english
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.OneOf(
			rapid.SliceOfN(rapid.ByteRange('a', 'd'), 1, 6),
			rapid.SliceOfN(rapid.Byte(), 1, 20),
			rapid.Map(rapid.SampledFrom([]string{"the", "went", "children", "painting", "understood", "understands", "aaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaa"}), func(s string) []byte { return []byte(s) }),
		), 1, 200).Draw(t, "words")
		for _, w := range texts {
			var fresh english
			want, ok := fresh.analyse(w)
			behind := append(slices.Clip(bytes.Clone(w)), "some more words behind"...)
			for _, at := range [][]byte{slices.Clip(bytes.Clone(w)), behind[:len(w)]} {
				if got, known := met.term(at); known != ok || ok && got != want {
					t.Fatalf("the term of %q is %x, %t, want %x, %t", w, got, known, want, ok)
				}
			}
		}
	})
}

// TestKnownWordsMakeRoom has many more words than can be known.
func TestKnownWordsMakeRoom(t *testing.T) {
	var met, fresh english
	for range 2 {
		for i := range 4 << knownBits {
			w := []byte{'a' + byte(i%26), 'a' + byte(i/26%26), 'a' + byte(i/676), 'o', 'n'}
			got, ok := met.term(w)
			if want, isTerm := fresh.analyse(w); got != want || ok != isTerm {
				t.Fatalf("the term of %q is %x, %t, want %x, %t", w, got, ok, want, isTerm)
			}
		}
	}
}

func TestByHash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hash := rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64Range(0, 1<<40-1))
		var p []posting
		for i, h := range rapid.SliceOfN(hash, 0, 300).Draw(t, "hashes") {
			p = append(p, posting(h<<24)|posting(i))
		}
		want := slices.Clone(p)
		slices.Sort(want) // each was given its place
		if got := byHash(p); !slices.Equal(got, want) {
			t.Fatalf("sorted to %x, want %x", got, want)
		}
	})
}
