package server

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	engramv1 "engram/proto/engram/v1"
)

var linearOps = flag.Int("linear-ops", 2000, "how many calls TestLinearizable makes")

// The state of a namespace of a few records, which is small enough to compare.
type linearState [3]linearRecord

type linearRecord struct {
	text    string // empty: it doesn't exist
	version uint64
}

// A linearCall is a call and what it was answered.
type linearCall struct {
	namespace string
	kind      string // store, insert, storeIf, delete, get
	ids       []int
	text      string
	ifVersion uint64

	code    codes.Code
	version uint64      // of a write
	deleted uint64      // by a delete
	state   linearState // of a get, of its ids
}

// linearModel says what one namespace may answer, if calls happen one after another.
var linearModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[string][]porcupine.Operation{}
		for _, o := range history {
			name := o.Input.(linearCall).namespace
			by[name] = append(by[name], o)
		}
		var out [][]porcupine.Operation
		for _, part := range by {
			out = append(out, part)
		}
		return out
	},
	Init: func() any { return linearState{} },
	Step: func(state, in, _ any) (bool, any) {
		s, c := state.(linearState), in.(linearCall)
		was := s
		exists := func(i int) bool { return was[i].text != "" }
		write := func() (bool, any) {
			for _, i := range c.ids {
				if was[i].version >= c.version {
					return false, s // a version is a mutation's number: they rise
				}
				s[i] = linearRecord{c.text, c.version}
			}
			return c.code == codes.OK, s
		}
		switch c.kind {
		case "store":
			return write()
		case "insert":
			if slices.ContainsFunc(c.ids, exists) {
				return c.code == codes.AlreadyExists, s
			}
			return write()
		case "storeIf":
			if was[c.ids[0]].version != c.ifVersion {
				return c.code == codes.FailedPrecondition, s
			}
			return write()
		case "delete":
			n := uint64(0)
			for _, i := range c.ids {
				if exists(i) {
					n++
				}
				s[i] = linearRecord{}
			}
			return c.code == codes.OK && c.deleted == n, s
		}
		for _, i := range c.ids {
			if c.state[i] != s[i] {
				return false, s
			}
		}
		return c.code == codes.OK, s
	},
	DescribeOperation: func(in, _ any) string { return fmt.Sprintf("%+v", in) },
}

// do makes the call.
func (c *linearCall) do(ctx context.Context, memory engramv1.MemoryServiceClient) error {
	var ids []string
	var records []*engramv1.Record
	for _, i := range c.ids {
		id := fmt.Sprint("r", i)
		ids = append(ids, id)
		r := &engramv1.Record{Id: id, Text: c.text, Key: &engramv1.Vector{Values: []float32{1}}}
		if c.kind == "storeIf" {
			r.IfVersion = proto.Uint64(c.ifVersion)
		}
		records = append(records, r)
	}
	var err error
	switch c.kind {
	case "get":
		var r *engramv1.GetResponse
		if r, err = memory.Get(ctx, &engramv1.GetRequest{Namespace: c.namespace, Ids: ids}); err == nil {
			for _, rec := range r.Records {
				var i int
				if _, err := fmt.Sscanf(rec.Id, "r%d", &i); err != nil {
					return err
				}
				c.state[i] = linearRecord{rec.Text, rec.Version}
			}
		}
	case "delete":
		var r *engramv1.DeleteResponse
		r, err = memory.Delete(ctx, &engramv1.DeleteRequest{Namespace: c.namespace, Ids: ids})
		c.deleted = r.GetDeleted()
	default:
		mode := engramv1.StoreMode_STORE_MODE_UPSERT
		if c.kind == "insert" {
			mode = engramv1.StoreMode_STORE_MODE_INSERT
		}
		var r *engramv1.StoreResponse
		r, err = memory.Store(ctx, &engramv1.StoreRequest{Namespace: c.namespace, Records: records, Mode: mode})
		c.version = r.GetLsn()
	}
	switch c.code = status.Code(err); c.code {
	case codes.OK, codes.AlreadyExists, codes.FailedPrecondition:
		return nil
	}
	return err
}

// What concurrent clients are answered could have been answered by one after another, in
// an order in which no call comes before another that had ended when it began: for a
// namespace of each durability.
func TestLinearizable(t *testing.T) {
	h := journaled(t)
	names := []string{"sync", "interval", "none"}
	for i, name := range names {
		if _, err := h.namespaces.Create(t.Context(), &engramv1.NamespaceServiceCreateRequest{
			Namespace: &engramv1.Namespace{Name: name, Dimension: 1, Durability: engramv1.Durability(i + 1)},
		}); err != nil {
			t.Fatal(err)
		}
	}
	const clients = 9
	histories := make([][]porcupine.Operation, clients)
	began := time.Now()
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			versions := linearState{}
			for n := range *linearOps / clients {
				c := linearCall{namespace: names[client%3], text: fmt.Sprintf("%d.%d", client, n)}
				c.ids = rand.Perm(3)[:1+rand.IntN(2)]
				switch rand.IntN(8) {
				case 0:
					c.kind = "insert"
				case 1, 2:
					c.kind, c.ids = "storeIf", c.ids[:1]
					c.ifVersion = versions[c.ids[0]].version
				case 3:
					c.kind = "delete"
				case 4:
					c.kind = "store"
				default:
					c.kind, c.ids = "get", []int{0, 1, 2}
				}
				call := time.Since(began).Nanoseconds()
				if err := c.do(t.Context(), h.memory); err != nil {
					t.Errorf("%+v: %v", c, err)
					return
				}
				if c.kind == "get" {
					versions = c.state
				}
				histories[client] = append(histories[client], porcupine.Operation{
					ClientId: client, Input: c, Call: call, Output: nil, Return: time.Since(began).Nanoseconds(),
				})
			}
		})
	}
	wg.Wait()
	var all []porcupine.Operation
	for _, h := range histories {
		all = append(all, h...)
	}
	switch result, _ := porcupine.CheckOperationsVerbose(linearModel, all, time.Minute); result {
	case porcupine.Illegal:
		t.Errorf("%d calls can't be put in an order", len(all))
	case porcupine.Unknown:
		t.Errorf("%d calls could not be put in an order in a minute", len(all))
	}
	// The check can fail: an answer that nobody gave fits nowhere.
	for i := range all {
		c := all[i].Input.(linearCall)
		if c.kind == "get" && c.state[0].text != "" {
			c.state[0].text = "never"
			all[i].Input = c
			break
		}
	}
	if porcupine.CheckOperations(linearModel, all) {
		t.Error("an answer that nobody gave was put in an order")
	}
}
