package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// A halfForm is one of the two forms of 16 bits, by the numbers that define it.
type halfForm struct {
	name     string
	bits     int // significant, the hidden one with them
	least    int // the exponent of the least normal number
	most     float64
	infinite uint16
	decode   func([]float32, []uint16)
	encode   func([]uint16, []float32)
}

var halfForms = []halfForm{
	{"F16", 11, -14, MostF16, 0x7c00, DecodeF16, EncodeF16},
	{"BF16", 8, -126, 0x1.fep127, 0x7f80, DecodeBF16, EncodeBF16},
}

// value is what a number of 16 bits stands for, in float64.
func (f *halfForm) value(h uint16) float64 {
	sign := 1.0
	if h>>15 != 0 {
		sign = -1
	}
	m, fraction := h&0x7fff, 1<<(f.bits-1)
	e, c := int(m)/fraction, float64(int(m)%fraction)
	switch {
	case m > f.infinite:
		return math.NaN()
	case m == f.infinite:
		return sign * math.Inf(1)
	case e == 0:
		return sign * math.Ldexp(c, f.least-f.bits+1)
	}
	return sign * math.Ldexp(c+float64(fraction), f.least-f.bits+e)
}

// round is a float32 rounded to the form, in float64.
func (f *halfForm) round(x float32) float64 {
	v := float64(x)
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return v
	}
	_, e := math.Frexp(v)
	unit := math.Ldexp(1, max(e-1, f.least)-f.bits+1)
	r := math.Copysign(math.RoundToEven(v/unit)*unit, v)
	if math.Abs(r) > f.most {
		return math.Copysign(math.Inf(1), v)
	}
	return r
}

// TestDecodeHalf decodes every number of 16 bits, at every place in a vector.
func TestDecodeHalf(t *testing.T) {
	for _, f := range halfForms {
		t.Run(f.name, func(t *testing.T) {
			eachSet(t, func(t *testing.T) {
				for _, shift := range []int{0, 1, 7, 15} {
					src := place[uint16](0, 1<<16+shift, true)
					for i := range src {
						src[i] = uint16(i - shift)
					}
					dst := place[float32](1, len(src), true)
					f.decode(dst, src)
					for i, got := range dst {
						want := f.value(src[i])
						if math.IsNaN(want) != math.IsNaN(float64(got)) || !math.IsNaN(want) && math.Float64bits(float64(got)) != math.Float64bits(want) {
							t.Fatalf("%#04x at %d is %g, not %g", src[i], i, got, want)
						}
					}
				}
			})
		})
	}
}

// TestEncodeHalf rounds every number of 16 bits, what lies halfway to the next, the
// float32s beside each, and any bits, and compares with rounding in float64.
func TestEncodeHalf(t *testing.T) {
	for _, f := range halfForms {
		t.Run(f.name, func(t *testing.T) {
			var values []float32
			for h := range 1 << 16 {
				x := float32(f.value(uint16(h)))
				half := x
				if y := f.value(uint16(h) + 1); h&0x7fff < int(f.infinite)-1 {
					half = float32((float64(x) + y) / 2)
				} else if h&0x7fff == int(f.infinite)-1 { // where infinities begin
					half = float32(math.Copysign(f.most+math.Ldexp(1, 127-f.bits), float64(x)))
					if f.bits == 11 {
						half = float32(math.Copysign(65520, float64(x)))
					}
				}
				for _, y := range []float32{x, half} {
					b := math.Float32bits(y)
					values = append(values, y, math.Float32frombits(b+1), math.Float32frombits(b-1))
				}
			}
			r := rand.New(rand.NewPCG(1, 2))
			for range 1 << 18 {
				values = append(values, anyBits(r)())
			}
			eachSet(t, func(t *testing.T) {
				const piece = 1<<12 + 5
				for from := 0; from < len(values); from += piece {
					src := guarded(0, values[from:min(from+piece, len(values))])
					dst := place[uint16](1, len(src), true)
					f.encode(dst, src)
					for i, x := range src {
						got, want := f.value(dst[i]), f.round(x)
						if math.IsNaN(want) != math.IsNaN(got) || !math.IsNaN(want) && math.Float64bits(got) != math.Float64bits(want) {
							t.Fatalf("%x (%#08x) becomes %#04x, %x, not %x", x, math.Float32bits(x), dst[i], got, want)
						}
						if e := math.Abs(got - float64(x)); !math.IsInf(got, 0) && e > max(math.Ldexp(math.Abs(got), -f.bits), math.Ldexp(1, f.least-f.bits)) {
							t.Fatalf("%x becomes %x, beyond the bound of its error", x, got)
						}
					}
				}
			})
		})
	}
}

// TestHalfSetsAgree holds the sets to purego bit by bit, NaNs too.
func TestHalfSetsAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, f := range halfForms {
		for n := range 70 {
			floats := guarded(0, make([]float32, n))
			for i := range floats {
				floats[i] = anyBits(r)()
				if i%5 == 0 {
					floats[i] = math.Float32frombits(0x7f800000 | r.Uint32N(1<<23))
				}
			}
			var want []uint16
			before := active
			active = setPurego
			want = make([]uint16, n)
			f.encode(want, floats)
			active = before
			eachSet(t, func(t *testing.T) {
				got := place[uint16](1, n, true)
				f.encode(got, floats)
				for i := range got {
					if got[i] != want[i] {
						t.Fatalf("%s: %#08x becomes %#04x, in Go %#04x", f.name, math.Float32bits(floats[i]), got[i], want[i])
					}
				}
			})
		}
	}
}

func BenchmarkDecodeHalf(b *testing.B) {
	for _, f := range halfForms {
		b.Run(f.name, func(b *testing.B) {
			src, dst := make([]uint16, 8192), make([]float32, 8192)
			b.SetBytes(int64(2 * len(src)))
			for b.Loop() {
				f.decode(dst, src)
			}
		})
	}
}
