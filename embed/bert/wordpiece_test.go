package bert

import (
	"encoding/json"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func tinyTokeniser(t testing.TB, others map[string]string) *tokeniser {
	t.Helper()
	tokeniser, err := files{dir: newTiny(1).write(t, others), sum: io.Discard}.tokeniser(len(tinyWords))
	if err != nil {
		t.Fatal(err)
	}
	return tokeniser
}

// pieces are the tokens' words, without the marks.
func pieces(t testing.TB, tokens []int32) []string {
	t.Helper()
	if len(tokens) < 2 || tinyWords[tokens[0]] != "[CLS]" || tinyWords[tokens[len(tokens)-1]] != "[SEP]" {
		t.Fatalf("the tokens %v lack their marks", tokens)
	}
	out := []string{}
	for _, id := range tokens[1 : len(tokens)-1] {
		out = append(out, tinyWords[id])
	}
	return out
}

func TestPieces(t *testing.T) {
	tokeniser := tinyTokeniser(t, nil)
	for text, want := range map[string]string{
		"":                           "",
		"The DOGS barked.":           "the dog ##s bark ##ed .",
		"dög\u200bs\tàt\u0000":       "dog ##s at",
		"cats key:a":                 "cat ##s key : a",
		"dogx":                       "[UNK]",
		"a[SEP]b[MASK]":              "a [SEP] [UNK] [MASK]",
		"[sep]":                      "[UNK] [UNK] [UNK]",
		"a\u4e00a":                   "a [UNK] a",
		strings.Repeat("b", 101):     "[UNK]",
		"a" + strings.Repeat("b", 4): "a ##b ##b ##b ##b",
		"a\xffb.\xfe":                "a ##b .",
		"İ":                          "[UNK]",
	} {
		if got := strings.Join(pieces(t, tokeniser.appendTokens(nil, &words{}, text, 200)), " "); got != want {
			t.Errorf("%q gives %q, want %q", text, got, want)
		}
	}
	if got := pieces(t, tokeniser.appendTokens(nil, &words{}, "the dogs barked", 5)); !slices.Equal(got, []string{"the", "dog", "##s"}) {
		t.Errorf("cut to 5: %v", got)
	}
}

// TestTokenizerFile: tokenizer.json gives what vocab.txt gives, and says what it doesn't.
func TestTokenizerFile(t *testing.T) {
	vocabulary := map[string]int{}
	added := []map[string]any{}
	for id, word := range tinyWords {
		vocabulary[word] = id
		if strings.HasPrefix(word, "[") {
			added = append(added, map[string]any{"id": id, "content": word, "special": true})
		}
	}
	text := func(normaliser map[string]any) string {
		normaliser["type"] = "BertNormalizer"
		b, err := json.Marshal(map[string]any{
			"added_tokens": added, "normalizer": normaliser, "pre_tokenizer": map[string]any{"type": "BertPreTokenizer"},
			"model": map[string]any{"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary},
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	uncased := map[string]any{"clean_text": true, "handle_chinese_chars": true, "lowercase": true, "strip_accents": nil}
	a, b := tinyTokeniser(t, nil), tinyTokeniser(t, map[string]string{"tokenizer.json": text(uncased), "vocab.txt": ""})
	slices.Sort(a.added)
	slices.Sort(b.added)
	if !reflect.DeepEqual(a, b) {
		t.Error("tokenizer.json and vocab.txt differ")
	}
	cased := tinyTokeniser(t, map[string]string{"tokenizer.json": text(map[string]any{"lowercase": false})})
	if got := strings.Join(pieces(t, cased.appendTokens(nil, &words{}, "the Dog dög\u200b dog", 200)), " "); got != "the [UNK] [UNK] dog" {
		t.Errorf("cased: %q", got)
	}
	cased = tinyTokeniser(t, map[string]string{"tokenizer_config.json": `{"do_lower_case":false,"strip_accents":true}`})
	if got := strings.Join(pieces(t, cased.appendTokens(nil, &words{}, "the Dog dög", 200)), " "); got != "the [UNK] dog" {
		t.Errorf("cased, without accents: %q", got)
	}
}

// TestCut: a text cut to fewer tokens has the first of those that it has uncut.
func TestCut(t *testing.T) {
	tokeniser := tinyTokeniser(t, nil)
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{"the", " ", "dogs", "b", "[SEP]", ".", "ö", "一", "\x00", "🙂"})).Draw(t, "text"), "")
		whole := tokeniser.appendTokens(nil, &words{}, text, 1<<20)
		most := rapid.IntRange(minTokens, 40).Draw(t, "most")
		got := tokeniser.appendTokens([]int32{7}, &words{}, text, most)
		want := append([]int32{7}, whole...)
		if len(whole) > most {
			want = append(want[:most], tokeniser.end)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q cut to %d is %v, want %v", text, most, got, want)
		}
	})
}

func FuzzTokens(f *testing.F) {
	tokeniser := tinyTokeniser(f, nil)
	w := &words{}
	for _, text := range append([]string{"e\u0301\u0323x\u0338", "a[CLS][", "\xff[SEP]", "가"}, texts...) {
		f.Add(text, 20)
	}
	f.Fuzz(func(t *testing.T, text string, most int) {
		if most < minTokens || most > 1000 {
			return
		}
		tokens := tokeniser.appendTokens(nil, w, text, most)
		if len(tokens) > most {
			t.Errorf("%d tokens, %d are allowed", len(tokens), most)
		}
		pieces(t, tokens)
		if !utf8.Valid(w.folded) {
			t.Error("what was folded isn't UTF-8")
		}
		if again := tokeniser.appendTokens(nil, &words{}, text, most); !slices.Equal(tokens, again) {
			t.Error("what the text before left matters")
		}
	})
}
