package memory

import (
	"engram/index"
	"engram/memory/lexical"
)

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

	Drop          bool            // delete the namespace; no other part is set
	Create        *Config         // make it first
	MaxBytes      *int64          // change its bound
	Durability    *Durability     // change it
	KeyEncoding   *index.Encoding // change it
	ValueEncoding *index.Encoding // change it
	Recall        *float64        // change it
	Ranking       *Ranking        // change it
	Retention     *Retention      // change it
	Repeats       *float64        // change it
	MaxRecords    *int64          // change it
	Eviction      *Eviction       // change it
	Forget        *float64        // change it
	Consolidation *Consolidation  // change it
	Deletes       []string        // ids, all of which exist
	Changes       []Change        // in the order of the request
	Rehearsals    []Rehearsal     // in the order of ids, each once

	Request *RequestResult // to be remembered; nil if there was no request id

	// Import is the file in which a Log keeps the records that come with Create,
	// where a namespace is imported; Imported, in Replay, reads them from there.
	Import   string
	Imported func() (*Imported, error)
}

// bytes is about what a mutation takes in a log.
func (m *Mutation) bytes() int {
	n := 128
	for i := range m.Changes {
		r := &m.Changes[i].Record
		n += 128 + len(r.ID) + len(r.Text) + len(r.Metadata) + len(r.Session) + len(r.Speaker) + 4*(len(r.Key)+len(r.Value)) + len(r.Sources)*64
	}
	for i := range m.Rehearsals {
		n += 16 + len(m.Rehearsals[i].ID)
	}
	if m.Request != nil {
		n += m.Request.size()
	}
	return n
}

// A Change is a new version of a record: the fields in Mask are as given, the
// others as in the version before. Created, CreateTime and Place are set in any
// case; Version and UpdateTime are the mutation's.
type Change struct {
	Record
	Mask Mask
	analysed
}

// analysed is a text's terms, where an analysis other than lexical.None has made them.
type analysed struct {
	terms    lexical.Terms
	analysis lexical.Analysis
}
