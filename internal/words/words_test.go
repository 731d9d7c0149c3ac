package words

import (
	"slices"
	"strings"
	"testing"

	"github.com/clipperhouse/uax29/v2/words"
)

func TestStem(t *testing.T) {
	for _, group := range []string{
		"land lands landed landing", "stop stops stopped stopping", "call calls called calling",
		"story stories", "try tries tried trying", "paint painted painting paints",
		"make makes making", "glass", "thus", "class classes", "quick quickly",
	} {
		forms := strings.Fields(group)
		want := string(AppendStem(nil, []byte(forms[0])))
		for _, w := range forms[1:] {
			if got := string(AppendStem(nil, []byte(w))); got != want {
				t.Errorf("stem of %q is %q, of %q %q", w, got, forms[0], want)
			}
		}
	}
	for _, w := range []string{"", "a", "sing", "bed", "größen", "p22s", "us", "ss", "ing", "ies"} {
		got := string(AppendStem([]byte("kept"), []byte(w)))
		if !strings.HasPrefix(got, "kept") {
			t.Errorf("stem of %q overwrote what was there: %q", w, got)
		}
	}
}

func TestWords(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"Armstrong's LM, we'll wait; didn't they?", "armstrong lm we wait did they"},
		{"1,202 alarms at 3.5 km", "1202 alarms at 3.5 km"},
		{"Straße ﬁne Ｆｕｌｌ", "strasse fine full"},
		{"don’t O’Neill", "do o'neill"},
		{"月に行く", "月 に 行 く"},
		{"🚀 !? --", ""},
		{"it's 'quoted'", "it quoted"},
		{"a\xffb", "a b"},
	} {
		var got []string
		Each(AppendFolded(nil, c.text), func(w []byte) { got = append(got, string(w)) })
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("words of %q are %q, want %q", c.text, s, c.want)
		}
	}
}

// Words of ASCII are found as Unicode's rules find them.
func FuzzASCII(f *testing.F) {
	for _, s := range []string{"it's 1,202.5 o'clock", "a.b:c 1:2 3;4 _x_1 __ a_'b", "x..y 1.a a.1 '' .5", "don't. stop,", "a b\u00e9c d"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		text = AppendFolded(nil, string(text))
		var got, want []string
		Each(text, func(w []byte) { got = append(got, string(w)) })
		tokens := words.FromBytes(text)
		for tokens.Next() {
			if w := tokens.Value(); hasLetterOrNumber(w) {
				want = append(want, string(plain(w)))
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("words of %q are %q, want %q", text, got, want)
		}
	})
}
