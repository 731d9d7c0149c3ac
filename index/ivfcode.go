package index

import (
	"math"

	"engram/internal/slab"
	"engram/kernel"
)

// A coder turns vectors into codes of a few bits a component, and queries into the
// tables that codes are looked up in: RaBitQ (Gao & Long, SIGMOD 2024). The residual
// r = x − c of a vector to its list's centroid is rotated at random and each component
// replaced by the nearest of a few levels, which gives ō. For any vector p, then,
//
//	⟨p, r⟩ ≈ ‖r‖²/⟨ō, r⟩ · ⟨p, ō⟩,
//
// without bias, for the rotation is random, and with the standard deviation
// ‖p‖·‖r‖·√(1−t²)/t/√(d−1), t being the cosine of ō and r (there, theorem 3.2).
//
// A score is ⟨q, x⟩, or −½‖q−x‖² under L2. With p = q−c and o the origin, the mean of
// the centroids, it is
//
//	score(q, c) + base + ⟨q−c, r⟩,   base = ⟨c, r⟩, or −½‖r‖² under L2
//	≈ score(q, c) + add + mul·⟨q−o, ō⟩,   mul = ‖r‖²/⟨ō, r⟩, add = base − mul·⟨c−o, ō⟩,
//
// so one table of a query, of q−o, serves all lists.
type coder struct {
	metric Metric
	dim, d int // components, and those of a code: whole groups of 4
	groups int // of two components, that share 4 bits
	turn   *rotation
	origin []float32
}

// A component's code is of two bits and stands for ±inner or ±outer, which are told
// apart at between: those of least error for a normal distribution (Max, "Quantizing for
// minimum distortion", 1960), which a component of a rotated unit vector, times √d,
// nearly has.
const (
	codeBits = 2
	inner    = 0.4528
	outer    = 1.5104
	between  = 0.9816
)

var levels = [1 << codeBits]float64{-outer, -inner, inner, outer}

func newCoder(shape Shape, seed uint64, origin []float32) *coder {
	d := pad(shape.Dim)
	return &coder{metric: shape.Metric, dim: shape.Dim, d: d, groups: d * codeBits / 4, turn: newRotation(d, seed), origin: origin}
}

// rotated gives the rotation of a − b in dst, which has d components.
func (c *coder) rotated(dst, a, b []float32) {
	clear(dst[c.dim:])
	for i := range c.dim {
		dst[i] = a[i] - b[i]
	}
	c.turn.apply(dst)
}

// listCodes are those of rows in blocks of kernel.FastScanRows.
type listCodes struct {
	n        int // rows, without those that fill the last block
	bits     []byte
	mul, add []float32
	spread   float32 // the most of the rows' √(1−t²)·‖ō‖/√(d−1)

	// What rowQuery takes where it is better: the least squares' factor ⟨ō, r⟩/‖ō‖² of a row,
	// and ⟨o, r⟩, or under L2 −⟨c−o, r⟩ − ½‖r‖².
	fit, base []float32
	strain    float32 // the most of the rows' ‖r − fit·ō‖/fit
	radius    float32 // at least the distance of each row from the centroid
}

// blockRowsUp is n rounded up to whole blocks of codes.
func blockRowsUp(n int) int {
	return (n + kernel.FastScanRows - 1) / kernel.FastScanRows * kernel.FastScanRows
}

// codeBytes is what codes of n rows take, with refs bytes more for each.
func (c *coder) codeBytes(n, refs int) int {
	n = blockRowsUp(n)
	return n/kernel.FastScanRows*kernel.FastScanBytes(c.groups) + n*(16+refs)
}

// place lays out codes for n rows in b, which is zero, and returns the rest of it.
func (c *coder) place(b []byte, n int) (listCodes, []byte) {
	size := blockRowsUp(n)
	bits := size / kernel.FastScanRows * kernel.FastScanBytes(c.groups)
	x, rest := listCodes{bits: b[:bits]}, b[bits:]
	for _, column := range []*[]float32{&x.mul, &x.add, &x.fit, &x.base} {
		*column, rest = slab.Slice[float32](rest[:4*size]), rest[4*size:]
	}
	for i := range size {
		x.add[i], x.base[i] = float32(math.NaN()), float32(math.NaN()) // selected by no limit
	}
	return x, rest
}

// An encoder encodes the rows of a list.
type encoder struct {
	*coder
	centroid []float32
	centre   []float32 // c − o, rotated
	r        []float32
}

func (c *coder) encoder() *encoder {
	return &encoder{coder: c, centre: make([]float32, c.d), r: make([]float32, c.d)}
}

// list begins the list of a centroid.
func (e *encoder) list(centroid []float32) {
	e.centroid = centroid
	e.rotated(e.centre, centroid, e.origin)
}

