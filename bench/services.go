package main

import (
	"context"
	"fmt"
	"math"
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

// servedRecalls are what Engram is asked for.
var servedRecalls = []float64{0.8, 0.9, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.999}

// indexedRows is how many records a namespace has an index from.
const indexedRows = 50_000

// indexed waits until all rows but a few are in the lists of an index.
func indexed(ctx context.Context, admin string, rows int) error {
	conn, err := dial(admin)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for ctx.Err() == nil {
		s, err := engramv1.NewAdminServiceClient(conn).Stats(ctx, &engramv1.StatsRequest{Namespaces: []string{servedNamespace}})
		if err != nil {
			return err
		}
		if x := s.Namespaces[0].Ivf; x != nil && x.UncoveredRows <= uint64(rows/8) {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return ctx.Err()
}

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
			if _, err := engramv1.NewNamespaceServiceClient(conn).Create(b.ctx, &engramv1.NamespaceServiceCreateRequest{Namespace: &engramv1.Namespace{
				Name: servedNamespace, Metric: engramv1.Metric_METRIC_COSINE, Dimension: uint32(d.dim), Recall: servedRecalls[0],
			}}); err != nil {
				return built{}, err
			}
			err = d.each(1000, func(from int, rows [][]float32) error {
				in := &engramv1.StoreRequest{Namespace: servedNamespace}
				for i, r := range rows {
					in.Records = append(in.Records, &engramv1.Record{Id: strconv.Itoa(from + i), Key: vectorOf(r)})
				}
				_, err := client.Store(b.ctx, in)
				return err
			})
			if err == nil && d.rows >= indexedRows {
				err = indexed(b.ctx, server.Admin, d.rows)
			}
			made := built{told: "stored durably, and asked for a recall", seconds: time.Since(start).Seconds(), bytes: residentBytes(server.cmd.Process.Pid)}
			var settings [][]int
			for _, r := range servedRecalls {
				settings = append(settings, []int{int(math.Round(1000 * r))})
			}
			made.series = [][][]int{settings}
			return made, err
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

func (c engramConn) ask(query []float32, setting []int) ([]int, error) {
	reply, err := c.client.Retrieve(c.ctx, &engramv1.RetrieveRequest{
		Namespaces: []string{servedNamespace},
		Queries:    []*engramv1.Query{{Vector: vectorOf(query)}},
		TopK:       proto.Uint32(topK),
		Search:     &engramv1.Search{Recall: proto.Float64(float64(setting[0]) / 1000)},
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
