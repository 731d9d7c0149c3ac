package client

import (
	"context"
	"iter"
	"time"

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

// A Namespace is one memory. Zero fields are unset: see the comments of
// engram.v1.Namespace for each one's default.
type Namespace struct {
	Name           string
	Metric         Metric
	Dimension      int
	ValueDimension int
	Embedder       string
	MaxBytes       int64

	// Set by the server.
	CreateTime time.Time
	Records    int
	LSN        uint64
}

func namespace(p *pb.Namespace) Namespace {
	return Namespace{
		p.GetName(), p.GetMetric(), int(p.GetDimension()), int(p.GetValueDimension()), p.GetEmbedder().GetName(),
		int64(p.GetMaxBytes()), p.GetCreateTime().AsTime(), int(p.GetRecordCount()), p.GetLsn(),
	}
}

// CreateNamespace makes a namespace with options of its own. (Store makes one with
// the defaults.)
func (c *Client) CreateNamespace(ctx context.Context, n Namespace) (Namespace, error) {
	p := &pb.Namespace{
		Name: n.Name, Metric: n.Metric, Dimension: uint32(n.Dimension), ValueDimension: uint32(n.ValueDimension), MaxBytes: uint64(n.MaxBytes),
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

// LimitNamespace sets the most bytes that a namespace may take; 0: no bound of its
// own.
func (c *Client) LimitNamespace(ctx context.Context, name string, maxBytes int64) (Namespace, error) {
	reply, err := c.namespaces.Update(ctx, &pb.NamespaceServiceUpdateRequest{
		Namespace:  &pb.Namespace{Name: name, MaxBytes: uint64(maxBytes)},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"max_bytes"}},
	})
	return namespace(reply.GetNamespace()), err
}

// DeleteNamespace deletes a namespace and says how many records went with it.
func (c *Client) DeleteNamespace(ctx context.Context, name string) (int, error) {
	reply, err := c.namespaces.Delete(ctx, &pb.NamespaceServiceDeleteRequest{Name: name})
	return int(reply.GetDeletedRecords()), err
}
