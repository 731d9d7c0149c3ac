// Package gcpace sets how often a process that keeps its records outside the heap
// collects garbage.
package gcpace

import (
	"os"
	"runtime/debug"
)

// floor is how much a process may allocate between two collections at least.
const floor = 32 << 20

// ballast is never touched, so it takes addresses and no memory.
var ballast []byte

// Set lets the heap grow by at least 64 MiB before it is collected again: the live
// heap is small where records lie outside of it, and a collection each time it doubles
// would take several hundredths of the processors under load. limit is the most that
// the heap may take; 0: any amount. GOGC and GOMEMLIMIT, where given, have the last word.
func Set(limit int64) {
	if os.Getenv("GOGC") == "" && ballast == nil {
		ballast = make([]byte, floor)
	}
	if os.Getenv("GOMEMLIMIT") == "" && limit > 0 {
		debug.SetMemoryLimit(limit + floor)
	}
}
