package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"strings"
	"time"

	"engram/internal/gcpace"
	"engram/internal/slab"
	"engram/kernel"
	"engram/memory"
	"engram/server"
	"engram/storage"
)

type serveCmd struct {
	Data             string        `help:"Keep the journal and snapshots in this directory; without it nothing outlives the process." type:"path" placeholder:"DIR"`
	Durability       string        `enum:"sync,interval,none" default:"sync" help:"What namespaces get that are made without one: sync (acknowledged means on disk), interval (on disk within about --sync-interval) or none (when the system likes)."`
	SyncInterval     time.Duration `help:"How often the journal is synced for namespaces of durability interval." default:"1s"`
	SnapshotInterval time.Duration `help:"How often to write a snapshot, if anything changed; 0: only at the end and when asked." default:"5m"`
	UntilLSN         uint64        `name:"until-lsn" help:"Serve --data as it was at this LSN, read-only; nothing in it is changed." placeholder:"LSN"`
	Memory           byteSize      `help:"How much memory records may take; default: two thirds of the container's or machine's, or what requests leave of a small one." placeholder:"SIZE"`
	Workers          int           `help:"Cores that one read may use; 0: all." default:"0"`
	SharedScan       bool          `name:"shared-scan" help:"Concurrent reads of a large namespace ride one pass over it." default:"true" negatable:""`

	embedderFlags

	TLSCert   string `name:"tls-cert" help:"Serve by TLS with this certificate (PEM)." type:"existingfile" placeholder:"FILE" group:"Protection"`
	TLSKey    string `name:"tls-key" help:"The certificate's key (PEM)." type:"existingfile" placeholder:"FILE" group:"Protection"`
	Tokens    string `help:"Ask for a bearer token: one of this file's lines." type:"existingfile" placeholder:"FILE" group:"Protection"`
	Insecure  bool   `help:"Listen beyond this machine without TLS and tokens." group:"Protection"`
	LogFormat string `enum:"text,json" default:"text" help:"text or json." group:"Log"`
	LogLevel  string `enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error." group:"Log"`

	Connections int           `help:"Connections at once." default:"4096" group:"Limits"`
	InFlight    byteSize      `help:"Memory of requests and replies together; at least eight times --message. Default: 512MiB, or an eighth of the container's or machine's memory if that is less." placeholder:"SIZE" group:"Limits"`
	Message     byteSize      `help:"The largest request or reply." default:"16MiB" group:"Limits"`
	Batch       int           `help:"Records in one write." default:"1000" group:"Limits"`
	MaxDim      int           `help:"Components of a vector." default:"8192" group:"Limits"`
	TextBytes   byteSize      `help:"Text of a record." default:"64KiB" group:"Limits"`
	MetaBytes   byteSize      `help:"Metadata of a record." default:"16KiB" group:"Limits"`
	Queries     int           `help:"Queries in one read." default:"256" group:"Limits"`
	MaxTopK     int           `name:"max-top-k" help:"top_k and top_weights of a read." default:"1000" group:"Limits"`
	Grace       time.Duration `help:"How long calls in progress have at shutdown." default:"10s" group:"Limits"`
}

func (*serveCmd) Help() string {
	return `Listens on --addr (API: gRPC, health, reflection) and --admin (metrics, health
and pprof over HTTP; AdminService over gRPC).

Examples:
  engram serve                          in memory only
  engram serve --data /var/lib/engram   what is acknowledged is on disk
  engram serve --data DIR --until-lsn N as it was after mutation N, read-only
  engram serve --embedder=minilm --model-dir all-MiniLM-L6-v2
  engram serve --addr 0.0.0.0:7440 --tls-cert c.pem --tls-key k.pem --tokens tokens.txt

With --data it starts from the newest snapshot and the journal after it, and refuses to
start if anything is damaged that had reached the disk: see engram check --help. At
SIGTERM it stops taking calls, lets those in progress end, syncs, writes a snapshot and
exits with 0.`
}

