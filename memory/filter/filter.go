package filter

// Filter is a node of the tree: exactly one of its members is set. A nil *Filter lets
// every record through. Validate before use: Match and Select rely on it.
type Filter struct {
	All  []*Filter  // true where each of these is; not empty
	Any  []*Filter  // true where one of these is; not empty
	Not  *Filter    // true where this isn't
	Cond *Condition // a test of one operand
}

// Condition tests one operand of a record: a field, or what stands at a path in its
// metadata. A record that lacks the operand fails every test but Exists = false. Where
// the operand is an array, Equals, In, Range and Prefix hold if they hold for one of its
// elements. Values of different kinds never match.
type Condition struct {
	Field Field    // FieldMetadata: what stands at Path
	Path  []string // keys from the outermost object inwards; passes through no array
	Op    Op
	// Values are the operands: one of OpEquals, OpContains and OpPrefix, any number of OpIn.
	Values []Scalar
	Range  Range // of OpRange
	Exists bool  // of OpExists: whether the operand must be there (null counts) or must not

	ordered bool // Values ascend: set by Validate, so that OpIn is a binary search
}

// Field names what a condition tests.
type Field uint8

// The operands. Session, Speaker and Text are lacking where they are empty.
const (
	FieldMetadata Field = iota
	FieldID
	FieldText
	FieldSession
	FieldSpeaker
	FieldTime
	FieldCreateTime
	FieldUpdateTime
	FieldImportance
	fields
)

// kind is the kind of scalar that a field holds; 0 for metadata, which holds any.
func (f Field) kind() Kind {
	switch f {
	case FieldID, FieldText, FieldSession, FieldSpeaker:
		return KindString
	case FieldTime, FieldCreateTime, FieldUpdateTime:
		return KindTime
	case FieldImportance:
		return KindNumber
	}
	return 0
}

var fieldNames = [fields]string{"metadata", "id", "text", "session", "speaker", "time", "create_time", "update_time", "importance"}

func (f Field) String() string {
	if f < fields {
		return fieldNames[f]
	}
	return "unknown field"
}

// Op names how a condition tests its operand.
type Op uint8

// The tests. OpContains asks a string for a substring and an array for an element.
const (
	OpEquals Op = iota + 1
	OpIn
	OpRange
	OpContains
	OpPrefix
	OpExists
)

// Kind is the type of a scalar.
type Kind uint8

// The kinds. Metadata holds no times: those belong to fields alone.
const (
	KindString Kind = iota + 1
	KindNumber
	KindBool
	KindTime
)

func (k Kind) String() string {
	switch k {
	case KindString:
		return "string"
	case KindNumber:
		return "number"
	case KindBool:
		return "bool"
	case KindTime:
		return "time"
	}
	return "unset"
}

// Scalar is one operand; the member that its kind names is set. The zero Scalar is no operand.
type Scalar struct {
	Kind Kind
	S    string
	N    float64 // finite. Against importance, a float32, it is rounded to one first.
	B    bool
	T    int64 // Unix nanoseconds
}

// String, Number, Bool and Time make the scalar of their kind.
func String(s string) Scalar  { return Scalar{Kind: KindString, S: s} }
func Number(n float64) Scalar { return Scalar{Kind: KindNumber, N: n} }
func Bool(b bool) Scalar      { return Scalar{Kind: KindBool, B: b} }
func Time(ns int64) Scalar    { return Scalar{Kind: KindTime, T: ns} }

// Range is an interval with at least one bound, all of one kind and none of them a bool.
// A bound whose Kind is 0 is absent. Strings compare by their bytes.
type Range struct{ Gt, Gte, Lt, Lte Scalar }

// bound is one side of a Range.
type bound struct {
	name string
	Scalar
}

// bounds lists all four bounds, absent ones too.
func (r *Range) bounds() [4]bound {
	return [4]bound{{"gt", r.Gt}, {"gte", r.Gte}, {"lt", r.Lt}, {"lte", r.Lte}}
}

// Fields is what a filter sees of one record. Strings and metadata may alias slabs: they
// are read during the call only.
type Fields struct {
	ID, Text, Session, Speaker   string
	Time, CreateTime, UpdateTime int64 // Unix nanoseconds
	Importance                   float32
	Metadata                     []byte // as EncodeMetadata gives it
}

// Source reads the rows of one segment. Fields is called for rows whose bit is set; it
// must be cheap, set every member and not allocate. Several goroutines call it at once.
type Source interface {
	Fields(row uint32, f *Fields)
}
