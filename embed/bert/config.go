package bert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Bounds of what a configuration may ask for: several times what BERT-large has. They
// keep the products of any three of them within an int.
const (
	maxHidden    = 8192
	maxLayers    = 128
	maxWords     = 1 << 21
	maxPositions = 1 << 16
	// maxJSON bounds a file of JSON, and vocab.txt. Large vocabularies take some 10 MiB.
	maxJSON = 64 << 20
)

// architecture is config.json.
type architecture struct {
	ModelType         string  `json:"model_type"`
	Hidden            int     `json:"hidden_size"`
	Layers            int     `json:"num_hidden_layers"`
	Heads             int     `json:"num_attention_heads"`
	Intermediate      int     `json:"intermediate_size"`
	Words             int     `json:"vocab_size"`
	Positions         int     `json:"max_position_embeddings"`
	Types             int     `json:"type_vocab_size"`
	Epsilon           float64 `json:"layer_norm_eps"`
	Activation        string  `json:"hidden_act"`
	PositionEmbedding string  `json:"position_embedding_type"`
}

func (a *architecture) check() error {
	if a.ModelType != "bert" {
		return fmt.Errorf("model_type is %.40q; this runs \"bert\"", a.ModelType)
	}
	for _, n := range []struct {
		name        string
		value, most int
	}{
		{"hidden_size", a.Hidden, maxHidden},
		{"num_hidden_layers", a.Layers, maxLayers},
		{"num_attention_heads", a.Heads, maxHidden},
		{"intermediate_size", a.Intermediate, 4 * maxHidden},
		{"vocab_size", a.Words, maxWords},
		{"max_position_embeddings", a.Positions, maxPositions},
		{"type_vocab_size", a.Types, 16},
	} {
		if n.value < 1 || n.value > n.most {
			return fmt.Errorf("%s is %d: want 1 to %d", n.name, n.value, n.most)
		}
	}
	switch {
	case a.Hidden%a.Heads != 0:
		return fmt.Errorf("%d heads can't share a hidden_size of %d evenly", a.Heads, a.Hidden)
	case a.Positions < minTokens:
		return fmt.Errorf("max_position_embeddings is %d: want %d at least", a.Positions, minTokens)
	case a.Activation != "gelu":
		return fmt.Errorf("hidden_act is %.40q; this runs \"gelu\"", a.Activation)
	case a.PositionEmbedding != "absolute":
		return fmt.Errorf("position_embedding_type is %.40q; this runs \"absolute\"", a.PositionEmbedding)
	case !(a.Epsilon >= 0 && a.Epsilon < 1):
		return fmt.Errorf("layer_norm_eps is %v: want 0 to 1", a.Epsilon)
	}
	return nil
}

// sentence is what sentence-transformers' files add.
type sentence struct {
	maxTokens       int
	cls             bool // the first token's vector, not the mean of all
	normalise       bool
	query, document string // prefixes
}

// files are a model's. Each that is read goes through the sum, which is what the
// embedder's version is made of.
type files struct {
	dir string
	sum io.Writer
}

func (f files) bytes(name string) ([]byte, error) {
	file, err := os.Open(filepath.Join(f.dir, filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	b, err := io.ReadAll(io.LimitReader(file, maxJSON+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(b) > maxJSON {
		return nil, fmt.Errorf("%s has over %d bytes", name, maxJSON)
	}
	_, err = fmt.Fprintf(f.sum, "%q %d %s", name, len(b), b)
	return b, err
}

// json decodes a file into v, and reports whether it is there.
func (f files) json(name string, v any) (bool, error) {
	b, err := f.bytes(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	return true, nil
}

func (f files) architecture() (*architecture, error) {
	a := &architecture{Types: 2, Epsilon: 1e-12, Activation: "gelu", PositionEmbedding: "absolute"}
	found, err := f.json("config.json", a)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("config.json: %w", fs.ErrNotExist)
	}
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	return a, nil
}

func (f files) sentence(a *architecture) (*sentence, error) {
	s := &sentence{normalise: true}
	var bounds struct {
		MaxTokens *int `json:"max_seq_length"`
	}
	if _, err := f.json("sentence_bert_config.json", &bounds); err != nil {
		return nil, err
	}
	s.maxTokens = a.Positions
	if n := bounds.MaxTokens; n != nil {
		if *n < minTokens {
			return nil, fmt.Errorf("sentence_bert_config.json: max_seq_length is %d: want %d at least", *n, minTokens)
		}
		s.maxTokens = min(*n, a.Positions)
	}
	var prompts struct {
		Prompts map[string]string `json:"prompts"`
	}
	if _, err := f.json("config_sentence_transformers.json", &prompts); err != nil {
		return nil, err
	}
	s.query, s.document = prompts.Prompts["query"], prompts.Prompts["document"]
	if s.document == "" {
		s.document = prompts.Prompts["passage"]
	}
	return s, f.modules(s)
}

// modules reads what follows the encoder.
func (f files) modules(s *sentence) error {
	var modules []struct{ Path, Type string }
	found, err := f.json("modules.json", &modules)
	if err != nil || !found {
		return err
	}
	s.normalise = false
	for _, m := range modules {
		switch m.Type[strings.LastIndexByte(m.Type, '.')+1:] {
		case "Transformer":
			if m.Path != "" {
				return fmt.Errorf("modules.json: the encoder lies in %.100q; give that directory", m.Path)
			}
		case "Pooling":
			if !filepath.IsLocal(filepath.FromSlash(m.Path)) {
				return fmt.Errorf("modules.json: path %.100q leads out of the directory", m.Path)
			}
			if err := f.pooling(m.Path+"/config.json", s); err != nil {
				return err
			}
		case "Normalize":
			s.normalise = true
		default:
			return fmt.Errorf("modules.json: module %.100q; this runs Transformer, Pooling and Normalize", m.Type)
		}
	}
	return nil
}

func (f files) pooling(name string, s *sentence) error {
	var modes map[string]any
	if _, err := f.json(name, &modes); err != nil {
		return err
	}
	for mode, on := range modes {
		switch {
		case !strings.HasPrefix(mode, "pooling_mode") || on == false:
		case mode == "pooling_mode_mean_tokens" || on == "mean":
		case mode == "pooling_mode_cls_token" || on == "cls":
			s.cls = true
		default:
			return fmt.Errorf("%s: %.60s is %v; this runs the mean or the first token alone", name, mode, on)
		}
	}
	if s.cls && modes["pooling_mode_mean_tokens"] == true {
		return fmt.Errorf("%s: the mean and the first token together; this runs one of them", name)
	}
	return nil
}
