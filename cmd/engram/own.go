package main

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"engram/client"
	"engram/internal/slab"
	"engram/memory"
	"engram/server"
)

// withOwnServer runs the real server on free ports of this machine, over a memory of these
// options with budget, limits and log of its own, while use uses it.
func withOwnServer(ctx context.Context, opt memory.Options, use func(ctx context.Context, db *memory.DB, e *client.Client) error) (err error) {
	var listeners [2]net.Listener
	for i := range listeners {
		if listeners[i], err = listen("127.0.0.1:0", "--addr"); err != nil {
			return err
		}
	}
	log := slog.New(slog.DiscardHandler)
	opt.Pool, opt.Limits, opt.Log = slab.NewPool(1<<30), memory.DefaultLimits(), log
	db := memory.New(opt)
	defer func() { err = errors.Join(err, db.Close()) }()
	s, err := server.New(server.Config{DB: db, Pool: opt.Pool, Embedder: opt.Embedder, Version: version, Log: log})
	if err != nil {
		return err
	}
	s.SetReady()
	ctx, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, listeners[0], listeners[1]) }()
	defer func() {
		stop()
		err = errors.Join(err, <-served)
	}()
	e, err := client.Dial(listeners[0].Addr().String())
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }()
	return use(ctx, db, e)
}
