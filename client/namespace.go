package client

import (
	"context"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	pb "engram/proto/engram/v1"
)

// A Metric says how near a key is to a query.
type Metric = pb.Metric

// The metrics.
const (
	Cosine = pb.Metric_METRIC_COSINE
	Dot    = pb.Metric_METRIC_DOT
	L2     = pb.Metric_METRIC_L2
)

// An Eviction says which records make room for new ones: see engram.v1.Eviction.
type Eviction = pb.Eviction

// The evictions.
const (
	EvictNone              = pb.Eviction_EVICTION_NONE                // none: the write is refused
	EvictRetention         = pb.Eviction_EVICTION_RETENTION           // the least retention × importance
	EvictOldest            = pb.Eviction_EVICTION_OLDEST              // those created first
	EvictLeastRecentlyUsed = pb.Eviction_EVICTION_LEAST_RECENTLY_USED // those rehearsed, or created, longest ago
)

// A Durability says when writes are acknowledged, and so what a fault can take of them:
// see engram.v1.Durability.
type Durability = pb.Durability

// The durabilities.
const (
	Sync     = pb.Durability_DURABILITY_SYNC     // on disk
	Interval = pb.Durability_DURABILITY_INTERVAL // on disk within a second or so
	None     = pb.Durability_DURABILITY_NONE     // on disk when the system likes
)

// A KeyEncoding says how keys are kept: see engram.v1.KeyEncoding.
type KeyEncoding = pb.KeyEncoding

// The encodings of keys.
const (
	F32      = pb.KeyEncoding_KEY_ENCODING_F32       // as they were given
	Int8     = pb.KeyEncoding_KEY_ENCODING_INT8      // with codes beside them: the same answers, faster
	Int8Only = pb.KeyEncoding_KEY_ENCODING_INT8_ONLY // codes alone: a quarter of the memory
	F16      = pb.KeyEncoding_KEY_ENCODING_F16       // half of the memory, rounded to 11 bits, to 65504
	BF16     = pb.KeyEncoding_KEY_ENCODING_BF16      // half of the memory, rounded to 8 bits
)

// A ValueEncoding says how values are kept: see engram.v1.ValueEncoding.
type ValueEncoding = pb.ValueEncoding

// The encodings of values.
const (
	ValuesF32  = pb.ValueEncoding_VALUE_ENCODING_F32  // as they were given
	ValuesF16  = pb.ValueEncoding_VALUE_ENCODING_F16  // half of the memory, rounded to 11 bits, to 65504
	ValuesBF16 = pb.ValueEncoding_VALUE_ENCODING_BF16 // half of the memory, rounded to 8 bits
)

// Lexical says how texts are taken apart for lexical search: see engram.v1.Lexical.
type Lexical = pb.Lexical

// The ways to search texts.
const (
	NoWords = pb.Lexical_LEXICAL_NONE    // not at all
	Words   = pb.Lexical_LEXICAL_WORDS   // by every word as it is
	English = pb.Lexical_LEXICAL_ENGLISH // by stems, without function words
)

// A Fusion says how the parts of a ranking become one score: see engram.v1.Fusion.
type Fusion = pb.Fusion

// The fusions.
const (
	Weighted       = pb.Fusion_FUSION_WEIGHTED
	ReciprocalRank = pb.Fusion_FUSION_RECIPROCAL_RANK
)

// A Ranking weighs the parts of a record's score: see engram.v1.Ranking. The zero Ranking
// is similarity alone.
type Ranking struct {
	Similarity, Lexical, Association, Mention, Retention, Importance, Kin float64
	Fusion                                                                Fusion
}

func (r Ranking) proto() *pb.Ranking {
	return &pb.Ranking{Similarity: r.Similarity, Lexical: r.Lexical, Association: r.Association, Mention: r.Mention, Retention: r.Retention, Importance: r.Importance, Kin: r.Kin, Fusion: r.Fusion}
}

func rankingOf(p *pb.Ranking) Ranking {
	return Ranking{p.GetSimilarity(), p.GetLexical(), p.GetAssociation(), p.GetMention(), p.GetRetention(), p.GetImportance(), p.GetKin(), p.GetFusion()}
}

// A Retention says how fast records fade and what keeps them: see engram.v1.Retention. Fields
// that are 0 take their default.
type Retention struct {
	HalfLife    time.Duration  // of a record that is stored; default a week
	Growth      float64        // of the half-life at a rehearsal; default 2
	MinInterval *time.Duration // between growths; nil: a seventh of HalfLife
	MaxHalfLife time.Duration  // default 52 times HalfLife
}

