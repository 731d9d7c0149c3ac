package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

// together is the contender of clients at once, each with a connection of its own and
// some calls to make, one after the other; its time is of one call of each.
func together(ctx context.Context, name string, conns []*grpc.ClientConn, requests []*engramv1.RetrieveRequest) contender {
	each := max(3, 24/len(conns))
	return contender{name, func() (time.Duration, error) {
		errs := make([]error, len(conns))
		start := time.Now()
		var wg sync.WaitGroup
		for c, conn := range conns {
			wg.Go(func() {
				client := engramv1.NewMemoryServiceClient(conn)
				for range each {
					if _, err := client.Retrieve(ctx, requests[c]); err != nil {
						errs[c] = err
						return
					}
				}
			})
		}
		wg.Wait()
		return time.Since(start) / time.Duration(each), errors.Join(errs...)
	}}
}

// sharing measures clients at once, each with a query of its own, against the same
// server with sharing off: what riding one pass is worth.
func sharing(b *bench) (err error) {
	const most = 64
	s := b.sizes()[0]
	servers := make([]*served, 2)
	conns := make([][]*grpc.ClientConn, 2)
	for i := range servers {
		if servers[i], err = serveAs(memory.Options{Unshared: i == 1}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, servers[i].stop()) }()
		if err := servers[i].store("n", s.rows, s.dim); err != nil {
			return err
		}
		for range most {
			conn, err := dial(servers[i].addr)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			conns[i] = append(conns[i], conn)
		}
	}
	r := rand.New(rand.NewPCG(8, 8))
	requests := make([]*engramv1.RetrieveRequest, most)
	query := make([]float32, s.dim)
	for i := range requests {
		fill(r, query)
		var f32 []byte
		for _, x := range query {
			f32 = binary.LittleEndian.AppendUint32(f32, math.Float32bits(x))
		}
		requests[i] = &engramv1.RetrieveRequest{Namespaces: []string{"n"}, Queries: []*engramv1.Query{{Vector: &engramv1.Vector{F32: f32}}}}
	}
	const off = "sharing off"
	for _, c := range []struct {
		clients int
		goal    float64
	}{{1, 0.98}, {8, 0}, {most, 8}} {
		what := fmt.Sprintf("%d gRPC clients, exact, top %d, %v", c.clients, topK, s)
		before, _ := servers[0].db.Sharing()
		err := b.race(what, nil, c.clients, []contender{
			together(b.ctx, engram, conns[0][:c.clients], requests),
			together(b.ctx, off, conns[1][:c.clients], requests),
		}, nil, func(t times) {
			b.report.compare(what, t, off, "the same server with sharing off", c.goal)
		})
		if err != nil {
			return err
		}
		after, _ := servers[0].db.Sharing()
		b.report.note("%s: %.1f rode a pass", what, float64(after.Reads-before.Reads)/(after.Passes-before.Passes))
	}
	return nil
}
