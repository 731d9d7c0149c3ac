package kernel

import (
	"math"
	"slices"
	"testing"
)

// refFastScan takes the definition row by row.
func refFastScan(codes, table []byte, groups, blocks int) []uint16 {
	sums := make([]uint16, blocks*FastScanRows)
	for i := range sums {
		b, r := i/FastScanRows, i%FastScanRows
		for g := range groups {
			c := codes[b*FastScanBytes(groups)+16*g+r%16] >> (4 * (r / 16)) & 15
			sums[i] += uint16(table[16*g+int(c)])
		}
	}
	return sums
}

// eachVBMI runs a test on every set, on AVX-512 with and without VBMI.
func eachVBMI(t *testing.T, test func(t *testing.T)) {
	eachSet(t, func(t *testing.T) {
		test(t)
		if active == setAVX512 && vbmi {
			defer func() { vbmi = true }()
			vbmi = false
			test(t)
		}
	})
}

// Several tables at once give what each gives alone.
func TestFastScans(t *testing.T) {
	eachVBMI(t, func(t *testing.T) {
		for _, groups := range []int{0, 4, 12, 64, 260, 1024} {
			for _, blocks := range []int{0, 1, 3} {
				for tables := range 10 {
					r := source(uint64(groups*100 + blocks*10 + tables))
					end := blocks%2 == 0
					codes := place[byte](0, blocks*FastScanBytes(groups), end)
					sums := place[uint16](1, tables*blocks*FastScanRows, end)
					all := place[byte](2, tables*16*groups, end)
					for i := range codes {
						codes[i] = byte(r.Uint32())
					}
					for i := range all {
						all[i] = byte(r.Uint32())
					}
					var each [][]byte
					var want []uint16
					for i := range tables {
						each = append(each, all[i*16*groups:][:16*groups])
						want = append(want, refFastScan(codes, each[i], groups, blocks)...)
					}
					FastScans(sums, codes, each, groups, blocks)
					if !slices.Equal(sums, want) {
						t.Fatalf("%d groups, %d blocks, %d tables:\n%v\nwant\n%v", groups, blocks, tables, sums, want)
					}
				}
			}
		}
	})
}

func TestFastScan(t *testing.T) {
	eachVBMI(t, func(t *testing.T) {
		for _, groups := range []int{0, 4, 8, 12, 32, 60, 96, 192, 256, 260, 1024} {
			for _, blocks := range []int{0, 1, 2, 3, 9} {
				r := source(uint64(groups*10 + blocks))
				end := blocks%2 == 0
				codes := place[byte](0, blocks*FastScanBytes(groups), end)
				table := place[byte](1, 16*groups, end)
				sums := place[uint16](2, blocks*FastScanRows, end)
				for i := range codes {
					codes[i] = byte(r.Uint32())
				}
				for i := range table {
					table[i] = byte(r.Uint32())
					if groups == 260 { // beyond 2¹⁶, which wraps
						table[i] |= 0xf8
					}
				}
				FastScan(sums, codes, table, groups, blocks)
				if want := refFastScan(codes, table, groups, blocks); !slices.Equal(sums, want) {
					t.Fatalf("%d groups, %d blocks:\n%v\nwant\n%v", groups, blocks, sums, want)
				}
			}
		}
	})
}

func TestFastSelect(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for _, n := range []int{0, 32, 64, 96, 320} {
			for _, kind := range []string{"normal", "wild", "exact"} {
				r := source(uint64(n))
				end := n%64 == 0
				value := normal(r)
				switch kind {
				case "wild":
					value = wild(r)
				case "exact":
					value = func() float32 { return float32(r.IntN(3)) }
				}
				sums := place[uint16](0, n, end)
				for i := range sums {
					sums[i] = uint16(r.Uint32())
					if kind == "exact" {
						sums[i] &= 3
					}
				}
				mul, add := newVector(1, n, end, value), newVector(2, n, end, value)
				hits := place[uint32](3, n, end)
				for range 20 {
					scale, shift, limit := value(), value(), value()
					if kind == "normal" {
						scale /= 1 << 15
					}
					var want []uint32
					for i, s := range sums {
						if refFMA(mul[i], refFMA(float32(s), scale, shift), add[i]) >= limit {
							want = append(want, uint32(i))
						}
					}
					got := hits[:FastSelect(hits, sums, mul, add, scale, shift, limit, n)]
					if !slices.Equal(got, want) {
						t.Fatalf("%s, n=%d, scale %g, shift %g, limit %g:\n%v\nwant\n%v", kind, n, scale, shift, limit, got, want)
					}
				}
			}
		}
	})
}

func TestPanelArgMax(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		w := PanelWidth()
		for _, n := range counts {
			for _, kind := range []string{"normal", "wild", "ties"} {
				r := source(uint64(n))
				end := n%2 == 0
				value := normal(r)
				switch kind {
				case "wild":
					value = wild(r)
				case "ties":
					value = func() float32 { return float32(r.IntN(2)) }
				}
				scores, bias := newVector(0, n*w, end, value), newVector(1, n, end, value)
				best := newVector(2, w, end, func() float32 { return float32(math.Inf(-1)) })
				at := place[uint32](3, w, end)
				first := r.Uint32N(1 << 20)
				for j := range at {
					at[j] = math.MaxUint32
				}
				wantBest, wantAt := slices.Clone(best), slices.Clone(at)
				for i := range n {
					for j := range w {
						if s := scores[i*w+j] + bias[i]; s > wantBest[j] {
							wantBest[j], wantAt[j] = s, first+uint32(i)
						}
					}
				}
				PanelArgMax(best, at, scores, bias, n, first)
				if !slices.EqualFunc(best, wantBest, sameBits) || !slices.Equal(at, wantAt) {
					t.Fatalf("%s, n=%d: %v at %v, want %v at %v", kind, n, best, at, wantBest, wantAt)
				}
			}
		}
	})
}

// A prefetch changes nothing, and touches nothing: a slice may end anywhere.
func TestPrefetch(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 15, 16, 17, 100} {
			v := newVector(0, n, true, func() float32 { return 1 })
			Prefetch(v)
			for i, x := range v {
				if x != 1 {
					t.Fatalf("element %d of %d is %v", i, n, x)
				}
			}
		}
	})
}