func (r Retention) proto() *pb.Retention {
	p := new(pb.Retention)
	if r.HalfLife != 0 {
		p.HalfLife = durationpb.New(r.HalfLife)
	}
	if r.Growth != 0 {
		p.Growth = &r.Growth
	}
	if r.MinInterval != nil {
		p.MinInterval = durationpb.New(*r.MinInterval)
	}
	if r.MaxHalfLife != 0 {
		p.MaxHalfLife = durationpb.New(r.MaxHalfLife)
	}
	return p
}

func retentionOf(p *pb.Retention) *Retention {
	if p == nil {
		return nil
	}
	interval := p.GetMinInterval().AsDuration()
	return &Retention{p.GetHalfLife().AsDuration(), p.GetGrowth(), &interval, p.GetMaxHalfLife().AsDuration()}
}

// A Namespace is one memory. Zero fields are unset: see the comments of
// engram.v1.Namespace for each one's default.
type Namespace struct {
	Name           string
	Metric         Metric
	Dimension      int
	ValueDimension int
	KVHeads        int // of keys and values, for Attend; default 1
	Embedder       string
	MaxBytes       int64
	Durability     Durability
	KeyEncoding    KeyEncoding
	ValueEncoding  ValueEncoding
	Recall         float64 // by an index; 0: exact
	Lexical        Lexical
	Ranking        *Ranking   // of queries by text; nil: the default
	Retention      *Retention // nil: the default

	// RepeatSimilarity is the cosine from which on a record stored without an id repeats one
	// of its speaker that is there, which is rehearsed in its place; 0: none does.
	RepeatSimilarity float64

	MaxRecords int64    // 0: no bound
	Eviction   Eviction // what makes room then, and at MaxBytes

	Forget float64 // the retention below which records are removed; 0: none is

	Consolidation *Consolidation // has old records that are close merged; nil: none is

	// Set by the server.
	CreateTime time.Time
	Records    int
	LSN        uint64
}

func namespace(p *pb.Namespace) Namespace {
	var order *Ranking
	if p.GetRanking() != nil {
		r := rankingOf(p.GetRanking())
		order = &r
	}
	return Namespace{
		p.GetName(), p.GetMetric(), int(p.GetDimension()), int(p.GetValueDimension()), int(p.GetKvHeads()), p.GetEmbedder().GetName(),
		int64(p.GetMaxBytes()), p.GetDurability(), p.GetKeyEncoding(), p.GetValueEncoding(), p.GetRecall(), p.GetLexical(), order, retentionOf(p.GetRetention()), p.GetRepeatSimilarity(), int64(p.GetMaxRecords()), p.GetEviction(), p.GetForget(), consolidationOf(p.GetConsolidation()), p.GetCreateTime().AsTime(), int(p.GetRecordCount()), p.GetLsn(),
	}
}

// CreateNamespace makes a namespace with options of its own. (Store makes one with
// the defaults.)
func (c *Client) CreateNamespace(ctx context.Context, n Namespace) (Namespace, error) {
	p := &pb.Namespace{
		Name: n.Name, Metric: n.Metric, Dimension: uint32(n.Dimension), ValueDimension: uint32(n.ValueDimension), KvHeads: uint32(n.KVHeads), MaxBytes: uint64(n.MaxBytes),
		Durability: n.Durability, KeyEncoding: n.KeyEncoding, ValueEncoding: n.ValueEncoding, Recall: n.Recall, Lexical: n.Lexical, RepeatSimilarity: n.RepeatSimilarity, MaxRecords: uint64(n.MaxRecords), Eviction: n.Eviction, Forget: n.Forget,
	}
	if n.Ranking != nil {
		p.Ranking = n.Ranking.proto()
	}
	if n.Retention != nil {
		p.Retention = n.Retention.proto()
	}
	if n.Consolidation != nil {
		p.Consolidation = n.Consolidation.proto()
	}
	if n.Embedder != "" {
		p.Embedder = &pb.Embedder{Name: n.Embedder}
	}
	reply, err := c.namespaces.Create(ctx, &pb.NamespaceServiceCreateRequest{Namespace: p})
	return namespace(reply.GetNamespace()), err
}

// Namespace reads a namespace's options and size.
func (c *Client) Namespace(ctx context.Context, name string) (Namespace, error) {
	reply, err := c.namespaces.Get(ctx, &pb.NamespaceServiceGetRequest{Name: name})
	return namespace(reply.GetNamespace()), err
}

