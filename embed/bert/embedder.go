package bert

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"

	"golang.org/x/sync/errgroup"

	"engram/embed"
)

// passTokens is how many tokens go through the encoder together, unless one text has
// more: enough that the weights are read seldom, few enough for the level 2 cache.
const passTokens = 256

// Config says which model, and what stands before texts.
type Config struct {
	// Name is the embedder's, which namespaces remember.
	Name string
	// Dir is the model's directory.
	Dir string
	// QueryPrefix and DocumentPrefix stand before what is looked for and what is
	// stored, as E5 ("query: ", "passage: ") and BGE want it. Where one is empty,
	// that of config_sentence_transformers.json is taken, if there is one.
	QueryPrefix, DocumentPrefix string
}

// An Embedder is a model that is ready. It may be used concurrently.
type Embedder struct {
	name, version string
	model         *model
	tokeniser     *tokeniser
	slots         chan struct{} // one for each pass under way
	active        atomic.Int32  // passes
	passes, words sync.Pool
}

// Open reads a model; it takes about twice as long as reading the file, and twice the
// file's size of memory until it is done.
func Open(c Config) (*Embedder, error) {
	e, err := open(c)
	if err != nil {
		return nil, fmt.Errorf("embed: model in %s: %w", c.Dir, err)
	}
	return e, nil
}

func open(c Config) (*Embedder, error) {
	sum := sha256.New()
	f := files{dir: c.Dir, sum: sum}
	a, err := f.architecture()
	if err != nil {
		return nil, err
	}
	s, err := f.sentence(a)
	if err != nil {
		return nil, err
	}
	if c.QueryPrefix != "" {
		s.query = c.QueryPrefix
	}
	if c.DocumentPrefix != "" {
		s.document = c.DocumentPrefix
	}
	t, err := f.tokeniser(a.Words)
	if err != nil {
		return nil, err
	}
	m, err := f.model(a, s)
	if err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(sum, "%q %q", s.query, s.document) // a hash takes everything
	return &Embedder{
		name: c.Name, version: hex.EncodeToString(sum.Sum(nil)[:8]) + "+unicode" + unicode.Version,
		model: m, tokeniser: t,
		slots:  make(chan struct{}, 2*runtime.GOMAXPROCS(0)),
		passes: sync.Pool{New: func() any { return &pass{} }},
		words:  sync.Pool{New: func() any { return &words{} }},
	}, nil
}

// model reads model.safetensors, all of it into the sum as well.
func (f files) model(a *architecture, s *sentence) (*model, error) {
	const name = "model.safetensors"
	file, err := os.Open(filepath.Join(f.dir, name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	w, err := openWeights(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	m, err := newModel(w, a, s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if _, err := io.Copy(f.sum, io.NewSectionReader(file, 0, info.Size())); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// Name is that of the Config.
func (e *Embedder) Name() string { return e.name }

// Version tells models apart by their files, both prefixes, and the version of Unicode's
// tables: part of a SHA-256.
func (e *Embedder) Version() string { return e.version }

// Dimension is the model's hidden_size.
func (e *Embedder) Dimension() int { return e.model.Hidden }

// MaxTokens is how many tokens of a text count, the marks of its start and end and its
// prefix among them. What is beyond leaves no trace in the vector.
func (e *Embedder) MaxTokens() int { return e.model.maxTokens }

// Embed gives a vector for each text, which goes after the prefix for queries or for
// documents. Texts beyond a pass share the cores; the error is embed.ErrEmpty or that of
// ctx, which is looked at between passes.
func (e *Embedder) Embed(ctx context.Context, texts []string, query bool) ([][]float32, error) {
	prefix := e.model.document
	if query {
		prefix = e.model.query
	}
	for i, text := range texts {
		if strings.TrimSpace(text) == "" {
			return nil, fmt.Errorf("embed: texts[%d]: %w", i, embed.ErrEmpty)
		}
	}
	d := e.Dimension()
	all := make([]float32, len(texts)*d)
	vectors := make([][]float32, len(texts))
	for i := range vectors {
		vectors[i] = all[i*d : (i+1)*d : (i+1)*d]
	}
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for done := 0; done < len(texts) && within.Err() == nil; {
		p := e.passes.Get().(*pass)
		p.tokens, p.ends = p.tokens[:0], p.ends[:0]
		first := done
		w := e.words.Get().(*words)
		for done < len(texts) && len(p.tokens) < passTokens {
			p.tokens = e.tokeniser.appendTokens(p.tokens, w, prefix+texts[done], e.model.maxTokens)
			p.ends = append(p.ends, len(p.tokens))
			done++
		}
		e.words.Put(w)
		into := vectors[first:done]
		run := func() error {
			defer e.passes.Put(p)
			return e.run(within, p, into)
		}
		if first == 0 && done == len(texts) {
			if err := run(); err != nil {
				return nil, err
			}
			return vectors, nil
		}
		group.Go(run)
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("embed: %w", err)
	}
	return vectors, nil
}

// run waits for its turn, and shares the cores with the passes that are under way.
func (e *Embedder) run(ctx context.Context, p *pass, vectors [][]float32) error {
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		return fmt.Errorf("embed: %w", ctx.Err())
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("embed: %w", err)
	}
	active := int(e.active.Add(1))
	defer e.active.Add(-1)
	e.model.run(p, vectors, max(1, runtime.GOMAXPROCS(0)/active))
	return nil
}
