package client

import (
	"context"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "engram/proto/engram/v1"
)

// Scale is what scores are multiplied by before the softmax. Default: see
// engram.v1.AttendRequest.scale.
func Scale(s float32) ReadOption { return func(r *reading) { r.attend.Scale = &s } }

// TopWeights names that many of the heaviest records of each head. Default 0.
func TopWeights(n int) ReadOption { return func(r *reading) { r.attend.TopWeights = uint32(n) } }

// QueryHeads is how many heads a query has, a multiple of the namespace's. Default: as many.
func QueryHeads(n int) ReadOption { return func(r *reading) { r.attend.QueryHeads = uint32(n) } }

// Last attends to the last n records alone, and to the first sinks.
func Last(n, sinks int) ReadOption {
	return window(func(w *pb.Window) { w.Last, w.Sinks = uint64(n), uint64(sinks) })
}

// BeforeTime attends to records of an earlier time alone.
func BeforeTime(t time.Time) ReadOption {
	return window(func(w *pb.Window) { w.BeforeTime = timestamppb.New(t) })
}

// BeforeLSN attends to records alone that an earlier mutation created.
func BeforeLSN(lsn uint64) ReadOption { return window(func(w *pb.Window) { w.BeforeLsn = &lsn }) }

// BeforePosition attends to records of a lesser position alone.
func BeforePosition(at int64) ReadOption {
	return window(func(w *pb.Window) { w.BeforePosition = &at })
}

func window(set func(*pb.Window)) ReadOption {
	return func(r *reading) {
		if r.attend.Window == nil {
			r.attend.Window = new(pb.Window)
		}
		set(r.attend.Window)
	}
}

// ByImportance adds weight·ln(importance) to each record's scaled score.
func ByImportance(weight float64) ReadOption {
	return bias(func(b *pb.Bias) { b.Importance = weight })
}

// ByRetention adds weight·ln(retention) to each record's scaled score.
func ByRetention(weight float64) ReadOption {
	return bias(func(b *pb.Bias) { b.Retention = weight })
}

// BySlopes takes from scaled scores, for each query head, its slope times the distance between
// the query's position (Query.At) and the record's.
func BySlopes(slopes ...float64) ReadOption { return bias(func(b *pb.Bias) { b.Slopes = slopes }) }

func bias(set func(*pb.Bias)) ReadOption {
	return func(r *reading) {
		if r.attend.Bias == nil {
			r.attend.Bias = new(pb.Bias)
		}
		set(r.attend.Bias)
	}
}

// Add makes the output query + context.
func Add() ReadOption { return combined(pb.Combine_COMBINE_ADD) }

// Concat makes the output the query, and the context after it.
func Concat() ReadOption { return combined(pb.Combine_COMBINE_CONCAT) }

// Gate makes the output g·query + (1−g)·context, of one g, one for each head or one for each
// component, in [0, 1].
func Gate(g ...float32) ReadOption { return combined(pb.Combine_COMBINE_GATE, g...) }

func combined(how pb.Combine, gate ...float32) ReadOption {
	return func(r *reading) { r.attend.Combine, r.attend.Gate = how, gate }
}

// MaxError lets the server leave unread what can't move a head's context by more than e times
// the greatest norm of a value; e is above 0 and below 1. Head.ErrorBound tells what is certain.
// Default: everything is read.
func MaxError(e float64) ReadOption { return func(r *reading) { r.attend.MaxError = &e } }

// At gives the query a position in the records' sequence, which BySlopes needs.
func (q Query) At(position int64) Query {
	return Query{&pb.Query{Vector: q.pb.Vector, Text: q.pb.Text, Record: q.pb.Record, Position: &position}}
}

// An Attention is what one query's attention over a memory gave.
type Attention struct {
	Output      []float32 // of Add, Concat and Gate; nil without
	Context     []float32 // the weighted sums of values, of all heads one after the other
	Heads       []Head    // one a query head
	RowsScanned uint64    // of the whole call

	// Head is the first head, and the only one where the query has one.
	Head
}

// A Head is the attention of one query head.
type Head struct {
	LogSumExp  float64  // ln Σ exp(scale·score + bias); −Inf where nothing was attended to
	Entropy    float64  // of the weights, in nats; its exponential is the effective number of records
	Attended   uint64   // how many records
	TopWeights []Weight // heaviest first

	// ErrorBound, with MaxError, times the greatest norm of a value bounds how far the context
	// is from that of all records; the rest is of the records that were read.
	ErrorBound float64
}

