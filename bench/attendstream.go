package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"engram/client"
	"engram/index"
	"engram/internal/slab"
	"engram/memory"
	"engram/storage"
)

// A decoder's steps are of so many heads, of so many components in all.
const decodedHeads, decodedDim = 8, 512

// attendStream measures a decoder's loop, which stores a step's key and value and attends
// with its query before it has the next: in process, and over a stream from a server of
// the same memory, which has a data directory. Each time the namespace begins empty.
func attendStream(b *bench) (err error) {
	d := &decoder{b: b, steps: 10_000}
	if b.short {
		d.steps = 1000
	}
	dir, err := os.MkdirTemp(b.peers.dir, "attendstream")
	if err != nil {
		return err
	}
	last, err := newData(dir, size{d.steps, decodedDim}, decodedHeads, d.steps)
	if err != nil {
		return err
	}
	defer last.free()
	d.draw(last)

	files, err := storage.Open(filepath.Join(dir, "data"), storage.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	d.db = memory.New(memory.Options{Pool: slab.NewPool(math.MaxInt64)})
	if _, err := files.Recover(b.ctx, d.db); err != nil {
		return errors.Join(err, d.db.Close())
	}
	served, err := serveDB(d.db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, served.stop()) }()
	if d.client, err = client.Dial(served.addr); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.client.Close()) }()
	// A key, a value and a query; a context, and what is said of its heads.
	_, exchange, stop, err := echoing(3*4*decodedDim+100, 4*decodedDim+300)
	if err != nil {
		return err
	}
	defer stop()
	d.exchange = exchange
	if err := d.agree(); err != nil {
		return err
	}
	return d.race(last)
}

// A decoder makes steps, the same ones in each namespace.
type decoder struct {
	b       *bench
	steps   int
	keys    [][]float32 // of each step
	values  [][]float32
	queries [][]float32
	db      *memory.DB
	client  *client.Client
	runs    int
	context []float32 // that the last step gave

	exchange func() error // of messages as large as a step's, on a stream that does nothing
}

// draw takes the rows of a memory, and its queries, for the steps.
func (d *decoder) draw(from *data) {
	d.queries = from.queries
	for _, p := range from.parts {
		for row := range p.Rows {
			d.keys, d.values = append(d.keys, p.Segment.Key(row)), append(d.values, p.Segment.Value(row))
		}
	}
}

// name is of a namespace that wasn't there before.
func (d *decoder) name() string {
	d.runs++
	return "decoder-" + strconv.Itoa(d.runs)
}

// inside makes the steps in process, without gRPC, and does something after each.
func (d *decoder) inside(durability memory.Durability, after func() error) (took time.Duration, err error) {
	ctx, name := d.b.ctx, d.name()
	_, err = d.db.CreateNamespace(ctx, &memory.CreateNamespace{Config: memory.Config{
		Name: name, Metric: index.Dot, Dimension: decodedDim, ValueDimension: decodedDim, KVHeads: decodedHeads, Durability: durability,
	}})
	if err != nil {
		return 0, err
	}
	start := time.Now()
	for i := range d.steps {
		if err := errors.Join(d.step(ctx, name, i), after()); err != nil {
			return 0, err
		}
	}
	took = time.Since(start)
	_, err = d.db.DeleteNamespace(ctx, &memory.DeleteNamespace{Name: name})
	return took, err
}

func nothing() error { return nil }

func (d *decoder) step(ctx context.Context, name string, i int) error {
	put := memory.Put{Record: memory.Record{Key: d.keys[i], Value: d.values[i]}}
	if _, err := d.db.Store(ctx, &memory.Store{Namespace: name, Records: []memory.Put{put}}); err != nil {
		return err
	}
	view, err := d.db.View(name)
	if err != nil {
		return err
	}
	defer view.Release()
	a, _, err := d.db.Attend(ctx, []*memory.View{view}, []memory.Query{{Vector: d.queries[i]}}, memory.AttendOptions{})
	if err == nil {
		d.context = a[0].Context
	}
	return err
}

// streamed makes the steps over an AttendStream, each once the one before is answered, as
// a model must.
func (d *decoder) streamed(durability client.Durability) (took time.Duration, err error) {
	ctx, name := d.b.ctx, d.name()
	_, err = d.client.CreateNamespace(ctx, client.Namespace{
		Name: name, Metric: client.Dot, Dimension: decodedDim, ValueDimension: decodedDim, KVHeads: decodedHeads, Durability: durability,
	})
	if err != nil {
		return 0, err
	}
	s, err := d.client.AttendStream(ctx, name)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	start := time.Now()
	for i := range d.steps {
		step := client.Step{Records: []client.Record{{Key: d.keys[i], Value: d.values[i]}}, Queries: []client.Query{client.Vector(d.queries[i])}}
		if err := s.Send(step); err != nil {
			return 0, err
		}
		r, err := s.Recv()
		if err != nil {
			return 0, err
		}
		d.context = r.Attended[0].Context
	}
	took = time.Since(start)
	_, err = d.client.DeleteNamespace(ctx, name)
	return took, err
}

