package kernel

import (
	"engram/kernel/internal/avx2"
	"engram/kernel/internal/avx512"
	"engram/kernel/internal/neon"
	"engram/kernel/internal/purego"
)

// CodeDot sets dst[i] to Σₖ query[k]·rows[i·stride+k], exactly, for codes that
// Quantise and QuantiseQuery gave. The query has a multiple of CodeUnit codes, those
// past its components zero; a row has as many, and there anything.
func CodeDot(dst []int32, query []int16, rows []int8, stride int) {
	n, d := len(dst), len(query)
	checkCodes(rows, stride, n, d)
	if d == 0 {
		clear(dst)
		return
	}
	if n == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.CodeDot(dst, query, rows, stride)
	case setAVX2:
		avx2.CodeDot(dst, query, rows, stride)
	case setNEON:
		neon.CodeDot(dst, query, rows, stride)
	default:
		purego.CodeDot(dst, query, rows, stride)
	}
}

// A CodeBound is what one query makes of the sums of CodeDot: the bound
//
//	(Unit·sum + Base)·scale + Slope·err + offset
//
// of a row's score from its columns, each operation rounded to float32 in this
// order (a sum on its way to float32, too), and the Limit that it is compared to.
type CodeBound = purego.CodeBound

// CodeSelect writes to hits, ascending, every i whose bound isn't below b.Limit
// (so that of a NaN is among them), and returns how many there are. sums and the
// three columns have a row's number each; hits needs room for all. It is fastest
// where few are selected.
//
// With u = 2⁻²⁴ and γ_k as in the package's comment, the computed bound differs from
// the exact one by at most
//
//	scale·(γ₆·|Unit·sum| + γ₄·|Base|) + γ₃·Slope·err + u·|offset| + (scale + 2)·2⁻¹⁴⁹
//
// which who fills in a CodeBound must cover.
func CodeSelect(hits []uint32, sums []int32, scale, err, offset []float32, b *CodeBound) int {
	n := len(sums)
	checkLen("hits", len(hits), n, 1)
	checkLen("scale", len(scale), n, 1)
	checkLen("err", len(err), n, 1)
	checkLen("offset", len(offset), n, 1)
	if n == 0 {
		return 0
	}
	switch active {
	case setAVX512:
		return avx512.CodeSelect(hits, sums, scale, err, offset, b)
	case setAVX2:
		return avx2.CodeSelect(hits, sums, scale, err, offset, b)
	case setNEON:
		return neon.CodeSelect(hits, sums, scale, err, offset, b)
	default:
		return purego.CodeSelect(hits, sums, scale, err, offset, b, 0)
	}
}
