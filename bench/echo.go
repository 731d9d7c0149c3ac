package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The echo is an RPC that does nothing, on a server as gRPC makes it: what gRPC itself
// costs. A request says how long the reply shall be.
const echoMethod = "/bench.Echo/Echo"

// The same as a stream, of which each request has a reply.
const echoStreamMethod = "/bench.Echo/EchoStream"

var echoStreams = grpc.StreamDesc{StreamName: "EchoStream", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
	for {
		reply, err := echoAnswer(s.RecvMsg)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.SendMsg(reply); err != nil {
			return err
		}
	}
}}

func echoServer() *grpc.Server {
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			return echoAnswer(decode)
		}}},
		Streams: []grpc.StreamDesc{echoStreams},
	}, nil)
	return s
}

var echoed [1 << 16]byte

func echoAnswer(decode func(any) error) (*wrapperspb.BytesValue, error) {
	var in wrapperspb.BytesValue
	if err := decode(&in); err != nil {
		return nil, err
	}
	return wrapperspb.Bytes(echoed[:binary.LittleEndian.Uint16(in.Value)]), nil
}

// echoRequest is a request, and asks for a reply, of so many bytes.
func echoRequest(bytes, reply int) *wrapperspb.BytesValue {
	in := wrapperspb.Bytes(make([]byte, bytes))
	binary.LittleEndian.PutUint16(in.Value, uint16(reply))
	return in
}
