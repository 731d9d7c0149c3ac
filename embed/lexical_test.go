package embed

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"engram/internal/words"
)

var update = flag.Bool("update", false, "write testdata/lexical.golden anew")

func lexical(t testing.TB, dimension int) *Lexical {
	t.Helper()
	l, err := NewLexical(dimension)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func embedOne(t testing.TB, l *Lexical, text string, query bool) []float32 {
	t.Helper()
	v, err := l.Embed(context.Background(), []string{text}, query)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v[0]
}

func dot(a, b []float32) float64 {
	var sum float64
	for i, x := range a {
		sum += float64(x) * float64(b[i])
	}
	return sum
}

// similarity of a document with a query.
func similarity(t testing.TB, document, query string) float64 {
	t.Helper()
	l := lexical(t, DefaultDimension)
	return dot(embedOne(t, l, document, false), embedOne(t, l, query, true))
}

// The bits of these vectors may only change together with Lexical's version.
func TestLexicalGolden(t *testing.T) {
	texts := []string{
		"Houston, Tranquility Base here. The Eagle has landed.",
		"the",
		"Roger. Roger, roger!",
		"It's a 1,202 program alarm; wasn't it?",
		"STRASSE straße Ｆｕｌｌ ﬁne Ångström na\u0131ve don’t",
		"月に着陸した",
		"العقاب قد هبط",
		"👩\u200d🚀🌕 …",
		"bad \xff bytes \xc3",
		strings.Repeat("unbroken", 100),
		strings.Repeat("a long text of many words again and again, ", 300),
	}
	var b strings.Builder
	fmt.Fprintf(&b, "version %s\n", lexical(t, DefaultDimension).Version())
	for _, dimension := range []int{64, 100, DefaultDimension, 1024} {
		l := lexical(t, dimension)
		for i, text := range texts {
			for _, query := range []bool{false, true} {
				h := fnv.New64a()
				for _, x := range embedOne(t, l, text, query) {
					_ = binary.Write(h, binary.LittleEndian, math.Float32bits(x))
				}
				fmt.Fprintf(&b, "dimension %d text %d query %v: %016x\n", dimension, i, query, h.Sum64())
			}
		}
	}
	const file = "testdata/lexical.golden"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the bits have changed: raise the version, then run with -update. Got:\n%s", b.String())
	}
}

func TestNewLexical(t *testing.T) {
	for _, d := range []int{math.MinInt, -1, 0, MinDimension - 1, MaxDimension + 1} {
		if _, err := NewLexical(d); err == nil || !strings.Contains(err.Error(), fmt.Sprint(d)) {
			t.Errorf("dimension %d: %v", d, err)
		}
	}
	if l := lexical(t, 100); l.Dimension() != 100 || l.Name() != "lexical" {
		t.Errorf("%s, %d", l.Name(), l.Dimension())
	}
}

