package server

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// A source is gRPC's own end of a call, from which a message is read in two steps: how
// long it is, and then the message. So room is taken for what comes, and a stream that
// waits for its next message takes none, where RecvMsg would ask for the most that may
// come before it is known that anything does. gRPC's documented interfaces don't have
// this; every call of every test would fail if a version of it didn't.
type source interface {
	ReadMessageHeader(head []byte) error
	Read(n int) (mem.BufferSlice, error)
}

// messageHead is the length of what is before a message: whether it is compressed, and
// its length.
const messageHead = 5

// read reads and decodes a message, with room from the budget, and where it isn't all
// the budget also from a part of it. What fits the window has its room already.
func (x *exchange) read(part *semaphore.Weighted) error {
	if err := x.source.ReadMessageHeader(x.head[:]); err != nil {
		return readError(err)
	}
	n := int64(binary.BigEndian.Uint32(x.head[1:]))
	switch limit := int64(x.s.limits.MessageBytes); {
	case x.head[0] != 0:
		return status.Error(codes.Internal, "the message is compressed, which the call's header doesn't say")
	case n > limit:
		return status.Errorf(codes.ResourceExhausted, "the message has %d bytes; at most %d are allowed", n, limit)
	case n > window:
		// gRPC has it in frames, and then it is whole.
		if err := x.s.inflight.acquireOf(x, part, 2*n); err != nil {
			return err
		}
		defer x.s.inflight.releaseOf(part, 2*n)
		x.in.held = 2 * n
	}
	data, err := x.source.Read(int(n))
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return readError(err)
	}
	defer data.Free()
	x.received += int(n)
	x.in.decode(data)
	return nil
}

// readEnd sees that a call's one request was all.
func (x *exchange) readEnd() error {
	switch err := x.source.ReadMessageHeader(x.head[:]); {
	case err == nil:
		return status.Error(codes.Internal, "the call has a second request")
	case errors.Is(err, io.EOF):
		return nil
	default:
		return readError(err)
	}
}

// readError gives an error of reading as gRPC's RecvMsg does.
func readError(err error) error {
	if errors.Is(err, io.EOF) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return status.Error(codes.Internal, err.Error())
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return status.FromContextError(err).Err()
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Unavailable, err.Error())
}
