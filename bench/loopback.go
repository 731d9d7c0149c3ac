package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"engram/internal/slab"
	"engram/memory"
	engramv1 "engram/proto/engram/v1"
	"engram/server"
)

// A served is an Engram server in this process, behind a TCP socket, and its client.
type served struct {
	db   *memory.DB
	addr string
	conn *grpc.ClientConn
	stop func() error
}

func serve() (*served, error) { return serveAs(memory.Options{}) }

func serveAs(opt memory.Options) (*served, error) {
	opt.Pool = slab.NewPool(math.MaxInt64)
	return serveDB(memory.New(opt))
}

// serveDB serves a memory, and closes it when it stops.
func serveDB(db *memory.DB) (*served, error) {
	s, err := server.New(server.Config{DB: db, Pool: db.Pool(), Version: "bench", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	api, apiErr := listen()
	admin, adminErr := listen()
	if err := errors.Join(apiErr, adminErr); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, api, admin) }()
	s.SetReady()
	conn, err := dial(api.Addr().String())
	return &served{db, api.Addr().String(), conn, func() error {
		_ = conn.Close()
		cancel()
		return errors.Join(<-done, db.Close())
	}}, err
}

func listen() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }

func dial(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// store puts rows of random vectors, with ids, texts and metadata, in a namespace.
func (s *served) store(namespace string, rows, dim int) error {
	r := rand.New(rand.NewPCG(uint64(rows), uint64(dim)))
	keys := make([]float32, 1000*dim)
	fill(r, keys)
	for from := 0; from < rows; from += 1000 {
		puts := make([]memory.Put, min(1000, rows-from))
		for i := range puts {
			keys[i*dim+r.IntN(dim)] = r.Float32() // so that rows differ, at little cost
			puts[i].ID = "record-" + strconv.Itoa(from+i)
			puts[i].Key = keys[i*dim:][:dim]
			puts[i].Text = "a sentence such as one remembers, of about sixty characters"
		}
		if _, err := s.db.Store(context.Background(), &memory.Store{Namespace: namespace, Records: puts}); err != nil {
			return err
		}
	}
	return nil
}

// request retrieves the best of a namespace for one vector.
func request(namespace string, dim int) *engramv1.RetrieveRequest {
	q := make([]float32, dim)
	fill(rand.New(rand.NewPCG(3, 4)), q)
	var f32 []byte
	for _, x := range q {
		f32 = binary.LittleEndian.AppendUint32(f32, math.Float32bits(x))
	}
	return &engramv1.RetrieveRequest{Namespaces: []string{namespace}, Queries: []*engramv1.Query{{Vector: &engramv1.Vector{F32: f32}}}}
}

// echoing serves an RPC that does nothing, whose messages are so large; call calls it, and
// exchange sends and receives on a stream that does nothing more.
func echoing(requestBytes, replyBytes int) (call, exchange func() error, stop func(), err error) {
	s := echoServer()
	l, err := listen()
	if err != nil {
		return nil, nil, nil, err
	}
	go func() { _ = s.Serve(l) }()
	conn, err := dial(l.Addr().String())
	if err != nil {
		s.Stop()
		return nil, nil, nil, err
	}
	stop = func() { _ = conn.Close(); s.Stop() }
	stream, err := conn.NewStream(context.Background(), &echoStreams, echoStreamMethod)
	if err != nil {
		stop()
		return nil, nil, nil, err
	}
	in := echoRequest(requestBytes, replyBytes)
	call = func() error {
		return conn.Invoke(context.Background(), echoMethod, in, new(wrapperspb.BytesValue))
	}
	exchange = func() error {
		if err := stream.SendMsg(in); err != nil {
			return err
		}
		return stream.RecvMsg(new(wrapperspb.BytesValue))
	}
	return call, exchange, stop, nil
}

// calls is how many calls, one after the other, make one measurement.
const calls = 400

// repeated is the contender of calls one after the other; its time is of one.
func repeated(name string, call func() error) contender {
	return contender{name, func() (time.Duration, error) {
		start := time.Now()
		for range calls {
			if err := call(); err != nil {
				return 0, err
			}
		}
		return time.Since(start) / calls, nil
	}}
}

// allocated is the bytes that this process, server and client, allocates a call.
func allocated(call func() error) (float64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		if err := call(); err != nil {
			return 0, err
		}
	}
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / calls, nil
}

// loopback measures Retrieve over a loopback socket against an RPC that does nothing,
// and what it allocates by the size of the namespace.
func loopback(b *bench) (err error) {
	const dim, few, many = 384, 1000, 100_000
	s, err := serve()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	client := engramv1.NewMemoryServiceClient(s.conn)
	retrieve := func(namespace string, rows int) (func() error, int, int, error) {
		if err := s.store(namespace, rows, dim); err != nil {
			return nil, 0, 0, err
		}
		in := request(namespace, dim)
		call := func() error {
			_, err := client.Retrieve(b.ctx, in)
			return err
		}
		reply, err := client.Retrieve(b.ctx, in)
		return call, proto.Size(in), proto.Size(reply), err
	}
	small, asked, answered, err := retrieve("small", few)
	if err != nil {
		return err
	}
	echo, _, stop, err := echoing(asked, answered)
	if err != nil {
		return err
	}
	defer stop()
	t, err := race(b.ctx, b.rounds, []contender{repeated(engram, small), repeated("echo", echo)})
	if err != nil {
		return err
	}
	b.report.lines = append(b.report.lines, line{
		what:    fmt.Sprintf("Retrieve over loopback, %d×%d", few, dim),
		engram:  seconds(spreadOf(t[engram])),
		against: fmt.Sprintf("an empty RPC of the same %d and %d bytes", asked, answered),
		theirs:  seconds(spreadOf(t["echo"])),
		ratio:   t.faster("echo", engram),
		goal:    1.5,
		atMost:  true,
	})
	large, _, _, err := retrieve("large", many)
	if err != nil {
		return err
	}
	var at, grown []float64
	for range b.rounds {
		x, errSmall := allocated(small)
		y, errLarge := allocated(large)
		if err := errors.Join(errSmall, errLarge); err != nil {
			return err
		}
		at, grown = append(at, x), append(grown, y/x)
	}
	b.report.lines = append(b.report.lines, line{
		what:    fmt.Sprintf("allocation per Retrieve, %dk×%d", many/1000, dim),
		engram:  fmt.Sprintf("%.1f KiB", spreadOf(at).median*spreadOf(grown).median/1024),
		against: fmt.Sprintf("%d×%d, server and client", few, dim),
		theirs:  fmt.Sprintf("%.1f KiB", spreadOf(at).median/1024),
		ratio:   spreadOf(grown),
		goal:    1.1,
		atMost:  true,
	})
	return nil
}
