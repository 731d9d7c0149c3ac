package server

import (
	"context"
	"errors"
	"io"
	"runtime/debug"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"

	"engram/memory"
)

// A deadline cuts a call whose client doesn't send: the tap puts one on every stream's
// context, the only place from which gRPC's reading of a message can be ended.
type deadline struct {
	context.Context
	cancel context.CancelFunc
	timer  *time.Timer
	passed atomic.Bool
}

type deadlineKey struct{}

// tap is gRPC's tap handle.
func (s *Server) tap(ctx context.Context, _ *tap.Info) (context.Context, error) {
	if s.inflight.windows.Load() > s.inflight.limit/4-window {
		return nil, s.status(ctx, s.inflight.full(window))
	}
	d := new(deadline)
	d.Context, d.cancel = context.WithCancel(ctx)
	d.timer = time.AfterFunc(s.limits.ReceiveTimeout, d.pass)
	return d, nil
}

func (d *deadline) pass() {
	d.passed.Store(true)
	d.cancel()
}

func (d *deadline) Err() error {
	if d.passed.Load() {
		return context.DeadlineExceeded
	}
	return d.Context.Err()
}

func (d *deadline) Value(key any) any {
	if key == (deadlineKey{}) {
		return d
	}
	return d.Context.Value(key)
}

// exchange is one call: its context, its request and its reply.
type exchange struct {
	context.Context
	s        *Server
	m        *method
	deadline *deadline         // nil on the admin port
	stream   grpc.ServerStream // of a call that streams
	source   source
	head     [messageHead]byte
	in       inbound
	out      outbound
	received int // bytes of all its requests
	sent     int
}

type exchangeKey struct{}

func (x *exchange) Value(key any) any {
	if key == (exchangeKey{}) {
		return x
	}
	return x.Context.Value(key)
}

// reserveReply holds the bytes that a reply will take, before it is built.
func reserveReply(ctx context.Context, n int) error {
	if n < chargedReply { // the window has room for it
		return nil
	}
	x := ctx.Value(exchangeKey{}).(*exchange)
	if err := x.s.inflight.acquire(ctx, int64(n)); err != nil {
		return err
	}
	x.out.held = int64(n)
	return nil
}

// registrar registers services with every method wrapped.
type registrar struct {
	*grpc.Server
	s *Server
}

func (r registrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	wrapped := *desc
	wrapped.Methods, wrapped.Streams = nil, nil
	for _, md := range desc.Methods {
		m := r.s.metrics.method(desc.ServiceName, md.MethodName, "unary")
		wrapped.Streams = append(wrapped.Streams, grpc.StreamDesc{
			StreamName: md.MethodName,
			Handler: func(impl any, ss grpc.ServerStream) error {
				return r.s.serve(ss, m, func(x *exchange) error {
					reply, err := md.Handler(impl, x, x.receive, nil)
					if err != nil {
						return err
					}
					return x.send(ss, reply)
				})
			},
		})
	}
	for _, sd := range desc.Streams {
		kind := "server_stream"
		if sd.ClientStreams {
			kind = "client_stream"
			if sd.ServerStreams {
				kind = "bidi_stream"
			}
		}
		m := r.s.metrics.method(desc.ServiceName, sd.StreamName, kind)
		handler := sd.Handler
		sd.Handler = func(impl any, ss grpc.ServerStream) error {
			return r.s.serve(ss, m, func(x *exchange) error {
				x.stream = ss
				return handler(impl, &stream{ServerStream: ss, x: x, client: sd.ClientStreams})
			})
		}
		wrapped.Streams = append(wrapped.Streams, sd)
	}
	r.Server.RegisterService(&wrapped, impl)
}

