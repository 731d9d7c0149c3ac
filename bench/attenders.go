package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"engram/index"
	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

// attenders measures 32 clients that attend to one namespace at once, each with a query of
// its own, against the same calls one after the other.
func attenders(b *bench) error {
	one, several := size{1_000_000, 128}, size{200_000, 512}
	if b.short {
		one.rows, several.rows = 100_000, 25_000
	}
	if err := b.attendTogether(one, 1, 6); err != nil {
		return err
	}
	return b.attendTogether(several, 8, 0) // no pass is shared by heads
}

func (b *bench) attendTogether(s size, heads int, goal float64) (err error) {
	const clients = 32
	server, err := serve()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	if err := b.storeHeads(server.db, "n", s, heads); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(9, uint64(heads)))
	query := make([]float32, s.dim)
	var calls []func() error
	for range clients {
		conn, err := dial(server.addr)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		fill(r, query)
		client := engramv1.NewMemoryServiceClient(conn)
		in := &engramv1.AttendRequest{Namespaces: []string{"n"}, Queries: []*engramv1.Query{{Vector: &engramv1.Vector{F32: littleEndian(query)}}}}
		calls = append(calls, func() error {
			_, err := client.Attend(b.ctx, in)
			return err
		})
	}
	const turns = "one after the other"
	what := fmt.Sprintf("%d gRPC clients attending to one namespace at once, %v keys and values%s", clients, s, ofHeads(heads, s.dim))
	together := together(engram, calls)
	var reads, passes float64
	err = b.race(what, nil, clients, []contender{
		{engram, func() (time.Duration, error) {
			before, _ := server.db.Sharing()
			took, err := together.run()
			after, _ := server.db.Sharing()
			reads, passes = reads+float64(after.Reads-before.Reads), passes+after.Passes-before.Passes
			return took, err
		}},
		timed(turns, func() error {
			for _, call := range calls {
				if err := call(); err != nil {
					return err
				}
			}
			return nil
		}),
	}, nil, func(t times) { b.report.compare(what, t, turns, "the same "+turns, goal) })
	if err != nil {
		return err
	}
	if passes > 0 {
		b.report.note("%s: %.1f rode a pass", what, reads/passes)
	}
	return nil
}

// ofHeads says how many heads a dimension is of, if that isn't one.
func ofHeads(heads, dim int) string {
	if heads <= 1 {
		return ""
	}
	return fmt.Sprintf(" of %d heads of %d", heads, dim/heads)
}

// storeHeads makes a namespace, under the dot product, of random keys and values of so many
// heads.
func (b *bench) storeHeads(db *memory.DB, name string, s size, heads int) error {
	_, err := db.CreateNamespace(b.ctx, &memory.CreateNamespace{Config: memory.Config{
		Name: name, Metric: index.Dot, Dimension: s.dim, ValueDimension: s.dim, KVHeads: heads,
	}})
	if err != nil {
		return err
	}
	const batch = 1000
	r := rand.New(rand.NewPCG(uint64(s.rows), uint64(s.dim)))
	keys, values := make([]float32, batch*s.dim), make([]float32, batch*s.dim)
	fill(r, keys)
	fill(r, values)
	for from := 0; from < s.rows; from += batch {
		puts := make([]memory.Put, min(batch, s.rows-from))
		for i := range puts {
			keys[i*s.dim+r.IntN(s.dim)] = r.Float32() // so that rows differ, at little cost
			puts[i].Key, puts[i].Value = keys[i*s.dim:][:s.dim], values[i*s.dim:][:s.dim]
		}
		if _, err := db.Store(b.ctx, &memory.Store{Namespace: name, Records: puts}); err != nil {
			return err
		}
	}
	return nil
}
