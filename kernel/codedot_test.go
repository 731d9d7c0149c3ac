package kernel

import (
	"math"
	"slices"
	"testing"
)

// refCodeDot is exact.
func refCodeDot(query []int16, row []int8) int64 {
	var sum int64
	for k, c := range query {
		sum += int64(c) * int64(row[k])
	}
	return sum
}

// TestCodeDot holds sums to the exact ones, at every length, with anything between
// rows and protected pages around the slices.
func TestCodeDot(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for d := 0; d <= 8192; d = nextLength(d) {
			r := source(uint64(d))
			n, end, stride := r.IntN(14), r.IntN(2) == 0, d+r.IntN(70)
			limit := mostQueryCode
			if d > 0 {
				limit = min(limit, math.MaxInt32/(MaxCode*d))
			}
			query := place[int16](0, d, end)
			for k := range query {
				query[k] = int16(r.IntN(2*limit+1) - limit)
			}
			length := 0
			if n > 0 {
				length = (n-1)*stride + d
			}
			rows := place[int8](1, length, end)
			for i := range rows {
				rows[i] = int8(r.IntN(256) - 128)
			}
			for i := range n {
				row := rows[i*stride:][:d]
				for k := range row {
					switch i % 3 {
					case 0: // the greatest sum there is, and the least
						row[k] = MaxCode
						if (query[k] < 0) != (i%2 == 0) {
							row[k] = -MaxCode
						}
					default:
						row[k] = max(row[k], -MaxCode)
					}
				}
			}
			if d%64 == 0 {
				for k := range query {
					query[k] = int16(limit) * int16(1-2*(k%2))
				}
			}
			dst := place[int32](2, n, end)
			CodeDot(dst, query, rows, stride)
			for i, got := range dst {
				if want := refCodeDot(query, rows[i*stride:][:d]); int64(got) != want {
					t.Fatalf("d=%d, row %d of %d: %d, want %d", d, i, n, got, want)
				}
			}
		}
	})
}

// nextLength goes through all multiples of CodeUnit to 1024, then doubles and more.
func nextLength(d int) int {
	if d < 1024 {
		return d + CodeUnit
	}
	return d + 1024 + CodeUnit*(d/1024%2)
}

func TestCodeSelect(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	eachSet(t, func(t *testing.T) {
		for n := range 70 {
			for _, share := range []int{1, 2, 30} {
				r := source(uint64(n))
				end := n%2 == 0
				sums := place[int32](0, n, end)
				scale, err, offset := newVector(1, n, end, r.Float32), newVector(2, n, end, r.Float32), newVector(3, n, end, normal(r))
				b := CodeBound{Unit: 1e-8, Base: 0.25, Slope: 0.5, Limit: float32(3 - 3/float64(share))}
				for i := range sums {
					sums[i] = int32(r.Uint32())
					switch r.IntN(40) {
					case 0:
						offset[i] = nan
					case 1:
						err[i] = inf
					case 2:
						offset[i] = -inf
					}
				}
				var want []uint32
				for i, sum := range sums {
					x := float32(float32(b.Unit*float32(sum))+b.Base) * scale[i]
					y := float32(b.Slope * err[i])
					if z := float32(float32(x+y) + offset[i]); z >= b.Limit || z != z {
						want = append(want, uint32(i))
					}
				}
				hits := place[uint32](4, n, end)
				if got := hits[:CodeSelect(hits, sums, scale, err, offset, &b)]; !slices.Equal(got, want) {
					t.Fatalf("n=%d: %v, want %v", n, got, want)
				}
				b.Limit = -inf
				if got := CodeSelect(hits, sums, scale, err, offset, &b); got != n {
					t.Fatalf("n=%d: no limit selects %d", n, got)
				}
			}
		}
	})
}

