package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	engramv1 "engram/proto/engram/v1"
)

// What a client stores at a time is 1 KiB: an id, a vector and a text.
const (
	storedID   = 24
	storedDim  = 192
	storedText = 1024 - storedID - 4*storedDim
)

// clients is how many store at the same time, each waiting for its answers.
const clients = 64

// A parcel is what one client stores, a little different each time.
type parcel struct {
	id     string
	vector []byte
	text   string
	client int
	n      int
}

func newParcel(client int) *parcel {
	r := rand.New(rand.NewPCG(uint64(client), 1))
	p := &parcel{client: client}
	for range storedDim {
		p.vector = binary.LittleEndian.AppendUint32(p.vector, r.Uint32()>>10|0x3f000000)
	}
	text := make([]byte, storedText)
	for i := range text {
		text[i] = " etaoinshrdlu"[r.IntN(13)]
	}
	p.text = string(text)
	return p
}

var parcels atomic.Int64

// next makes it another record.
func (p *parcel) next() {
	p.n++
	p.id = fmt.Sprintf("%024d", parcels.Add(1))
	binary.LittleEndian.PutUint16(p.vector[4*(p.n%storedDim):], uint16(p.n))
}

func (p *parcel) namespace() string { return "client-" + strconv.Itoa(p.client) }

func (p *parcel) record() *engramv1.Record {
	return &engramv1.Record{Id: p.id, Key: &engramv1.Vector{F32: p.vector}, Text: p.text}
}

// A way is how clients make their calls: each client's, and an end to all.
type way struct {
	calls []func() error
	close []func() error
}

func (w *way) end() error {
	var err error
	for _, c := range w.close {
		err = errors.Join(err, c())
	}
	return err
}

// dialled makes a call of each client, over a connection of its own.
func dialled(addr string, n int, call func(conn *grpc.ClientConn, p *parcel) (func() error, error)) (*way, error) {
	w := &way{}
	for i := range n {
		conn, err := dial(addr)
		if err != nil {
			return nil, errors.Join(err, w.end())
		}
		w.close = append(w.close, conn.Close)
		c, err := call(conn, newParcel(i))
		if err != nil {
			return nil, errors.Join(err, w.end())
		}
		w.calls = append(w.calls, c)
	}
	return w, nil
}

// shared makes a call of each client, over one connection for all.
func shared(addr string, n int, call func(conn *grpc.ClientConn, p *parcel) (func() error, error)) (*way, error) {
	conn, err := dial(addr)
	if err != nil {
		return nil, err
	}
	w := &way{close: []func() error{conn.Close}}
	for i := range n {
		c, err := call(conn, newParcel(i))
		if err != nil {
			return nil, errors.Join(err, w.end())
		}
		w.calls = append(w.calls, c)
	}
	return w, nil
}

// storeRandom stores rows of random vectors.
func storeRandom(ctx context.Context, c engramv1.MemoryServiceClient, namespace string, rows, dim int) error {
	r := rand.New(rand.NewPCG(uint64(rows), uint64(dim)))
	key := make([]float32, dim)
	var records []*engramv1.Record
	for range rows {
		fill(r, key)
		var f32 []byte
		for _, x := range key {
			f32 = binary.LittleEndian.AppendUint32(f32, math.Float32bits(x))
		}
		records = append(records, &engramv1.Record{Key: &engramv1.Vector{F32: f32}, Text: "a sentence such as one remembers, of about sixty characters"})
	}
	for batch := range slices.Chunk(records, 100) {
		if _, err := c.Store(ctx, &engramv1.StoreRequest{Namespace: namespace, Records: batch}); err != nil {
			return err
		}
	}
	return nil
}

func storeUnary(ctx context.Context) func(*grpc.ClientConn, *parcel) (func() error, error) {
	return func(conn *grpc.ClientConn, p *parcel) (func() error, error) {
		c := engramv1.NewMemoryServiceClient(conn)
		return func() error {
			p.next()
			_, err := c.Store(ctx, &engramv1.StoreRequest{Namespace: p.namespace(), Records: []*engramv1.Record{p.record()}})
			return err
		}, nil
	}
}

