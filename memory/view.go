package memory

import (
	"sync/atomic"
	"unique"

	"engram/memory/filter"
	"engram/memory/lexical"
)

// A View is an immutable picture of a namespace as of one LSN. Whoever acquires
// one releases it, once. Methods may be called from several goroutines.
type View struct {
	refs     atomic.Int32
	count    int
	words    lexical.Counts // of the records
	lsn      LSN
	expires  int64 // no record expires before; 0: none does
	ns       *Namespace
	settings unique.Handle[settings]
	requests *requestLog
	ivf      *ivf // nil: none
	segments []segView
	one      [1]segView // what segments points to where there is only one
}

// tryAcquire takes a reference if the view still has one.
func (v *View) tryAcquire() bool {
	for {
		n := v.refs.Load()
		if n == 0 {
			return false
		}
		if v.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release gives the view back. Nothing of it may be used afterwards.
func (v *View) Release() {
	switch n := v.refs.Add(-1); {
	case n == 0:
		for i := range v.segments {
			v.segments[i].releaseIndexes()
			v.segments[i].release()
		}
		if v.ivf != nil {
			v.ivf.Release()
		}
	case n < 0:
		panic("memory: a View was released more often than acquired")
	}
}

// LSN is the last mutation that the view shows.
func (v *View) LSN() LSN { return v.lsn }

// Config is the namespace's.
func (v *View) Config() Config {
	s := v.settings.Value()
	return Config{
		Name: v.ns.name, Metric: s.metric, Dimension: s.dim, ValueDimension: s.valueDim, KVHeads: s.heads,
		Embedder: s.embedder, MaxBytes: s.maxBytes, Durability: s.durability, KeyEncoding: s.encoding, ValueEncoding: s.values, Recall: s.recall,
		Lexical: s.lexical, Ranking: s.ranking, Retention: s.retention, Repeats: s.repeats, MaxRecords: s.maxRecords, Eviction: s.eviction, Forget: s.forget, Consolidation: s.consolidation, CreateTime: v.ns.createTime, Created: v.ns.created,
	}
}

// Count is how many records there are.
func (v *View) Count() int { return v.count }

// A Ref names a record within one View.
type Ref struct{ segment, row uint32 }

// Find looks an id up.
func (v *View) Find(id string) (Ref, bool) { return v.find(hashID(id), id) }

func (v *View) find(hash uint32, id string) (Ref, bool) {
	for i := len(v.segments) - 1; i >= 0; i-- { // what was written last is asked for most
		if r, ok := v.segments[i].find(hash, id); ok {
			return Ref{uint32(i), r}, true
		}
	}
	return Ref{}, false
}

// Get copies the record of an id into rec.
func (v *View) Get(id string, rec *Record, inc Include) bool {
	ref, ok := v.Find(id)
	if ok {
		*rec = v.At(ref, inc)
	}
	return ok
}

// At copies a record.
func (v *View) At(ref Ref, inc Include) Record {
	return v.segments[ref.segment].record(ref.row, inc)
}

// Size is how many bytes of id, session, speaker and of what inc names At would
// copy, and somewhat more for sources.
func (v *View) Size(ref Ref, inc Include) int {
	r := v.segments[ref.segment].alias(ref.row, inc)
	n := len(r.ID) + len(r.Session) + len(r.Speaker) + len(r.Text) + len(r.Metadata) + 4*(len(r.Key)+len(r.Value))
	for i := range r.Sources {
		n += len(r.Sources[i].ID) + sourceBytes
	}
	return n
}

// sourceBytes is what a source takes beside its id, in messages too.
const sourceBytes = 24

// CountWhere is how many records match a filter, which has been validated.
func (v *View) CountWhere(f *filter.Filter) int {
	if f == nil {
		return v.count
	}
	m := takeMasks()
	defer m.put()
	n := 0
	for i := range v.segments {
		n += popcount(m.of(&v.segments[i], f), int(v.segments[i].n))
	}
	return n
}

// Requests are the results of writes with a request id that are remembered, the
// oldest first.
func (v *View) Requests() []RequestResult { return v.requests.all() }
