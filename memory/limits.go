package memory

import "time"

// Limits bound what is stored. All are inclusive.
type Limits struct {
	NameBytes      int // of an id, a namespace's name, a session, a speaker
	RequestIDBytes int
	TextBytes      int
	MetadataBytes  int // as encoded
	Dimension      int // of keys and of values
	BatchRecords   int // of one write

	// RequestsBytes is how much each namespace keeps of the results of writes
	// with a request id, newest first, and RequestsAge for how long.
	RequestsBytes int
	RequestsAge   time.Duration
}

// DefaultLimits are those that the API documents.
func DefaultLimits() Limits {
	return Limits{
		NameBytes:      256,
		RequestIDBytes: 128,
		TextBytes:      64 << 10,
		MetadataBytes:  16 << 10,
		Dimension:      8192,
		BatchRecords:   1000,
		RequestsBytes:  64 << 10,
		RequestsAge:    10 * time.Minute,
	}
}
