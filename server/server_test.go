package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"engram/embed"
	"engram/internal/slab"
	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

// harness is a server with a real DB on real sockets, and clients of it.
type harness struct {
	*Server
	t          testing.TB
	db         *memory.DB
	apiAddr    string
	adminAddr  string
	conn       *grpc.ClientConn
	memory     engramv1.MemoryServiceClient
	namespaces engramv1.NamespaceServiceClient
	admin      engramv1.AdminServiceClient
	stop       func() error // ends Serve, gives its error
	logged     *logBuffer
}

// logBuffer gathers the log.
type logBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

func (b *logBuffer) String() string {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.String()
}

const testDimension = 64 // of the embedder's vectors

// start runs a server; changes alter its configuration.
func start(t testing.TB, changes ...func(*Config)) *harness {
	t.Helper()
	lexical, err := embed.NewLexical(testDimension)
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{t: t, logged: new(logBuffer)}
	pool := slab.NewPool(1 << 30)
	h.db = memory.New(memory.Options{
		Pool: pool, Clock: memory.SystemClock(), Embedder: lexical, Limits: memory.DefaultLimits(),
		Log: slog.New(slog.DiscardHandler),
	})
	config := Config{
		DB: h.db, Pool: pool, Embedder: lexical, Version: "test", Limits: DefaultLimits(),
		Log: slog.New(slog.NewJSONHandler(h.logged, nil)),
	}
	config.Limits.Grace = 5 * time.Second
	for _, change := range changes {
		change(&config)
	}
	h.Server, err = New(config)
	if err != nil {
		t.Fatal(err)
	}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	api, admin := listen(), listen()
	h.apiAddr, h.adminAddr = api.Addr().String(), admin.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- h.Serve(ctx, api, admin) }()
	h.stop = sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	h.SetReady()
	h.conn = h.dial(h.apiAddr)
	h.memory = engramv1.NewMemoryServiceClient(h.conn)
	h.namespaces = engramv1.NewNamespaceServiceClient(h.conn)
	h.admin = engramv1.NewAdminServiceClient(h.dial(h.adminAddr))
	t.Cleanup(func() {
		if err := h.stop(); err != nil {
			t.Error("Serve:", err)
		}
		if err := h.db.Close(); err != nil {
			t.Error("Close:", err)
		}
	})
	return h
}

func (h *harness) dial(addr string, options ...grpc.DialOption) *grpc.ClientConn {
	h.t.Helper()
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(1<<30), grpc.MaxCallRecvMsgSize(1<<30)))
	conn, err := grpc.NewClient(addr, options...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return conn
}

func ctx(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// must gives the reply of a call that must succeed: must(t)(client.Get(ctx, req)).
func must[T any](t testing.TB) func(T, error) T {
	t.Helper()
	return func(reply T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
}

func vec(v ...float32) *engramv1.Vector { return &engramv1.Vector{Values: v} }

func rec(id string, key ...float32) *engramv1.Record {
	return &engramv1.Record{Id: id, Key: vec(key...)}
}

// store stores records in a namespace.
func (h *harness) store(namespace string, records ...*engramv1.Record) *engramv1.StoreResponse {
	h.t.Helper()
	return must[*engramv1.StoreResponse](h.t)(h.memory.Store(ctx(h.t), &engramv1.StoreRequest{Namespace: namespace, Records: records}))
}

// export gives everything that the server holds, the header aside, whose LSN counts
// mutations.
func (h *harness) export() []byte {
	h.t.Helper()
	items, err := h.exportItems()
	if err != nil {
		h.t.Fatal(err)
	}
	var out []byte
	for _, item := range items[1:] {
		if t := item.GetTrailer(); t != nil {
			t.Crc32C = 0 // over the header too
		}
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(item)
		if err != nil {
			h.t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out
}

func (h *harness) exportItems(names ...string) ([]*engramv1.ExportItem, error) {
	stream, err := h.admin.Export(ctx(h.t), &engramv1.ExportRequest{Namespaces: names})
	if err != nil {
		return nil, err
	}
	var items []*engramv1.ExportItem
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return items, nil
		}
		if err != nil {
			return nil, err
		}
		items = append(items, part.Items...)
	}
}

// detail gives the first detail of a type, or nil.
func detail[T proto.Message](err error) (found T) {
	for _, d := range status.Convert(err).Details() {
		if d, ok := d.(T); ok {
			return d
		}
	}
	return found
}

// fields gives the fields that a BadRequest names.
func fields(err error) []string {
	var out []string
	for _, v := range detail[*errdetails.BadRequest](err).GetFieldViolations() {
		out = append(out, v.Field)
	}
	return out
}

func wantCode(t testing.TB, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Fatalf("code %v, want %v: %v", got, want, err)
	}
}
