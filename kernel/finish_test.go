package kernel

import (
	"math"
	"testing"
)

// TestPanelFinish holds PanelBias, PanelResidual and PanelGELU to their bounds, and to
// their columns.
func TestPanelFinish(t *testing.T) {
	finishes := map[string]struct {
		do   func(dst []float32, stride int, sums, bias []float32, n int)
		want func(before, x float64) float64
	}{
		"bias":     {PanelBias, func(_, x float64) float64 { return x }},
		"residual": {PanelResidual, func(before, x float64) float64 { return before + x }},
		"gelu":     {PanelGELU, func(_, x float64) float64 { return 0.5 * x * math.Erfc(-x/math.Sqrt2) }},
	}
	for name, finish := range finishes {
		t.Run(name, func(t *testing.T) {
			eachSet(t, func(t *testing.T) {
				r := source(7)
				w := PanelWidth()
				for n := range 10 {
					for _, gap := range []int{0, 1, 17} {
						stride := w + gap
						dst := newVector(0, max(0, n*stride-gap), n%2 == 0, normal(r))
						sums := newVector(1, n*w, n%2 == 0, func() float32 { return float32(8 * r.NormFloat64()) })
						bias := newVector(2, w, true, normal(r))
						before := append([]float32(nil), dst...)
						finish.do(dst, stride, sums, bias, n)
						for k, got := range dst {
							i, j := k/stride, k%stride
							if j >= w {
								if math.Float32bits(got) != math.Float32bits(before[k]) {
									t.Fatalf("n=%d stride=%d: dst[%d], between the columns, was touched", n, stride, k)
								}
								continue
							}
							x := float64(sums[i*w+j]) + float64(bias[j])
							want := finish.want(float64(before[k]), x)
							if d := math.Abs(float64(got) - want); !(d <= 3e-7*max(1, math.Abs(x), math.Abs(float64(before[k])))) {
								t.Fatalf("n=%d stride=%d: dst[%d] = %g of %g, want %g", n, stride, k, got, x, want)
							}
						}
					}
				}
			})
		})
	}
}

// TestGELUEverywhere looks closely at where GELU bends and at where the error function
// is clamped.
func TestGELUEverywhere(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		w := PanelWidth()
		sums, dst, bias := make([]float32, w), make([]float32, w), make([]float32, w)
		for i := -20_000; i < 20_000; i += w {
			for j := range sums {
				sums[j] = float32(i+j) / 2000
			}
			PanelGELU(dst, w, sums, bias, 1)
			for j, got := range dst {
				x := float64(sums[j])
				want := 0.5 * x * math.Erfc(-x/math.Sqrt2)
				if d := math.Abs(float64(got) - want); !(d <= 3e-7*max(1, math.Abs(x))) {
					t.Fatalf("gelu(%g) = %g, want %g", x, got, want)
				}
			}
		}
		for j, x := range []float32{0, float32(math.Copysign(0, -1)), 1e30, -1e30, math.MaxFloat32, 0x1p-149} {
			sums[j] = x
		}
		PanelGELU(dst, w, sums, bias, 1)
		for j, want := range []float32{0, 0, 1e30, 0, math.MaxFloat32, 0} {
			if math.Abs(float64(dst[j]-want)) > 3e-7*math.Abs(float64(sums[j])) {
				t.Errorf("gelu(%g) = %g, want %g", sums[j], dst[j], want)
			}
		}
	})
}
