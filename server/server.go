package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	channelz "google.golang.org/grpc/channelz/service"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"engram/internal/slab"
	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

// Config is what a server is made of.
type Config struct {
	DB         *memory.DB
	Pool       *slab.Pool         // the DB's
	Embedder   memory.Embedder    // nil: text without a vector is refused
	Snapshots  memory.Snapshotter // nil: there is no data directory
	Version    string             // of the program
	Durability memory.Durability  // of namespaces made without one; the DB's
	Log        *slog.Logger       // default slog.Default()
	Clock      memory.Clock       // default memory.SystemClock()
	Limits     Limits             // default DefaultLimits()
	Records    memory.Limits      // those of the DB; default memory.DefaultLimits()

	TLS    *tls.Config // nil: connections are in the clear
	Tokens []string    // bearer tokens, any of which is good; none: no credentials are asked
}

// Server serves one DB.
type Server struct {
	db        *memory.DB
	pool      *slab.Pool
	embedder  memory.Embedder
	snapshots memory.Snapshotter
	version   string
	durable   memory.Durability // by default
	log       *slog.Logger
	clock     memory.Clock
	limits    Limits
	records   memory.Limits
	tls       *tls.Config
	tokens    []token
	start     time.Time

	inflight *inflight
	metrics  *metrics
	ready    atomic.Bool
	stopping context.Context // until it drains
	stop     context.CancelFunc
	health   *health.Server
	api      *grpc.Server
	admin    *grpc.Server
}

// Liveness is the name under which the health service says that the server is up, ready
// or not. Its overall status, and that of each service, say whether it is ready.
const Liveness = "liveness"

// Writes is the name under which the health service says whether writes are served, too.
const Writes = "writes"

// New makes a server. It isn't ready until SetReady.
func New(c Config) (*Server, error) {
	if c.DB == nil || c.Pool == nil {
		return nil, errors.New("a server needs a DB and its pool")
	}
	s := &Server{
		db:        c.DB,
		pool:      c.Pool,
		embedder:  c.Embedder,
		snapshots: c.Snapshots,
		version:   c.Version,
		durable:   c.Durability,
		log:       cmp.Or(c.Log, slog.Default()),
		clock:     c.Clock,
		limits:    c.Limits,
		records:   c.Records,
		tls:       c.TLS,
		metrics:   newMetrics(),
		health:    health.NewServer(),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	if s.clock == nil {
		s.clock = memory.SystemClock()
	}
	if s.limits == (Limits{}) {
		s.limits = DefaultLimits()
	}
	if s.records == (memory.Limits{}) {
		s.records = memory.DefaultLimits()
	}
	if err := s.limits.check(); err != nil {
		return nil, err
	}
	var err error
	if s.tokens, err = tokens(c.Tokens); err != nil {
		return nil, err
	}
	s.start = s.clock.Now()
	s.inflight = newInflight(s.limits.BytesInFlight, s.limits.BudgetWait)
	s.observe()

	common := []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(s.limits.MessageBytes),
		grpc.MaxSendMsgSize(1 << 30), // replies are costed before they are built
	}
	options := append(common[:len(common):len(common)],
		grpc.InTapHandle(s.tap),
		grpc.MaxConcurrentStreams(uint32(s.limits.StreamsPerConnection)),
		grpc.MaxHeaderListSize(16<<10),
		grpc.NumStreamWorkers(uint32(runtime.GOMAXPROCS(0))),
		grpc.StaticStreamWindowSize(window),
		grpc.StaticConnWindowSize(1<<20),
		grpc.ConnectionTimeout(s.limits.ReceiveTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.WaitForHandlers(true),
	)
	if s.tls != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.tls)))
	}
	s.api = grpc.NewServer(options...)
	api := registrar{s.api, s}
	engramv1.RegisterMemoryServiceServer(api, &memoryService{s: s})
	engramv1.RegisterNamespaceServiceServer(api, &namespaceService{s: s})
	healthv1.RegisterHealthServer(api, s.health)
	reflection.Register(api)

	s.admin = grpc.NewServer(common...)
	admin := registrar{s.admin, s}
	engramv1.RegisterAdminServiceServer(admin, &adminService{s: s})
	healthv1.RegisterHealthServer(admin, s.health)
	channelz.RegisterChannelzServiceToServer(admin)
	reflection.Register(admin)

	s.health.SetServingStatus(Liveness, healthv1.HealthCheckResponse_SERVING)
	s.setHealth(healthv1.HealthCheckResponse_NOT_SERVING)
	return s, nil
}

func (s *Server) setHealth(status healthv1.HealthCheckResponse_ServingStatus) {
	for _, name := range []string{"", Writes,
		engramv1.MemoryService_ServiceDesc.ServiceName,
		engramv1.NamespaceService_ServiceDesc.ServiceName,
		engramv1.AdminService_ServiceDesc.ServiceName,
	} {
		s.health.SetServingStatus(name, status)
	}
}

// SetReady says that the memory is restored: calls are served, and health is SERVING, of
// writes until the memory is read-only.
func (s *Server) SetReady() {
	s.ready.Store(true)
	s.setHealth(healthv1.HealthCheckResponse_SERVING)
	s.db.OnReadOnly(func(error) {
		s.health.SetServingStatus(Writes, healthv1.HealthCheckResponse_NOT_SERVING)
	})
}

// Serve serves until ctx ends; then health turns NOT_SERVING, new calls are refused, and
// those in progress have Limits.Grace to end before they are cut. It closes the
// listeners, and returns nil unless serving failed.
func (s *Server) Serve(ctx context.Context, api, admin net.Listener) error {
	web := &http.Server{
		Handler:           s.adminHandler(),
		ReadHeaderTimeout: s.limits.ReceiveTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		Protocols:         new(http.Protocols),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: s.limits.StreamsPerConnection},
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		TLSConfig:         s.tls,
	}
	web.Protocols.SetHTTP1(true)
	web.Protocols.SetHTTP2(true)
	web.Protocols.SetUnencryptedHTTP2(true)

	failed := make(chan error, 2)
	go func() {
		err := s.api.Serve(netutil.LimitListener(api, s.limits.Connections))
		failed <- describe(err, "the API on", api)
	}()
	go func() {
		admin := netutil.LimitListener(admin, s.limits.Connections)
		var err error
		if s.tls != nil {
			err = web.ServeTLS(admin, "", "")
		} else {
			err = web.Serve(admin)
		}
		failed <- describe(err, "the admin port", admin)
	}()

	var err error
	running := 2
	select {
	case <-ctx.Done():
	case err = <-failed:
		running--
	}
	s.health.Shutdown()
	s.ready.Store(false)
	s.stop()
	s.log.Info("draining", "grace", s.limits.Grace)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.Grace)
	defer cancel()
	stop := context.AfterFunc(grace, s.api.Stop)
	s.api.GracefulStop()
	stop()
	if web.Shutdown(grace) != nil {
		_ = web.Close()
	}
	s.admin.Stop()
	for range running {
		err = errors.Join(err, <-failed)
	}
	return err
}

func describe(err error, what string, l net.Listener) error {
	// A server that was stopped before it began to serve says so.
	if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serving %s %v: %w", what, l.Addr(), err)
	}
	return nil
}
