package bert

import (
	"context"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"engram/embed"
	"engram/memory"
)

var _ memory.Embedder = (*Embedder)(nil)

func opened(t testing.TB, c Config) *Embedder {
	t.Helper()
	e, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func embedded(t testing.TB, e *Embedder, query bool, texts ...string) [][]float32 {
	t.Helper()
	vectors, err := e.Embed(context.Background(), texts, query)
	if err != nil {
		t.Fatal(err)
	}
	return vectors
}

// near holds a vector to the reference, within 1e-5 of its greatest component or of 1.
func near(t *testing.T, got []float32, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d components, want %d", len(got), len(want))
	}
	for k, x := range want {
		if d := math.Abs(float64(got[k]) - x); !(d <= 1e-5*max(1, math.Abs(x))) {
			t.Fatalf("component %d is %g, want %g", k, got[k], x)
		}
	}
}

var long = strings.Repeat("the dogs barked at a cat. ", 60)

var texts = []string{"The dogs barked.", "a", "unknowable cats", long, "the key: a dog at the cat", strings.Repeat("dog ", 44)}

func TestAgainstNaive(t *testing.T) {
	const (
		plainModules = `[{"path":"","type":"sentence_transformers.models.Transformer"},{"path":"1_Pooling","type":"sentence_transformers.models.Pooling"}]`
		cls          = `{"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":false}`
		mean         = `{"word_embedding_dimension":40,"pooling_mode_mean_tokens":true,"pooling_mode_cls_token":false,"include_prompt":true}`
	)
	for name, c := range map[string]struct {
		files            map[string]string
		dtype, prefix    string
		first, normalise bool
		most             int
	}{
		"no sentence-transformers":  {normalise: true, most: 300},
		"mean, any norm, 20 tokens": {files: map[string]string{"modules.json": plainModules, "1_Pooling/config.json": mean, "sentence_bert_config.json": `{"max_seq_length":20}`}, most: 20},
		"first token":               {files: map[string]string{"modules.json": strings.TrimSuffix(plainModules, "]") + `,{"path":"2","type":"sentence_transformers.models.Normalize"}]`, "1_Pooling/config.json": cls}, first: true, normalise: true, most: 300},
		"BF16, named bert.":         {dtype: "BF16", prefix: "bert.", normalise: true, most: 300},
	} {
		t.Run(name, func(t *testing.T) {
			m := newTiny(1)
			files := map[string]string{}
			for n, content := range c.files {
				files[n] = content
			}
			if c.dtype != "" {
				files["model.safetensors"] = string(m.safetensors(c.dtype, c.prefix))
			}
			e := opened(t, Config{Name: "minilm", Dir: m.write(t, files)})
			if e.Name() != "minilm" || e.Dimension() != m.hidden || e.MaxTokens() != c.most {
				t.Errorf("%s, %d dimensions, %d tokens", e.Name(), e.Dimension(), e.MaxTokens())
			}
			vectors := embedded(t, e, false, texts...)
			for i, text := range texts {
				tokens := e.tokeniser.appendTokens(nil, &words{}, text, c.most)
				near(t, vectors[i], vector(m.states(tokens), c.first, c.normalise))
			}
		})
	}
}

// TestAlone: a text's vector is the same to the bit whatever comes with it, and however
// many goroutines share the work.
func TestAlone(t *testing.T) {
	m := newTiny(2)
	e := opened(t, Config{Dir: m.write(t, nil)})
	together := embedded(t, e, false, texts...)
	for i, text := range texts {
		if alone := embedded(t, e, false, text)[0]; !reflect.DeepEqual(alone, together[i]) {
			t.Errorf("%.20q alone has another vector", text)
		}
		p := &pass{tokens: e.tokeniser.appendTokens(nil, &words{}, text, e.MaxTokens())}
		p.ends = []int{len(p.tokens)}
		v := [][]float32{make([]float32, e.Dimension())}
		e.model.run(p, v, 3)
		if !reflect.DeepEqual(v[0], together[i]) {
			t.Errorf("%.20q by three goroutines has another vector", text)
		}
	}
}

func TestPrefixes(t *testing.T) {
	m := newTiny(3)
	prompts := map[string]string{"config_sentence_transformers.json": `{"prompts":{"query":"query: ","passage":"passage: "}}`}
	plain, given, filed := opened(t, Config{Dir: m.write(t, nil)}), opened(t, Config{Dir: m.write(t, nil), QueryPrefix: "query: ", DocumentPrefix: "passage: "}), opened(t, Config{Dir: m.write(t, prompts)})
	for _, e := range []*Embedder{given, filed} {
		if got, want := embedded(t, e, true, "a dog"), embedded(t, plain, false, "query: a dog"); !reflect.DeepEqual(got, want) {
			t.Error("a query's prefix isn't before it")
		}
		if got, want := embedded(t, e, false, "a dog"), embedded(t, plain, true, "passage: a dog"); !reflect.DeepEqual(got, want) {
			t.Error("a document's prefix isn't before it")
		}
		if e.Version() == plain.Version() {
			t.Error("prefixes leave the version as it was")
		}
	}
}

