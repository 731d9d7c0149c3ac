package bert

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"engram/kernel"
)

// A model is the encoder's weights. It doesn't change.
type model struct {
	architecture
	sentence
	words, positions []float32 // one row each
	typed            []float32 // the first type's, which all tokens have
	embedded         layerNorm
	layers           []layer
}

type layer struct {
	qkv, attended, up, down *linear
	attendedNorm, outNorm   layerNorm
}

// newModel reads the weights, whose names may all begin with "bert.".
func newModel(w *weights, a *architecture, s *sentence) (*model, error) {
	prefix := ""
	if _, ok := w.tensors["embeddings.LayerNorm.weight"]; !ok {
		prefix = "bert."
	}
	var errs []error
	var panels arena
	read := func(name string, shape ...int) []float32 {
		values, err := w.read(prefix+name, shape...)
		errs = append(errs, err)
		return values
	}
	norm := func(name string) layerNorm {
		return layerNorm{weight: read(name+".weight", a.Hidden), bias: read(name+".bias", a.Hidden), epsilon: a.Epsilon}
	}
	linear := func(in, out int, names ...string) *linear {
		var matrices, biases [][]float32
		for _, name := range names {
			matrices = append(matrices, read(name+".weight", out, in))
			biases = append(biases, read(name+".bias", out))
		}
		if errors.Join(errs...) != nil {
			return nil
		}
		return newLinear(&panels, in, matrices, biases)
	}

	m := &model{architecture: *a, sentence: *s}
	m.words = read("embeddings.word_embeddings.weight", a.Words, a.Hidden)
	m.positions = read("embeddings.position_embeddings.weight", a.Positions, a.Hidden)
	types := read("embeddings.token_type_embeddings.weight", a.Types, a.Hidden)
	m.embedded = norm("embeddings.LayerNorm")
	for i := range a.Layers {
		at := fmt.Sprintf("encoder.layer.%d.", i)
		self := at + "attention.self."
		m.layers = append(m.layers, layer{
			qkv:          linear(a.Hidden, a.Hidden, self+"query", self+"key", self+"value"),
			attended:     linear(a.Hidden, a.Hidden, at+"attention.output.dense"),
			attendedNorm: norm(at + "attention.output.LayerNorm"),
			up:           linear(a.Hidden, a.Intermediate, at+"intermediate.dense"),
			down:         linear(a.Intermediate, a.Hidden, at+"output.dense"),
			outNorm:      norm(at + "output.LayerNorm"),
		})
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
	}
	m.typed = types[:a.Hidden]
	return m, nil
}

// A pass runs texts through the encoder together, their tokens one after the other
// without padding. It holds what that needs, for the next texts to use again.
type pass struct {
	tokens []int32
	ends   []int // of each text's tokens

	states, qkv, context, between []float32 // rows of tokens, rowUnit−1 more than there are
	workers                       []worker
}

// A worker is what one goroutine of a pass needs.
type worker struct {
	tile      []float32
	attending attending
}

// run encodes the texts in p by up to workers goroutines, and writes their vectors.
func (m *model) run(p *pass, vectors [][]float32, workers int) {
	n := (len(p.tokens) + rowUnit - 1) &^ (rowUnit - 1)
	p.states, p.context = grown(p.states, n*m.Hidden), grown(p.context, n*m.Hidden)
	p.qkv, p.between = grown(p.qkv, 3*(n+rowUnit)*m.Hidden), grown(p.between, n*m.Intermediate)
	for len(p.workers) < workers {
		p.workers = append(p.workers, worker{tile: make([]float32, (rowBlock+1)*kernel.PanelWidth())})
	}
	// What is computed of rows beyond the last is thrown away, but shouldn't be slow.
	clear(p.states[len(p.tokens)*m.Hidden:])
	clear(p.context[len(p.tokens)*m.Hidden:])
	clear(p.qkv[3*n*m.Hidden:])

	m.embed(p)
	apply := func(l *linear, y, x []float32, f finish) {
		p.each(workers, l.count(), func(w *worker, panel int) { l.apply(y, x, w.tile, n, panel, f) })
	}
	for i := range m.layers {
		l := &m.layers[i]
		apply(l.qkv, p.qkv, p.states, kernel.PanelBias)
		p.each(workers, len(p.ends)*m.Heads, func(w *worker, task int) {
			text, head := task/m.Heads, task%m.Heads
			start, end := p.bounds(text)
			w.attending.attend(p.context[start*m.Hidden:], p.qkv[start*3*m.Hidden:], end-start, m.Hidden, m.Heads, head)
		})
		apply(l.attended, p.states, p.context, kernel.PanelResidual)
		m.normaliseRows(p, &l.attendedNorm)
		apply(l.up, p.between, p.states, kernel.PanelGELU)
		apply(l.down, p.states, p.between, kernel.PanelResidual)
		m.normaliseRows(p, &l.outNorm)
	}
	for i, v := range vectors {
		m.pool(v, p, i)
	}
}

// bounds are a text's first token and the one after its last.
func (p *pass) bounds(text int) (start, end int) {
	if text > 0 {
		start = p.ends[text-1]
	}
	return start, p.ends[text]
}

// each calls f for every task below n, on up to workers goroutines.
func (p *pass) each(workers, n int, f func(w *worker, task int)) {
	workers = min(workers, n)
	if workers <= 1 {
		for task := range n {
			f(&p.workers[0], task)
		}
		return
	}
	var next atomic.Int64
	var group sync.WaitGroup
	for i := range workers {
		work := func() {
			for {
				task := int(next.Add(1)) - 1
				if task >= n {
					return
				}
				f(&p.workers[i], task)
			}
		}
		if i == workers-1 {
			work()
			break
		}
		group.Go(work)
	}
	group.Wait()
}

// embed sets the states to the sums of each token's vectors: its word's, its position's
// and its type's.
func (m *model) embed(p *pass) {
	for text := range p.ends {
		start, end := p.bounds(text)
		for t := start; t < end; t++ {
			row := p.states[t*m.Hidden : (t+1)*m.Hidden]
			word := m.words[int(p.tokens[t])*m.Hidden:][:len(row)]
			position := m.positions[(t-start)*m.Hidden:][:len(row)]
			typed := m.typed[:len(row)]
			for k := range row {
				row[k] = word[k] + typed[k] + position[k]
			}
			m.embedded.apply(row)
		}
	}
}

func (m *model) normaliseRows(p *pass, norm *layerNorm) {
	for t := range p.tokens {
		norm.apply(p.states[t*m.Hidden : (t+1)*m.Hidden])
	}
}

// pool makes a text's vector of its tokens'.
func (m *model) pool(v []float32, p *pass, text int) {
	start, end := p.bounds(text)
	if m.cls {
		end = start + 1
	}
	clear(v)
	for t := start; t < end; t++ {
		row := p.states[t*m.Hidden:][:len(v)]
		for k := range v {
			v[k] += row[k]
		}
	}
	scale := 1 / float64(end-start)
	if m.normalise {
		var squares float64
		for _, x := range v {
			squares += float64(x) * float64(x)
		}
		scale = 0
		if squares > 0 {
			scale = 1 / math.Sqrt(squares)
		}
	}
	for k, x := range v {
		v[k] = float32(float64(x) * scale)
	}
}
