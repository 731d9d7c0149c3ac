package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	engramv1 "engram/proto/engram/v1"
)

// askers is how many ask a server at once, each over a connection of its own, one
// query a call.
const askers = 16

// A service is a server of vectors in a process of its own.
type service struct {
	store   func() (built, error) // the rows
	set     func(setting []int) error
	connect func() (connection, error)
	stop    func()
}

// A connection asks a service.
type connection interface {
	ask(query []float32, setting []int) (rows []int, err error)
	close()
}

// services are what is measured as servers, Engram first.
var services = []struct {
	name  string
	start func(*bench, *data) (*service, error)
}{
	{engram, startEngram},
	{"Weaviate", startWeaviate},
	{"Chroma", startChroma},
	{"Milvus Lite", startMilvus},
	{"Redis", startVectorSets},
}

// serving measures servers beside each other, on one data set.
func serving(b *bench) error {
	s := datasets[0]
	for _, each := range datasets {
		if each.name == "sentences" {
			s = each
		}
	}
	d, err := s.make(b)
	if err != nil {
		b.report.miss("servers", err)
		return nil
	}
	defer d.free()
	t, err := d.truth(b.turn())
	if err != nil {
		return err
	}
	var entrants []entrant
	for _, each := range services {
		running, err := each.start(b, d)
		if err != nil {
			b.report.miss(each.name, err)
			continue
		}
		defer running.stop()
		e := running.entrant(d)
		e.name, e.ours = each.name, each.name == engram
		entrants = append(entrants, e)
	}
	return b.contest(contest{name: "servers, " + s.name, told: s.told + "; asked by clients at once, each over a connection of its own, one query a call", at: []int{askers, 1}, unit: "clients", goal: 2}, t, entrants)
}

// entrant is the service asked by so many clients as there are threads.
func (s *service) entrant(d *data) entrant {
	var open []connection
	var current []int
	return entrant{
		build: s.store,
		search: func(setting []int, queries, threads int) ([][]int, time.Duration, error) {
			for len(open) < threads {
				c, err := s.connect()
				if err != nil {
					return nil, 0, err
				}
				open = append(open, c)
			}
			if fmt.Sprint(setting) != fmt.Sprint(current) {
				if err := s.set(setting); err != nil {
					return nil, 0, err
				}
				current = setting
			}
			found := make([][]int, queries)
			errs := make(chan error, threads)
			var next atomic.Int64
			var wg sync.WaitGroup
			start := time.Now()
			for _, c := range open[:threads] {
				wg.Go(func() {
					for q := int(next.Add(1)) - 1; q < queries; q = int(next.Add(1)) - 1 {
						rows, err := c.ask(d.queries[q], setting)
						if err != nil {
							errs <- err
							return
						}
						found[q] = rows
					}
				})
			}
			wg.Wait()
			took := time.Since(start)
			close(errs)
			return found, took, <-errs
		},
		close: func() {
			for _, c := range open {
				c.close()
			}
		},
	}
}

// An engramConn is a connection to Engram.
type engramConn struct {
	*grpc.ClientConn
	client engramv1.MemoryServiceClient
	ctx    context.Context
}

const servedNamespace = "rows"

func startEngram(b *bench, d *data) (*service, error) {
	dir, err := os.MkdirTemp(b.peers.dir, "served")
	if err != nil {
		return nil, err
	}
	server, err := startDurable(b.ctx, dir)
	if err != nil {
		return nil, err
	}
	return &service{
		store: func() (built, error) {
			conn, err := dial(server.API)
			if err != nil {
				return built{}, err
			}
			defer func() { _ = conn.Close() }()
			client := engramv1.NewMemoryServiceClient(conn)
			start := time.Now()
			err = d.each(1000, func(from int, rows [][]float32) error {
				in := &engramv1.StoreRequest{Namespace: servedNamespace}
				for i, r := range rows {
					in.Records = append(in.Records, &engramv1.Record{Id: strconv.Itoa(from + i), Key: vectorOf(r)})
				}
				_, err := client.Store(b.ctx, in)
				return err
			})
			return built{"exact, stored durably", time.Since(start).Seconds(), residentBytes(server.cmd.Process.Pid), exact}, err
		},
		set: func([]int) error { return nil },
		connect: func() (connection, error) {
			conn, err := dial(server.API)
			return engramConn{conn, engramv1.NewMemoryServiceClient(conn), b.ctx}, err
		},
		stop: func() { _ = server.stop() },
	}, nil
}

func (c engramConn) close() { _ = c.Close() }

func (c engramConn) ask(query []float32, _ []int) ([]int, error) {
	reply, err := c.client.Retrieve(c.ctx, &engramv1.RetrieveRequest{
		Namespaces: []string{servedNamespace},
		Queries:    []*engramv1.Query{{Vector: vectorOf(query)}},
		TopK:       proto.Uint32(topK),
	})
	if err != nil {
		return nil, err
	}
	var rows []int
	for _, h := range reply.Results[0].Hits {
		row, err := strconv.Atoi(h.Record.Id)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func vectorOf(v []float32) *engramv1.Vector { return &engramv1.Vector{F32: littleEndian(v)} }