// append adds the code of v.
func (e *encoder) append(x *listCodes, v []float32) {
	i := x.n
	x.n++
	base, about, square := 0.0, 0.0, 0.0
	for j, y := range e.centroid {
		base += float64(y) * float64(v[j]-y)
		about += float64(e.origin[j]) * float64(v[j]-y)
		apart := float64(v[j]) - float64(y)
		square += apart * apart
	}
	x.radius = max(x.radius, up(math.Sqrt(square)))
	e.rotated(e.r, v, e.centroid)
	rr := 0.0
	for _, y := range e.r {
		rr += float64(y) * float64(y)
	}
	if e.metric == L2 {
		base, about = -0.5*rr, about-base-0.5*rr
	}
	bits := x.bits[i/kernel.FastScanRows*kernel.FastScanBytes(e.groups)+i%16:]
	shift := 4 * (i % kernel.FastScanRows / 16)
	var or, oo, oc float64
	limit := float32(between * math.Sqrt(rr/float64(e.d)))
	for g := range e.groups {
		var nibble byte
		for k := range 2 {
			y := e.r[2*g+k]
			var code byte
			switch {
			case y >= limit:
				code = 3
			case y >= 0:
				code = 2
			case y >= -limit:
				code = 1
			}
			nibble |= code << (codeBits * k)
			l := levels[code]
			or += l * float64(y)
			oo += l * l
			oc += l * float64(e.centre[2*g+k])
		}
		bits[16*g] |= nibble << shift
	}
	mul, spread, fit, strain := 0.0, 0.0, 0.0, 0.0
	if or > 0 {
		mul, fit = rr/or, or/oo
		spread = math.Sqrt(max(0, oo-or*or/rr) / float64(e.d-1))
		strain = math.Sqrt(max(0, rr-or*or/oo)) / fit
	}
	x.mul[i], x.add[i] = float32(mul), float32(base-mul*oc)
	x.fit[i], x.base[i] = float32(fit), float32(about)
	if x.fit[i]-x.fit[i] != 0 || x.base[i]-x.base[i] != 0 {
		x.fit[i], x.base[i] = 0, float32(math.Inf(1))
	}
	if math.IsInf(float64(x.mul[i]), 0) || x.add[i]-x.add[i] != 0 {
		x.mul[i], x.add[i] = 0, float32(math.Inf(1)) // too large a number: selected by every limit
	}
	x.spread, x.strain = max(x.spread, float32(spread)), max(x.strain, float32(strain))
}

// A lookup is a query as codes take it.
type lookup struct {
	table        []byte
	scale, shift float32 // ⟨q−o, ō⟩ ≈ scale·sum + shift
	noise        float64 // the variance that the rounding of the table adds
	rotated      []float32
}

// query prepares a query, of norm 1 under Cosine. It is false if its numbers are too
// large for codes.
func (c *coder) query(x *lookup, q []float32) bool {
	x.rotated = sized(x.rotated, c.d)
	x.table = sized(x.table, 16*c.groups)
	c.rotated(x.rotated, q, c.origin)
	var widest, total float32
	for g := range c.groups {
		sum := abs(x.rotated[2*g]) + abs(x.rotated[2*g+1])
		total += sum
		widest = max(widest, sum)
	}
	most := float32(min(255, math.MaxUint16/c.groups))
	x.scale, x.shift = 2*outer*widest/most, -outer*total
	if !(x.scale > 0) {
		x.scale = math.SmallestNonzeroFloat32
	}
	x.noise = float64(c.groups) / 12 * float64(x.scale) * float64(x.scale)
	inverse := 1 / x.scale
	if x.shift-x.shift != 0 || inverse-inverse != 0 {
		clear(x.table)
		x.scale, x.shift = 0, 0
		// Where q is the origin the sums are nothing; else they are too large.
		return total == 0
	}
	for g := range c.groups {
		t := (*[16]byte)(x.table[16*g:])
		// In 256ths, of which the sum is rounded.
		y := (*[2]float32)(x.rotated[2*g:])
		r, s := fractions(y[0]*inverse), fractions(y[1]*inverse)
		for j, b := range s {
			b += 128
			u := (*[4]byte)(t[4*j:])
			u[0], u[1], u[2], u[3] = byte((r[0]+b)>>8), byte((r[1]+b)>>8), byte((r[2]+b)>>8), byte((r[3]+b)>>8)
		}
	}
	return true
}

// fractions are what the levels give with a component, from the least of them up, in
// 256ths.
func fractions(y float32) [4]uint32 {
	a := 256 * y
	if y >= 0 {
		return [4]uint32{0, uint32(a * (outer - inner)), uint32(a * (outer + inner)), uint32(a * (2 * outer))}
	}
	return [4]uint32{uint32(-a * (2 * outer)), uint32(-a * (outer + inner)), uint32(-a * (outer - inner)), 0}
}