func TestVersion(t *testing.T) {
	version := func(seed uint64, files map[string]string) string {
		return opened(t, Config{Dir: newTiny(seed).write(t, files)}).Version()
	}
	weights := map[string]string{"model.safetensors": string(newTiny(4).safetensors("F32", ""))} // in one order of tensors
	if a, b := version(4, weights), version(4, weights); a != b {
		t.Errorf("one model has versions %s and %s", a, b)
	}
	other := map[string]string{"model.safetensors": weights["model.safetensors"], "sentence_bert_config.json": `{"max_seq_length":20}`}
	if version(4, weights) == version(5, nil) || version(4, weights) == version(4, other) {
		t.Error("two models have one version")
	}
}

func TestEmbedErrors(t *testing.T) {
	e := opened(t, Config{Dir: newTiny(6).write(t, nil)})
	if _, err := e.Embed(context.Background(), []string{"a", " \n"}, false); !errors.Is(err, embed.ErrEmpty) || !strings.Contains(err.Error(), "texts[1]") {
		t.Errorf("an empty text: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, n := range []int{1, 500} {
		if _, err := e.Embed(ctx, copies(n), false); !errors.Is(err, context.Canceled) {
			t.Errorf("%d texts after the end: %v", n, err)
		}
	}
	if got := embedded(t, e, false); len(got) != 0 {
		t.Errorf("no texts gave %v", got)
	}
}

func copies(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = "the dog barked"
	}
	return all
}

func TestConcurrent(t *testing.T) {
	e := opened(t, Config{Dir: newTiny(7).write(t, nil)})
	want := embedded(t, e, false, texts...)
	done := make(chan bool)
	for range 8 {
		go func() {
			ok := true
			for range 10 {
				got, err := e.Embed(context.Background(), texts, false)
				ok = ok && err == nil && reflect.DeepEqual(got, want)
			}
			done <- ok
		}()
	}
	for range 8 {
		if !<-done {
			t.Error("another answer, or none, beside others")
		}
	}
}

func TestOpenErrors(t *testing.T) {
	m := newTiny(8)
	config := func(old, new string) string {
		dir := m.write(t, nil)
		b, err := files{dir: dir, sum: &strings.Builder{}}.bytes("config.json")
		if err != nil || !strings.Contains(string(b), old) {
			t.Fatal(err, old)
		}
		return strings.Replace(string(b), old, new, 1)
	}
	weights := string(m.safetensors("F32", ""))
	for name, c := range map[string]struct {
		file, content, says string
	}{
		"no configuration":       {"config.json", " ", "config.json"},
		"another architecture":   {"config.json", config(`"bert"`, `"roberta"`), "roberta"},
		"another activation":     {"config.json", config(`"gelu"`, `"relu"`), "relu"},
		"uneven heads":           {"config.json", config(`"num_attention_heads":5`, `"num_attention_heads":7`), "evenly"},
		"a huge width":           {"config.json", config(`"hidden_size":40`, `"hidden_size":1000000000`), "hidden_size"},
		"other shapes":           {"config.json", config(`"intermediate_size":72`, `"intermediate_size":80`), "shape"},
		"fewer words":            {"config.json", config(`"vocab_size":19`, `"vocab_size":10`), "of 10 words"},
		"cut weights":            {"model.safetensors", weights[:len(weights)-1], "lies at"},
		"empty weights":          {"model.safetensors", "x", "header"},
		"no special words":       {"vocab.txt", "the\ndog\n", "isn't in it"},
		"two poolings":           {"1_Pooling/config.json", `{"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":true}`, "together"},
		"maximum":                {"1_Pooling/config.json", `{"pooling_mode_max_tokens":true}`, "pooling_mode_max_tokens"},
		"a path out":             {"modules.json", `[{"path":"../x","type":"a.Pooling"}]`, "leads out"},
		"a dense layer":          {"modules.json", `[{"path":"x","type":"a.Dense"}]`, "Dense"},
		"another normaliser":     {"tokenizer.json", `{"normalizer":{"type":"NFC"}}`, "BertNormalizer"},
		"another word splitter":  {"tokenizer.json", `{"normalizer":{"type":"BertNormalizer"},"pre_tokenizer":{"type":"BertPreTokenizer"},"model":{"type":"BPE"}}`, "WordPiece"},
		"no tokens left":         {"sentence_bert_config.json", `{"max_seq_length":2}`, "max_seq_length"},
		"a file that isn't JSON": {"sentence_bert_config.json", `nonsense`, "sentence_bert_config.json"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"modules.json": `[{"path":"1_Pooling","type":"a.Pooling"}]`, c.file: c.content}
			if _, err := Open(Config{Dir: m.write(t, files)}); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v, which should say %q", err, c.says)
			}
		})
	}
	if _, err := Open(Config{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("an empty directory: %v", err)
	}
}