func storeStream(ctx context.Context) func(*grpc.ClientConn, *parcel) (func() error, error) {
	return func(conn *grpc.ClientConn, p *parcel) (func() error, error) {
		s, err := engramv1.NewMemoryServiceClient(conn).StoreStream(ctx)
		return func() error {
			p.next()
			if err := s.Send(&engramv1.StoreStreamRequest{Namespace: p.namespace(), Records: []*engramv1.Record{p.record()}}); err != nil {
				return err
			}
			_, err := s.Recv()
			return err
		}, err
	}
}

// The sizes of a Store of a parcel, without their wrapping.
func storeSizes() (request, reply int) {
	p := newParcel(0)
	p.next()
	request = proto.Size(&engramv1.StoreRequest{Namespace: p.namespace(), Records: []*engramv1.Record{p.record()}})
	reply = proto.Size(&engramv1.StoreResponse{Results: []*engramv1.RecordResult{{Id: p.id, Version: 1<<48 + 1e5, Created: true}}, Lsn: 1<<48 + 1e5})
	return request - 3, reply - 2
}

func echoUnary(ctx context.Context) func(*grpc.ClientConn, *parcel) (func() error, error) {
	in := echoRequest(storeSizes())
	return func(conn *grpc.ClientConn, _ *parcel) (func() error, error) {
		return func() error { return conn.Invoke(ctx, echoMethod, in, new(wrapperspb.BytesValue)) }, nil
	}
}

func (r *redis) way(n int) (*way, error) {
	w := &way{}
	for i := range n {
		c, err := r.dial()
		if err != nil {
			return nil, errors.Join(err, w.end())
		}
		w.close = append(w.close, c.Close)
		p := newParcel(i)
		w.calls = append(w.calls, func() error {
			p.next()
			return c.do("HSET", p.namespace()+":"+p.id, "key", string(p.vector), "text", p.text)
		})
	}
	return w, nil
}

// A crowd is clients at work: what their calls took.
type crowd struct {
	took []time.Duration // of each call, of all rounds
}

// run has clients make so many calls in all, and gives the time for all.
func (c *crowd) run(calls []func() error, total int) (time.Duration, error) {
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(total))
	errs := make([]error, len(calls))
	took := make([][]time.Duration, len(calls))
	start := time.Now()
	for i, call := range calls {
		wg.Go(func() {
			at := time.Now()
			for left.Add(-1) >= 0 && errs[i] == nil {
				errs[i] = call()
				now := time.Now()
				took[i] = append(took[i], now.Sub(at))
				at = now
			}
		})
	}
	wg.Wait()
	all := time.Since(start)
	c.took = append(c.took, slices.Concat(took...)...)
	return all, errors.Join(errs...)
}

// percentiles are the median and the 99th percentile.
func percentiles(took []time.Duration) (p50, p99 time.Duration) {
	t := slices.Sorted(slices.Values(took))
	return t[len(t)/2], t[len(t)*99/100]
}

// A bareLoop writes batches to a file of zeros, as the journal's segments are, and syncs
// each.
type bareLoop struct {
	f  *os.File
	at int64
}

const bareBytes = 64 << 20

func newBareLoop(dir string) (*bareLoop, error) {
	f, err := os.Create(filepath.Join(dir, "bare"))
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, 1<<20)
	for range bareBytes >> 20 {
		if _, err := f.Write(zeros); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return &bareLoop{f: f}, f.Sync()
}

func (b *bareLoop) write(batch []byte) error {
	if b.at+int64(len(batch)) > bareBytes {
		b.at = 0
	}
	if _, err := b.f.WriteAt(batch, b.at); err != nil {
		return err
	}
	b.at += int64(len(batch))
	return unix.Fdatasync(int(b.f.Fd()))
}

func (b *bareLoop) run(batches []int) (took []time.Duration, err error) {
	data := make([]byte, slices.Max(batches))
	for i := range data {
		data[i] = byte(i)*7 | 1
	}
	for _, n := range batches {
		at := time.Now()
		if err := b.write(data[:n]); err != nil {
			return nil, err
		}
		took = append(took, time.Since(at))
	}
	return took, nil
}
