package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"engram/client"
	"engram/memory"
)

type benchCmd struct {
	Records   int           `help:"Records to store." default:"10000"`
	Dimension int           `help:"Components of a vector." default:"384"`
	Clients   int           `help:"Callers at once." default:"8"`
	Duration  time.Duration `help:"How long to measure each kind of call." default:"3s"`
	TopK      int           `short:"k" help:"Hits of a Retrieve." default:"10"`
}

func (*benchCmd) Help() string {
	return `Stores random vectors in a namespace of its own, measures Store, Retrieve and
Attend, and deletes the namespace again.

Example:
  engram bench --records 100000 --dimension 768 --clients 16`
}

func (c *benchCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	if c.Records < 1 || c.Dimension < 1 || c.Clients < 1 || c.Duration <= 0 {
		return usagef("--records, --dimension, --clients and --duration are above zero")
	}
	e, err := cli.dial()
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }()
	name := fmt.Sprintf("engram-bench-%08x", rand.Uint32())
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cli.Timeout)
		defer cancel()
		_, _ = e.DeleteNamespace(ctx, name) // not there if nothing was stored
	}()

	clock := memory.SystemClock()
	began := clock.Now()
	p := t.progress("records", int64(c.Records))
	n, err := e.Load(ctx, name, c.random, func(n int) { p.set(int64(n)) })
	p.end()
	if err != nil {
		return err
	}
	load := clock.Now().Sub(began)
	rows := [][]string{{"StoreStream", fmt.Sprintf("%.0f records/s", float64(n)/load.Seconds()), "", "", ""}}
	if t.json {
		if err := t.object(map[string]any{"call": "StoreStream", "records_per_second": float64(n) / load.Seconds()}); err != nil {
			return err
		}
	}
	for _, call := range []struct {
		name string
		do   func(r *rand.Rand) error
	}{
		{"Retrieve", func(r *rand.Rand) error {
			_, err := e.Retrieve(ctx, name, client.Vector(randomVector(r, c.Dimension)), client.TopK(c.TopK), client.WithoutContent())
			return err
		}},
		{"Attend", func(r *rand.Rand) error {
			_, err := e.Attend(ctx, name, client.Vector(randomVector(r, c.Dimension)))
			return err
		}},
		{"Store", func(r *rand.Rand) error {
			_, err := e.Store(ctx, name, client.Record{ID: "bench", Key: randomVector(r, c.Dimension)})
			return err
		}},
	} {
		times, err := c.measure(clock, call.do)
		if err != nil {
			return fmt.Errorf("%s: %w", call.name, err)
		}
		at := func(share float64) time.Duration { return times[int(share*float64(len(times)-1))] }
		rate := float64(len(times)) / c.Duration.Seconds()
		if t.json {
			if err := t.object(map[string]any{"call": call.name, "calls_per_second": rate,
				"p50_seconds": at(.5).Seconds(), "p99_seconds": at(.99).Seconds(), "max_seconds": at(1).Seconds()}); err != nil {
				return err
			}
		}
		rows = append(rows, []string{call.name, fmt.Sprintf("%.0f calls/s", rate), micro(at(.5)), micro(at(.99)), micro(at(1))})
	}
	if !t.json {
		t.table([]column{{title: "call", sgr: bold}, {title: "rate", right: true, sgr: green}, {title: "p50", right: true}, {title: "p99", right: true}, {title: "max", right: true}}, rows)
	}
	return nil
}

func micro(d time.Duration) string { return d.Round(time.Microsecond).String() }

// random gives the records to store.
func (c *benchCmd) random(yield func(client.Record, error) bool) {
	r := rand.New(rand.NewPCG(1, 1))
	for i := range c.Records {
		if !yield(client.Record{ID: fmt.Sprint(i), Key: randomVector(r, c.Dimension)}, nil) {
			return
		}
	}
}

func randomVector(r *rand.Rand, d int) []float32 {
	v := make([]float32, d)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// measure has all clients call for the duration, and returns how long each call
// took, in order.
func (c *benchCmd) measure(clock memory.Clock, do func(*rand.Rand) error) ([]time.Duration, error) {
	all := make([][]time.Duration, c.Clients)
	errs := make([]error, c.Clients)
	end := clock.Now().Add(c.Duration)
	var wg sync.WaitGroup
	for i := range c.Clients {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(i)))
			for began := clock.Now(); began.Before(end); {
				if errs[i] = do(r); errs[i] != nil {
					return
				}
				now := clock.Now()
				all[i] = append(all[i], now.Sub(began))
				began = now
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	times := slices.Concat(all...)
	slices.Sort(times)
	if len(times) == 0 {
		return nil, fmt.Errorf("no call ended within %s", c.Duration)
	}
	return times, nil
}