// agree checks that both ways come to the same context.
func (d *decoder) agree() error {
	if _, err := d.inside(memory.None, nothing); err != nil {
		return err
	}
	inside := d.context
	if _, err := d.streamed(client.None); err != nil {
		return err
	}
	if len(d.context) != len(inside) {
		return fmt.Errorf("the last step has a context of %d components, in process %d", len(d.context), len(inside))
	}
	for i, x := range d.context {
		if math.Abs(float64(x-inside[i])) > 1e-5 {
			return fmt.Errorf("component %d of the last step's context is %v, in process %v", i, x, inside[i])
		}
	}
	return nil
}

// bytes is what the steps' attention reads: of each step, the rows up to its own.
func (d *decoder) bytes() float64 {
	return float64(d.steps) * float64(d.steps+1) / 2 * 2 * 4 * decodedDim
}

// limit is the contender whose time is what all steps' bytes take at the bandwidth at
// which the last step's are read.
func (d *decoder) limit(last *data) contender {
	runs, each := last.memory(), float64(2*last.bytes())
	turns := max(1, int(2e9/each))
	return contender{readBandwidth, func() (time.Duration, error) {
		start := time.Now()
		for range turns {
			readAll(runs)
		}
		return time.Duration(float64(time.Since(start)) * d.bytes() / (float64(turns) * each)), nil
	}}
}

func (d *decoder) race(last *data) error {
	what := fmt.Sprintf("AttendStream, %d steps of %d×%d, each stored and then attended from, the memory growing from nothing", d.steps, decodedHeads, decodedDim/decodedHeads)
	log.Printf("%s …", what)
	const synced, echoed, over, overSynced = "in process, SYNC", "in process, echoed", "over loopback", "over loopback, SYNC"
	t, err := race(d.b.ctx, max(1, d.b.rounds/7), []contender{
		{engram, func() (time.Duration, error) { return d.inside(memory.None, nothing) }},
		d.limit(last),
		{echoed, func() (time.Duration, error) { return d.inside(memory.None, d.exchange) }},
		{over, func() (time.Duration, error) { return d.streamed(client.None) }},
		{synced, func() (time.Duration, error) { return d.inside(memory.Sync, nothing) }},
		{overSynced, func() (time.Duration, error) { return d.streamed(client.Sync) }},
	})
	if err != nil {
		return err
	}
	r := &d.b.report
	r.note("read bandwidth beside AttendStream, of its last step's memory: %.1f GB/s", d.bytes()/spreadOf(t[readBandwidth]).median/1e9)
	for _, c := range []struct {
		name, told string
		goal       float64
	}{{engram, "in process, durability NONE", 1.3}, {synced, "in process, durability SYNC", 0}} {
		r.lines = append(r.lines, line{
			what: what + ": " + c.told, engram: seconds(spreadOf(t[c.name])),
			against: "its bytes at read bandwidth", theirs: seconds(spreadOf(t[readBandwidth])),
			ratio: t.faster(readBandwidth, c.name), goal: c.goal, atMost: true,
		})
	}
	for _, c := range []struct {
		name, told, than, thanTold string
		goal                       float64
	}{
		{over, "a step over loopback, durability NONE", engram, "in process", 100},
		{over, "a step over loopback, durability NONE", echoed, "in process, and then an exchange on a stream that does nothing", 0},
		{overSynced, "a step over loopback, durability SYNC", synced, "in process, SYNC", 0},
		{overSynced, "a step over loopback, durability SYNC", over, "over loopback, NONE", 0},
	} {
		each := func(name string) string { s := spreadOf(t[name]); s.median /= float64(d.steps); return seconds(s) }
		longer := make([]float64, len(t[c.name]))
		for i := range longer {
			longer[i] = 1e6 * (t[c.name][i] - t[c.than][i]) / float64(d.steps)
		}
		r.lines = append(r.lines, line{
			what: what + ": " + c.told, engram: each(c.name), against: c.thanTold, theirs: each(c.than),
			ratio: spreadOf(longer), unit: " µs longer", goal: c.goal, atMost: true,
		})
	}
	for _, l := range r.lines[len(r.lines)-6:] {
		log.Printf("  %s: %s against %s %s: %.2f%s (%.2f–%.2f) %s", l.what[len(what)+2:], l.engram, l.against, l.theirs, l.ratio.median, l.unit, l.ratio.low, l.ratio.high, l.goalText())
	}
	return nil
}
