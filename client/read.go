package client

import (
	"context"
	"iter"

	pb "engram/proto/engram/v1"
)

// A Query is what is looked for.
type Query struct {
	pb *pb.Query
}

// Text is a query in words, for namespaces with an embedder or with lexical search.
func Text(s string) Query { return Query{&pb.Query{Text: s}} }

// WithWords is a query by a vector or a record, of whose text the ranking looks for the
// given words.
func (q Query) WithWords(s string) Query {
	return Query{&pb.Query{Vector: q.pb.Vector, Record: q.pb.Record, Position: q.pb.Position, Text: s}}
}

// Vector is a query vector.
func Vector(v []float32) Query { return Query{&pb.Query{Vector: vector(v)}} }

// Like is the key of a stored record, which is left out of the answer.
func Like(namespace, id string) Query {
	return Query{&pb.Query{Record: &pb.RecordName{Namespace: namespace, Id: id}}}
}

// A ReadOption says how a read is done. Each read's comment names those it takes;
// it passes over the others.
type ReadOption func(*reading)

type reading struct {
	choice   choice
	search   *pb.Search
	ranking  *pb.Ranking
	topK     *uint32
	minScore *float32
	attend   pb.AttendRequest // the fields that options of Attend set
	filter   Filter
	order    Order
	include  *pb.Include
	maxBytes *uint32
	after    *uint64
	rehearse bool
}

func read(options []ReadOption) (*reading, error) {
	maxBytes := uint32(maxMessage)
	r := &reading{include: &pb.Include{VectorForm: pb.VectorForm_VECTOR_FORM_F32}, maxBytes: &maxBytes}
	for _, o := range options {
		o(r)
	}
	return r, r.filter.err
}

// TopK is how many hits to return, default 10; or to how many of the best records alone Attend
// attends, default all.
func TopK(k int) ReadOption { n := uint32(k); return func(r *reading) { r.topK = &n } }

// Exact finds the best of all records, whatever the namespace's recall.
func Exact() ReadOption {
	exact := true
	return func(r *reading) { r.search = &pb.Search{Exact: &exact} }
}

// Recall finds the given share of the best records on average, above 0 and below 1, if the
// namespace has an index.
func Recall(share float64) ReadOption {
	return func(r *reading) { r.search = &pb.Search{Recall: &share} }
}

// Probes looks into so many lists of the namespace's index, if it has one.
func Probes(n int) ReadOption {
	lists := uint32(n)
	return func(r *reading) { r.search = &pb.Search{Probes: &lists} }
}

// MinScore leaves out hits of less similarity.
func MinScore(s float32) ReadOption { return func(r *reading) { r.minScore = &s } }

// RankBy orders hits by a ranking, whatever the namespace's.
func RankBy(by Ranking) ReadOption { return func(r *reading) { r.ranking = by.proto() } }

// Rehearse rehearses the hits: what is found is kept longer. See
// engram.v1.RetrieveRequest.rehearse.
func Rehearse() ReadOption { return func(r *reading) { r.rehearse = true } }

// Where leaves out records that don't match.
func Where(f Filter) ReadOption { return func(r *reading) { r.filter = f } }

// WithVectors returns records with their keys, and values where they have one.
func WithVectors() ReadOption {
	return func(r *reading) { r.include.Key, r.include.Value = true, true }
}

// WithoutContent returns records without text, metadata and sources.
func WithoutContent() ReadOption {
	no := false
	return func(r *reading) { r.include.Text, r.include.Metadata, r.include.Sources = &no, &no, &no }
}

// A Hit is a record that was found.
type Hit struct {
	Namespace  string
	Record     Record
	Similarity float32 // by the namespace's metric
	Score      float32 // what hits are ordered by
	ScoreError float32 // how far Similarity may be from that of the key as it was given
	Parts      Parts

	Before, After []Record // its neighbours, with Neighbours, in the order of the conversation
	Diversity     float32  // what Diverse took off its place
	Group         int      // the place of its group, from 0, with GroupBy
}

// Parts are what the parts of a ranking gave a record beside Similarity, before they were
// weighed: see engram.v1.ScoreParts. Zero where the ranking is similarity alone.
type Parts struct{ Lexical, Association, Mention, Retention, Importance, Kin float32 }

func partsOf(p *pb.ScoreParts) Parts {
	return Parts{p.GetLexical(), p.GetAssociation(), p.GetMention(), p.GetRetention(), p.GetImportance(), p.GetKin()}
}

