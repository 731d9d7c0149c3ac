package kernel

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
)

// The fuzz targets read float32s from bytes, so the fuzzer reaches every bit
// pattern; each holds all sets that run here to a reference, in guarded memory.

func floats(b []byte) []float32 {
	f := make([]float32, min(len(b)/4, 1<<12))
	for i := range f {
		f[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return f
}

func bytesOf(f ...float32) []byte {
	var b []byte
	for _, x := range f {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// addSeeds gives every target the same few inputs.
func addSeeds(f *testing.F) {
	r := source(1)
	for i, src := range sources {
		value := src.of(r)
		values := make([]float32, 3*(i+1)*17)
		for k := range values {
			values[k] = value()
		}
		f.Add(bytesOf(values...), uint8(2+i))
	}
	f.Add([]byte{}, uint8(0))
}

// eachFuzzed runs a check on every set that runs here.
func eachFuzzed(check func()) {
	before := active
	defer func() { active = before }()
	for _, s := range sets {
		if s.runs() {
			active = s
			check()
		}
	}
}

// guarded copies values to the end of a slot.
func guarded(slot int, values []float32) []float32 {
	g := place[float32](slot, len(values), true)
	copy(g, values)
	return g
}

// finite makes values of ordinary size, for targets whose bounds need it.
func finite(values []float32) {
	for i, x := range values {
		if !(math.Abs(float64(x)) < 1e6) {
			values[i] = 1
		}
	}
}

// split cuts values into a query and rows of the same length.
func split(data []byte, rows uint8) (q, block []float32, n, d int) {
	values := floats(data)
	n = int(rows%8) + 1
	d = len(values) / (n + 1)
	return values[:d], values[d:][:n*d], n, d
}

func fuzzCanonical(f *testing.F, which int) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte, rows uint8) {
		q, block, n, d := split(data, rows)
		q, block = guarded(0, q), guarded(1, block)
		eachFuzzed(func() {
			dst := place[float32](2, n, true)
			scores[which].all(dst, q, block, d)
			for i, got := range dst {
				if want := scores[which].ref(q, block[i*d:][:d]); !sameBits(got, want) {
					t.Fatalf("%s: d=%d row %d: %x, want %x", Set(), d, i, got, want)
				}
			}
		})
	})
}

func FuzzDot(f *testing.F) { fuzzCanonical(f, 0) }

func FuzzL2(f *testing.F) { fuzzCanonical(f, 1) }

func FuzzSumSquares(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte, rows uint8) {
		_, block, n, d := split(data, rows)
		block = guarded(0, block)
		eachFuzzed(func() {
			dst := place[float64](1, n, true)
			SumSquares(dst, block, d, d)
			for i, got := range dst {
				want := refSumSquares(block[i*d:][:d])
				if got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
					t.Fatalf("%s: d=%d row %d: %x, want %x", Set(), d, i, got, want)
				}
			}
		})
	})
}

func FuzzPanel(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte, rows uint8) {
		q, block, n, d := split(data, rows)
		finite(q)
		finite(block)
		block = guarded(0, block)
		eachFuzzed(func() {
			w := PanelWidth()
			panel := place[float32](1, PackedLen(d), true)
			Pack(panel, [][]float32{q, q}, d)
			dst, l2 := place[float32](2, n*w, true), place[float32](3, n*w, true)
			PanelDot(dst, panel, block, d, n, d)
			PanelL2(l2, panel, block, d, n, d)
			for i := range n {
				row := block[i*d:][:d]
				sum, abs := sums(q, row)
				exact := halfSquare(q, row)
				for j := range 2 {
					if !(math.Abs(float64(dst[i*w+j])-sum) <= gamma(d)*abs*1.01+underflow(2*d)) {
						t.Fatalf("%s: PanelDot d=%d: %g, want %g", Set(), d, dst[i*w+j], sum)
					}
					if !(math.Abs(float64(l2[i*w+j])-exact) <= -gamma(d+3)*exact*1.01+underflow(2*d)) {
						t.Fatalf("%s: PanelL2 d=%d: %g, want %g", Set(), d, l2[i*w+j], exact)
					}
				}
			}
			for _, s := range []float32{-1, 0, 1} {
				threshold, hits := place[float32](4, w, true), place[uint32](5, n*w, true)
				for j := range threshold {
					threshold[j] = s
				}
				var want []uint32
				for i, x := range dst {
					if x >= s {
						want = append(want, uint32(i))
					}
				}
				if got := hits[:PanelSelect(hits, dst, threshold, n)]; !slices.Equal(got, want) {
					t.Fatalf("%s: PanelSelect gave %v, want %v", Set(), got, want)
				}
			}
		})
	})
}

func FuzzExp(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte, scale uint8) {
		s := floats(data)
		factor, m := float64(scale)/64, 0.0
		for i, x := range s {
			if x != x || x > 1e6 || x < -1e6 {
				s[i] = float32(math.Inf(-1))
			}
			if !math.IsInf(float64(s[i]), -1) {
				m = max(m, factor*float64(s[i]))
			}
		}
		s = guarded(0, s)
		eachFuzzed(func() {
			p := place[float32](1, len(s), true)
			sum, _ := Exp(p, s, factor, m)
			var want float64
			for i, x := range s {
				_, e := refExp(x, factor, m)
				if !nearExp(p[i], e, 0x1p-51*(math.Abs(m)+1e8)) {
					t.Fatalf("%s: exp(%g·%g − %g) = %g, want %g", Set(), factor, x, m, p[i], e)
				}
				if p[i] != 0 {
					want += e
				}
			}
			if !(math.Abs(sum-want) <= 1e-6*want) {
				t.Fatalf("%s: sum %g, want %g", Set(), sum, want)
			}
			x := exponentials{scores: s, n: len(s) / PanelWidth(), scale: factor, m: slices.Repeat([]float64{m}, PanelWidth())}
			x.scores = s[:x.n*PanelWidth()]
			x.check(t, true)
		})
	})
}

