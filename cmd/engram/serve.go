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
	"runtime/debug"
	"strings"
	"time"

	"engram/embed"
	"engram/internal/slab"
	"engram/kernel"
	"engram/memory"
	"engram/server"
	"engram/storage"
)

type serveCmd struct {
	Data             string        `help:"Keep snapshots in this directory; without it nothing outlives the process." type:"path" placeholder:"DIR"`
	SnapshotInterval time.Duration `help:"How often to write a snapshot, if anything changed; 0: only at the end and when asked." default:"5m"`
	Memory           byteSize      `help:"How much memory records may take; default: two thirds of the container's or machine's." placeholder:"SIZE"`
	Workers          int           `help:"Cores that one read may use; 0: all." default:"0"`

	Embedder      string `enum:"lexical,openai,none" default:"lexical" help:"What turns text into vectors: lexical (built in), openai (any endpoint that speaks its protocol) or none." group:"Embedder"`
	Dimension     int    `help:"Dimension of the embedder's vectors; 0: its own default." default:"0" group:"Embedder"`
	OpenAIURL     string `name:"openai-url" help:"The endpoint, up to /v1." placeholder:"URL" group:"Embedder"`
	OpenAIModel   string `name:"openai-model" help:"The model." placeholder:"NAME" group:"Embedder"`
	OpenAIKeyFile string `name:"openai-key-file" help:"File with the key; default: the variable OPENAI_API_KEY." type:"existingfile" placeholder:"FILE" group:"Embedder"`

	TLSCert   string `name:"tls-cert" help:"Serve by TLS with this certificate (PEM)." type:"existingfile" placeholder:"FILE" group:"Protection"`
	TLSKey    string `name:"tls-key" help:"The certificate's key (PEM)." type:"existingfile" placeholder:"FILE" group:"Protection"`
	Tokens    string `help:"Ask for a bearer token: one of this file's lines." type:"existingfile" placeholder:"FILE" group:"Protection"`
	Insecure  bool   `help:"Listen beyond this machine without TLS and tokens." group:"Protection"`
	LogFormat string `enum:"text,json" default:"text" help:"text or json." group:"Log"`
	LogLevel  string `enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error." group:"Log"`

	Connections int           `help:"Connections at once." default:"4096" group:"Limits"`
	InFlight    byteSize      `help:"Memory of requests and replies together; at least eight times --message." default:"512MiB" group:"Limits"`
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
  engram serve --data /var/lib/engram   with snapshots
  engram serve --addr 0.0.0.0:7440 --tls-cert c.pem --tls-key k.pem --tokens tokens.txt

At SIGTERM it stops taking calls, lets those in progress end, writes a snapshot and
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
	var dir *storage.Dir
	if c.Data != "" {
		if dir, err = storage.Open(c.Data, storage.Options{Log: log}); err != nil {
			return err
		}
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
	db := memory.New(memory.Options{Pool: pool, Embedder: e, Clock: memory.SystemClock(), Limits: records, Workers: c.Workers, Log: log})
	defer func() { _ = db.Close() }()

	var snapshots *storage.Snapshots
	config := server.Config{
		DB: db, Pool: pool, Embedder: e, Version: version, Log: log,
		Limits: c.limits(), Records: records, TLS: tlsConfig, Tokens: tokens,
	}
	if dir != nil {
		snapshots = dir.Snapshots(db)
		config.Snapshots = snapshots
	}
	s, err := server.New(config)
	if err != nil {
		return err
	}
	log.Info("listening", "api", api.Addr(), "admin", admin.Addr(), "version", version, "kernel", kernel.Set(),
		"memory", bytesText(uint64(limit)), "embedder", c.Embedder, "data", c.Data)

	serving, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(serving, api, admin) }()
	if dir == nil {
		log.Warn("no --data directory: nothing outlives this process")
	} else if err := restore(ctx, dir, db, snapshots, log); err != nil {
		stop(err)
		return errors.Join(err, <-served)
	}
	s.SetReady()
	if snapshots != nil && c.SnapshotInterval > 0 {
		go snapshots.Every(serving, c.SnapshotInterval)
	}
	if err := <-served; err != nil {
		return err
	}
	if snapshots == nil {
		return nil
	}
	return last(snapshots, log)
}

// restore reads the newest snapshot back.
func restore(ctx context.Context, dir *storage.Dir, db *memory.DB, snapshots *storage.Snapshots, log *slog.Logger) error {
	info, found, err := dir.Restore(ctx, db)
	if err != nil {
		return err
	}
	if found {
		snapshots.Restored(info)
		log.Info("restored", "file", info.File, "namespaces", info.Namespaces, "records", info.Records, "took", info.Duration)
	}
	return nil
}

// last writes the snapshot of a shutdown, after one that may be under way.
func last(snapshots *storage.Snapshots, log *slog.Logger) error {
	for {
		info, err := snapshots.Snapshot(context.Background())
		if errors.Is(err, memory.ErrSnapshotBusy) {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if err != nil {
			return fmt.Errorf("the last snapshot could not be written; what changed since the one before is lost: %w", err)
		}
		log.Info("snapshot", "file", info.File, "records", info.Records, "took", info.Duration)
		return nil
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
	limit := int64(c.Memory)
	if limit == 0 {
		limit = 8 << 30
		if total > 0 {
			limit = total / 3 * 2
		}
	}
	if os.Getenv("GOGC") == "" {
		// Records lie outside the heap, which is small: collecting it whenever it
		// doubles would be often.
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" && total > 0 {
		debug.SetMemoryLimit(max(total-limit, int64(c.InFlight)+256<<20))
	}
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

// embedder makes what turns text into vectors; nil for none.
func (c *serveCmd) embedder(ctx context.Context) (memory.Embedder, error) {
	switch c.Embedder {
	case "none":
		return nil, nil
	case "lexical":
		d := c.Dimension
		if d == 0 {
			d = embed.DefaultDimension
		}
		return embed.NewLexical(d)
	}
	if c.OpenAIURL == "" || c.OpenAIModel == "" {
		return nil, usagef("--embedder=openai needs --openai-url and --openai-model")
	}
	o, err := embed.NewOpenAI(embed.OpenAIConfig{
		BaseURL: c.OpenAIURL, Model: c.OpenAIModel, Dimension: c.Dimension,
		APIKeyFile: c.OpenAIKeyFile, APIKeyEnv: "OPENAI_API_KEY",
	})
	if err != nil {
		return nil, err
	}
	if o.Dimension() == 0 {
		if err := o.Probe(ctx); err != nil {
			return nil, err
		}
	}
	return o, nil
}
