package server

import (
	"errors"
	"fmt"
	"time"
)

// Limits bound what clients may ask of a server. Limits on records themselves (id, text,
// metadata, dimension, batch) are memory.Limits.
type Limits struct {
	MessageBytes int // the largest request, and the largest reply that can be asked for
	ReplyBytes   int // the largest reply where the request doesn't say

	Connections          int // at once, on the API port; more wait to be accepted
	StreamsPerConnection int // calls at once on one connection

	// BytesInFlight bounds the memory of requests and replies together, decoded or not: a
	// quarter is for the 64 KiB that each call may send ahead of being read, the rest,
	// of which the messages of streams may hold half, for requests and replies. A request
	// of more than 64 KiB holds twice its size while it is read, as gRPC has it in frames
	// and then whole. At least eight times MessageBytes.
	BytesInFlight int64
	// BudgetWait is how long a call waits for its share of BytesInFlight.
	BudgetWait time.Duration
	// ReceiveTimeout is the time in which a request must be there as a whole.
	ReceiveTimeout time.Duration
	// StreamIdle is how long a client's stream may send nothing.
	StreamIdle time.Duration

	Namespaces    int // of one read
	Queries       int // of one read
	TopK          int // top_k, top_weights
	QueriesTimesK int // queries × top_k of one read
	PageSize      int // of List
	IDs           int // of Get and Delete

	FilterNodes, FilterDepth int

	// Grace is how long calls in progress have to end at shutdown.
	Grace time.Duration
}

// DefaultLimits are those that the API documents.
func DefaultLimits() Limits {
	return Limits{
		MessageBytes:         16 << 20,
		ReplyBytes:           4 << 20,
		Connections:          4096,
		StreamsPerConnection: 100,
		BytesInFlight:        512 << 20,
		BudgetWait:           time.Second,
		ReceiveTimeout:       10 * time.Second,
		StreamIdle:           time.Minute,
		Namespaces:           16,
		Queries:              256,
		TopK:                 1000,
		QueriesTimesK:        65536,
		PageSize:             1000,
		IDs:                  1000,
		FilterNodes:          128,
		FilterDepth:          8,
		Grace:                30 * time.Second,
	}
}

// check refuses limits with which no call could succeed.
func (l Limits) check() error {
	var errs []error
	for _, c := range []struct {
		name  string
		value int64
	}{
		{"MessageBytes", int64(l.MessageBytes)}, {"ReplyBytes", int64(l.ReplyBytes)},
		{"Connections", int64(l.Connections)}, {"StreamsPerConnection", int64(l.StreamsPerConnection)},
		{"BudgetWait", int64(l.BudgetWait)}, {"ReceiveTimeout", int64(l.ReceiveTimeout)},
		{"StreamIdle", int64(l.StreamIdle)}, {"Namespaces", int64(l.Namespaces)},
		{"Queries", int64(l.Queries)}, {"TopK", int64(l.TopK)}, {"QueriesTimesK", int64(l.QueriesTimesK)},
		{"PageSize", int64(l.PageSize)}, {"IDs", int64(l.IDs)},
		{"FilterNodes", int64(l.FilterNodes)}, {"FilterDepth", int64(l.FilterDepth)}, {"Grace", int64(l.Grace)},
	} {
		if c.value <= 0 {
			errs = append(errs, fmt.Errorf("limit %s is %d; it must be positive", c.name, c.value))
		}
	}
	if l.ReplyBytes > l.MessageBytes {
		errs = append(errs, fmt.Errorf("limit ReplyBytes is %d, over MessageBytes, %d", l.ReplyBytes, l.MessageBytes))
	}
	if need := 8 * int64(l.MessageBytes); l.BytesInFlight < need {
		errs = append(errs, fmt.Errorf("limit BytesInFlight is %d; with messages of %d bytes it must be at least %d", l.BytesInFlight, l.MessageBytes, need))
	}
	return errors.Join(errs...)
}
