package storage

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/internal/slab"
	"engram/memory"
)

var linearOps = flag.Int("linear-ops", 2000, "how many calls TestLinearizableOverPowerCuts makes")

const linearRecords = 3

// linearTexts is the state: what each record's text is. Every write has a text of its own,
// so that one stands for a version.
type linearTexts [linearRecords]string

// A linearCall is a call on a few records, and what it was answered.
type linearCall struct {
	kind   string // store, insert, if, delete, get
	ids    []int
	text   string
	ifText string // of an if: what the record must have

	lost    bool // by a power cut: nobody knows whether it happened
	refused bool
	got     linearTexts // by a get
	deleted int
}

func (c linearCall) String() string {
	return fmt.Sprintf("%s %v %q if %q: lost %v, refused %v, got %q, deleted %d", c.kind, c.ids, c.text, c.ifText, c.lost, c.refused, c.got, c.deleted)
}

// linearModel carries every state that may be: a call that was lost has happened or not.
var linearModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{linearTexts{}} },
	Step: func(state, in, _ any) []any {
		s, c := state.(linearTexts), in.(linearCall)
		next, ok := c.apply(s)
		switch {
		case c.lost && next != s:
			return []any{s, next}
		case c.lost || ok:
			return []any{next}
		}
		return nil
	},
	DescribeOperation: func(in, _ any) string { return in.(linearCall).String() },
}).ToModel()

// apply returns the state after the call, and whether the call was answered as from s.
func (c linearCall) apply(s linearTexts) (linearTexts, bool) {
	there := func(i int) bool { return s[i] != "" }
	switch c.kind {
	case "get":
		return s, c.got == s
	case "delete":
		n := 0
		for _, i := range c.ids {
			if there(i) {
				n++
			}
			s[i] = ""
		}
		return s, c.deleted == n
	}
	refused := c.kind == "insert" && slices.ContainsFunc(c.ids, there) || c.kind == "if" && s[c.ids[0]] != c.ifText
	if !refused {
		for _, i := range c.ids {
			s[i] = c.text
		}
	}
	return s, refused == c.refused
}

// A linearClient makes calls on one namespace of a DB, which is cut off at times.
type linearClient struct {
	id, n    int
	versions map[string]memory.LSN // of texts that it saw
	history  []porcupine.Operation
}

// next makes up a call.
func (c *linearClient) next(rng *rand.Rand) *linearCall {
	c.n++
	call := &linearCall{text: fmt.Sprintf("%d.%d", c.id, c.n), ids: rng.Perm(linearRecords)[:1+rng.IntN(2)]}
	call.kind = []string{"insert", "if", "if", "delete", "store", "get", "get", "get"}[rng.IntN(8)]
	if call.kind == "if" {
		call.ids = call.ids[:1]
		for text := range c.versions { // any that it knows, or none
			call.ifText = text
			break
		}
	}
	return call
}

// do makes a call and notes the answer; an error is that of a memory that is gone.
func (c *linearClient) do(t *testing.T, db *memory.DB, call *linearCall) error {
	var ids []string
	s := &memory.Store{Namespace: "n"}
	for _, i := range call.ids {
		p := memory.Put{Record: memory.Record{ID: fmt.Sprint(i), Key: []float32{1}, Text: call.text}}
		if call.kind == "if" {
			v := c.versions[call.ifText]
			p.IfVersion = &v
		}
		ids = append(ids, p.ID)
		s.Records = append(s.Records, p)
	}
	switch call.kind {
	case "get":
		v, err := db.View("n")
		if err != nil {
			return err
		}
		defer v.Release()
		clear(c.versions)
		var r memory.Record
		for i := range call.got {
			if v.Get(fmt.Sprint(i), &r, memory.IncludeAll) {
				call.got[i] = r.Text
				c.versions[r.Text] = r.Version
			}
		}
		return nil
	case "delete":
		r, err := db.Delete(t.Context(), &memory.Delete{Namespace: "n", IDs: ids})
		if err == nil {
			call.deleted = r.Deleted
		}
		return err
	case "insert":
		s.Mode = memory.Insert
	}
	_, err := db.Store(t.Context(), s)
	var exists *memory.Exists
	var conflict *memory.Conflict
	if call.refused = errors.As(err, &exists) || errors.As(err, &conflict); call.refused {
		return nil
	}
	return err
}