// Retrieve returns the records nearest to the query, best first. Options: TopK,
// MinScore, Where, RankBy, Rehearse, Diverse, Neighbours, GroupBy, Exact, Recall, Probes,
// WithVectors, WithoutContent.
func (c *Client) Retrieve(ctx context.Context, namespace string, query Query, options ...ReadOption) ([]Hit, error) {
	all, err := c.RetrieveAll(ctx, []string{namespace}, []Query{query}, options...)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// RetrieveAll is Retrieve for several queries over several namespaces, which are
// ranked together. It returns the hits of each query.
func (c *Client) RetrieveAll(ctx context.Context, namespaces []string, queries []Query, options ...ReadOption) ([][]Hit, error) {
	r, err := read(options)
	if err != nil {
		return nil, err
	}
	reply, err := c.memory.Retrieve(ctx, &pb.RetrieveRequest{
		Namespaces: namespaces, Queries: queryProtos(queries), TopK: r.topK, Filter: r.filter.pb,
		MinScore: r.minScore, Include: r.include, MaxReplyBytes: r.maxBytes, Search: r.search, Ranking: r.ranking, Rehearse: r.rehearse,
		Diversity: r.choice.diversity, Neighbours: r.choice.neighbours, GroupBy: r.choice.groupBy,
	})
	if err != nil {
		return nil, err
	}
	out := make([][]Hit, len(reply.GetResults()))
	for i, result := range reply.GetResults() {
		for _, h := range result.GetHits() {
			out[i] = append(out[i], Hit{
				Namespace: h.GetNamespace(), Record: record(h.GetRecord()),
				Similarity: h.GetSimilarity(), Score: h.GetScore(), ScoreError: h.GetScoreError(),
				Parts:  partsOf(h.GetParts()),
				Before: neighbourRecords(h.GetNeighbours().GetBefore()), After: neighbourRecords(h.GetNeighbours().GetAfter()),
				Diversity: h.GetDiversity(), Group: int(h.GetGroup()),
			})
		}
	}
	return out, nil
}

func queryProtos(queries []Query) []*pb.Query {
	out := make([]*pb.Query, len(queries))
	for i, q := range queries {
		out[i] = q.pb
	}
	return out
}

// Get returns the records that exist, in the order asked for, and the ids of those
// that don't. Options: WithVectors, WithoutContent.
func (c *Client) Get(ctx context.Context, namespace string, ids []string, options ...ReadOption) (found []Record, missing []string, err error) {
	r, err := read(options)
	if err != nil {
		return nil, nil, err
	}
	reply, err := c.memory.Get(ctx, &pb.GetRequest{Namespace: namespace, Ids: ids, Include: r.include, MaxReplyBytes: r.maxBytes})
	if err != nil {
		return nil, nil, err
	}
	for _, p := range reply.GetRecords() {
		found = append(found, record(p))
	}
	return found, reply.GetMissing(), nil
}

// An Order is the order of a List.
type Order = pb.ListOrder

// The orders of a List.
const (
	ByCreation     = pb.ListOrder_LIST_ORDER_CREATED
	ByCreationDesc = pb.ListOrder_LIST_ORDER_CREATED_DESC
	ByTime         = pb.ListOrder_LIST_ORDER_TIME
	ByTimeDesc     = pb.ListOrder_LIST_ORDER_TIME_DESC
)

// In orders a List. Default ByCreation.
func In(o Order) ReadOption { return func(r *reading) { r.order = o } }

// List goes through the records of a namespace, fetching page after page. Options:
// In, Where, WithVectors, WithoutContent.
func (c *Client) List(ctx context.Context, namespace string, options ...ReadOption) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		r, err := read(options)
		if err != nil {
			yield(Record{}, err)
			return
		}
		page := uint32(1000)
		request := &pb.ListRequest{Namespace: namespace, Filter: r.filter.pb, Order: r.order, PageSize: &page, Include: r.include, MaxReplyBytes: r.maxBytes}
		for {
			reply, err := c.memory.List(ctx, request)
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, p := range reply.GetRecords() {
				if !yield(record(p), nil) {
					return
				}
			}
			if request.PageToken = reply.GetNextPageToken(); request.PageToken == "" {
				return
			}
		}
	}
}

// Count counts records. Options: Where.
func (c *Client) Count(ctx context.Context, namespace string, options ...ReadOption) (int, error) {
	r, err := read(options)
	if err != nil {
		return 0, err
	}
	reply, err := c.memory.Count(ctx, &pb.CountRequest{Namespace: namespace, Filter: r.filter.pb})
	return int(reply.GetCount()), err
}
