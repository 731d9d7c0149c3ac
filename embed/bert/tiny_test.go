package bert

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A tiny is a model of random weights that a test can write and compute by itself.
type tiny struct {
	hidden, layers, heads, between, positions int
	vocabulary                                []string
	tensors                                   map[string][]float32
	shapes                                    map[string][]int
}

var tinyWords = []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "##s", "bark", "##ed", "at", ".", "a", "##b", "query", "passage", ":", "cat", "key"}

func newTiny(seed uint64) *tiny {
	m := &tiny{hidden: 40, layers: 2, heads: 5, between: 72, positions: 300, vocabulary: tinyWords, tensors: map[string][]float32{}, shapes: map[string][]int{}}
	r := rand.New(rand.NewPCG(seed, 0))
	add := func(name string, centre, spread float64, shape ...int) {
		n := 1
		for _, s := range shape {
			n *= s
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(centre + spread*r.NormFloat64())
		}
		m.tensors[name], m.shapes[name] = values, shape
	}
	norm := func(name string) { add(name+".weight", 1, 0.2, m.hidden); add(name+".bias", 0, 0.2, m.hidden) }
	linear := func(name string, out, in int) {
		add(name+".weight", 0, 1/math.Sqrt(float64(in)), out, in)
		add(name+".bias", 0, 0.2, out)
	}
	add("embeddings.word_embeddings.weight", 0, 1, len(tinyWords), m.hidden)
	add("embeddings.position_embeddings.weight", 0, 0.5, m.positions, m.hidden)
	add("embeddings.token_type_embeddings.weight", 0, 0.5, 2, m.hidden)
	norm("embeddings.LayerNorm")
	for i := range m.layers {
		p := fmt.Sprintf("encoder.layer.%d.", i)
		for _, name := range []string{"query", "key", "value"} {
			linear(p+"attention.self."+name, m.hidden, m.hidden)
		}
		linear(p+"attention.output.dense", m.hidden, m.hidden)
		norm(p + "attention.output.LayerNorm")
		linear(p+"intermediate.dense", m.between, m.hidden)
		linear(p+"output.dense", m.hidden, m.between)
		norm(p + "output.LayerNorm")
	}
	return m
}

// safetensors writes the weights as dtype, which rounds them in m too.
func (m *tiny) safetensors(dtype, prefix string) []byte {
	type entry struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	var data []byte
	for name, values := range m.tensors {
		start := len(data)
		for i, x := range values {
			bits := math.Float32bits(x)
			if dtype == "BF16" {
				data = binary.LittleEndian.AppendUint16(data, uint16(bits>>16))
				values[i] = math.Float32frombits(bits &^ 0xffff)
				continue
			}
			data = binary.LittleEndian.AppendUint32(data, bits)
		}
		header[prefix+name] = entry{dtype, m.shapes[name], [2]int{start, len(data)}}
	}
	b, _ := json.Marshal(header)
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(b))), b, data)
}

// write makes a model's directory, with other files or other contents where they are given.
func (m *tiny) write(t testing.TB, others map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{
		"config.json": fmt.Sprintf(`{"model_type":"bert","hidden_size":%d,"num_hidden_layers":%d,"num_attention_heads":%d,"intermediate_size":%d,"vocab_size":%d,"max_position_embeddings":%d,"type_vocab_size":2,"layer_norm_eps":1e-12,"hidden_act":"gelu"}`,
			m.hidden, m.layers, m.heads, m.between, len(m.vocabulary), m.positions),
		"vocab.txt":         string(bytes.Join(toBytes(m.vocabulary), []byte("\n"))) + "\n",
		"model.safetensors": string(m.safetensors("F32", "")),
	}
	for name, content := range others {
		all[name] = content
	}
	for name, content := range all {
		if content == "" {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func toBytes(words []string) [][]byte {
	var all [][]byte
	for _, w := range words {
		all = append(all, []byte(w))
	}
	return all
}

// states is a naive forward pass in float64: a row for each token.
func (m *tiny) states(tokens []int32) [][]float64 {
	row := func(name string, i int) []float64 {
		var out []float64
		for _, v := range m.tensors[name][i*m.hidden : (i+1)*m.hidden] {
			out = append(out, float64(v))
		}
		return out
	}
	linear := func(x []float64, name string) []float64 {
		w, b := m.tensors[name+".weight"], m.tensors[name+".bias"]
		out := make([]float64, len(b))
		for j := range out {
			out[j] = float64(b[j])
			for k, v := range x {
				out[j] += v * float64(w[j*len(x)+k])
			}
		}
		return out
	}
	norm := func(x []float64, name string) []float64 {
		var mean, variance float64
		for _, v := range x {
			mean += v / float64(len(x))
		}
		for _, v := range x {
			variance += (v - mean) * (v - mean) / float64(len(x))
		}
		out := make([]float64, len(x))
		for k, v := range x {
			out[k] = (v-mean)/math.Sqrt(variance+1e-12)*float64(m.tensors[name+".weight"][k]) + float64(m.tensors[name+".bias"][k])
		}
		return out
	}
	plus := func(x, y []float64) []float64 {
		out := slices.Clone(x)
		for k, v := range y {
			out[k] += v
		}
		return out
	}
	var x [][]float64
	for t, token := range tokens {
		sum := plus(plus(row("embeddings.word_embeddings.weight", int(token)), row("embeddings.position_embeddings.weight", t)), row("embeddings.token_type_embeddings.weight", 0))
		x = append(x, norm(sum, "embeddings.LayerNorm"))
	}
	d := m.hidden / m.heads
	for l := range m.layers {
		p := fmt.Sprintf("encoder.layer.%d.", l)
		var q, k, v [][]float64
		for _, s := range x {
			q, k, v = append(q, linear(s, p+"attention.self.query")), append(k, linear(s, p+"attention.self.key")), append(v, linear(s, p+"attention.self.value"))
		}
		for t := range x {
			context := make([]float64, m.hidden)
			for h := range m.heads {
				shares, total := make([]float64, len(x)), 0.0
				for u := range x {
					for c := h * d; c < (h+1)*d; c++ {
						shares[u] += q[t][c] * k[u][c] / math.Sqrt(float64(d))
					}
					shares[u] = math.Exp(shares[u])
					total += shares[u]
				}
				for u := range x {
					for c := h * d; c < (h+1)*d; c++ {
						context[c] += shares[u] / total * v[u][c]
					}
				}
			}
			q[t] = nil // its row is done
			s := norm(plus(linear(context, p+"attention.output.dense"), x[t]), p+"attention.output.LayerNorm")
			between := linear(s, p+"intermediate.dense")
			for j, v := range between {
				between[j] = v / 2 * (1 + math.Erf(v/math.Sqrt2))
			}
			x[t] = norm(plus(linear(between, p+"output.dense"), s), p+"output.LayerNorm")
		}
	}
	return x
}

// vector pools states by the mean or the first, with norm 1 or not.
func vector(states [][]float64, first, normalise bool) []float64 {
	if first {
		states = states[:1]
	}
	v := make([]float64, len(states[0]))
	for _, s := range states {
		for k, x := range s {
			v[k] += x / float64(len(states))
		}
	}
	if normalise {
		var squares float64
		for _, x := range v {
			squares += x * x
		}
		for k := range v {
			v[k] /= math.Sqrt(squares)
		}
	}
	return v
}
