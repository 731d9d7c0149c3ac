package memory

// A RequestResult is the remembered outcome of a write with a request id. With
// the request itself, which is known to be the same by its digest, it gives the
// answer again.
type RequestResult struct {
	ID      string
	Digest  [32]byte
	Time    int64 // of the mutation, Unix nanoseconds
	LSN     LSN
	Deleted uint64 // by a Delete

	// Of a Store: bit i of byte i/8 tells whether record i was created, and
	// Generated are the ids given to records that came without, in order.
	Created   []byte
	Generated []string
}
