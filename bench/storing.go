package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/internal/slab"
	"engram/memory"
	engramv1 "engram/proto/engram/v1"
	"engram/storage"
)

// The contenders of storing.
const (
	storesUnary   = "Store"
	storesStream  = "StoreStream"
	storesShared  = "StoreStream, one connection"
	storesInside  = "in process"
	bareUnary     = "bare, of Store"
	bareInside    = "bare, in process"
	echoesUnary   = "echo"
	storesInRedis = "Redis"
)

// storing measures what it takes to have 1 KiB on the disk: of 64 clients, each with one
// record under way, and of one, against a bare loop of writes and fdatasync, an RPC
// that does nothing, and Redis.
func storing(b *bench) (err error) {
	dir, err := os.MkdirTemp(b.peers.dir, "storing")
	if err != nil {
		return err
	}
	d, err := startDurable(b.ctx, filepath.Join(dir, "served"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	s := &store{b: b, served: d, took: map[string]*crowd{}, batches: map[string][]int{}, total: 20_000}
	if b.short {
		s.total = 3000
	}
	if s.bare, err = newBareLoop(dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.bare.f.Close()) }()
	inside, err := s.inside(filepath.Join(dir, "inside"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, inside.end()) }()
	ways := map[string]*way{storesInside: inside}
	for name, dialled := range map[string]func() (*way, error){
		storesUnary:  func() (*way, error) { return dialled(d.API, clients, storeUnary(b.ctx)) },
		storesStream: func() (*way, error) { return dialled(d.API, clients, storeStream(b.ctx)) },
		storesShared: func() (*way, error) { return shared(d.API, clients, storeStream(b.ctx)) },
		echoesUnary:  func() (*way, error) { return dialled(d.Echo, clients, echoUnary(b.ctx)) },
	} {
		w, err := dialled()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.end()) }()
		ways[name] = w
	}
	r, err := b.redis(dir)
	if err != nil {
		return err
	}
	defer r.stop()
	if r != nil {
		w, err := r.way(clients)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.end()) }()
		ways[storesInRedis] = w
	}
	if err := s.crowds(ways); err != nil {
		return err
	}
	if err := s.alone(ways); err != nil {
		return err
	}
	return s.reading(ways[storesUnary])
}

// redis starts one, or notes that there is none and gives nil.
func (b *bench) redis(dir string) (*redis, error) {
	dir = filepath.Join(dir, "redis")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	r, err := startRedis(b.ctx, dir)
	if err != nil {
		b.report.missing = append(b.report.missing, fmt.Sprintf("Redis isn't here: %s", err))
		return nil, nil
	}
	b.report.note("%s (appendfsync always)", r.about)
	return r, nil
}

// A store is the contest of those who store.
type store struct {
	b       *bench
	served  *durable
	bare    *bareLoop
	files   *recorder // of the memory in process
	total   int
	took    map[string]*crowd
	batches map[string][]int // of a contender's last run: the bytes of each sync
}

// inside makes clients of a durable memory in this process.
func (s *store) inside(dir string) (*way, error) {
	s.files = &recorder{FS: vfs.Default}
	files, err := storage.Open(dir, storage.Options{Log: slog.New(slog.DiscardHandler), FS: s.files})
	if err != nil {
		return nil, err
	}
	db := memory.New(memory.Options{Pool: slab.NewPool(math.MaxInt64)})
	w := &way{close: []func() error{db.Close, files.Close}}
	if _, err := files.Recover(s.b.ctx, db); err != nil {
		return nil, errors.Join(err, w.end())
	}
	for i := range clients {
		p := newParcel(i)
		key := make([]float32, storedDim)
		w.calls = append(w.calls, func() error {
			p.next()
			key[p.n%storedDim] = float32(p.n)
			_, err := db.Store(s.b.ctx, &memory.Store{Namespace: p.namespace(), Records: []memory.Put{{Record: memory.Record{ID: p.id, Key: key, Text: p.text}}}})
			return err
		})
	}
	return w, nil
}

