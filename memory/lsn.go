package memory

import "fmt"

// An LSN is the sequence number of a mutation, over all namespaces: an epoch in
// the upper 16 bits, new each time a server starts, and a number without holes in
// the lower 48. None is used twice.
type LSN uint64

const (
	numberBits = 48
	maxEpoch   = 1<<16 - 1
)

// MakeLSN puts an LSN together.
func MakeLSN(epoch, number uint64) LSN { return LSN(epoch<<numberBits | number&(1<<numberBits-1)) }

// Epoch is the upper part.
func (l LSN) Epoch() uint64 { return uint64(l >> numberBits) }

// Number is the lower part.
func (l LSN) Number() uint64 { return uint64(l) & (1<<numberBits - 1) }

// nextEpoch is l in the epoch after its own: LSNs that follow it have never been
// used by a process that got no further than l's epoch.
func (l LSN) nextEpoch() (LSN, error) {
	if l.Epoch() == maxEpoch {
		return 0, fmt.Errorf("LSN %#x is of the last epoch, %d: no new one can follow", uint64(l), maxEpoch)
	}
	return MakeLSN(l.Epoch()+1, l.Number()), nil
}
