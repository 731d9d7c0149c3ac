package memory

// A Mutation is one committed change of one namespace, with everything decided:
// ids, times, the records that a filter chose, the outcome of conditions. Applying
// the same mutations in the same order gives the same logical state on any
// machine; how rows are spread over segments may differ.
//
// The parts apply in the order of the fields.
type Mutation struct {
	LSN       LSN
	Time      int64 // Unix nanoseconds
	Namespace string

	Drop     bool     // delete the namespace; no other part is set
	Create   *Config  // make it first
	MaxBytes *int64   // change its bound
	Deletes  []string // ids, all of which exist
	Changes  []Change // in the order of the request

	Request *RequestResult // to be remembered; nil if there was no request id

	// imported is the state of a namespace that comes whole (import.go): Create
	// with its records, which a log writes one by one.
	imported *draft
}

// A Change is a new version of a record: the fields in Mask are as given, the
// others as in the version before. Created, CreateTime and Place are set in any
// case; Version and UpdateTime are the mutation's.
type Change struct {
	Record
	Mask Mask
}
