package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"engram/internal/slab"
	"engram/memory"
)

var sprintf = fmt.Sprintf

// busyError is a call for which the budget of bytes in flight has no room.
type busyError struct {
	need, limit int64
	wait        time.Duration // after which trying again makes sense
}

func (e *busyError) Error() string {
	return fmt.Sprintf("the server has no room for %d bytes more of requests and replies in flight, of %d", e.need, e.limit)
}

// embedError is an embedder's failure. What it says may name hosts, so it is for the log.
type embedError struct {
	name string
	err  error
}

func (e *embedError) Error() string { return fmt.Sprintf("embedder %q: %v", e.name, e.err) }
func (e *embedError) Unwrap() error { return e.err }

// preconditionError is a request that the namespace or the server isn't made for.
type preconditionError struct{ subject, reason string }

func (e *preconditionError) Error() string { return e.reason }

func precondition(subject, format string, args ...any) error {
	return &preconditionError{subject, fmt.Sprintf(format, args...)}
}

// status turns an error into what the client sees. Nothing of an error that this function
// doesn't know reaches a client: it is logged.
func (s *Server) status(ctx context.Context, err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	var (
		busy         *busyError
		embed        *embedError
		notReady     *preconditionError
		notFound     *memory.NotFound
		exists       *memory.Exists
		conflict     *memory.Conflict
		invalid      *memory.Invalid
		precondition *memory.Precondition
		exhausted    *memory.Exhausted
		full         *memory.Full
		readOnly     *memory.ReadOnly
		noSpace      *memory.NoSpace
		gone         *memory.Gone
	)
	switch {
	case errors.As(err, &busy):
		return withDetails(codes.ResourceExhausted, busy.Error(),
			quota("bytes in flight", busy.Error()), retryIn(busy.wait))
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		if ctx.Err() != nil || !errors.As(err, &embed) {
			return status.FromContextError(unwrapContext(err)).Err()
		}
		return withDetails(codes.Unavailable, fmt.Sprintf("embedder %q did not answer in time", embed.name), retryIn(time.Second))
	case errors.As(err, &invalid):
		var v violations
		for _, bad := range invalid.Violations {
			v.add(bad.Field, "%s", bad.Reason)
		}
		return v.err()
	case errors.As(err, &notFound):
		return withDetails(codes.NotFound, notFound.Error(), resource(notFound.Kind, notFound.Namespace, notFound.Name, "doesn't exist"))
	case errors.As(err, &exists):
		return withDetails(codes.AlreadyExists, exists.Error(), resource(exists.Kind, exists.Namespace, exists.Name, "exists"))
	case errors.As(err, &conflict):
		return withDetails(codes.FailedPrecondition, conflict.Error(), failed("VERSION", "records/"+conflict.ID, conflict.Error()))
	case errors.As(err, &precondition):
		return withDetails(codes.FailedPrecondition, precondition.Error(), failed("NAMESPACE", "", precondition.Error()))
	case errors.As(err, &notReady):
		return withDetails(codes.FailedPrecondition, notReady.reason, failed("NAMESPACE", notReady.subject, notReady.reason))
	case errors.As(err, &exhausted):
		return withDetails(codes.ResourceExhausted, exhausted.Error(), quota(exhausted.What, exhausted.Error()))
	case errors.As(err, &full):
		return withDetails(codes.ResourceExhausted, full.Error(), quota("namespaces/"+full.Namespace, full.Error()))
	case errors.Is(err, slab.ErrBudget):
		return withDetails(codes.ResourceExhausted, "the server's memory budget is full", quota("memory", err.Error()))
	case errors.Is(err, memory.ErrSnapshotBusy):
		return withDetails(codes.Aborted, err.Error(), retryIn(time.Second))
	case errors.As(err, &readOnly):
		// Clients that retry Unavailable are told that it won't help.
		_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", "-1"))
		return withDetails(codes.Unavailable, readOnly.Error(), readOnlyInfo)
	case errors.As(err, &noSpace):
		return withDetails(codes.ResourceExhausted, noSpace.Error(), quota("disk", noSpace.Error()), retryIn(time.Second))
	case errors.Is(err, memory.ErrDiskFull):
		return withDetails(codes.ResourceExhausted, "the disk is full; what was on it stays as it was", quota("disk", "the disk is full"))
	case errors.As(err, &gone):
		return status.Error(codes.OutOfRange, gone.Error())
	case errors.Is(err, memory.ErrBehind), errors.Is(err, errSlow):
		return withDetails(codes.ResourceExhausted, err.Error()+"; go on with after_lsn set to the last LSN that was seen", quota("watch", err.Error()), retryIn(time.Second))
	case errors.Is(err, memory.ErrClosed):
		return withDetails(codes.Unavailable, "the server is stopping", retryIn(time.Second))
	case errors.As(err, &embed):
		s.log.WarnContext(ctx, "embedding failed", "embedder", embed.name, "error", embed.err)
		return withDetails(codes.Unavailable, fmt.Sprintf("embedder %q failed; the server's log says why", embed.name), retryIn(time.Second))
	}
	s.log.ErrorContext(ctx, "unexpected error", "error", err.Error())
	return status.Error(codes.Internal, "internal error; the server's log says more")
}

// readOnlyInfo tells a client that no retry will help before the server is started again.
var readOnlyInfo = &errdetails.ErrorInfo{Reason: "READ_ONLY", Domain: "engram"}

// unwrapContext gives the context's own error, which is what gRPC looks for.
func unwrapContext(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return context.Canceled
}

func resource(kind, namespace, name, what string) proto.Message {
	r := &errdetails.ResourceInfo{ResourceType: kind, ResourceName: clip(name, 512), Description: what}
	if namespace != "" && kind != "namespace" {
		r.Owner = clip("namespaces/"+namespace, 512)
	}
	return r
}

func failed(kind, subject, description string) proto.Message {
	return &errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{
		{Type: kind, Subject: clip(subject, 512), Description: clip(description, 512)},
	}}
}

func quota(subject, description string) proto.Message {
	return &errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{
		{Subject: clip(subject, 512), Description: clip(description, 512)},
	}}
}

func retryIn(d time.Duration) proto.Message {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(d)}
}
