package kernel

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// The references are naive, and share nothing with the kernel: the canonical
// arithmetic from its definition on big.Float, everything else in float64.

const u = 0x1p-24

// gamma is γ_k of the unit roundoff u.
func gamma(k int) float64 { return float64(k) * u / (1 - float64(k)*u) }

// underflow bounds what k operations lose to the end of float32's range.
func underflow(k int) float64 { return float64(k+1) * 0x1p-149 }

// refFMA is x·y + z rounded once.
func refFMA(x, y, z float32) float32 {
	p := float64(x) * float64(y)
	s := p + float64(z)
	if s == 0 || math.IsNaN(s) || math.IsInf(s, 0) {
		return float32(s)
	}
	b := new(big.Float).SetPrec(1024).SetFloat64(p)
	b.Add(b, new(big.Float).SetFloat64(float64(z)))
	f, _ := b.Float32()
	return f
}

func refTree(s []float32) float32 {
	if len(s) == 1 {
		return s[0]
	}
	half := len(s) / 2
	t := make([]float32, half)
	for i := range t {
		t[i] = s[i] + s[i+half]
	}
	return refTree(t)
}

func refDot(q, r []float32) float32 {
	s := make([]float32, 64)
	for k := range q {
		s[k%64] = refFMA(q[k], r[k], s[k%64])
	}
	return refTree(s) + 0
}

func refL2(q, r []float32) float32 {
	s := make([]float32, 64)
	for k := range q {
		x := q[k] - r[k]
		s[k%64] = refFMA(x, x, s[k%64])
	}
	return -0.5*refTree(s) + 0
}

func refSumSquares(r []float32) float64 {
	s := make([]float64, 16)
	for k, x := range r {
		s[k%16] += float64(x) * float64(x)
	}
	for n := 8; n > 0; n /= 2 {
		for i := range n {
			s[i] += s[i+n]
		}
	}
	return s[0]
}

// sums gives Σqr and Σ|qr| in float64.
func sums(q, r []float32) (sum, abs float64) {
	for k := range q {
		p := float64(q[k]) * float64(r[k])
		sum += p
		abs += math.Abs(p)
	}
	return sum, abs
}

// halfSquare gives −½Σ(q−r)² in float64.
func halfSquare(q, r []float32) (sum float64) {
	for k := range q {
		x := float64(q[k]) - float64(r[k])
		sum += x * x
	}
	return -0.5 * sum
}

// sameBits reports whether two results are the same, all NaNs being one.
func sameBits(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// A block is rows in guarded memory, NaN between them.
type block struct {
	rows         []float32
	stride, n, d int
}

func (b block) row(i int) []float32 { return b.rows[i*b.stride:][:b.d] }

func newBlock(slot, n, d, pad int, end bool, value func() float32) block {
	b := block{stride: d + pad, n: n, d: d}
	length := 0
	if n > 0 {
		length = (n-1)*b.stride + d
	}
	b.rows = place[float32](slot, length, end)
	for i := range b.rows {
		b.rows[i] = float32(math.NaN())
	}
	for i := range n {
		for k := range b.row(i) {
			b.row(i)[k] = value()
		}
	}
	return b
}

// gap is how far a row is from the end of the one before: sometimes as far as a head of many.
func gap(r *rand.Rand, d int) int {
	if d < 700 && r.IntN(3) == 0 {
		return d + r.IntN(2*d+1)
	}
	return r.IntN(20)
}

func newVector(slot, d int, end bool, value func() float32) []float32 {
	v := place[float32](slot, d, end)
	for k := range v {
		v[k] = value()
	}
	return v
}

// Sources of values.

func normal(r *rand.Rand) func() float32 {
	return func() float32 { return float32(r.NormFloat64()) }
}

// anyBits gives every float32 alike: all magnitudes, NaN and Inf now and then.
func anyBits(r *rand.Rand) func() float32 {
	return func() float32 { return math.Float32frombits(r.Uint32()) }
}

// edges gives values at the limits of float32.
func edges(r *rand.Rand) func() float32 {
	values := []float32{
		0, float32(math.Copysign(0, -1)), 1, -1, 0x1p-149, -0x1p-149, 0x1p-126, 0x1.fffffcp-127, -0x1p-75, 0x1p-74,
		1 + 0x1p-23, 1 - 0x1p-24, 0x1.fffffep127, -0x1.fffffep127, 0x1p64, -0x1p64, 1 << 24, 1<<24 - 1,
	}
	return func() float32 { return values[r.IntN(len(values))] }
}

// wild is edges with NaN and Inf among them.
func wild(r *rand.Rand) func() float32 {
	edge := edges(r)
	return func() float32 {
		switch r.IntN(40) {
		case 0:
			return float32(math.Inf(1))
		case 1:
			return float32(math.Inf(-1))
		case 2:
			return float32(math.NaN())
		}
		return edge()
	}
}

// small gives values whose products are denormal or vanish.
func small(r *rand.Rand) func() float32 {
	return func() float32 { return float32(math.Ldexp(r.NormFloat64(), -70-r.IntN(10))) }
}

// lengths are the dimensions tested: all to 300, then odd ones to 8192.
func lengths(t *testing.T) []int {
	var d []int
	for i := range 301 {
		d = append(d, i)
	}
	d = append(d, 319, 383, 511, 513, 768, 1000)
	if !testing.Short() {
		d = append(d, 1023, 1025, 1535, 2047, 3071, 4095, 4097, 6143, 8191, 8192)
	}
	return d
}

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x656e6772616d)) }
