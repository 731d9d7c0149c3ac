package client_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"testing"

	"engram/client"
)

// A cutter passes connections on to the server, until they are cut.
type cutter struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func newCutter(t *testing.T) *cutter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", address)
			if err != nil {
				_ = in.Close()
				continue
			}
			c.mu.Lock()
			c.conns = append(c.conns, in, out)
			c.mu.Unlock()
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				_ = errors.Join(to.Close(), from.Close())
			}
			wg.Go(func() { pass(in, out) })
			wg.Go(func() { pass(out, in) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		c.cut()
		wg.Wait()
	})
	return c
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

// A decoder's loop, pipelined, over a connection that breaks again and again: each step sees
// the rows of those before it and its own, once each.
func TestAttendStreamResumes(t *testing.T) {
	through := newCutter(t)
	c, err := client.Dial(through.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.CreateNamespace(t.Context(), client.Namespace{Name: "TestAttendStream", Dimension: 2, Durability: client.None}); err != nil {
		t.Fatal(err)
	}
	s, err := c.AttendStream(t.Context(), "TestAttendStream", client.Scale(0))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const steps = 300
	sent := make(chan error, 1)
	go func() {
		for i := range steps {
			err := s.Send(client.Step{
				Records: []client.Record{{Key: []float32{1, 1}, Value: []float32{float32(i), 1}}}, // the server names them
				Queries: []client.Query{client.Vector([]float32{1, 1})},
			})
			if err != nil {
				sent <- err
				return
			}
		}
		sent <- s.CloseSend()
	}()
	for i := range steps {
		r, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if i%70 == 50 {
			through.cut()
		}
		a := r.Attended[0]
		// A step that is done again after the connection broke sees what came after it, too.
		if r.Number != uint64(i) || r.Durable || len(r.Stored) != 1 || a.Attended < uint64(i+1) || a.Attended > uint64(i+1+64) {
			t.Fatalf("step %d: %+v", i, r)
		}
		if mean := float64(a.Attended-1) / 2; math.Abs(float64(a.Context[0])-mean) > 1e-3*(1+mean) {
			t.Fatalf("step %d: context %v of %d rows, want a mean of %v", i, a.Context, a.Attended, mean)
		}
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last step: %v", err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	n, err := c.Namespace(t.Context(), "TestAttendStream")
	if err != nil || n.Records != steps {
		t.Errorf("%d records, %v, want %d", n.Records, err, steps)
	}
}

// A refused step ends the stream with its error.
func TestAttendStreamRefuses(t *testing.T) {
	c, err := client.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	s, err := c.AttendStream(t.Context(), "TestAttendStreamRefuses")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 2 {
		if err := s.Send(client.Step{Records: []client.Record{{ID: "a", Key: make([]float32, 2-i), Value: []float32{1, 1}}}}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := s.Recv(); err == nil {
		t.Errorf("a zero key is answered by %s", fmt.Sprint(r))
	}
}
