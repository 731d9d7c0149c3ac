package kernel

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// rowKinds are rows that quantising could stumble over.
var rowKinds = map[string]func(r *rand.Rand, row []float32){
	"normal": func(r *rand.Rand, row []float32) { fill(row, normal(r)) },
	"huge":   func(r *rand.Rand, row []float32) { fill(row, scaledBy(r, 0x1p124)) },
	"tiny":   func(r *rand.Rand, row []float32) { fill(row, scaledBy(r, 0x1p-120)) },
	// From all below the least scale to all above it.
	"denormal": func(r *rand.Rand, row []float32) { fill(row, scaledBy(r, math.Ldexp(1, -127-r.IntN(20)))) },
	"zero":     func(r *rand.Rand, row []float32) { clear(row) },
	"one large": func(r *rand.Rand, row []float32) {
		fill(row, normal(r))
		if len(row) > 0 {
			row[r.IntN(len(row))] = float32(math.Ldexp(1, 10+r.IntN(60)))
		}
	},
	// Halfway between two codes, and next to it.
	"ties": func(r *rand.Rand, row []float32) {
		for i := range row {
			x := float32(r.IntN(254)-127) + 0.5
			row[i] = math.Float32frombits(math.Float32bits(x) + r.Uint32N(3) - 1)
		}
		if len(row) > 0 {
			row[0] = 127
		}
	},
	"any finite": func(r *rand.Rand, row []float32) {
		fill(row, func() float32 {
			for {
				if x := anyBits(r)(); math.Abs(float64(x)) <= mostQuantised {
					return x
				}
			}
		})
	},
}

func fill(row []float32, value func() float32) {
	for i := range row {
		row[i] = value()
	}
}

func scaledBy(r *rand.Rand, f float64) func() float32 {
	return func() float32 { return float32(min(max(r.NormFloat64(), -4), 4) * f) }
}

// checkQuantised holds codes, scale and error to what Quantise promises of a row.
func checkQuantised(t interface{ Fatalf(string, ...any) }, row []float32, codes []int8, scale, err float32) {
	most := 0.0
	for _, x := range row {
		most = max(most, math.Abs(float64(x)))
	}
	if s := float64(scale); scale != 0 {
		if frac, _ := math.Frexp(s); frac*0x1p16 != math.Trunc(frac*0x1p16) {
			t.Fatalf("the scale %x has more than 16 significant bits", scale)
		}
		if s < leastScale || s*MaxCode < most*(1-0x1p-52) || s > leastScale && s*MaxCode > most*(1+0x1p-15) {
			t.Fatalf("the scale is %g, for a greatest component of %g", scale, most)
		}
	} else if most > leastScale/2 {
		t.Fatalf("the scale is 0, for a greatest component of %g", most)
	}
	sum := new(big.Float).SetPrec(400)
	for k, x := range row {
		c, s := float64(codes[k]), float64(scale)
		if codes[k] < -MaxCode || float64(float32(c*s)) != c*s {
			t.Fatalf("component %d: %g·%g isn't exact", k, c, s)
		}
		e := new(big.Float).SetPrec(400).SetFloat64(float64(x))
		e.Sub(e, big.NewFloat(c*s))
		if f, _ := e.Float64(); math.Abs(f) > s*(0.5+0x1p-18) && scale != 0 {
			t.Fatalf("component %d: %g became %g·%g", k, x, c, s)
		}
		sum.Add(sum, e.Mul(e, e))
	}
	exact := new(big.Float).SetPrec(400).Sqrt(sum)
	if new(big.Float).SetFloat64(float64(err)).Cmp(exact) < 0 {
		t.Fatalf("the error is %g, more than the %g that was returned", exact, err)
	}
	if f, _ := exact.Float64(); float64(err) > f*(1+0x1p-22)+0x1p-149 {
		t.Fatalf("the error is %g, far below the %g that was returned", exact, err)
	}
}

