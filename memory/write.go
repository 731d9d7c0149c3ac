package memory

import (
	"time"

	"engram/index"
	"engram/memory/filter"
)

// Mode says what a Store does with ids that exist, or don't.
type Mode uint8

// The modes of Store.
const (
	Upsert     Mode = iota // create or replace
	Insert                 // create; an id that exists is *Exists
	ModeUpdate             // replace; an id that doesn't exist is *NotFound
)

// A Put is a record to write. Fields that the server decides (times of creation
// and update, version) are ignored.
type Put struct {
	Record
	IfVersion     *LSN // the version that the stored record must have; 0: it must not exist
	HasTime       bool // else Time is the time of creation
	HasImportance bool // else Importance is 0.5

	// TTL, if not 0, sets Expire: so long after the time of the mutation.
	TTL time.Duration

	// TextKey is for Update, where the mask has text and not key: the embedding of
	// the new text, which becomes the key if the stored key was made from text.
	TextKey []float32

	analysed // ahead of the commit
}

// Store writes whole records, all or none. The caller leaves it alone until the
// call returns.
type Store struct {
	Namespace string
	Mode      Mode
	Records   []Put // an empty ID is given a UUIDv7
	RequestID string
	Digest    [32]byte // of the request's body
	// Embedder made the keys that are from text; nil if none is. A namespace that
	// this Store makes gets it.
	Embedder *EmbedderID
}

// Update changes the fields in Mask of records that exist, all or none. What a
// Put leaves empty is cleared.
type Update struct {
	Namespace string
	Mask      Mask
	Records   []Put
	RequestID string
	Digest    [32]byte
	Embedder  *EmbedderID // as in Store
}

// Delete deletes records by id, passing over those that don't exist, or by
// filter, which has been validated.
type Delete struct {
	Namespace string
	IDs       []string
	Filter    *filter.Filter // where IDs is empty
	RequestID string
	Digest    [32]byte
}

// CreateNamespace makes a namespace; CreateTime and Created are ignored.
type CreateNamespace struct{ Config }

// UpdateNamespace changes what can be changed; nil: leave it.
type UpdateNamespace struct {
	Name        string
	MaxBytes    *int64
	Durability  *Durability
	KeyEncoding *index.Encoding
	// ValueEncoding is index.F32, index.F16 or index.BF16.
	ValueEncoding *index.Encoding
	Recall        *float64
	Ranking       *Ranking
	Retention     *Retention
	Repeats       *float64
	MaxRecords    *int64
	Eviction      *Eviction
	Forget        *float64
	Consolidation *Consolidation
}

// DeleteNamespace deletes a namespace with all its records.
type DeleteNamespace struct{ Name string }

// RecordResult is what became of one record.
type RecordResult struct {
	ID      string
	Version LSN
	Created bool // else it was replaced or changed
	// Repeated: the record that was given repeats that of the ID, which was rehearsed; it
	// wasn't added, and there is no Version.
	Repeated bool
}

// StoreResult acknowledges a Store or an Update.
type StoreResult struct {
	Results []RecordResult // in the order of the request
	LSN     LSN
}

// DeleteResult acknowledges a Delete. If nothing was deleted LSN is that of the
// namespace as it is.
type DeleteResult struct {
	Deleted int
	LSN     LSN
}
