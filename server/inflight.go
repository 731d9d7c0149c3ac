package server

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// window is what a client may send on a stream before its call reads: HTTP/2's
// flow-control window. Once gRPC has read a message's length it lets the rest of that
// message come too.
const window = 64 << 10

// inflight is the budget of bytes that requests and replies take between the socket and
// the DB. A call holds its window from its first moment; twice its request, if that is
// larger than the window, while it is being read; the size of the request, decoded, until
// it is answered; and its reply until that is written to the socket.
//
// A quarter of the budget is for windows, and a call beyond them is refused at once. For
// the rest calls wait in line, briefly.
type inflight struct {
	limit   int64
	wait    time.Duration
	windows atomic.Int64 // held, of a quarter of limit
	room    int64        // the rest
	sem     *semaphore.Weighted
	// streams bounds what the messages of client streams hold while they are read, so
	// that slow ones never starve the rest.
	streams *semaphore.Weighted
	used    atomic.Int64
	refused atomic.Int64
}

func newInflight(limit int64, wait time.Duration) *inflight {
	return &inflight{
		limit:   limit,
		wait:    wait,
		room:    limit - limit/4,
		sem:     semaphore.NewWeighted(limit - limit/4),
		streams: semaphore.NewWeighted((limit - limit/4) / 2),
	}
}

// enter takes a call's window.
func (f *inflight) enter() error {
	if f.windows.Add(window) > f.limit/4 {
		f.windows.Add(-window)
		return f.full(window)
	}
	return nil
}

func (f *inflight) leave() { f.windows.Add(-window) }

// full refuses n bytes.
func (f *inflight) full(n int64) error {
	f.refused.Add(1)
	return &busyError{need: n, limit: f.limit, wait: f.wait}
}

// try takes n bytes if they are free now.
func (f *inflight) try(n int64) bool {
	if !f.sem.TryAcquire(n) {
		return false
	}
	f.used.Add(n)
	return true
}

// acquire takes n bytes, waiting in line for at most f.wait or as long as ctx lasts.
func (f *inflight) acquire(ctx context.Context, n int64) error {
	if f.try(n) {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, f.wait)
	defer cancel()
	return f.queue(ctx, wait, f.sem, n)
}

// acquirePatiently is acquire without a bound but ctx's.
func (f *inflight) acquirePatiently(ctx context.Context, n int64) error {
	if f.try(n) {
		return nil
	}
	return f.queue(ctx, ctx, f.sem, n)
}

// acquireOf is acquire of what must fit a part of the budget, too: f.sem is all of it.
func (f *inflight) acquireOf(ctx context.Context, part *semaphore.Weighted, n int64) error {
	if part != f.sem && !part.TryAcquire(n) {
		wait, cancel := context.WithTimeout(ctx, f.wait)
		defer cancel()
		if err := f.queue(ctx, wait, part, n); err != nil {
			return err
		}
	}
	if err := f.acquire(ctx, n); err != nil {
		f.releaseOf(part, n)
		return err
	}
	return nil
}

// releaseOf gives n bytes back to a part of the budget, not to all of it.
func (f *inflight) releaseOf(part *semaphore.Weighted, n int64) {
	if part != f.sem {
		part.Release(n)
	}
}

func (f *inflight) queue(ctx, wait context.Context, sem *semaphore.Weighted, n int64) error {
	if err := sem.Acquire(wait, n); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return f.full(n)
	}
	if sem == f.sem {
		f.used.Add(n)
	}
	return nil
}

func (f *inflight) release(n int64) {
	if n > 0 {
		f.used.Add(-n)
		f.sem.Release(n)
	}
}