// contender is a crowd of clients, whose time is of all calls.
func (s *store) contender(name string, w *way) contender {
	s.took[name] = &crowd{}
	return contender{name, func() (time.Duration, error) {
		if _, err := s.synced(name); err != nil {
			return 0, err
		}
		d, err := s.took[name].run(w.calls, s.total)
		if err != nil {
			return 0, err
		}
		s.batches[name], err = s.synced(name)
		return d, err
	}}
}

// synced is what the journal under a contender had to sync since it was asked last.
func (s *store) synced(name string) ([]int, error) {
	if name == storesInside {
		return s.files.take(), nil
	}
	return s.served.batches()
}

// bareOf is the contender that writes and syncs the batches of another's last run.
func (s *store) bareOf(name, of string) contender {
	s.took[name] = &crowd{}
	return contender{name, func() (time.Duration, error) {
		start := time.Now()
		took, err := s.bare.run(s.batches[of])
		s.took[name].took = append(s.took[name].took, took...)
		return time.Since(start), err
	}}
}

// rate tells a time for all in records a second, with percentiles of each call.
func (s *store) rate(name string, t times) string {
	p50, p99 := percentiles(s.took[name].took)
	return fmt.Sprintf("%.1fk/s (p50 %s, p99 %s)", float64(s.total)/spreadOf(t[name]).median/1e3,
		seconds(spread{median: p50.Seconds()}), seconds(spread{median: p99.Seconds()}))
}

// crowds measures 64 clients.
func (s *store) crowds(ways map[string]*way) error {
	cs := []contender{
		s.contender(storesUnary, ways[storesUnary]), s.bareOf(bareUnary, storesUnary),
		s.contender(storesInside, ways[storesInside]), s.bareOf(bareInside, storesInside),
		s.contender(storesStream, ways[storesStream]), s.contender(storesShared, ways[storesShared]),
		s.contender(echoesUnary, ways[echoesUnary]),
	}
	redis := ways[storesInRedis]
	if redis != nil {
		cs = append(cs, s.contender(storesInRedis, redis))
	}
	t, err := race(s.b.ctx, s.b.rounds, cs)
	if err != nil {
		return err
	}
	add := func(what, name, against string, told string, goal float64, ratio spread) {
		s.b.report.lines = append(s.b.report.lines, line{what: what, engram: s.rate(name, t), against: told, theirs: against, ratio: ratio, goal: goal})
	}
	batch := func(name string) string {
		n := len(s.batches[name])
		return fmt.Sprintf("write and fdatasync of the same batches, of %.1f records, in a bare loop", float64(s.total)/float64(n))
	}
	const what = "64 clients, each storing 1 KiB at a time, durably: "
	add(what+"Store, a connection each", storesUnary, s.rate(bareUnary, t), batch(storesUnary), 0.7, t.faster(storesUnary, bareUnary))
	add(what+"in process, without gRPC", storesInside, s.rate(bareInside, t), batch(storesInside), 0, t.faster(storesInside, bareInside))
	add(what+"Store, a connection each", storesUnary, s.rate(echoesUnary, t), "an RPC that does nothing, of the same sizes", 0, t.faster(storesUnary, echoesUnary))
	if redis != nil {
		theirs := s.rate(storesInRedis, t)
		add(what+"StoreStream, a connection each", storesStream, theirs, "HSET in Redis", 1, t.faster(storesStream, storesInRedis))
		add(what+"StoreStream, all on one connection", storesShared, theirs, "HSET in Redis, a connection each", 1, t.faster(storesShared, storesInRedis))
		add(what+"Store, a connection each", storesUnary, theirs, "HSET in Redis", 0, t.faster(storesUnary, storesInRedis))
		both := times{storesUnary: t[storesUnary]}
		for i, redis := range t[storesInRedis] {
			both["both"] = append(both["both"], redis+t[echoesUnary][i])
		}
		add(what+"Store, a connection each", storesUnary, fmt.Sprintf("%.1fk/s", float64(s.total)/spreadOf(both["both"]).median/1e3),
			"HSET in Redis and an RPC that does nothing, one after the other", 1, both.faster(storesUnary, "both"))
	}
	return nil
}

