//go:build !amd64 || purego

package avx2

import "engram/kernel/internal/purego"

// Built says whether the assembly is in this build. Where it isn't, the functions
// are those of purego, and package kernel never chooses this set.
const Built = false

// Width is how many queries a panel holds.
const Width = purego.Width

// Dot is kernel.Dot.
func Dot(dst, q, rows []float32, stride int) { purego.Dot(dst, q, rows, stride) }

// DotAt is kernel.DotAt.
func DotAt(dst, q, rows []float32, stride int, at []uint32) { purego.DotAt(dst, q, rows, stride, at) }

// L2 is kernel.L2.
func L2(dst, q, rows []float32, stride int) { purego.L2(dst, q, rows, stride) }

// L2At is kernel.L2At.
func L2At(dst, q, rows []float32, stride int, at []uint32) { purego.L2At(dst, q, rows, stride, at) }

// SumSquares is kernel.SumSquares.
func SumSquares(dst []float64, rows []float32, stride, d int) {
	purego.SumSquares(dst, rows, stride, d)
}

// PanelDot is kernel.PanelDot.
func PanelDot(dst, panel, rows []float32, stride, n, d int) {
	purego.PanelDot(dst, panel, rows, stride, n, d)
}

// PanelL2 is kernel.PanelL2.
func PanelL2(dst, panel, rows []float32, stride, n, d int) {
	purego.PanelL2(dst, panel, rows, stride, n, d)
}

// PanelScale is kernel.PanelScale.
func PanelScale(scores, rowScale, laneScale []float32, n int) {
	purego.PanelScale(scores, rowScale, laneScale, n)
}

// PanelSelect is kernel.PanelSelect.
func PanelSelect(hits []uint32, scores, threshold []float32, n int) int {
	return purego.PanelSelect(hits, scores, threshold, n)
}

// Max is kernel.Max.
func Max(s []float32) float32 { return purego.Max(s) }

// Exp is kernel.Exp.
func Exp(p, s []float32, scale, m float64) (sum, sumShift float64) { return purego.Exp(p, s, scale, m) }

// WeightedSum is kernel.WeightedSum.
func WeightedSum(sum []float64, w, rows []float32, stride int) {
	purego.WeightedSum(sum, w, rows, stride)
}

// PanelMax is kernel.PanelMax.
func PanelMax(max, scores []float32, n int) { purego.PanelMax(max, scores, n) }

// PanelExp is kernel.PanelExp.
func PanelExp(p, scores []float32, n int, scale float64, m, sum, sumShift []float64) {
	purego.PanelExp(p, scores, n, scale, m, sum, sumShift)
}

// PanelWeightedSum is kernel.PanelWeightedSum.
func PanelWeightedSum(sum []float64, p, rows []float32, stride, n, d int, next []float32) []float32 {
	purego.PanelWeightedSum(sum, p, rows, stride, n, d)
	return next
}

// CodeDot is kernel.CodeDot.
func CodeDot(dst []int32, query []int16, rows []int8, stride int) {
	purego.CodeDot(dst, query, rows, stride)
}

// CodeSelect is kernel.CodeSelect.
func CodeSelect(hits []uint32, sums []int32, scale, err, offset []float32, b *purego.CodeBound) int {
	return purego.CodeSelect(hits, sums, scale, err, offset, b, 0)
}

// Largest is purego.Largest.
func Largest(row []float32) uint32 { return purego.Largest(row) }

// Quantise is purego.Quantise.
func Quantise(codes []int8, left, row []float32, scale float32) {
	purego.Quantise(codes, left, row, scale)
}

// Decode is purego.Decode.
func Decode(dst []float32, codes []int8, scale float32) { purego.Decode(dst, codes, scale) }

// DecodeF16 is kernel.DecodeF16.
func DecodeF16(dst []float32, src []uint16) { purego.DecodeF16(dst, src) }

// DecodeBF16 is kernel.DecodeBF16.
func DecodeBF16(dst []float32, src []uint16) { purego.DecodeBF16(dst, src) }

// EncodeF16 is kernel.EncodeF16.
func EncodeF16(dst []uint16, src []float32) { purego.EncodeF16(dst, src) }

// EncodeBF16 is kernel.EncodeBF16.
func EncodeBF16(dst []uint16, src []float32) { purego.EncodeBF16(dst, src) }