func (c *serveCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	log := c.logger(t.err)
	tlsConfig, tokens, err := c.protection()
	if err != nil {
		return err
	}
	for _, addr := range []string{cli.Addr, cli.Admin} {
		if err := server.CheckExposure(addr, server.Exposure{TLS: tlsConfig != nil, Credentials: len(tokens) > 0, Insecure: c.Insecure}); err != nil {
			return usageError{err}
		}
	}
	e, err := c.embedder(ctx)
	if err != nil {
		return err
	}
	if c.UntilLSN != 0 && c.Data == "" {
		return usagef("--until-lsn needs --data")
	}
	if c.SyncInterval <= 0 {
		return usagef("--sync-interval is %v; it must be above 0", c.SyncInterval)
	}
	dir, err := c.open(log)
	if err != nil {
		return err
	}
	if dir != nil {
		defer func() { _ = dir.Close() }()
	}
	api, err := listen(cli.Addr, "--addr")
	if err != nil {
		return err
	}
	admin, err := listen(cli.Admin, "--admin")
	if err != nil {
		_ = api.Close()
		return err
	}

	limit := c.budget()
	pool := slab.NewPool(limit)
	records := c.recordLimits()
	db := memory.New(memory.Options{Pool: pool, Embedder: e, Clock: memory.SystemClock(), Limits: records, Workers: c.Workers, Unshared: !c.SharedScan, Log: log, Durability: durabilities[c.Durability]})
	defer func() { _ = db.Close() }()

	var snapshots *storage.Snapshots
	config := server.Config{
		DB: db, Pool: pool, Embedder: e, Version: version, Log: log,
		Limits: c.limits(), Records: records, TLS: tlsConfig, Tokens: tokens, Durability: durabilities[c.Durability],
	}
	if dir != nil && c.UntilLSN == 0 {
		snapshots = dir.Snapshots(db)
		config.Snapshots = snapshots
	}
	s, err := server.New(config)
	if err != nil {
		return err
	}
	log.Info("listening", "api", api.Addr(), "admin", admin.Addr(), "version", version, "kernel", kernel.Set(),
		"memory", bytesText(uint64(limit)), "embedder", c.Embedder, "data", c.Data, "durability", c.Durability)

	serving, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(serving, api, admin) }()
	if dir == nil {
		log.Warn("no --data directory: nothing outlives this process")
	} else if err := c.recover(ctx, dir, db, snapshots, log); err != nil {
		stop(err)
		return errors.Join(err, <-served)
	}
	s.SetReady()
	if snapshots != nil {
		go syncEvery(serving, db, c.SyncInterval)
		if c.SnapshotInterval > 0 {
			go snapshots.Every(serving, c.SnapshotInterval)
		}
	}
	if err := <-served; err != nil {
		return err
	}
	if snapshots == nil {
		return nil
	}
	return end(db, dir, snapshots, log)
}

var durabilities = map[string]memory.Durability{"sync": memory.Sync, "interval": memory.Interval, "none": memory.None}

// open takes the data directory, if there is one.
func (c *serveCmd) open(log *slog.Logger) (*storage.Dir, error) {
	switch {
	case c.Data == "":
		return nil, nil
	case c.UntilLSN != 0:
		return storage.Inspect(c.Data, storage.Options{Log: log})
	}
	return storage.Open(c.Data, storage.Options{Log: log})
}

// recover reads the newest snapshot and the journal back.
func (c *serveCmd) recover(ctx context.Context, dir *storage.Dir, db *memory.DB, snapshots *storage.Snapshots, log *slog.Logger) error {
	var r *storage.Recovered
	var err error
	if c.UntilLSN != 0 {
		r, err = dir.RecoverUntil(ctx, db, memory.LSN(c.UntilLSN))
	} else {
		r, err = dir.Recover(ctx, db)
	}
	if err != nil {
		return err
	}
	if snapshots != nil && r.Snapshot.File != "" {
		snapshots.Restored(r.Snapshot)
	}
	log.Info("recovered", "snapshot", r.Snapshot.File, "replayed", r.Replayed, "lsn", uint64(r.LSN),
		"namespaces", db.NamespaceCount(), "records", db.RecordCount(), "took", r.Duration)
	return nil
}

