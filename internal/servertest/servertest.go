// Package servertest runs Engram for tests of programs that talk to it, as httptest
// runs web servers.
package servertest

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"engram/client"
	"engram/embed"
	"engram/internal/slab"
	"engram/memory"
	"engram/server"
)

// Start runs a server with the lexical embedder and no data directory on a free port of
// this machine until the test ends, and gives a client of it.
func Start(t testing.TB) *client.Client {
	t.Helper()
	lexical, err := embed.NewLexical(embed.DefaultDimension)
	if err != nil {
		t.Fatal(err)
	}
	var listeners [2]net.Listener
	for i := range listeners {
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	quiet := slog.New(slog.DiscardHandler)
	pool := slab.NewPool(1 << 30)
	db := memory.New(memory.Options{Pool: pool, Clock: memory.SystemClock(), Embedder: lexical, Limits: memory.DefaultLimits(), Log: quiet})
	s, err := server.New(server.Config{DB: db, Pool: pool, Embedder: lexical, Version: "test", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, listeners[0], listeners[1]) }()
	s.SetReady()
	c, err := client.Dial(listeners[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
