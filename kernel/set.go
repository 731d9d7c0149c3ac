package kernel

import (
	"fmt"
	"os"

	"github.com/klauspost/cpuid/v2"

	"engram/kernel/internal/avx2"
	"engram/kernel/internal/avx512"
	"engram/kernel/internal/neon"
	"engram/kernel/internal/purego"
)

// Env is the environment variable that forces an instruction set by its name.
// The program panics at start if it names none, or one that can't run here.
const Env = "ENGRAM_KERNEL"

// An instructionSet is one of the forms that every function here has.
type instructionSet string

const (
	setPurego instructionSet = "purego"
	setAVX2   instructionSet = "avx2"
	setAVX512 instructionSet = "avx512"
	setNEON   instructionSet = "neon"
)

// sets are the instruction sets, the widest first.
var sets = []instructionSet{setAVX512, setAVX2, setNEON, setPurego}

// active is the set in use, the same from start to end (tests change it).
var active = mustChoose(os.Getenv(Env))

// Set names the instruction set in use: "purego", "avx2", "avx512" or "neon".
func Set() string { return string(active) }

// runs reports whether the set is in this build, and the processor and the
// operating system support it.
func (s instructionSet) runs() bool {
	switch s {
	case setAVX512:
		return avx512.Built && cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512VL)
	case setAVX2:
		return avx2.Built && cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3, cpuid.F16C)
	case setNEON:
		return neon.Built && cpuid.CPU.Supports(cpuid.ASIMD)
	}
	return s == setPurego
}

func mustChoose(forced string) instructionSet {
	s, err := choose(forced)
	if err != nil {
		panic(err)
	}
	return s
}

func choose(forced string) (instructionSet, error) {
	for _, s := range sets {
		if forced == "" && s.runs() {
			return s, nil
		}
		if forced == string(s) {
			if !s.runs() {
				return "", fmt.Errorf("kernel: %s=%s can't run: this processor, operating system or build lacks it", Env, forced)
			}
			return s, nil
		}
	}
	return "", fmt.Errorf("kernel: %s=%q names no instruction set; it may be one of %v, or empty for the widest that runs", Env, forced, sets)
}

// MaxPanelWidth is the greatest width of a panel on any instruction set.
const MaxPanelWidth = 64

// PanelWidth is W, how many queries a panel holds on the instruction set in use:
// a multiple of 16, at most MaxPanelWidth.
func PanelWidth() int {
	switch active {
	case setAVX512:
		return avx512.Width
	case setAVX2:
		return avx2.Width
	case setNEON:
		return neon.Width
	default:
		return purego.Width
	}
}
