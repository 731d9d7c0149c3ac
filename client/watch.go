package client

import (
	"context"
	"iter"
	"time"

	pb "engram/proto/engram/v1"
)

// A Mutation is one committed change of a namespace. Its parts apply in the order of the
// fields.
type Mutation struct {
	LSN  uint64
	Time time.Time // when it was decided

	NamespaceDeleted bool
	NamespaceCreated *Namespace     // its options; nil: it made none
	Imported         bool           // the namespace came with records, which List gives
	MaxBytes         *int64         // the new bound; nil: unchanged
	Durability       *Durability    // the new one; nil: unchanged
	KeyEncoding      *KeyEncoding   // the new one; nil: unchanged
	ValueEncoding    *ValueEncoding // the new one; nil: unchanged
	Recall           *float64       // the new one; nil: unchanged
	Ranking          *Ranking       // the new one; nil: unchanged
	Retention        *Retention     // the new one; nil: unchanged
	RepeatSimilarity *float64       // likewise
	MaxRecords       *int64         // likewise
	Eviction         *Eviction      // likewise
	Forget           *float64       // likewise
	Consolidation    *Consolidation // likewise; of Similarity 0: there is none any more
	Deleted          []string       // ids of records
	Changes          []Change       // in the order of the request
	Rehearsals       []Rehearsal    // in the order of ids
}

// A Rehearsal is those of one record that were committed together.
type Rehearsal struct {
	ID    string
	Time  time.Time // of the last
	Count int
}

// A Change is a record that was made, replaced or changed.
type Change struct {
	Record Record   // with its id, version and the fields that changed
	Fields []string // those; nil: all, it was made or replaced whole
}

// After goes on after the mutation with this LSN, that of the last one seen; 0: from the
// namespace's creation.
func After(lsn uint64) ReadOption { return func(r *reading) { r.after = &lsn } }

// Watch gives a namespace's mutations as they are committed, until the caller or ctx ends
// it, or with an error: a watcher that was too slow (ResourceExhausted), or whose server
// stopped (Unavailable), may go on After the last LSN that it saw. Options: After (default:
// from now on), WithVectors, WithoutContent.
func (c *Client) Watch(ctx context.Context, namespace string, options ...ReadOption) iter.Seq2[Mutation, error] {
	return func(yield func(Mutation, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		r, err := read(options)
		if err != nil {
			yield(Mutation{}, err)
			return
		}
		stream, err := c.memory.Watch(ctx, &pb.WatchRequest{Namespace: namespace, AfterLsn: r.after, Include: r.include})
		if err != nil {
			yield(Mutation{}, err)
			return
		}
		var whole Mutation
		for {
			reply, err := stream.Recv()
			if err != nil {
				yield(Mutation{}, err)
				return
			}
			for _, e := range reply.GetMutations() {
				if whole.LSN != e.GetLsn() {
					whole = mutation(e)
				}
				for _, ch := range e.GetChanges() {
					whole.Changes = append(whole.Changes, Change{record(ch.GetRecord()), ch.GetChangedFields().GetPaths()})
				}
				if !e.GetMore() && !yield(whole, nil) {
					return
				}
			}
		}
	}
}

// mutation converts all of an event but its changes.
func mutation(e *pb.MutationEvent) Mutation {
	m := Mutation{
		LSN: e.GetLsn(), Time: e.GetTime().AsTime(), NamespaceDeleted: e.GetNamespaceDeleted(), Imported: e.GetImported(), Deleted: e.GetDeletedIds(),
	}
	if p := e.GetNamespaceCreated(); p != nil {
		n := namespace(p)
		m.NamespaceCreated = &n
	}
	if e.MaxBytes != nil {
		n := int64(e.GetMaxBytes())
		m.MaxBytes = &n
	}
	if d := e.GetDurability(); d != 0 {
		m.Durability = &d
	}
	if k := e.GetKeyEncoding(); k != 0 {
		m.KeyEncoding = &k
	}
	if k := e.GetValueEncoding(); k != 0 {
		m.ValueEncoding = &k
	}
	m.Recall, m.Retention, m.RepeatSimilarity, m.Forget = e.Recall, retentionOf(e.GetRetention()), e.RepeatSimilarity, e.Forget
	m.Consolidation = consolidationOf(e.GetConsolidation())
	if e.MaxRecords != nil {
		n := int64(e.GetMaxRecords())
		m.MaxRecords = &n
	}
	if v := e.GetEviction(); v != 0 {
		m.Eviction = &v
	}
	if p := e.GetRanking(); p != nil {
		r := rankingOf(p)
		m.Ranking = &r
	}
	for _, r := range e.GetRehearsals() {
		m.Rehearsals = append(m.Rehearsals, Rehearsal{r.GetId(), r.GetTime().AsTime(), int(r.GetCount())})
	}
	return m
}
