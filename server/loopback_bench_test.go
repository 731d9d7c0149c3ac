package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	engramv1 "engram/proto/engram/v1"
)

// BenchmarkRetrieveLoopback measures a whole Retrieve over a loopback socket, beside an
// RPC that does nothing with messages of the same sizes on a server as gRPC makes it.
func BenchmarkRetrieveLoopback(b *testing.B) {
	const dim = 384
	h := start(b)
	h.conn.Connect()
	random := rand.New(rand.NewPCG(1, 2))
	vector := func() *engramv1.Vector {
		v := make([]float32, dim)
		for i := range v {
			v[i] = float32(random.NormFloat64())
		}
		return &engramv1.Vector{F32: littleBytes(v)}
	}
	for _, n := range []int{1, 1000, 10000} {
		name := fmt.Sprint("bench", n)
		for from := 0; from < n; from += 1000 {
			records := make([]*engramv1.Record, min(n, 1000))
			for i := range records {
				records[i] = &engramv1.Record{Id: fmt.Sprint("record-", from+i), Key: vector(), Text: "a sentence such as one remembers, of about sixty characters"}
			}
			h.store(name, records...)
		}
		request := &engramv1.RetrieveRequest{Namespaces: []string{name}, Queries: []*engramv1.Query{{Vector: vector()}}}
		reply := must[*engramv1.RetrieveResponse](b)(h.memory.Retrieve(ctx(b), request))
		b.Run(fmt.Sprintf("%d×%d", n, dim), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.memory.Retrieve(context.Background(), request); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("%d×%d/echo", n, dim), func(b *testing.B) {
			b.ReportAllocs()
			benchmarkEcho(b, h, proto.Size(request), proto.Size(reply))
		})
	}
}

func benchmarkEcho(b *testing.B, h *harness, request, reply int) {
	answer := wrapperspb.Bytes(make([]byte, reply))
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "Echo",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			return answer, dec(new(wrapperspb.BytesValue))
		}}},
	}, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go server.Serve(l)
	defer server.Stop()
	conn := h.dial(l.Addr().String())
	in, out := wrapperspb.Bytes(make([]byte, request)), new(wrapperspb.BytesValue)
	for b.Loop() {
		if err := conn.Invoke(context.Background(), "/Echo/Echo", in, out); err != nil {
			b.Fatal(err)
		}
	}
}
