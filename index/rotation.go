package index

import (
	"math"
	"math/bits"
	"math/rand/v2"
)

// A rotation is a random orthogonal matrix on d components, a multiple of 16, that is
// quick to apply: random signs and the Walsh-Hadamard transform by turns (Ailon &
// Chazelle, 2006; Yu et al., "Orthogonal Random Features", 2016), over the first and
// then the last 2ⁿ components where d is no power of two.
type rotation struct {
	d, window int
	turns     [][]float32 // per turn and component, the sign; of the turn's window times its scale
}

// newRotation makes the rotation of a seed.
func newRotation(d int, seed uint64) *rotation {
	r := rand.New(rand.NewPCG(seed, 0x726f74617465))
	t := &rotation{d: d, window: 1 << (bits.Len(uint(d)) - 1)}
	turns := 3
	if t.window < d {
		turns = 4
	}
	scale := float32(1 / math.Sqrt(float64(t.window)))
	for i := range turns {
		f := make([]float32, d)
		for j := range f {
			f[j] = float32(1 - 2*int32(r.Uint32()>>31))
		}
		for j := range t.of(f, i) {
			t.of(f, i)[j] *= scale
		}
		t.turns = append(t.turns, f)
	}
	return t
}

// of is the window of turn i.
func (t *rotation) of(v []float32, i int) []float32 {
	if i%2 == 1 {
		return v[t.d-t.window:]
	}
	return v[:t.window]
}

// apply rotates v in place.
func (t *rotation) apply(v []float32) {
	for i, f := range t.turns {
		for j, x := range f[:len(v)] {
			v[j] *= x
		}
		hadamard(t.of(v, i))
	}
}

// hadamard is the Walsh-Hadamard transform of a power of two components, without
// its scale, two levels at a time.
func hadamard(v []float32) {
	h := 1
	if bits.TrailingZeros(uint(len(v)))%2 == 1 {
		for i := 0; i < len(v); i += 2 {
			a, b := v[i], v[i+1]
			v[i], v[i+1] = a+b, a-b
		}
		h = 2
	}
	for ; h < len(v); h *= 4 {
		for i := 0; i < len(v); i += 4 * h {
			p, q, r, s := v[i:][:h], v[i+h:][:h], v[i+2*h:][:h], v[i+3*h:][:h]
			for j, a := range p {
				b, c, d := q[j], r[j], s[j]
				a, b = a+b, a-b
				c, d = c+d, c-d
				p[j], q[j], r[j], s[j] = a+c, b+d, a-c, b-d
			}
		}
	}
}
