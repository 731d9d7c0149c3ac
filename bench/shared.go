package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

// together is the contender of clients at once, each with a call that it makes some times,
// one after the other; its time is of one call of each.
func together(name string, calls []func() error) contender {
	each := max(3, 24/len(calls))
	return contender{name, func() (time.Duration, error) {
		errs := make([]error, len(calls))
		start := time.Now()
		var wg sync.WaitGroup
		for c, call := range calls {
			wg.Go(func() {
				for i := 0; i < each && errs[c] == nil; i++ {
					errs[c] = call()
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
	calls := make([][]func() error, 2)
	for i := range servers {
		if servers[i], err = serveAs(memory.Options{Unshared: i == 1}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, servers[i].stop()) }()
		if err := servers[i].store("n", s.rows, s.dim); err != nil {
			return err
		}
		r := rand.New(rand.NewPCG(8, 8))
		query := make([]float32, s.dim)
		for range most {
			conn, err := dial(servers[i].addr)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			fill(r, query)
			client := engramv1.NewMemoryServiceClient(conn)
			in := &engramv1.RetrieveRequest{Namespaces: []string{"n"}, Queries: []*engramv1.Query{{Vector: &engramv1.Vector{F32: littleEndian(query)}}}}
			calls[i] = append(calls[i], func() error {
				_, err := client.Retrieve(b.ctx, in)
				return err
			})
		}
	}
	const off = "sharing off"
	for _, c := range []struct {
		clients int
		goal    float64
	}{{1, 0.98}, {8, 0}, {most, 8}} {
		what := fmt.Sprintf("%d gRPC clients, exact, top %d, %v", c.clients, topK, s)
		before, _ := servers[0].db.Sharing()
		err := b.race(what, nil, c.clients, []contender{
			together(engram, calls[0][:c.clients]),
			together(off, calls[1][:c.clients]),
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