// Namespaces goes through the namespaces whose names begin with prefix, by name.
func (c *Client) Namespaces(ctx context.Context, prefix string) iter.Seq2[Namespace, error] {
	return func(yield func(Namespace, error) bool) {
		page := uint32(1000)
		request := &pb.NamespaceServiceListRequest{PageSize: &page, Prefix: prefix}
		for {
			reply, err := c.namespaces.List(ctx, request)
			if err != nil {
				yield(Namespace{}, err)
				return
			}
			for _, p := range reply.GetNamespaces() {
				if !yield(namespace(p), nil) {
					return
				}
			}
			if request.PageToken = reply.GetNextPageToken(); request.PageToken == "" {
				return
			}
		}
	}
}

// LimitNamespace sets the most bytes that a namespace may take, beyond which its Eviction
// makes room; 0: no bound of its own.
func (c *Client) LimitNamespace(ctx context.Context, name string, maxBytes int64) (Namespace, error) {
	return c.update(ctx, &pb.Namespace{Name: name, MaxBytes: uint64(maxBytes)}, "max_bytes")
}

// SetDurability changes when a namespace's writes are acknowledged.
func (c *Client) SetDurability(ctx context.Context, name string, d Durability) (Namespace, error) {
	return c.update(ctx, &pb.Namespace{Name: name, Durability: d}, "durability")
}

// SetKeyEncoding changes how a namespace's keys are kept. It returns at once; keys that are
// there are encoded anew in the background.
func (c *Client) SetKeyEncoding(ctx context.Context, name string, e KeyEncoding) (Namespace, error) {
	return c.update(ctx, &pb.Namespace{Name: name, KeyEncoding: e}, "key_encoding")
}

// SetValueEncoding changes how a namespace's values are kept, likewise.
func (c *Client) SetValueEncoding(ctx context.Context, name string, e ValueEncoding) (Namespace, error) {
	return c.update(ctx, &pb.Namespace{Name: name, ValueEncoding: e}, "value_encoding")
}

// SetRanking changes the ranking of queries by text that bring none.
func (c *Client) SetRanking(ctx context.Context, name string, r Ranking) (Namespace, error) {
	return c.update(ctx, &pb.Namespace{Name: name, Ranking: r.proto()}, "ranking")
}

// SetRetention changes how fast a namespace's records fade, as a whole.
func (c *Client) SetRetention(ctx context.Context, name string, r Retention) (Namespace, error) {
	return c.update(ctx, &pb.Namespace{Name: name, Retention: r.proto()}, "retention")
}

// SetRepeatSimilarity changes from which cosine on a record that is stored repeats another; 0:
// none does.
func (c *Client) SetRepeatSimilarity(ctx context.Context, name string, similarity float64) (Namespace, error) {
	return c.update(ctx, &pb.Namespace{Name: name, RepeatSimilarity: similarity}, "repeat_similarity")
}

// SetMaxRecords bounds how many records there may be, 0 for no bound, and says which of them
// make room for new ones.
func (c *Client) SetMaxRecords(ctx context.Context, name string, n int64, e Eviction) (Namespace, error) {
	return c.update(ctx, &pb.Namespace{Name: name, MaxRecords: uint64(n), Eviction: e}, "max_records", "eviction")
}

// SetForget changes the retention below which records are removed, pinned ones aside; 0: none
// is.
func (c *Client) SetForget(ctx context.Context, name string, retention float64) (Namespace, error) {
	return c.update(ctx, &pb.Namespace{Name: name, Forget: retention}, "forget")
}

// SetConsolidation has old records that are close merged in the background; nil: none is.
func (c *Client) SetConsolidation(ctx context.Context, name string, by *Consolidation) (Namespace, error) {
	n := &pb.Namespace{Name: name}
	if by != nil {
		n.Consolidation = by.proto()
	}
	return c.update(ctx, n, "consolidation")
}

// SetRecall has a namespace's records found by an index, which finds the given share of the
// best on average; 0: all, without an index. It returns at once; the index is built in the
// background.
func (c *Client) SetRecall(ctx context.Context, name string, recall float64) (Namespace, error) {
	return c.update(ctx, &pb.Namespace{Name: name, Recall: recall}, "recall")
}

// update changes fields of a namespace.
func (c *Client) update(ctx context.Context, n *pb.Namespace, fields ...string) (Namespace, error) {
	reply, err := c.namespaces.Update(ctx, &pb.NamespaceServiceUpdateRequest{
		Namespace: n, UpdateMask: &fieldmaskpb.FieldMask{Paths: fields},
	})
	return namespace(reply.GetNamespace()), err
}

// DeleteNamespace deletes a namespace and says how many records went with it.
func (c *Client) DeleteNamespace(ctx context.Context, name string) (int, error) {
	reply, err := c.namespaces.Delete(ctx, &pb.NamespaceServiceDeleteRequest{Name: name})
	return int(reply.GetDeletedRecords()), err
}
