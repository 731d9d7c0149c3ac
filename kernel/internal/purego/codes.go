package purego

import "math"

// A CodeBound is kernel.CodeBound.
type CodeBound struct{ Unit, Base, Slope, Limit float32 }

// CodeDot is kernel.CodeDot.
func CodeDot(dst []int32, query []int16, rows []int8, stride int) {
	for i := range dst {
		var sum int32
		r := rows[i*stride:][:len(query)]
		for k, c := range query {
			sum += int32(c) * int32(r[k])
		}
		dst[i] = sum
	}
}

// CodeSelect is kernel.CodeSelect. first is what the indexes start from.
func CodeSelect(hits []uint32, sums []int32, scale, err, offset []float32, b *CodeBound, first int) int {
	found := 0
	scale, err, offset = scale[:len(sums)], err[:len(sums)], offset[:len(sums)]
	for i, sum := range sums {
		x := float32(b.Unit*float32(sum)) + b.Base
		x = float32(x*scale[i]) + float32(b.Slope*err[i])
		x += offset[i]
		if !(x < b.Limit) {
			hits[found] = uint32(first + i)
			found++
		}
	}
	return found
}

// Largest gives the bits of the greatest magnitude of a row: those of a NaN if it
// has one.
func Largest(row []float32) uint32 {
	m := uint32(0)
	for _, x := range row {
		m = max(m, math.Float32bits(x)&^(1<<31))
	}
	return m
}

// Quantise writes codes, row/scale rounded to even, and what they leave of the
// row.
func Quantise(codes []int8, left, row []float32, scale float32) {
	codes, left = codes[:len(row)], left[:len(row)]
	for k, x := range row {
		c := int8(math.RoundToEven(float64(x / scale)))
		codes[k] = c
		left[k] = x - float32(float32(c)*scale)
	}
}

// Decode writes scale·code.
func Decode(dst []float32, codes []int8, scale float32) {
	codes = codes[:len(dst)]
	for k := range dst {
		dst[k] = float32(codes[k]) * scale
	}
}

// CodeWidth is how many queries a panel of codes holds.
const CodeWidth = 16

// A CodePanelBound is kernel.CodePanelBound.
type CodePanelBound struct{ Unit, Base, Slope, Limit [CodeWidth]float32 }

// CodePanelDot is kernel.CodePanelDot.
func CodePanelDot(dst []int32, panel []uint8, rows []int8, stride, n, d int) {
	for i := range n {
		var s [CodeWidth]int32
		for k, c := range rows[i*stride:][:d] {
			high := panel[k/4*128+k%4:]
			for j := range s {
				s[j] += (int32(high[4*j])*128 + int32(high[64+4*j]) - 8192) * int32(c)
			}
		}
		*(*[CodeWidth]int32)(dst[i*CodeWidth:]) = s
	}
}

// CodePanelSelect is kernel.CodePanelSelect.
func CodePanelSelect(hits []uint32, sums []int32, scale, err, offset []float32, b *CodePanelBound, n int) int {
	found := 0
	for i := range n {
		for j, sum := range (*[CodeWidth]int32)(sums[i*CodeWidth:]) {
			x := float32(b.Unit[j]*float32(sum)) + b.Base[j]
			x = float32(x*scale[i]) + float32(b.Slope[j]*err[i])
			x += offset[i]
			if !(x < b.Limit[j]) {
				hits[found] = uint32(i*CodeWidth + j)
				found++
			}
		}
	}
	return found
}
