package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"unsafe"

	"engram/index"
	"engram/internal/slab"
)

// A size is rows of keys, and of values of the same dimension.
type size struct{ rows, dim int }

func (s size) String() string {
	if s.rows%1_000_000 == 0 {
		return fmt.Sprintf("%dM×%d", s.rows/1_000_000, s.dim)
	}
	return fmt.Sprintf("%dk×%d", s.rows/1000, s.dim)
}

func (s size) bytes() int { return 4 * s.rows * s.dim }

// data is one memory of vectors: in segments for Engram, in files for the peers.
type data struct {
	size
	shape   index.Shape
	pool    *slab.Pool
	parts   []index.Part
	queries [][]float32

	keysFile, valuesFile, queriesFile string // raw float32, little-endian; values "" for none
}

// fill draws components of a normal distribution.
func fill(r *rand.Rand, v []float32) {
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
}

// newData makes a memory of random vectors and writes it to files in dir: keys, or keys
// and values of so many heads, unless that is 0.
func newData(dir string, s size, heads, queries int) (*data, error) {
	r := rand.New(rand.NewPCG(uint64(s.rows), uint64(s.dim)))
	return dataOf(dir, s, heads, queries, func(v []float32) { fill(r, v) })
}

// dataOf makes a memory of what next gives: first the queries, then the rows, each
// followed by its value if there are values.
func dataOf(dir string, s size, heads, queries int, next func(v []float32)) (*data, error) {
	d := &data{size: s, shape: index.Shape{Metric: index.Dot, Dim: s.dim, ValueDim: s.dim, Heads: heads}, pool: slab.NewPool(math.MaxInt64)}
	values := heads > 0
	for range queries {
		q := make([]float32, s.dim)
		next(q)
		d.queries = append(d.queries, q)
	}
	key, value := make([]float32, s.dim), make([]float32, s.dim)
	for from := 0; from < s.rows; from += index.MaxRows {
		n := min(index.MaxRows, s.rows-from)
		segment, err := index.NewSegment(d.pool, d.shape, n, values)
		if err != nil {
			return nil, err
		}
		for range n {
			next(key)
			var own []float32
			if values {
				next(value)
				own = value
			}
			if err := segment.Append(key, own); err != nil {
				return nil, err
			}
		}
		first := from
		d.parts = append(d.parts, index.Part{Segment: segment, Rows: n, Age: func(row uint32) (uint64, uint32) {
			return uint64(first) + uint64(row), 0
		}})
	}
	return d, d.write(dir)
}

func (d *data) free() {
	for _, p := range d.parts {
		p.Segment.Free()
	}
	for _, f := range []string{d.keysFile, d.valuesFile, d.queriesFile} {
		if f != "" {
			_ = os.Remove(f)
		}
	}
}

func (d *data) write(dir string) error {
	write := func(name string, each func(yield func([]float32) error) error) (string, error) {
		path := filepath.Join(dir, fmt.Sprintf("%v.%s", d.size, name))
		f, err := os.Create(path)
		if err != nil {
			return "", err
		}
		defer func() { _ = f.Close() }()
		w := bufio.NewWriterSize(f, 1<<20)
		err = each(func(v []float32) error { return binary.Write(w, binary.LittleEndian, v) })
		if err != nil {
			return "", err
		}
		return path, w.Flush()
	}
	rows := func(row func(s *index.Segment, i int) []float32) func(func([]float32) error) error {
		return func(yield func([]float32) error) error {
			for _, p := range d.parts {
				for i := range p.Rows {
					if err := yield(row(p.Segment, i)); err != nil {
						return err
					}
				}
			}
			return nil
		}
	}
	var err error
	if d.keysFile, err = write("keys", rows((*index.Segment).Key)); err != nil {
		return err
	}
	if d.parts[0].Segment.HasValues() {
		if d.valuesFile, err = write("values", rows((*index.Segment).Value)); err != nil {
			return err
		}
	}
	d.queriesFile, err = write("queries", func(yield func([]float32) error) error {
		for _, q := range d.queries {
			if err := yield(q); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// memory is the very bytes that a scan of the keys, and of the values, reads.
func (d *data) memory() (runs [][]byte) {
	of := func(first []float32, rows int) []byte {
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(first))), 4*rows*d.dim)
	}
	for _, p := range d.parts {
		runs = append(runs, of(p.Segment.Key(0), p.Rows))
		if p.Segment.HasValues() {
			runs = append(runs, of(p.Segment.Value(0), p.Rows))
		}
	}
	return runs
}

// row is the number in the peers' files of a row of a part.
func row(part int, r uint32) int { return part*index.MaxRows + int(r) }

// each calls do with all rows, so many at a time, and the number of the first.
func (d *data) each(n int, do func(from int, rows [][]float32) error) error {
	for from := 0; from < d.rows; from += n {
		var rows [][]float32
		for r := from; r < min(from+n, d.rows); r++ {
			rows = append(rows, d.parts[r/index.MaxRows].Segment.Key(r%index.MaxRows))
		}
		if err := do(from, rows); err != nil {
			return err
		}
	}
	return nil
}

func littleEndian(v []float32) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}