// syncEvery syncs what namespaces of durability INTERVAL have written.
func syncEvery(ctx context.Context, db *memory.DB, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = db.SyncInterval(ctx) // a failure makes the memory read-only, and says so
		}
	}
}

// end makes the journal whole and durable, after a last snapshot, which makes the next
// start quicker and may fail.
func end(db *memory.DB, dir *storage.Dir, snapshots *storage.Snapshots, log *slog.Logger) error {
	if err := db.ReadOnly(); err != nil {
		return fmt.Errorf("%w. What was acknowledged is on the disk, as far as that can be trusted; `engram check` tells", err)
	}
	_ = db.CommitRehearsals(context.Background()) // which the snapshot then has
	if _, err := db.Barrier(context.Background()); err != nil {
		return err
	}
	last(snapshots, log)
	return errors.Join(db.Close(), dir.Close())
}

// last writes the snapshot of a shutdown, after one that may be under way.
func last(snapshots *storage.Snapshots, log *slog.Logger) {
	for {
		info, err := snapshots.Snapshot(context.Background())
		switch {
		case errors.Is(err, memory.ErrSnapshotBusy):
			time.Sleep(10 * time.Millisecond)
			continue
		case err != nil:
			log.Warn("the last snapshot could not be written; the journal has everything", "error", err.Error())
		default:
			log.Info("snapshot", "file", info.File, "records", info.Records, "took", info.Duration)
		}
		return
	}
}

func listen(addr, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("can't listen on %s: %w. Is another engram running? Choose another address with %s", addr, err, flag)
	}
	return l, nil
}

func (c *serveCmd) logger(out io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // the flag's enum has checked it
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, o))
	}
	return slog.New(slog.NewTextHandler(out, o))
}

// budget divides the memory there is: records get --memory, requests --in-flight,
// and Go's heap is held to what is left.
func (c *serveCmd) budget() int64 {
	total := memoryOfMachine()
	if c.InFlight == 0 {
		c.InFlight = 512 << 20
		if total > 0 {
			c.InFlight = max(min(c.InFlight, byteSize(total/8)), 8*c.Message)
		}
	}
	// Views and indexes, and what is neither heap nor records: code, stacks, compressors,
	// free parts of slabs.
	const views, besides = 192 << 20, 64 << 20
	limit := int64(c.Memory)
	if limit == 0 {
		limit = 8 << 30
		if total > 0 {
			limit = total - total/16 - int64(c.InFlight) - views - besides
			limit = max(total/4, min(total/3*2, limit-memory.CopyBytes(limit)))
		}
	}
	heap := int64(0)
	if total > 0 {
		heap = max(total-total/16-limit-memory.CopyBytes(limit)-besides, int64(c.InFlight))
	}
	gcpace.Set(heap)
	return limit
}

func (c *serveCmd) limits() server.Limits {
	l := server.DefaultLimits()
	l.Connections, l.BytesInFlight, l.MessageBytes = c.Connections, int64(c.InFlight), int(c.Message)
	l.ReplyBytes = min(l.ReplyBytes, l.MessageBytes)
	l.Queries, l.TopK, l.Grace = c.Queries, c.MaxTopK, c.Grace
	return l
}

func (c *serveCmd) recordLimits() memory.Limits {
	l := memory.DefaultLimits()
	l.BatchRecords, l.Dimension = c.Batch, c.MaxDim
	l.TextBytes, l.MetadataBytes = int(min(c.TextBytes, math.MaxInt32)), int(min(c.MetaBytes, math.MaxInt32))
	return l
}

func (c *serveCmd) protection() (*tls.Config, []string, error) {
	var tokens []string
	if c.Tokens != "" {
		b, err := os.ReadFile(c.Tokens)
		if err != nil {
			return nil, nil, err
		}
		if tokens = strings.Fields(string(b)); len(tokens) == 0 {
			return nil, nil, usagef("--tokens: %s holds no token", c.Tokens)
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return nil, nil, usagef("--tls-cert and --tls-key go together")
	}
	if c.TLSCert == "" {
		return nil, tokens, nil
	}
	pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, nil, fmt.Errorf("--tls-cert: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}, tokens, nil
}