// TestQuantise holds every set to what is promised, to the bits of the others, and
// to having nothing to lose when it quantises what it decoded.
func TestQuantise(t *testing.T) {
	for name, kind := range rowKinds {
		t.Run(name, func(t *testing.T) {
			for _, d := range lengths(t) {
				r := source(uint64(d))
				row := place[float32](0, d, d%2 == 0)
				kind(r, row)
				var first []int8
				var firstScale, firstErr float32
				eachFuzzed(func() {
					codes := place[int8](1, d, d%2 == 0)
					scale, err := Quantise(codes, row)
					if first == nil {
						checkQuantised(t, row, codes, scale, err)
						first, firstScale, firstErr = slices.Clone(codes), scale, err
					}
					if !slices.Equal(codes, first) || scale != firstScale || err != firstErr {
						t.Fatalf("%s, d=%d: other codes, scale or error than another set's", Set(), d)
					}
					decoded, again := place[float32](2, d, true), place[int8](3, d, true)
					Decode(decoded, codes, scale)
					for k, x := range decoded {
						if x != float32(codes[k])*scale {
							t.Fatalf("%s, d=%d: component %d decoded to %g", Set(), d, k, x)
						}
					}
					if s, e := Quantise(again, decoded); s != scale || e != 0 || !slices.Equal(again, codes) {
						t.Fatalf("%s, d=%d: decoded and quantised again: scale %g, was %g; error %g", Set(), d, s, scale, e)
					}
				})
			}
		})
	}
}

func TestQuantiseProperties(t *testing.T) {
	var names []string
	for name := range rowKinds {
		names = append(names, name)
	}
	slices.Sort(names)
	rapid.Check(t, func(t *rapid.T) {
		r := source(rapid.Uint64().Draw(t, "seed"))
		row := make([]float32, rapid.IntRange(0, 1200).Draw(t, "dim"))
		rowKinds[rapid.SampledFrom(names).Draw(t, "kind")](r, row)
		codes, again, decoded := make([]int8, len(row)), make([]int8, len(row)), make([]float32, len(row))
		scale, err := Quantise(codes, row)
		checkQuantised(t, row, codes, scale, err)
		Decode(decoded, codes, scale)
		if s, e := Quantise(again, decoded); s != scale || e != 0 || !slices.Equal(again, codes) {
			t.Fatalf("decoded and quantised again: scale %g, was %g; error %g", s, scale, e)
		}
	})
}

// TestQuantiseUnknown: of a row that codes can't stand for, nothing is claimed.
func TestQuantiseUnknown(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for _, x := range append(slices.Clone(poisons), 0x1.000002p127, -math.MaxFloat32) {
			for _, d := range []int{1, 17, 100, 600} {
				r := source(uint64(d))
				row, codes := newVector(0, d, true, normal(r)), place[int8](1, d, true)
				row[r.IntN(d)] = x
				for k := range codes {
					codes[k] = 1
				}
				scale, err := Quantise(codes, row)
				if scale != 0 || !math.IsInf(float64(err), 1) || slices.Max(codes) != 0 {
					t.Fatalf("d=%d with %g: scale %g, error %g, codes %v", d, x, scale, err, codes)
				}
				query := make([]int16, QueryCodes(d))
				if scale, err := QuantiseQuery(query, row); math.Abs(float64(x)) <= math.MaxFloat32 == math.IsInf(err, 1) {
					t.Fatalf("d=%d: a query with %g has scale %g, error %g", d, x, scale, err)
				}
			}
		}
	})
}

// TestQuantiseQuery: a query's codes are as near as said, small enough, and zero
// past its components.
func TestQuantiseQuery(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for name, kind := range rowKinds {
			for _, d := range lengths(t) {
				r := source(uint64(d))
				query := place[float32](0, d, true)
				kind(r, query)
				codes := place[int16](1, QueryCodes(d), true)
				for k := range codes {
					codes[k] = -1
				}
				scale, err := QuantiseQuery(codes, query)
				most, sum, square := 0, 0.0, 0.0
				for k, c := range codes {
					x := 0.0
					if k < d {
						x = float64(query[k])
					} else if c != 0 {
						t.Fatalf("%s, d=%d: code %d past the end is %d", name, d, k, c)
					}
					e := x - float64(c)*float64(scale)
					sum += e * e
					square += x * x
					most = max(most, int(c), -int(c))
				}
				if int64(most)*MaxCode*int64(d) > math.MaxInt32 || most > mostQueryCode {
					t.Fatalf("%s, d=%d: a code of %d", name, d, most)
				}
				if exact := math.Sqrt(sum); err < exact || err > exact*(1+1e-6) {
					t.Fatalf("%s, d=%d: the error is %g, said to be %g", name, d, exact, err)
				}
				if near := math.Sqrt(square) * math.Sqrt(float64(d)) / float64(max(most, 1)); err > near && scale != 0 {
					t.Fatalf("%s, d=%d: an error of %g for a norm of %g", name, d, err, math.Sqrt(square))
				}
			}
		}
	})
}
