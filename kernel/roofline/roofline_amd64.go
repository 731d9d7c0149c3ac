//go:build amd64 && !purego

package roofline

import (
	"os"

	"github.com/klauspost/cpuid/v2"
)

// forced is the set that ENGRAM_KERNEL names, as in package kernel.
var forced = os.Getenv("ENGRAM_KERNEL")

var (
	useAVX512 = (forced == "" || forced == "avx512") && cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512VL)
	useAVX2   = !useAVX512 && (forced == "" || forced == "avx2") && cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3)
)

// Read loads every byte of p once, but for those past the last whole 512.
func Read(p []byte) {
	blocks := len(p) / 512
	switch {
	case blocks == 0:
	case useAVX512:
		readAVX512(&p[0], blocks)
	case useAVX2:
		readAVX2(&p[0], blocks)
	default:
		readGo(p)
	}
}

// MultiplyAdd makes turns of independent multiply-adds as fast as the processor
// can, and returns how many float32 multiply-adds that was.
func MultiplyAdd(turns int) int {
	switch {
	case turns <= 0:
		return 0
	case useAVX512:
		multiplyAddAVX512(turns)
		return turns * 12 * 16
	case useAVX2:
		multiplyAddAVX2(turns)
		return turns * 12 * 8
	default:
		return multiplyAddGo(turns)
	}
}
