package memory

import (
	"context"
	"iter"
	"log/slog"

	"engram/index"
	"engram/internal/slab"
	"engram/memory/filter"
)

// Options of a DB.
type Options struct {
	Pool     *slab.Pool
	Clock    Clock
	Embedder Embedder
	Limits   Limits
	Workers  int
	Log      *slog.Logger
	NewID    func() string
}

type DB struct{}

func New(Options) *DB                                                         { panic("unfinished") }
func (*DB) Close() error                                                      { panic("unfinished") }
func (*DB) LSN() LSN                                                          { panic("unfinished") }
func (*DB) NamespaceCount() int                                               { panic("unfinished") }
func (*DB) RecordCount() int64                                                { panic("unfinished") }
func (*DB) Store(context.Context, *Store) (*StoreResult, error)               { panic("unfinished") }
func (*DB) Update(context.Context, *Update) (*StoreResult, error)             { panic("unfinished") }
func (*DB) Delete(context.Context, *Delete) (*DeleteResult, error)            { panic("unfinished") }
func (*DB) CreateNamespace(context.Context, *CreateNamespace) (Config, error) { panic("unfinished") }
func (*DB) UpdateNamespace(context.Context, *UpdateNamespace) error           { panic("unfinished") }
func (*DB) DeleteNamespace(context.Context, *DeleteNamespace) (*DeleteResult, error) {
	panic("unfinished")
}
func (*DB) Namespace(name string) (*Namespace, error) { panic("unfinished") }
func (*DB) Namespaces(after string, n int) []Config   { panic("unfinished") }
func (*DB) View(name string) (*View, error)           { panic("unfinished") }
func (*DB) Views(yield func(*View) bool)              { panic("unfinished") }
func (*DB) Restore() *Restorer                        { panic("unfinished") }
func (*DB) Import(ctx context.Context, c Config, lsn LSN, records iter.Seq2[*Record, error]) error {
	panic("unfinished")
}
func (*DB) CheckStore(*Store) []Violation                                    { panic("unfinished") }
func (*DB) CheckUpdate(*Update) []Violation                                  { panic("unfinished") }
func CheckVector(v []float32, m index.Metric, dimension int) (reason string) { panic("unfinished") }
func DefaultScale(m index.Metric, dimension int) float64                     { panic("unfinished") }

type Namespace struct{}

func (*Namespace) Config() Config { panic("unfinished") }
func (*Namespace) View() *View    { panic("unfinished") }

// A Ref names a row of one view.
type Ref struct{ segment, row uint32 }

type View struct{}

func (*View) Release()                                                      { panic("unfinished") }
func (*View) LSN() LSN                                                      { panic("unfinished") }
func (*View) Config() Config                                                { panic("unfinished") }
func (*View) Count() int                                                    { panic("unfinished") }
func (*View) CountWhere(*filter.Filter) int                                 { panic("unfinished") }
func (*View) Find(id string) (Ref, bool)                                    { panic("unfinished") }
func (*View) Size(Ref, Include) int                                         { panic("unfinished") }
func (*View) At(Ref, Include) Record                                        { panic("unfinished") }
func (*View) Get(id string, rec *Record, inc Include) bool                  { panic("unfinished") }
func (*View) ListRefs(ListOptions) (refs []Ref, more bool)                  { panic("unfinished") }
func (*View) List(ListOptions) (records []Record, next Position, more bool) { panic("unfinished") }
func (*View) Stats() NamespaceStats                                         { panic("unfinished") }
func (*View) Records(yield func(*Record) bool)                              { panic("unfinished") }
func (*View) Requests() []RequestResult                                     { panic("unfinished") }

type Order uint8

const (
	CreatedAsc Order = iota
	CreatedDesc
	TimeAsc
	TimeDesc
)

type ListOptions struct {
	Filter  *filter.Filter
	Order   Order
	After   Position // zero: the start
	N       int
	Include Include
}

type NamespaceStats struct {
	Records, DeadRows, Segments                                              int
	VectorBytes, PayloadBytes, RowBytes, IDTableBytes, IndexBytes, HeapBytes int64
}

type Exclude struct {
	View int
	ID   string
}
type Query struct {
	Vector  []float32
	Exclude *Exclude
}
type RetrieveOptions struct {
	K        int
	Filter   *filter.Filter
	MinScore float32 // −Inf: any
}
type Hit struct {
	View  int
	Ref   Ref
	Score float32
}
type AttendOptions struct {
	Scale      *float64
	Filter     *filter.Filter
	TopWeights int
}
type Weight struct {
	View   int
	Ref    Ref
	Score  float32
	Weight float64
}
type Attention struct {
	Context            []float32
	LogSumExp, Entropy float64
	Attended           uint64
	Top                []Weight
}

func (*DB) Retrieve(context.Context, []*View, []Query, RetrieveOptions) ([][]Hit, index.Stats, error) {
	panic("unfinished")
}
func (*DB) Attend(context.Context, []*View, []Query, AttendOptions) ([]Attention, index.Stats, error) {
	panic("unfinished")
}

type Restorer struct{}

func (*Restorer) Namespace(Config, LSN, []RequestResult) (*NamespaceRestorer, error) {
	panic("unfinished")
}
func (*Restorer) Done(LSN) error { panic("unfinished") }
func (*Restorer) Abort()         { panic("unfinished") }

type NamespaceRestorer struct{}

func (*NamespaceRestorer) Add(*Record) error { panic("unfinished") }
func (*NamespaceRestorer) Done() error       { panic("unfinished") }