func TestLexicalEmpty(t *testing.T) {
	l := lexical(t, DefaultDimension)
	for _, text := range []string{"", " ", "\n\t\r ", "\u00a0\u2003\u3000"} {
		_, err := l.Embed(t.Context(), []string{"a", text}, false)
		if !errors.Is(err, ErrEmpty) || !strings.Contains(err.Error(), "texts[1]") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if got, err := l.Embed(t.Context(), nil, false); err != nil || len(got) != 0 {
		t.Errorf("no texts: %v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Embed(ctx, []string{"a"}, false); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestLexicalNearness(t *testing.T) {
	for _, c := range []struct{ query, near, far string }{
		{"landing", "landed", "quarantine"},
		{"landing", "lander", "launched"},
		{"seismometer", "seismic", "sextant"},
		{"colour", "color", "cargo"},
		{"Aldrin", "Aldrin's", "Alden's"},
		{"separation", "separatiom", "suspension"},
		{"STRASSE", "straße", "stress"},
		{"naïve", "NAI\u0308VE", "native"},
		{"1202 alarm", "a 1,202 alarm", "a 1,201 alarm"},
		{"don't stop", "don’t stop", "don't start"},
		{"着陸", "月に着陸した", "月に行った"},
		{"Мария пишет", "писать Марии", "Иван читает"},
		{"😀", "😀😀", "🚀"},
		{"When did the Eagle land?", "The Eagle has landed.", "When did they say that?"},
		{"What about the weather in Houston?", "Houston's weather is fair.", "What about it?"},
		{"Did Maria paint the sunrise?", "I painted that sunrise last year, on the coast.", "Hey Maria!"},
	} {
		near, far := similarity(t, c.near, c.query), similarity(t, c.far, c.query)
		if near < far+0.01 || near < 1.5*far {
			t.Errorf("query %q: %q has %.3f, %q has %.3f", c.query, c.near, near, c.far, far)
		}
	}
}

func TestLexicalSimilarity(t *testing.T) {
	l := lexical(t, DefaultDimension)
	const short, long = "The Eagle has landed.", "Houston, that may have seemed like a very long final phase. The auto targeting was taking us right into a football-field-sized crater, with a large number of big boulders and rocks for about one or two crater diameters around it, and it required flying manually over the rock field to find a reasonably good area."
	for _, query := range []bool{false, true} {
		for _, text := range []string{short, long} {
			v := embedOne(t, l, text, query)
			if got := dot(v, v); math.Abs(got-1) > 1e-6 {
				t.Errorf("%q with itself: %v", text, got)
			}
		}
	}
	// A document that needs no filling is what the same query is.
	if !slices.Equal(embedOne(t, l, long, false), embedOne(t, l, long, true)) {
		t.Error("a long document isn't its own query")
	}
	if s := similarity(t, short, short); s < 0.25 || s > 0.75 {
		t.Errorf("short document with the same query: %.3f", s)
	}
	// Documents that nearly repeat each other stay near, filled or not.
	a, b := embedOne(t, l, "The Eagle has landed safely", false), embedOne(t, l, "the eagle landed safely!", false)
	if s := dot(a, b); s < 0.95 {
		t.Errorf("near repeats: %.3f", s)
	}
}

// anyText has words of several scripts, punctuation and broken UTF-8, and
// something to embed.
func anyText() *rapid.Generator[string] {
	part := rapid.OneOf(
		rapid.String(),
		rapid.StringMatching(`[a-zA-Z]{1,12}('s|n't)?`),
		rapid.SampledFrom([]string{"the", "Maria", "über", "月", "1,000,000.5", "👍", "\xff", " ", "\u0345", "’"}),
	)
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(part, 1, 20).Draw(t, "parts"), " ")
	}).Filter(func(s string) bool { return strings.TrimSpace(s) != "" })
}

func checkVector(t interface{ Fatalf(string, ...any) }, v []float32, dimension int) {
	if len(v) != dimension {
		t.Fatalf("%d components, want %d", len(v), dimension)
	}
	for i, x := range v {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			t.Fatalf("component %d is %v", i, x)
		}
	}
	if n := math.Sqrt(dot(v, v)); math.Abs(n-1) > 1e-6 {
		t.Fatalf("norm %v", n)
	}
}

func TestLexicalProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dimension := rapid.SampledFrom([]int{64, 65, 512, 8192}).Draw(t, "dimension")
		query := rapid.Bool().Draw(t, "query")
		texts := rapid.SliceOfN(anyText(), 1, 5).Draw(t, "texts")
		l, err := NewLexical(dimension)
		if err != nil {
			t.Fatal(err)
		}
		all, err := l.Embed(context.Background(), texts, query)
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range texts {
			checkVector(t, all[i], dimension)
			alone, err := l.Embed(context.Background(), []string{text}, query)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(alone[0], all[i]) {
				t.Fatalf("%q has other bits alone than in a batch", text)
			}
		}
	})
}

// The order of words, their case, and the spaces between them make no bit of
// difference.
func TestLexicalPermutation(t *testing.T) {
	word := rapid.StringMatching(`[a-zäöü]{1,10}|[0-9]{1,5}`)
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(word, 1, 30).Draw(t, "words")
		shuffled := rapid.Permutation(words).Draw(t, "shuffled")
		query := rapid.Bool().Draw(t, "query")
		l, err := NewLexical(DefaultDimension)
		if err != nil {
			t.Fatal(err)
		}
		v, err := l.Embed(context.Background(), []string{strings.Join(words, " "), strings.ToUpper(strings.Join(shuffled, " ; \n"))}, query)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(v[0], v[1]) {
			t.Fatalf("%q and %q differ", words, shuffled)
		}
	})
}

func TestLexicalConcurrent(t *testing.T) {
	l := lexical(t, DefaultDimension)
	texts := []string{"Roger.", "The Eagle has landed.", strings.Repeat("word ", 5000), "🚀", strings.Repeat("Wörter ", 30)}
	want, err := l.Embed(t.Context(), texts, false)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				got, err := l.Embed(context.Background(), texts, false)
				if err != nil {
					t.Error(err)
					return
				}
				for i := range want {
					if !slices.Equal(got[i], want[i]) {
						t.Errorf("texts[%d] got other bits", i)
					}
				}
			}
		})
	}
	wg.Wait()
}

