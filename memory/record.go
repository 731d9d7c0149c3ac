package memory

// A Record is one remembered thing.
type Record struct {
	ID         string
	Key, Value []float32 // Value nil: the key
	Text       string
	Metadata   []byte // filter.EncodeMetadata's form
	Session    string // empty: none
	Speaker    string // empty: none

	Time, CreateTime, UpdateTime int64 // Unix nanoseconds
	Importance                   float32

	Position    int64 // in a sequence, for attention's masks and slopes
	HasPosition bool

	Version     LSN    // of its last mutation
	Created     LSN    // of the mutation that created it
	Place       uint32 // in the batch that created it
	KeyFromText bool   // the key was made of the text by the namespace's embedder
	// KeyLost is how far Key is from the one that was given, which index.Int8Only has
	// rounded, the norm of the difference; of index.F16 and index.BF16 a bound of it.
	KeyLost float32

	Rehearsed Rehearsed

	Expire int64 // when it is gone, Unix nanoseconds; 0: never
	Pinned bool  // never evicted nor forgotten

	// Of a record that consolidation made: what it was made of, in the order of the
	// conversation, and how far that is from Key at most, an angle in radians.
	Sources []Source
	Spread  float64
}

// Include says what of a record is copied, beside its id, session, speaker,
// times, importance, position, version, rehearsals, expiry and whether it is pinned.
type Include uint8

// The parts of a record that are left out unless asked for.
const (
	IncludeText Include = 1 << iota
	IncludeMetadata
	IncludeKey
	IncludeValue
	IncludeSources // and the spread

	IncludeAll = IncludeText | IncludeMetadata | IncludeKey | IncludeValue | IncludeSources
)

// Mask names fields of a record.
type Mask uint16

// The fields that a write can set.
const (
	MaskKey Mask = 1 << iota
	MaskValue
	MaskText
	MaskMetadata
	MaskSession
	MaskSpeaker
	MaskTime
	MaskImportance
	MaskPosition
	MaskExpire
	MaskPinned

	MaskAll Mask = 1<<iota - 1
)

// defaultImportance is that of a record that was stored without.
const defaultImportance = 0.5

// A Position is a record's place in an order of records.
type Position struct {
	Time    int64
	Created LSN
	Place   uint32
}

// PositionOf is where a record stands.
func PositionOf(r *Record) Position { return Position{r.Time, r.Created, r.Place} }
