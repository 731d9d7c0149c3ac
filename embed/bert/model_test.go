//go:build minilm

package bert

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The directory of all-MiniLM-L6-v2 and what testdata/reference.py wrote of it.
const dirEnv, samplesEnv = "ENGRAM_MINILM_DIR", "ENGRAM_MINILM_SAMPLES"

func fromEnv(t testing.TB, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s isn't set: .ci/run's step minilm shows how", name)
	}
	return value
}

// A sample is a text with its tokens and vector, from a reference.
type sample struct {
	Text   string
	Tokens []int32
	Vector []float64
}

func samples(t testing.TB, path string) []sample {
	t.Helper()
	b, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	var all []sample
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestMiniLM holds the real model to sentence-transformers 2.2.2 on PyTorch 1.13, whose
// vectors testdata/minilm.json has, and to the naive pass in float64 of reference.py.
func TestMiniLM(t *testing.T) {
	e := opened(t, Config{Name: "minilm", Dir: fromEnv(t, dirEnv)})
	if e.Dimension() != 384 || e.MaxTokens() != 256 {
		t.Errorf("%d dimensions, %d tokens", e.Dimension(), e.MaxTokens())
	}
	for _, from := range []string{"testdata/minilm.json", fromEnv(t, samplesEnv)} {
		all := samples(t, from)
		if len(all) < 10 {
			t.Fatalf("%s has %d samples", from, len(all))
		}
		var texts []string
		for _, s := range all {
			texts = append(texts, s.Text)
			if got := e.tokeniser.appendTokens(nil, &words{}, s.Text, e.MaxTokens()); !slices.Equal(got, s.Tokens) {
				t.Errorf("%q has tokens %v, want %v", s.Text, got, s.Tokens)
			}
		}
		worst := 0.0
		for i, v := range embedded(t, e, false, texts...) {
			for k, x := range v {
				worst = max(worst, math.Abs(float64(x)-all[i].Vector[k]))
			}
		}
		t.Logf("%s: %d texts, the greatest difference of a component is %.2g", from, len(all), worst)
		if !(worst <= 1e-5) { // ten times as near as is promised
			t.Errorf("%s: a component differs by %g", from, worst)
		}
	}
}

// BenchmarkMiniLM embeds one text of so many tokens at a time.
func BenchmarkMiniLM(b *testing.B) {
	e := opened(b, Config{Name: "minilm", Dir: fromEnv(b, dirEnv)})
	for name, text := range map[string]string{"16 tokens": "What did Anna say about her sister's wedding in May 2023?", "256 tokens": long + long} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				embedded(b, e, false, text)
			}
		})
	}
}