func FuzzWeightedSum(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte, columns uint8) {
		values := floats(data)
		finite(values)
		d := int(columns)%100 + 1
		n := len(values) / (d + 1)
		weights, block := guarded(0, values[:n]), guarded(1, values[n:][:n*d])
		eachFuzzed(func() {
			w := PanelWidth()
			sum, all := place[float64](2, d, true), place[float64](3, w*d, true)
			clear(sum)
			clear(all)
			p := place[float32](4, n*w, true)
			for i := range p {
				p[i] = weights[i/w]
			}
			WeightedSum(sum, weights, block, d)
			PanelWeightedSum(all, p, block, d, n, d, nil)
			for k := range sum {
				var want, abs float64
				for i := range n {
					x := float64(weights[i]) * float64(block[i*d+k])
					want += x
					abs += math.Abs(x)
				}
				bound := gamma(48)*abs*1.01 + underflow(n) + 1e-12*abs
				if math.Abs(sum[k]-want) > bound || math.Abs(all[(w-1)*d+k]-want) > bound {
					t.Fatalf("%s: n=%d d=%d component %d: %g and %g, want %g", Set(), n, d, k, sum[k], all[(w-1)*d+k], want)
				}
			}
		})
	})
}

func FuzzQuantise(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte, scale uint8) {
		row := floats(data)
		for k, x := range row {
			if !(math.Abs(float64(x)) <= mostQuantised) {
				row[k] = float32(scale)
			}
		}
		row = guarded(0, row)
		var first []int8
		eachFuzzed(func() {
			codes, again, decoded := place[int8](1, len(row), true), place[int8](2, len(row), true), place[float32](3, len(row), true)
			s, e := Quantise(codes, row)
			checkQuantised(t, row, codes, s, e)
			if first == nil {
				first = slices.Clone(codes)
			}
			if !slices.Equal(codes, first) {
				t.Fatalf("%s: other codes than another set's", Set())
			}
			Decode(decoded, codes, s)
			if s2, e2 := Quantise(again, decoded); s2 != s || e2 != 0 || !slices.Equal(again, codes) {
				t.Fatalf("%s: decoded and quantised again: scale %g, was %g; error %g", Set(), s2, s, e2)
			}
		})
	})
}

// FuzzCodes takes codes and sums as they come.
func FuzzCodes(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte, rows uint8) {
		n := int(rows%40) + 1
		d := min(len(data)/(n+2), 1<<12) &^ (CodeUnit - 1)
		limit := mostQueryCode
		if d > 0 {
			limit = min(limit, math.MaxInt32/(MaxCode*d))
		}
		query, codes := place[int16](0, d, true), place[int8](1, n*d, true)
		for k := range query {
			query[k] = int16(int(int16(binary.LittleEndian.Uint16(data[2*k:]))) % (limit + 1))
		}
		for i := range codes {
			codes[i] = max(int8(data[2*d+i]), -MaxCode)
		}
		b := CodeBound{Unit: 0x1p-20, Base: 1, Slope: 1}
		columns := place[float32](2, n, true)
		for i := range columns {
			columns[i] = float32(i%3) / 2
			b.Limit = columns[i] + float32(d)/64
		}
		eachFuzzed(func() {
			sums, hits := place[int32](3, n, true), place[uint32](4, n, true)
			CodeDot(sums, query, codes, d)
			var want []uint32
			for i, got := range sums {
				if exact := refCodeDot(query, codes[i*d:][:d]); int64(got) != exact {
					t.Fatalf("%s: n=%d d=%d row %d: %d, want %d", Set(), n, d, i, got, exact)
				}
				x := float32(float32(b.Unit*float32(got))+b.Base) * columns[i]
				if x = float32(x+columns[i]) + columns[i]; !(x < b.Limit) {
					want = append(want, uint32(i))
				}
			}
			if got := hits[:CodeSelect(hits, sums, columns, columns, columns, &b)]; !slices.Equal(got, want) {
				t.Fatalf("%s: n=%d d=%d: selected %v, want %v", Set(), n, d, got, want)
			}
			panel, ones, all := place[uint8](5, CodePanelLen(d), true), make([]int32, n), place[int32](6, n*CodePanelWidth, true)
			PackCodes(panel, [][]int16{query, query}, d)
			CodeDot(ones, slices.Repeat([]int16{1}, d), codes, d)
			CodePanelDot(all, panel, codes, ones, d, n, d)
			for i, x := range sums {
				if all[i*CodePanelWidth] != x || all[i*CodePanelWidth+1] != x || all[i*CodePanelWidth+2] != 0 {
					t.Fatalf("%s: n=%d d=%d row %d: a panel gives %v, want %d twice", Set(), n, d, i, all[i*CodePanelWidth:][:3], x)
				}
			}
		})
	})
}
