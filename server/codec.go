package server

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// chargedReply is the size from which replies are charged until they are on the wire.
// Smaller ones fit the window that each call is charged for.
const chargedReply = 4 << 10

// inbound is a request on its way into msg.
type inbound struct {
	msg   proto.Message
	held  int64 // what the call holds of the budget for it
	limit int64 // of the request decoded
	f     *inflight
	ctx   context.Context
	err   error
}

// hold changes what the call holds of the budget.
func (in *inbound) hold(n int64) error {
	switch more := n - in.held; {
	case more > 0:
		if err := in.f.acquire(in.ctx, more); err != nil {
			return err
		}
	case more < 0:
		in.f.release(-more)
	}
	in.held = n
	return nil
}

// outbound is a reply on its way out.
type outbound struct {
	msg  proto.Message
	wire int   // bytes of the reply
	held int64 // what is held of the budget for it: passes to the buffer
	f    *inflight
}

// codec is gRPC's codec for protobuf on the server's side, taking outbound.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	out, ok := v.(*outbound)
	if !ok {
		return nil, fmt.Errorf("reply is a %T", v)
	}
	out.wire = proto.Size(out.msg)
	options := proto.MarshalOptions{UseCachedSize: true}
	if mem.IsBelowBufferPoolingThreshold(out.wire) {
		b, err := options.Marshal(out.msg)
		if err != nil {
			return nil, err
		}
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	pool := mem.DefaultBufferPool()
	buf := pool.Get(out.wire)
	if _, err := options.MarshalAppend((*buf)[:0], out.msg); err != nil {
		pool.Put(buf)
		return nil, err
	}
	if out.held > 0 {
		pool = newReplyPool(pool, out.f, out.held)
		out.held = 0
	}
	return mem.BufferSlice{mem.NewBuffer(buf, pool)}, nil
}

// Unmarshal isn't called: requests are read by exchange.read.
func (codec) Unmarshal(_ mem.BufferSlice, v any) error {
	return fmt.Errorf("request is a %T", v)
}

// decode decodes a request, if there is room for it; the error is left in in.
func (in *inbound) decode(data mem.BufferSlice) {
	wire := data.Len()
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	b := buf.ReadOnlyData()
	plan := planOf(in.msg.ProtoReflect().Descriptor())
	decoded, err := plan.weigh(b)
	switch {
	case err != nil:
		in.err = status.Errorf(codes.InvalidArgument, "the request is not a valid %s: %v", plan.name, err)
	case decoded > in.limit:
		in.err = status.Errorf(codes.ResourceExhausted, "the request, %d bytes, would take %d bytes of memory; at most %d are allowed", wire, decoded, in.limit)
	default:
		// While it is decoded, the request is there three times: as it came, in one
		// piece, and as a message.
		if in.err = in.hold(2*int64(wire) + decoded); in.err != nil {
			return
		}
		if err := proto.Unmarshal(b, in.msg); err != nil {
			in.err = plan.undecodable(b)
			return
		}
		in.err = in.hold(decoded)
	}
}

// replyPool gives one buffer back to its pool, and then what was held for it to the
// budget. gRPC frees a buffer when it is written, but drops those still queued when a
// connection breaks: for them the collector does it.
type replyPool struct {
	mem.BufferPool
	held    *heldReply
	cleanup runtime.Cleanup
}

type heldReply struct {
	f    *inflight
	n    int64
	done atomic.Bool
}

func (h *heldReply) release() {
	if h.done.CompareAndSwap(false, true) {
		h.f.release(h.n)
	}
}

func newReplyPool(pool mem.BufferPool, f *inflight, n int64) *replyPool {
	p := &replyPool{BufferPool: pool, held: &heldReply{f: f, n: n}}
	p.cleanup = runtime.AddCleanup(p, (*heldReply).release, p.held)
	return p
}

func (p *replyPool) Put(b *[]byte) {
	p.BufferPool.Put(b)
	p.cleanup.Stop()
	p.held.release()
}
