package client

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "engram/proto/engram/v1"
)

// A Consolidation says which records are merged: see engram.v1.Consolidation.
type Consolidation struct {
	Similarity float64        // the cosine from which on they are close; above 0, to 1
	MinAge     *time.Duration // nil: a day
}

func (c Consolidation) proto() *pb.Consolidation {
	p := &pb.Consolidation{Similarity: c.Similarity}
	if c.MinAge != nil {
		p.MinAge = durationpb.New(*c.MinAge)
	}
	return p
}

func consolidationOf(p *pb.Consolidation) *Consolidation {
	if p == nil {
		return nil
	}
	c := &Consolidation{Similarity: p.GetSimilarity()}
	if p.MinAge != nil {
		age := p.GetMinAge().AsDuration()
		c.MinAge = &age
	}
	return c
}

// A Source is a record that was merged into another one.
type Source struct {
	ID   string
	Time time.Time
}

func sourcesOf(list []*pb.Source) []Source {
	if len(list) == 0 {
		return nil
	}
	out := make([]Source, len(list))
	for i, p := range list {
		out[i] = Source{p.GetId(), p.GetTime().AsTime()}
	}
	return out
}

// Consolidated is what was merged, or would be.
type Consolidated struct {
	// Records are the first of those made, up to 1,000 and about 1 MiB; a dry run's have no ID.
	Records   []Record
	Made      int // records
	Merged    int // into these, and gone
	Cancelled int // that would have been made, but for what was changed meanwhile
	LSN       uint64
}

// Consolidate merges old records that are close, of those that match the option Where; nil: by
// the namespace's own consolidation. Other options: WithVectors, WithoutContent.
func (c *Client) Consolidate(ctx context.Context, namespace string, by *Consolidation, options ...ReadOption) (Consolidated, error) {
	return c.consolidate(ctx, &pb.ConsolidateRequest{Namespace: namespace, RequestId: uuid.NewString()}, by, options)
}

// WouldConsolidate says what Consolidate would do, and changes nothing.
func (c *Client) WouldConsolidate(ctx context.Context, namespace string, by *Consolidation, options ...ReadOption) (Consolidated, error) {
	return c.consolidate(ctx, &pb.ConsolidateRequest{Namespace: namespace, DryRun: true}, by, options)
}

func (c *Client) consolidate(ctx context.Context, request *pb.ConsolidateRequest, by *Consolidation, options []ReadOption) (Consolidated, error) {
	r, err := read(options)
	if err != nil {
		return Consolidated{}, err
	}
	request.Filter, request.Include = r.filter.pb, r.include
	if by != nil {
		request.Consolidation = by.proto()
	}
	reply, err := c.memory.Consolidate(ctx, request)
	if err != nil {
		return Consolidated{}, err
	}
	out := Consolidated{Made: int(reply.GetMade()), Merged: int(reply.GetMerged()), Cancelled: int(reply.GetCancelled()), LSN: reply.GetLsn()}
	for _, p := range reply.GetRecords() {
		out.Records = append(out.Records, record(p))
	}
	return out, nil
}