// serve is what every call has around its handler.
func (s *Server) serve(ss grpc.ServerStream, m *method, handle func(*exchange) error) (err error) {
	x := &exchange{Context: ss.Context(), s: s, m: m}
	x.in = inbound{f: s.inflight, ctx: x.Context, limit: 8 * int64(s.limits.MessageBytes)}
	x.out.f = s.inflight
	x.deadline, _ = x.Context.Value(deadlineKey{}).(*deadline)
	start := s.clock.Now()
	m.started.Inc()
	defer func() {
		if p := recover(); p != nil {
			s.metrics.panics.Inc()
			s.log.Error("panic in a handler", "method", m.name, "panic", p, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "internal error")
		}
		if x.deadline != nil {
			x.deadline.timer.Stop()
		}
		s.inflight.release(x.in.held)
		s.inflight.release(x.out.held)
		if err != nil {
			err = s.status(x, err)
		}
		s.finished(x, err, s.clock.Now().Sub(start))
	}()
	if err := s.inflight.enter(); err != nil {
		return err
	}
	defer s.inflight.leave()
	if err := s.admit(x); err != nil {
		return err
	}
	var ok bool
	if x.source, ok = grpc.ServerTransportStreamFromContext(x.Context).(source); !ok {
		return status.Error(codes.Internal, "this version of gRPC doesn't let messages be read")
	}
	return handle(x)
}

// admit refuses a call before any of its request is read.
func (s *Server) admit(x *exchange) error {
	if len(s.tokens) > 0 && !x.m.public {
		if !s.authorized(metadata.ValueFromIncomingContext(x.Context, "authorization")) {
			return status.Error(codes.Unauthenticated, "this server wants credentials: send metadata authorization: Bearer TOKEN")
		}
	}
	if !x.m.always && !s.ready.Load() {
		return withDetails(codes.Unavailable, "the server is restoring its memory and isn't ready yet", retryIn(time.Second))
	}
	return nil
}

// receive reads the one request of a call.
func (x *exchange) receive(req any) error {
	x.in.msg = req.(proto.Message)
	if err := x.read(x.s.inflight.sem); err != nil {
		if errors.Is(err, io.EOF) {
			return status.Error(codes.Internal, "the call ended without a request")
		}
		return err
	}
	if err := x.readEnd(); err != nil {
		return err
	}
	if x.deadline != nil {
		x.deadline.timer.Stop()
	}
	return x.in.err
}

// send writes the one reply of a call.
func (x *exchange) send(ss grpc.ServerStream, reply any) error {
	x.out.msg = reply.(proto.Message)
	err := ss.SendMsg(&x.out)
	x.sent += x.out.wire
	return err
}

// stream is a call that streams, as its handler sees it.
type stream struct {
	grpc.ServerStream
	x      *exchange
	client bool // the client streams
}

func (st *stream) Context() context.Context { return st.x }

// RecvMsg gives up what was held for the request before: the handler is done with it.
func (st *stream) RecvMsg(req any) error {
	x := st.x
	if !st.client {
		return x.receive(req)
	}
	if err := x.in.hold(0); err != nil {
		return err
	}
	if x.deadline != nil {
		x.deadline.timer.Reset(x.s.limits.StreamIdle)
		defer x.deadline.timer.Stop()
	}
	x.in.msg, x.in.err = req.(proto.Message), nil
	if err := x.read(x.s.inflight.streams); err != nil {
		return err
	}
	x.m.received.Inc()
	return x.in.err
}

func (st *stream) SendMsg(reply any) error {
	x := st.x
	x.out.msg = reply.(proto.Message)
	if n := proto.Size(x.out.msg); n >= chargedReply && x.out.held == 0 {
		if err := x.s.inflight.acquirePatiently(x, int64(n)); err != nil {
			return err
		}
		x.out.held = int64(n)
	}
	err := st.ServerStream.SendMsg(&x.out)
	x.sent += x.out.wire
	x.m.sent.Inc()
	return err
}

// sendWithin is SendMsg of a reply that the client must take within a time: else, and
// when the server stops, the sending is left to end with the call, and the error is
// errSlow or memory.ErrClosed.
func (x *exchange) sendWithin(d time.Duration, reply proto.Message) error {
	out := &outbound{f: x.s.inflight, msg: reply}
	if n := proto.Size(reply); n >= chargedReply {
		if err := x.s.inflight.acquirePatiently(x, int64(n)); err != nil {
			return err
		}
		out.held = int64(n)
	}
	sent := make(chan error, 1)
	go func() { sent <- x.stream.SendMsg(out) }()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case err := <-sent:
		x.sent += out.wire
		x.m.sent.Inc()
		return err
	case <-x.s.stopping.Done():
		return memory.ErrClosed
	case <-timer.C:
		return errSlow
	}
}