// What concurrent clients of a SYNC namespace are answered could have been answered by one
// after another, though the power is cut time and again: a call that was under way then
// has happened or it hasn't, and one that was answered, be it a read, stays true.
func TestLinearizableOverPowerCuts(t *testing.T) {
	const lives, clients = 5, 5
	disk := vfs.NewCrashableMem()
	began := time.Now()
	now := func() int64 { return time.Since(began).Nanoseconds() }
	all := make([]*linearClient, clients)
	for i := range all {
		all[i] = &linearClient{id: i, versions: map[string]memory.LSN{}}
	}
	seed := rand.Uint64()
	lost := 0
	for life := range lives {
		log := slog.New(slog.DiscardHandler)
		d, err := Open("data", Options{FS: disk, Log: log, SegmentSize: 4 << 10})
		if err != nil {
			t.Fatal(err)
		}
		db := memory.New(memory.Options{Pool: slab.NewPool(1 << 30), Log: log})
		if _, err := d.Recover(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		if life == 0 {
			if _, err := db.CreateNamespace(t.Context(), &memory.CreateNamespace{Config: memory.Config{Name: "n", Dimension: 1, ValueDimension: 1}}); err != nil {
				t.Fatal(err)
			}
		}
		var calls atomic.Int64
		var over atomic.Bool
		var running, snapshots sync.WaitGroup
		lived := make([][]porcupine.Operation, clients)
		for i, c := range all {
			rng := rand.New(rand.NewPCG(seed, uint64(life*clients+i)))
			running.Go(func() {
				for !over.Load() {
					call := c.next(rng)
					from := now()
					if err := c.do(t, db, call); err != nil {
						t.Errorf("%v: %v", call, err)
						return
					}
					lived[i] = append(lived[i], porcupine.Operation{ClientId: c.id, Input: *call, Call: from, Return: now()})
					calls.Add(1)
				}
			})
		}
		snapshots.Go(func() {
			for s := d.Snapshots(db); !over.Load(); time.Sleep(time.Millisecond) {
				if _, err := s.Snapshot(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
		for calls.Load() < int64(*linearOps/lives) && !t.Failed() {
			time.Sleep(100 * time.Microsecond)
		}
		cut := now()
		over.Store(true) // the calls under way go on into the cut
		after := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rand.IntN(101), RNG: rand.New(rand.NewPCG(seed, uint64(life)))})
		gone := now()
		running.Wait()
		snapshots.Wait()
		if err := errors.Join(db.Close(), d.Close()); err != nil { // on the disk that was left behind
			t.Fatal(err)
		}
		disk = after
		for i, c := range all {
			for _, o := range lived[i] {
				if call := o.Input.(linearCall); o.Return >= cut {
					// Nobody had its answer. What it did, if the disk that is left has it, it did
					// before it returned, and before the next life.
					if o.Call > gone || call.kind == "get" {
						continue
					}
					call.lost = true
					o.Input, o.Return = call, min(o.Return, gone)
					lost++
				}
				c.history = append(c.history, o)
			}
			c.versions = map[string]memory.LSN{}
		}
	}
	var history []porcupine.Operation
	for _, c := range all {
		history = append(history, c.history...)
	}
	t.Logf("%d calls over %d power cuts, %d of them lost", len(history), lives, lost)
	switch result, _ := porcupine.CheckOperationsVerbose(linearModel, history, time.Minute); result {
	case porcupine.Illegal:
		t.Errorf("they can't be put in an order (seed %d)", seed)
	case porcupine.Unknown:
		t.Errorf("they could not be put in an order in a minute (seed %d)", seed)
	}
	for i := range history { // an answer that nobody gave fits nowhere
		if c := history[i].Input.(linearCall); c.kind == "get" {
			c.got[0] = "never"
			history[i].Input = c
			break
		}
	}
	if porcupine.CheckOperations(linearModel, history) {
		t.Error("an answer that nobody gave was put in an order")
	}
}