// alone measures one client, by the median call: what a Store takes, and what a bare
// write with its sync and then an RPC that does nothing take together.
func (s *store) alone(ways map[string]*way) error {
	n := 400
	if s.b.short {
		n = 100
	}
	p50 := func(name string, call func() error) contender {
		return contender{name, func() (time.Duration, error) {
			var c crowd
			if _, err := c.run([]func() error{call}, n); err != nil {
				return 0, err
			}
			d, _ := percentiles(c.took)
			return d, nil
		}}
	}
	store, echo := ways[storesUnary].calls[0], ways[echoesUnary].calls[0]
	if _, err := s.served.batches(); err != nil {
		return err
	}
	if err := store(); err != nil {
		return err
	}
	one, err := s.served.batches()
	if err != nil {
		return err
	}
	data := make([]byte, one[0])
	for i := range data {
		data[i] = byte(i) | 1
	}
	write := func() error { return s.bare.write(data) }
	t, err := race(s.b.ctx, s.b.rounds, []contender{
		p50(engram, store),
		p50("both", func() error { return errors.Join(write(), echo()) }),
		p50("sync", write),
		p50("echo", echo),
	})
	if err != nil {
		return err
	}
	what := "one client storing 1 KiB, durably: the median Store"
	add := func(told string, theirs []float64, goal float64) {
		both := times{engram: t[engram], "theirs": theirs}
		s.b.report.lines = append(s.b.report.lines, line{
			what: what, engram: seconds(spreadOf(t[engram])), against: told, theirs: seconds(spreadOf(theirs)),
			ratio: both.faster("theirs", engram), goal: goal, atMost: true,
		})
	}
	sum := make([]float64, len(t["sync"]))
	for i := range sum {
		sum[i] = t["sync"][i] + t["echo"][i]
	}
	add("a bare write and fdatasync and then an RPC that does nothing", t["both"], 0)
	add("the median of each of these in a loop of its own, added", sum, 1.2)
	return nil
}

// reading measures the slowest hundredth of Retrieve while clients store: as fast as
// they can, and so slowly that cores are free.
func (s *store) reading(storing *way) error {
	conn, err := dial(s.served.API)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	client := engramv1.NewMemoryServiceClient(conn)
	const rows, dim = 1000, 384
	if err := storeRandom(s.b.ctx, client, "read", rows, dim); err != nil {
		return err
	}
	in := request("read", dim)
	n := 2000
	if s.b.short {
		n = 500
	}
	p99 := func() (time.Duration, error) {
		var c crowd
		_, err := c.run([]func() error{func() error {
			_, err := client.Retrieve(s.b.ctx, in)
			return err
		}}, n)
		_, d := percentiles(c.took)
		return d, err
	}
	// beside runs p99 while all clients store, each pausing between its calls.
	beside := func(pause time.Duration) (time.Duration, error) {
		ctx, stop := context.WithCancel(s.b.ctx)
		paced := make([]func() error, len(storing.calls))
		for i, call := range storing.calls {
			paced[i] = func() error {
				if err := ctx.Err(); err != nil {
					return err
				}
				time.Sleep(pause)
				return call()
			}
		}
		stored := make(chan error, 1)
		go func() {
			_, err := new(crowd).run(paced, math.MaxInt)
			stored <- err
		}()
		d, err := p99()
		stop()
		if e := <-stored; !errors.Is(e, context.Canceled) {
			err = errors.Join(err, e)
		}
		return d, err
	}
	t, err := race(s.b.ctx, s.b.rounds, []contender{
		{"idle", p99},
		{"slow", func() (time.Duration, error) { return beside(64 * time.Millisecond) }},
		{"fast", func() (time.Duration, error) { return beside(0) }},
	})
	if err != nil {
		return err
	}
	for _, c := range []struct {
		name, told string
		goal       float64
	}{
		{"slow", "1,000 records a second in all, cores being free", 1.5},
		{"fast", "as fast as they can, all cores being busy", 0},
	} {
		s.b.report.lines = append(s.b.report.lines, line{
			what:   fmt.Sprintf("the 99th percentile of Retrieve, %d×%d, while 64 clients store durably, %s", rows, dim, c.told),
			engram: seconds(spreadOf(t[c.name])), against: "the same while nobody stores", theirs: seconds(spreadOf(t["idle"])),
			ratio: t.faster("idle", c.name), goal: c.goal, atMost: true,
		})
	}
	return nil
}