// Neither the length of a text nor that of its words makes it slow or large.
func TestLexicalAllocations(t *testing.T) {
	l := lexical(t, DefaultDimension)
	texts := slices.Repeat([]string{"Houston, Tranquility Base here. The Eagle has landed."}, 100)
	allocs := testing.AllocsPerRun(10, func() {
		if _, err := l.Embed(context.Background(), texts, false); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 20 {
		t.Errorf("%v allocations for %d texts, want a few a call", allocs, len(texts))
	}
	for _, text := range []string{strings.Repeat("x", 1<<20), strings.Repeat("x ", 1<<19), strings.Repeat("’", 1<<18)} {
		checkVector(t, embedOne(t, l, text, false), DefaultDimension)
	}
}

func TestGrades(t *testing.T) {
	if len(gradeWeights) != 4 || grades["the"] != 1 || grades["good"] != 2 || grades["friend"] != 3 || grades["eagle"] != 0 {
		t.Error("a word has another grade than its list's")
	}
	seen := map[string]bool{}
	for _, w := range strings.Fields(words.FunctionWords + everydayWords + commonWords) {
		if seen[w] {
			t.Errorf("%q is listed twice", w)
		}
		seen[w] = true
		if strings.ToLower(w) != w {
			t.Errorf("%q isn't folded", w)
		}
	}
}

func FuzzLexical(f *testing.F) {
	for _, s := range []string{"The Eagle has landed.", "don’t", "\xff\xfe", "\u0345\u0300", "👩\u200d🚀", "1,2,3.4", "'", "''s", "ﷺ", "\x00", "²½Ⅷ", " \u200b"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	l := lexical(f, DefaultDimension)
	f.Fuzz(func(t *testing.T, text string, query bool) {
		got, err := l.Embed(context.Background(), []string{text}, query)
		if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsSpace(r) }) < 0 {
			if !errors.Is(err, ErrEmpty) {
				t.Fatalf("white space: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		checkVector(t, got[0], DefaultDimension)
		again, err := l.Embed(context.Background(), []string{text}, query)
		if err != nil || !slices.Equal(got[0], again[0]) {
			t.Fatalf("not the same twice: %v", err)
		}
	})
}

func FuzzDecodeEmbeddings(f *testing.F) {
	f.Add([]byte(`{"data":[{"index":1,"embedding":[1,2]},{"index":0,"embedding":"AACAPwAAAEA="}]}`), 2, 0)
	f.Add([]byte(`{"data":[{"embedding":[null]}]}`), 1, 1)
	f.Add([]byte(`{"data":[{"index":-1,"embedding":"AADAfw=="}]}`), 1, 1)
	f.Fuzz(func(t *testing.T, reply []byte, count, dimension int) {
		count, dimension = max(1, min(count, 100)), max(0, min(dimension, MaxDimension))
		got, err := decodeEmbeddings(reply, count, dimension)
		if err != nil {
			return
		}
		if len(got) != count {
			t.Fatalf("%d vectors, want %d", len(got), count)
		}
		for i, v := range got {
			if len(v) == 0 || len(v) != len(got[0]) || dimension != 0 && len(v) != dimension {
				t.Fatalf("vector %d has %d components", i, len(v))
			}
			for _, x := range v {
				if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
					t.Fatalf("vector %d holds %v", i, x)
				}
			}
		}
	})
}

func BenchmarkLexical(b *testing.B) {
	short := []string{
		"Roger. Clock.",
		"Houston, Tranquility Base here. The Eagle has landed.",
		"That's one small step for man, one giant leap for mankind.",
		"Okay. I'm going to step off the LM now.",
	}
	for _, c := range []struct {
		name  string
		texts []string
	}{
		{"utterances=100/ASCII", slices.Repeat(short, 25)},
		{"utterances=100/typographic", slices.Repeat([]string{"That’s one small step for man – one giant leap for mankind …"}, 100)},
		{"text=64KiB", []string{strings.Repeat(strings.Join(short, " ")+" ", 400)[:64<<10]}},
	} {
		b.Run(fmt.Sprintf("%s/d=%d", c.name, DefaultDimension), func(b *testing.B) {
			l := lexical(b, DefaultDimension)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Embed(context.Background(), c.texts, false); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*len(c.texts))/b.Elapsed().Seconds(), "texts/s")
		})
	}
}