// TestCodeSelectError: the bound differs from the exact one by no more than stated.
func TestCodeSelectError(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		r := source(1)
		for range 2000 {
			sum := int32(r.Uint32()) >> r.IntN(31)
			wide := func() float32 { return float32(r.NormFloat64() * math.Pow(2, float64(r.IntN(60)-50))) }
			s, e := float32(math.Abs(float64(wide()))), float32(math.Abs(float64(wide())))
			o := wide()
			b := CodeBound{Unit: wide(), Base: wide(), Slope: wide()}
			unit, base, slope := float64(b.Unit)*float64(sum), float64(b.Base), float64(b.Slope)*float64(e)
			exact := float64(s)*(unit+base) + slope + float64(o)
			bound := float64(s)*(gamma(6)*math.Abs(unit)+gamma(4)*math.Abs(base)) + gamma(3)*math.Abs(slope) + u*math.Abs(float64(o)) + (float64(s)+2)*0x1p-149
			for _, x := range []struct {
				limit float64
				want  int
			}{{exact - bound*1.001, 1}, {exact + bound*1.001, 0}} {
				b.Limit = float32(x.limit)
				if x.want == 1 {
					b.Limit = math.Nextafter32(b.Limit, float32(math.Inf(-1)))
				} else {
					b.Limit = math.Nextafter32(b.Limit, float32(math.Inf(1)))
				}
				sums, one := slices.Repeat([]int32{sum}, 16), func(x float32) []float32 { return slices.Repeat([]float32{x}, 16) }
				if got := CodeSelect(make([]uint32, 16), sums, one(s), one(e), one(o), &b); got != 16*x.want {
					t.Fatalf("%+v on %d, %g, %g, %g: exactly %g within %g, and %d rows are selected at %g", b, sum, s, e, o, exact, bound, got, b.Limit)
				}
			}
		}
	})
}

// TestCodesWriteOnlyResults: what lies before and after the results stays.
func TestCodesWriteOnlyResults(t *testing.T) {
	const around = 70
	eachSet(t, func(t *testing.T) {
		for _, n := range []int{1, 3, 4, 5, 6, 7, 13, 16, 17, 33} {
			r := source(uint64(n))
			const d = 96
			rows, query := make([]int8, n*d), make([]int16, d)
			row := newVector(0, n, true, normal(r))
			sums, hits := slices.Repeat([]int32{77}, n+2*around), slices.Repeat([]uint32{77}, n+2*around)
			codes, decoded := slices.Repeat([]int8{77}, n+2*around), slices.Repeat([]float32{77}, n+2*around)
			CodeDot(sums[around:][:n], query, rows, d)
			CodeSelect(hits[around:], sums[around:][:n], row, row, row, &CodeBound{Limit: -1e9})
			Quantise(codes[around:], row)
			Decode(decoded[around:][:n], codes[around:], 1)
			for i := range n + 2*around {
				if i >= around && i < around+n {
					continue
				}
				if sums[i] != 77 || hits[i] != 77 || codes[i] != 77 || decoded[i] != 77 {
					t.Fatalf("n=%d: wrote at %d", n, i-around)
				}
			}
		}
	})
}

func TestCodesPanic(t *testing.T) {
	for name, call := range map[string]func(){
		"odd length":  func() { CodeDot(make([]int32, 1), make([]int16, 31), make([]int8, 64), 32) },
		"short rows":  func() { CodeDot(make([]int32, 2), make([]int16, 32), make([]int8, 63), 32) },
		"stride":      func() { CodeDot(make([]int32, 1), make([]int16, 64), make([]int8, 64), 32) },
		"short codes": func() { Quantise(make([]int8, 3), make([]float32, 4)) },
		"query":       func() { QuantiseQuery(make([]int16, 4), make([]float32, 4)) },
		"panel":       func() { PackCodes(make([]uint8, CodePanelLen(32)-1), nil, 32) },
		"lanes":       func() { PackCodes(make([]uint8, CodePanelLen(32)), make([][]int16, 17), 32) },
		"panel rows": func() {
			CodePanelDot(make([]int32, 32), make([]uint8, CodePanelLen(32)), make([]int8, 63), make([]int32, 2), 32, 2, 32)
		},
		"decode": func() { Decode(make([]float32, 4), make([]int8, 3), 1) },
		"hits": func() {
			f := make([]float32, 4)
			CodeSelect(make([]uint32, 3), make([]int32, 4), f, f, f, &CodeBound{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			call()
		})
	}
}
