package bert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"
)

// minTokens is the least number of tokens a text may be cut to: both marks, and one.
const minTokens = 3

// tokenizerFile is what matters of tokenizer.json.
type tokenizerFile struct {
	Added []struct {
		ID         int32
		Content    string
		SingleWord bool `json:"single_word"`
		LStrip     bool
		RStrip     bool
		Normalized bool
	} `json:"added_tokens"`
	Normalizer struct {
		Type         string
		CleanText    bool  `json:"clean_text"`
		ChineseChars bool  `json:"handle_chinese_chars"`
		StripAccents *bool `json:"strip_accents"`
		Lowercase    bool
	}
	PreTokenizer struct{ Type string } `json:"pre_tokenizer"`
	Model        struct {
		Type     string
		Unknown  string           `json:"unk_token"`
		Prefix   string           `json:"continuing_subword_prefix"`
		MaxRunes int              `json:"max_input_chars_per_word"`
		Words    map[string]int32 `json:"vocab"`
	}
}

// tokeniser reads tokenizer.json, or vocab.txt and tokenizer_config.json. Every id it
// gives is below words.
func (f files) tokeniser(words int) (*tokeniser, error) {
	t, err := f.fromTokenizer()
	if errors.Is(err, fs.ErrNotExist) {
		t, err = f.fromVocabulary()
	}
	if err != nil {
		return nil, err
	}
	if err := t.index(words); err != nil {
		return nil, fmt.Errorf("the vocabulary: %w", err)
	}
	return t, nil
}

func (f files) fromTokenizer() (*tokeniser, error) {
	const name = "tokenizer.json"
	b, err := f.bytes(name)
	if err != nil {
		return nil, err
	}
	var file tokenizerFile
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, part := range []struct{ name, have, want string }{
		{"normalizer", file.Normalizer.Type, "BertNormalizer"},
		{"pre_tokenizer", file.PreTokenizer.Type, "BertPreTokenizer"},
		{"model", file.Model.Type, "WordPiece"},
	} {
		// Older files leave the model's type out.
		if part.have != part.want && (part.have != "" || part.name != "model") {
			return nil, fmt.Errorf("%s: the %s is a %.40q; this runs %s", name, part.name, part.have, part.want)
		}
	}
	if n := file.Model.MaxRunes; n < 0 || n > 1<<16 {
		return nil, fmt.Errorf("%s: max_input_chars_per_word is %d", name, n)
	}
	n := file.Normalizer
	t := &tokeniser{
		clean: n.CleanText, spaceCJK: n.ChineseChars, lower: n.Lowercase, strip: n.Lowercase,
		prefix: file.Model.Prefix, unknownWord: file.Model.Unknown, maxRunes: file.Model.MaxRunes, ids: file.Model.Words,
	}
	if n.StripAccents != nil {
		t.strip = *n.StripAccents
	}
	for _, a := range file.Added {
		if a.SingleWord || a.LStrip || a.RStrip || a.Normalized {
			return nil, fmt.Errorf("%s: added token %.40q is matched by rules that this doesn't know", name, a.Content)
		}
		if a.Content == "" {
			return nil, fmt.Errorf("%s: an added token is empty", name)
		}
		t.added = append(t.added, a.Content)
		if t.ids == nil {
			t.ids = map[string]int32{}
		}
		t.ids[a.Content] = a.ID
	}
	return t, nil
}

func (f files) fromVocabulary() (*tokeniser, error) {
	b, err := f.bytes("vocab.txt")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("neither tokenizer.json nor vocab.txt: %w", fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	config := struct {
		Lower        bool  `json:"do_lower_case"`
		ChineseChars bool  `json:"tokenize_chinese_chars"`
		StripAccents *bool `json:"strip_accents"`
	}{Lower: true, ChineseChars: true}
	if _, err := f.json("tokenizer_config.json", &config); err != nil {
		return nil, err
	}
	t := &tokeniser{clean: true, spaceCJK: config.ChineseChars, lower: config.Lower, strip: config.Lower, ids: map[string]int32{}}
	if config.StripAccents != nil {
		t.strip = *config.StripAccents
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	for id, line := range strings.Split(string(b), "\n") {
		t.ids[strings.TrimSuffix(line, "\r")] = int32(id)
	}
	for _, word := range []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"} {
		if _, ok := t.ids[word]; ok {
			t.added = append(t.added, word)
		}
	}
	return t, nil
}

// index checks the vocabulary and prepares what look-ups need.
func (t *tokeniser) index(words int) error {
	if t.prefix == "" {
		t.prefix = "##"
	}
	if t.unknownWord == "" {
		t.unknownWord = "[UNK]"
	}
	if t.maxRunes == 0 {
		t.maxRunes = 100
	}
	for word, id := range t.ids {
		if id < 0 || int(id) >= words {
			return fmt.Errorf("%.40q is number %d of %d words", word, id, words)
		}
	}
	for word, id := range map[string]*int32{t.unknownWord: &t.unknown, "[CLS]": &t.start, "[SEP]": &t.end} {
		var ok bool
		if *id, ok = t.ids[word]; !ok {
			return fmt.Errorf("%.40q isn't in it", word)
		}
	}
	t.initial, t.continuing = map[string]int32{}, map[string]int32{}
	for word, id := range t.ids {
		t.initial[word] = id
		t.longest = max(t.longest, utf8.RuneCountInString(word))
		if rest, ok := strings.CutPrefix(word, t.prefix); ok && rest != "" {
			t.continuing[rest] = id
		}
	}
	t.ids = nil
	return nil
}
