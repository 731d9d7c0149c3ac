package index

import (
	"math"
	"sync"

	"engram/internal/slab"
	"engram/kernel"
)

// codes are the keys of a segment in 8 bits a component, and columns of a number a
// row from which the bound of a row's score is made: see codeQuery.
type codes struct {
	block []byte    // all of it, in one slab
	rows  []int8    // capacity × codeStride
	scale []float32 // of the row's bound: under Cosine times the inverse norm
	err   []float32 // ‖given − decoded‖, rounded up; of Int8 under Cosine times the inverse norm
	plain []float32 // what decodes the row: scale itself, unless that is folded
	level []float32 // under L2, ½err² − ½‖decoded‖², rounded up; else nil
}

// codeStride is the room of a row's codes.
func codeStride(dim int) int { return kernel.QueryCodes(dim) }

// codeColumns is how many columns of float32 a shape's codes have.
func codeColumns(shape Shape) int {
	if shape.Metric == L2 || shape.Metric == Cosine && shape.Encoding == Int8Only {
		return 3
	}
	return 2
}

// codeBytes is what the codes of a segment take.
func codeBytes(shape Shape, capacity int) int {
	if !shape.Encoding.coded() {
		return 0
	}
	return capacity * (codeStride(shape.Dim) + 4*codeColumns(shape))
}

func newCodes(pool *slab.Pool, shape Shape, capacity int) (*codes, error) {
	b, err := pool.Alloc(codeBytes(shape, capacity))
	if err != nil {
		return nil, err
	}
	c := &codes{block: b}
	at := capacity * codeStride(shape.Dim)
	c.rows = slab.Slice[int8](b[:at])
	column := func() []float32 {
		from := at
		at += 4 * capacity
		return slab.Slice[float32](b[from:at])
	}
	c.scale, c.err = column(), column()
	c.plain = c.scale
	if shape.Metric == Cosine && shape.Encoding == Int8Only {
		c.plain = column()
	}
	if shape.Metric == L2 {
		c.level = column()
	}
	return c, nil
}

// copyRows takes over another's first rows.
func (c *codes) copyRows(from *codes, rows, dim int) {
	copy(c.rows, from.rows[:rows*codeStride(dim)])
	copy(c.scale, from.scale[:rows])
	copy(c.err, from.err[:rows])
	copy(c.plain, from.plain[:rows])
	if c.level != nil {
		copy(c.level, from.level[:rows])
	}
}

// row are a row's codes.
func (c *codes) row(row, dim int) []int8 {
	stride := codeStride(dim)
	return c.rows[row*stride : (row+1)*stride]
}

// decode writes a row's decoded key.
func (c *codes) decode(dst []float32, row int) {
	kernel.Decode(dst, c.row(row, len(dst)), c.plain[row])
}

// columns are those of a block's bounds.
type columns struct{ scale, err, level []float32 }

// zeros are the errors where keys are the decoded ones, and the levels where there
// are none.
var zeros [codeRows]float32

// columns are of at most codeRows rows.
func (c *codes) columns(shape Shape, b block) columns {
	n := b.to - b.from
	s := columns{c.scale[b.from:b.to], c.err[b.from:b.to], zeros[:n]}
	if shape.Encoding == Int8Only {
		s.err = zeros[:n]
	}
	if shape.Metric == L2 {
		s.level = c.level[b.from:b.to]
	}
	return s
}

// put fills in a row: its codes and columns. lost is ‖given − key‖. It returns the
// key that is stored: of Int8Only the decoded one, in scratch.
func (c *codes) put(shape Shape, row int, key []float32, lost float32, scratch *[]float32) []float32 {
	scale, err := kernel.Quantise(c.row(row, shape.Dim), key)
	c.plain[row], c.scale[row], c.err[row] = scale, scale, err
	only := shape.Encoding == Int8Only
	if only || shape.Metric == L2 {
		*scratch = sized(*scratch, shape.Dim)
		c.decode(*scratch, row)
	}
	off := float64(err) // ‖stored − decoded‖, at most
	if only {
		key, off = *scratch, 0
		switch {
		case err == 0:
			c.err[row] = lost
		case lost > 0:
			c.err[row] = up(float64(err) + float64(lost))
		}
	}
	switch shape.Metric {
	case Cosine:
		inverse := float64(inverseNorm(key))
		c.scale[row] = float32(float64(scale) * inverse)
		if !only {
			c.err[row] = up(off * inverse)
		}
	case L2:
		c.level[row] = levelOf(Norm(*scratch), off)
	}
	return key
}

// levelOf is ½err² − ½norm², so much higher that a sum that it is the last term of
// isn't rounded below the exact one. It is +Inf where nothing is known of a row,
// which then always is a candidate.
func levelOf(norm, err float64) float32 {
	x := (err*err - norm*norm) / 2
	return up(x + math.Abs(x)*2*unit)
}

// up rounds up to a float32, after what float64 may have lost.
func up(x float64) float32 {
	x += math.Abs(x) * 1e-12
	f := float32(x)
	if float64(f) < x {
		f = math.Nextafter32(f, float32(math.Inf(1)))
	}
	return f
}

// down rounds down likewise.
func down(x float64) float32 { return -up(-x) }

// decoded are buffers for one key, for Append.
var decoded = sync.Pool{New: func() any { return new([]float32) }}

// ScoreError bounds the distance of a score that Search gave a row of a segment whose
// keys are rounded (Int8Only, F16, BF16) for a query of the norm from the exact score of the key that was given,
// not the one that is stored.
//
// With e the difference of the two keys and k̂ the stored one, it is ‖q‖‖e‖ under
// Dot (Cauchy–Schwarz); under Cosine the chord of an angle whose sine is at most
// ‖e‖/‖k̂‖; under L2 ‖q−k̂‖‖e‖ + ½‖e‖², by ½‖q−k̂−e‖² − ½‖q−k̂‖². The score's own
// rounding comes on top.
func (s *Segment) ScoreError(row int, score float32, norm float64) float32 {
	if s.shape.Encoding.plain() {
		return 0
	}
	d := s.shape.Dim
	err := float64(s.Lost(row))
	under := underflow(d)
	switch s.shape.Metric {
	case Cosine:
		chord := 2.0
		if sine := err * float64(s.inverseNorms(row, row+1)[0]) * (1 + 2*unit); sine < 1 {
			chord = 2 * math.Sin(math.Asin(sine)/2)
		}
		return up(chord*(1+1e-12) + gamma(d/64+20) + underCosine(under, norm))
	case L2:
		half := (math.Abs(float64(score)) + under) / (1 - gamma(d/64+12))
		return up((math.Sqrt(2*half)*err+err*err/2)*(1+1e-12) + gamma(d/64+12)*half + under)
	}
	longest := 0.0
	if s.codes != nil {
		longest = codeNorm(d) * float64(s.codes.plain[row])
	} else {
		longest = Norm(s.Key(row)) * (1 + 1e-12)
	}
	return up(norm*(err+gamma(d/64+8)*longest)*(1+1e-12) + under)
}

// Lost is ‖given − stored‖ of a row's key, rounded up; of F16 and BF16 a bound of it. It
// is 0 where keys are kept as float32. It goes along with the stored key, to AppendLossy,
// where a row is copied or read back.
func (s *Segment) Lost(row int) float32 {
	switch {
	case s.shape.Encoding.plain():
		return 0
	case s.codes != nil:
		return s.codes.err[row]
	}
	return up(halfError(s.shape.Encoding, Norm(s.Key(row)), s.shape.Dim))
}