// A Weight is the attention that one record got.
type Weight struct {
	Namespace string
	Record    Record
	Weight    float64 // in [0, 1]
	Score     float32 // before scaling
}

// Attend returns softmax(q·Kᵀ·scale + bias)·V over the namespace, in each head by itself.
// Options: Scale, QueryHeads, Where, Last, BeforeTime, BeforeLSN, BeforePosition, ByImportance, ByRetention,
// BySlopes, TopK and with it Exact, Recall and Probes, MaxError, Add, Concat, Gate, TopWeights,
// WithVectors, WithoutContent.
func (c *Client) Attend(ctx context.Context, namespace string, query Query, options ...ReadOption) (*Attention, error) {
	all, err := c.AttendAll(ctx, []string{namespace}, []Query{query}, options...)
	if err != nil {
		return nil, err
	}
	return &all[0], nil
}

// AttendAll is Attend for several queries over several namespaces, which stand in
// one softmax. It returns the attention of each query.
func (c *Client) AttendAll(ctx context.Context, namespaces []string, queries []Query, options ...ReadOption) ([]Attention, error) {
	r, err := read(options)
	if err != nil {
		return nil, err
	}
	request := &r.attend
	request.Namespaces, request.Queries, request.Filter = namespaces, queryProtos(queries), r.filter.pb
	request.Include, request.MaxReplyBytes = r.include, r.maxBytes
	if r.topK != nil {
		request.TopK, request.Search = *r.topK, r.search
	}
	reply, err := c.memory.Attend(ctx, request)
	if err != nil {
		return nil, err
	}
	out := make([]Attention, len(reply.GetResults()))
	for i, a := range reply.GetResults() {
		out[i] = attention(a)
		out[i].RowsScanned = reply.GetSearch().GetRowsScanned()
	}
	return out, nil
}

func attention(a *pb.Attention) Attention {
	out := Attention{Output: floats(a.GetOutput()), Context: floats(a.GetContext()), Heads: make([]Head, len(a.GetHeads()))}
	for h, p := range a.GetHeads() {
		head := Head{LogSumExp: p.GetLogSumExp(), Entropy: p.GetEntropy(), Attended: p.GetAttended(), ErrorBound: p.GetErrorBound()}
		for _, w := range p.GetTopWeights() {
			head.TopWeights = append(head.TopWeights, Weight{w.GetNamespace(), record(w.GetRecord()), w.GetWeight(), w.GetScore()})
		}
		out.Heads[h] = head
	}
	if len(out.Heads) > 0 {
		out.Head = out.Heads[0]
	}
	return out
}

// A Part is attention over some of the keys and values: contexts of heads one after the other,
// and of each head ln Σ exp(logit).
type Part struct {
	Context   []float32
	LogSumExp []float64
}

// Part gives the attention as one to Merge.
func (a *Attention) Part() Part {
	p := Part{Context: a.Context}
	for i := range a.Heads {
		p.LogSumExp = append(p.LogSumExp, a.Heads[i].LogSumExp)
	}
	return p
}

// Merge gives the attention over the keys and values of all parts, such as Engram's and a
// model's local ones, as one softmax over all of them would (Dao et al., FlashAttention, 2022;
// Liu et al., Ring Attention, 2023): in each head
//
//	lse = ln Σ exp(lseᵢ),  context = Σ exp(lseᵢ − lse)·contextᵢ
//
// The parts must be of one query and scale, disjoint, and of as many heads and components;
// Merge panics if the latter differ. The parts stay as they are.
func Merge(parts ...Part) Part {
	if len(parts) == 0 {
		return Part{}
	}
	heads, width := len(parts[0].LogSumExp), len(parts[0].Context)
	for _, p := range parts {
		if len(p.LogSumExp) != heads || len(p.Context) != width || heads == 0 || width%heads != 0 {
			panic("client: Merge of parts with different heads or components")
		}
	}
	out := Part{make([]float32, width), make([]float64, heads)}
	d := width / heads
	sum := make([]float64, d)
	for h := range heads {
		most := math.Inf(-1)
		for _, p := range parts {
			most = max(most, p.LogSumExp[h])
		}
		if out.LogSumExp[h] = most; math.IsInf(most, -1) {
			continue
		}
		total := 0.0
		clear(sum)
		for _, p := range parts {
			w := math.Exp(p.LogSumExp[h] - most)
			total += w
			for i, x := range p.Context[h*d : (h+1)*d] {
				sum[i] += w * float64(x)
			}
		}
		out.LogSumExp[h] += math.Log(total)
		for i, x := range sum {
			out.Context[h*d+i] = float32(x / total)
		}
	}
	return out
}
