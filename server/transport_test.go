package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

// rawCodec sends bytes as they are, so that a test can send what no client would.
type rawCodec struct{}

func (rawCodec) Name() string                    { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(b []byte, v any) error { *v.(*[]byte) = bytes.Clone(b); return nil }
func raw(h *harness, method string, b []byte) error {
	var reply []byte
	return h.conn.Invoke(ctx(h.t), method, &b, &reply, grpc.ForceCodec(rawCodec{}))
}

// field is one length-delimited field on the wire.
func field(number protowire.Number, parts ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), bytes.Join(parts, nil))
}

func TestUndecodableRequests(t *testing.T) {
	h := start(t)
	h.store("a", rec("one", 1, 0, 0))
	before := h.export()
	const method = "/engram.v1.MemoryService/Store"
	bad := []byte{0xff, 0xfe}
	record := func(parts ...[]byte) []byte { return field(2, parts...) }
	nested := func(levels int) []byte { // MemoryService/List's filter of nots
		var b []byte
		for range levels {
			b = field(3, b)
		}
		return field(2, b)
	}
	for _, c := range []struct {
		name, method string
		request      []byte
		code         codes.Code
		fields       []string
	}{
		{"invalid UTF-8 everywhere", method, slices.Concat(field(1, bad), record(field(1, bad)), record(), record(field(4, bad), field(7, bad))), codes.InvalidArgument,
			[]string{"namespace", "records[0].id", "records[2].text", "records[2].speaker"}},
		{"invalid UTF-8 in a list", "/engram.v1.MemoryService/Get", slices.Concat(field(1, []byte("a")), field(2, []byte("x")), field(2, bad)), codes.InvalidArgument, []string{"ids[1]"}},
		{"a truncated field", method, []byte{0x0a, 50, 'a'}, codes.InvalidArgument, nil},
		{"a tag that is none", method, []byte{0x07, 0xff}, codes.InvalidArgument, nil},
		{"messages nested 300 deep", "/engram.v1.MemoryService/List", slices.Concat(field(1, []byte("a")), nested(300)), codes.InvalidArgument, nil},
		{"eight million empty records", method, bytes.Repeat(record(), 8<<20-1), codes.ResourceExhausted, nil},
		{"a message over 16 MiB", method, field(2, field(4, make([]byte, 16<<20))), codes.ResourceExhausted, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := raw(h, c.method, c.request)
			wantCode(t, err, c.code)
			if got := fields(err); !slices.Equal(got, c.fields) {
				t.Errorf("fields %q, want %q", got, c.fields)
			}
		})
	}
	if !bytes.Equal(before, h.export()) {
		t.Error("what the server holds has changed")
	}
	h.waitIdle()
}

// A request's cost in memory is known before it is decoded.
func TestWeigh(t *testing.T) {
	for _, m := range []proto.Message{
		&engramv1.StoreRequest{Namespace: "n", Records: slices.Repeat([]*engramv1.Record{{}}, 1000)},
		&engramv1.StoreRequest{Records: []*engramv1.Record{rec("a", make([]float32, 1000)...)}},
		&engramv1.StoreRequest{Records: []*engramv1.Record{{Key: &engramv1.Vector{F32: make([]byte, 4000)}}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := planOf(m.ProtoReflect().Descriptor()).weigh(b)
		if err != nil {
			t.Fatal(err)
		}
		if actual := allocated(func() {
			if err := proto.Unmarshal(b, m.ProtoReflect().New().Interface()); err != nil {
				t.Fatal(err)
			}
		}); got < actual*3/4 || got > 3*actual {
			t.Errorf("weighed %d bytes; decoding takes %d", got, actual)
		}
	}
}

// allocated gives the bytes that a call of f allocates.
func allocated(f func()) int64 {
	const runs = 100
	f()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc-before.TotalAlloc) / runs
}

func FuzzWeigh(f *testing.F) {
	m := &engramv1.StoreRequest{Namespace: "n", Records: []*engramv1.Record{rec("a", 1, 2)}}
	b, _ := proto.Marshal(m)
	f.Add(b)
	f.Add([]byte{0x0a, 50, 'a'})
	f.Add([]byte{0x12, 3, 0x0a, 1, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(engramv1.StoreRequest)
		p := planOf(m.ProtoReflect().Descriptor())
		_, weighed := p.weigh(b)
		decoded := proto.Unmarshal(b, m)
		if weighed != nil && decoded == nil && len(b) < maxNesting {
			t.Errorf("%x can be decoded but not weighed: %v", b, weighed)
		}
		if decoded != nil && weighed == nil && p.undecodable(b) == nil {
			t.Errorf("%x can't be decoded, and there is no error", b)
		}
	})
}

func FuzzPageToken(f *testing.F) {
	f.Add(pageToken([]byte("place"), []byte("scope")), "scope")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, token, scope string) {
		position, ok := parsePageToken(token, []byte(scope))
		if ok && pageToken(position, []byte(scope)) != token {
			t.Errorf("token %q is accepted, but another than what the server gives", token)
		}
	})
}

func TestErrorsFitTrailers(t *testing.T) {
	h := start(t)
	records := make([]*engramv1.Record, 1000)
	for i := range records {
		records[i] = &engramv1.Record{Id: strings.Repeat("é", 200), Key: vec(float32(i))}
	}
	_, err := h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: strings.Repeat("\x01", 300), Records: records})
	wantCode(t, err, codes.InvalidArgument)
	violations := detail[*errdetails.BadRequest](err).GetFieldViolations()
	last := violations[len(violations)-1]
	if last.Field != "" || !strings.Contains(last.Description, "more") {
		t.Errorf("the last violation is %v; it must count those left out", last)
	}
	st := status.Convert(err).Proto()
	if n := proto.Size(st.Details[0]); n > detailsBytes {
		t.Errorf("%d bytes of details, over %d", n, detailsBytes)
	}
	// What travels: the status in base64, and the message percent-encoded, at worst
	// three bytes for one.
	if n := (proto.Size(st)+2)/3*4 + 3*len(st.Message); n > 7<<10 {
		t.Errorf("%d bytes of trailers, near the 8 KiB that clients accept", n)
	}
}

// slowConn is an HTTP/2 client that sends the beginning of a message and no more.
type slowConn struct {
	net.Conn
	framer *http2.Framer
}

func (h *harness) slow(method string, announced uint32, sent int) *slowConn {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.apiAddr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	io.WriteString(conn, http2.ClientPreface)
	c := &slowConn{conn, http2.NewFramer(conn, conn)}
	c.framer.WriteSettings()
	var headers bytes.Buffer
	e := hpack.NewEncoder(&headers)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers.Bytes(), EndHeaders: true})
	data := make([]byte, 5+sent)
	data[1], data[2], data[3], data[4] = byte(announced>>24), byte(announced>>16), byte(announced>>8), byte(announced)
	for len(data) > 0 {
		n := min(len(data), 16<<10)
		c.framer.WriteData(1, false, data[:n])
		data = data[n:]
	}
	return c
}

// status reads frames until the trailers come, and gives grpc-status.
func (c *slowConn) status() (string, error) {
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	d := hpack.NewDecoder(4096, nil)
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return "", err
		}
		if h, ok := frame.(*http2.HeadersFrame); ok {
			fields, err := d.DecodeFull(h.HeaderBlockFragment())
			if err != nil {
				return "", err
			}
			for _, f := range fields {
				if f.Name == "grpc-status" {
					return f.Value, nil
				}
			}
		}
	}
}

// A request that isn't complete in time is cut, and what it held comes back; until then
// others in its place wait and are refused with a hint when to try again.
func TestSlowRequests(t *testing.T) {
	h := start(t, func(c *Config) {
		c.Limits.MessageBytes, c.Limits.ReplyBytes = 1<<20, 1<<20
		c.Limits.BytesInFlight = 8 << 20
		c.Limits.BudgetWait = 50 * time.Millisecond
		c.Limits.ReceiveTimeout = 2 * time.Second
	})
	var slow []*slowConn
	for range 3 { // each holds twice a message
		slow = append(slow, h.slow("/engram.v1.MemoryService/Get", 1<<20, 100))
	}
	for h.inflight.used.Load() < 6<<20 {
		time.Sleep(time.Millisecond)
	}
	_, err := h.memory.Count(ctx(t), &engramv1.CountRequest{Namespace: "a"})
	wantCode(t, err, codes.ResourceExhausted)
	if detail[*errdetails.RetryInfo](err).GetRetryDelay().AsDuration() <= 0 {
		t.Errorf("no hint when to try again: %v", err)
	}
	if detail[*errdetails.QuotaFailure](err) == nil {
		t.Errorf("no QuotaFailure: %v", err)
	}
	for _, c := range slow {
		code, err := c.status()
		if err != nil || code != fmt.Sprint(int(codes.DeadlineExceeded)) {
			t.Fatalf("a slow request ended with status %q, %v", code, err)
		}
	}
	h.waitIdle()
	_, err = h.memory.Count(ctx(t), &engramv1.CountRequest{Namespace: "a"})
	wantCode(t, err, codes.NotFound)
}

// waitIdle waits until nothing is held of the budget.
func (h *harness) waitIdle() {
	h.t.Helper()
	for end := time.Now().Add(10 * time.Second); h.inflight.used.Load()+h.inflight.windows.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("%d bytes are still held of the budget", h.inflight.used.Load())
		}
	}
	if !h.inflight.sem.TryAcquire(h.inflight.room) {
		h.t.Fatal("the budget isn't whole")
	}
	h.inflight.sem.Release(h.inflight.room)
}

// Small calls share the budget, though the message limit fits it six times.
func TestManySmallCalls(t *testing.T) {
	h := start(t, func(c *Config) {
		c.Limits.BytesInFlight = 8 * int64(c.Limits.MessageBytes)
		c.Limits.BudgetWait = 10 * time.Second
	})
	h.store("a", rec("one", 1, 0, 0))
	var calls sync.WaitGroup
	for range 200 {
		calls.Go(func() {
			if _, err := h.memory.Get(ctx(t), &engramv1.GetRequest{Namespace: "a", Ids: []string{"one"}}); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	h.waitIdle()
}

func TestPanicIsRecovered(t *testing.T) {
	h := start(t, func(c *Config) { c.Embedder = panicking{c.Embedder} })
	_, err := h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: "a", Records: []*engramv1.Record{{Text: "x"}}})
	wantCode(t, err, codes.Internal)
	if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "goroutine") {
		t.Errorf("the error tells what is inside: %v", err)
	}
	if log := h.logged.String(); !strings.Contains(log, "secret") || !strings.Contains(log, "goroutine") {
		t.Errorf("the log lacks the panic or its stack: %s", log)
	}
	h.store("b", rec("one", 1, 0, 0)) // the server goes on
	if body := h.get("/metrics"); !strings.Contains(body, "engram_panics_total 1") {
		t.Error("the panic isn't counted")
	}
}

type panicking struct{ memory.Embedder }

func (panicking) Embed(context.Context, []string, bool) ([][]float32, error) { panic("secret") }

// get reads a page of the admin port.
func (h *harness) get(path string) string {
	h.t.Helper()
	resp, err := http.Get("http://" + h.adminAddr + path)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", string(b))
}

func TestAdminPort(t *testing.T) {
	h := start(t)
	h.store("a", rec("one", 1, 0, 0), rec("two", 0, 1, 0))
	for path, want := range map[string][]string{
		"/healthz":      {"200 ok"},
		"/readyz":       {"200 ready"},
		"/metrics":      {"engram_records 2", "engram_namespaces 1", `grpc_server_handled_total{grpc_code="OK",grpc_method="Store",grpc_service="engram.v1.MemoryService",grpc_type="unary"} 1`, "go_goroutines"},
		"/debug/pprof/": {"goroutine"},
		"/nowhere":      {"404"},
	} {
		got := h.get(path)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s lacks %q: %.300s", path, w, got)
			}
		}
	}
	conn := h.dial(h.adminAddr)
	reply := must[*healthv1.HealthCheckResponse](t)(healthv1.NewHealthClient(conn).Check(ctx(t), &healthv1.HealthCheckRequest{}))
	if reply.Status != healthv1.HealthCheckResponse_SERVING {
		t.Error("health over gRPC on the admin port:", reply.Status)
	}
	_, err := engramv1.NewMemoryServiceClient(conn).Count(ctx(t), &engramv1.CountRequest{Namespace: "a"})
	wantCode(t, err, codes.Unimplemented)
}

func TestReadiness(t *testing.T) {
	h := start(t)
	health := healthv1.NewHealthClient(h.conn)
	check := func(service string, want healthv1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		reply := must[*healthv1.HealthCheckResponse](t)(health.Check(ctx(t), &healthv1.HealthCheckRequest{Service: service}))
		if reply.Status != want {
			t.Errorf("health of %q is %v, want %v", service, reply.Status, want)
		}
	}
	const up, down = healthv1.HealthCheckResponse_SERVING, healthv1.HealthCheckResponse_NOT_SERVING
	check("", up)
	check("engram.v1.MemoryService", up)
	h.ready.Store(false) // as it is before SetReady
	h.setHealth(down)
	check(Liveness, up)
	check("", down)
	_, err := h.memory.Count(ctx(t), &engramv1.CountRequest{Namespace: "a"})
	wantCode(t, err, codes.Unavailable)
	if got := h.get("/readyz"); !strings.HasPrefix(got, "503") {
		t.Errorf("/readyz gives %q", got)
	}
	if got := h.get("/healthz"); !strings.HasPrefix(got, "200") {
		t.Errorf("/healthz gives %q", got)
	}
}

func TestReflection(t *testing.T) {
	h := start(t)
	stream := must[grpc.BidiStreamingClient[reflectionv1.ServerReflectionRequest, reflectionv1.ServerReflectionResponse]](t)(
		reflectionv1.NewServerReflectionClient(h.conn).ServerReflectionInfo(ctx(t)))
	if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	reply := must[*reflectionv1.ServerReflectionResponse](t)(stream.Recv())
	var names []string
	for _, s := range reply.GetListServicesResponse().GetService() {
		names = append(names, s.Name)
	}
	for _, want := range []string{"engram.v1.MemoryService", "engram.v1.NamespaceService", "grpc.health.v1.Health"} {
		if !slices.Contains(names, want) {
			t.Errorf("%q isn't among the services %q", want, names)
		}
	}
}

func TestCredentials(t *testing.T) {
	h := start(t, func(c *Config) { c.Tokens = []string{"first", "second"} })
	call := func(header string) error {
		c := ctx(t)
		if header != "" {
			c = metadata.AppendToOutgoingContext(c, "authorization", header)
		}
		_, err := h.namespaces.List(c, &engramv1.NamespaceServiceListRequest{})
		return err
	}
	wantCode(t, call("Bearer second"), codes.OK)
	wantCode(t, call("bearer first"), codes.OK)
	for _, bad := range []string{"", "Bearer", "Bearer third", "Basic first", "first"} {
		wantCode(t, call(bad), codes.Unauthenticated)
	}
	must[*healthv1.HealthCheckResponse](t)(healthv1.NewHealthClient(h.conn).Check(ctx(t), &healthv1.HealthCheckRequest{}))
	_, err := h.admin.Stats(ctx(t), &engramv1.StatsRequest{})
	wantCode(t, err, codes.Unauthenticated)
	if got := h.get("/metrics"); !strings.HasPrefix(got, "401") {
		t.Errorf("/metrics without credentials gives %.40q", got)
	}
	if got := h.get("/healthz"); !strings.HasPrefix(got, "200") {
		t.Errorf("/healthz gives %q", got)
	}
}

func TestCheckExposure(t *testing.T) {
	for _, c := range []struct {
		addr string
		e    Exposure
		ok   bool
	}{
		{"127.0.0.1:7440", Exposure{}, true},
		{"[::1]:7440", Exposure{}, true},
		{"[::ffff:127.0.0.1]:7440", Exposure{}, true},
		{"localhost:7440", Exposure{}, true},
		{":7440", Exposure{}, false},
		{"0.0.0.0:7440", Exposure{}, false},
		{"10.0.0.1:7440", Exposure{TLS: true}, false},
		{"10.0.0.1:7440", Exposure{Credentials: true}, false},
		{"10.0.0.1:7440", Exposure{TLS: true, Credentials: true}, true},
		{"example.org:7440", Exposure{}, false},
		{":7440", Exposure{Insecure: true}, true},
		{"7440", Exposure{Insecure: true}, false},
	} {
		if err := CheckExposure(c.addr, c.e); (err == nil) != c.ok {
			t.Errorf("CheckExposure(%q, %+v) = %v", c.addr, c.e, err)
		}
	}
}

// blocking is an embedder whose calls wait for a signal.
type blocking struct {
	memory.Embedder
	entered, release chan struct{}
}

func (b blocking) Embed(ctx context.Context, texts []string, query bool) ([][]float32, error) {
	b.entered <- struct{}{}
	select {
	case <-b.release:
		return b.Embedder.Embed(ctx, texts, query)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func newBlocking(c *Config) blocking {
	b := blocking{c.Embedder, make(chan struct{}), make(chan struct{})}
	c.Embedder = b
	return b
}

// A call in progress completes while the server stops, and new ones are refused.
func TestGracefulShutdown(t *testing.T) {
	var b blocking
	h := start(t, func(c *Config) { b = newBlocking(c) })
	stored := make(chan error, 1)
	go func() {
		_, err := h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: "a", Records: []*engramv1.Record{{Text: "hello"}}})
		stored <- err
	}()
	<-b.entered
	stopped := make(chan error, 1)
	go func() { stopped <- h.stop() }()
	for h.ready.Load() {
		time.Sleep(time.Millisecond)
	}
	short, cancel := context.WithTimeout(ctx(t), time.Second)
	defer cancel()
	if _, err := engramv1.NewMemoryServiceClient(h.dial(h.apiAddr)).Count(short, &engramv1.CountRequest{Namespace: "a"}); status.Code(err) != codes.Unavailable {
		t.Errorf("a call to a server that is stopping gives %v", err)
	}
	select {
	case err := <-stopped:
		t.Fatalf("Serve ended with %v while a call is in progress", err)
	default:
	}
	close(b.release)
	if err := <-stored; err != nil {
		t.Errorf("the call in progress failed: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if h.db.RecordCount() != 1 {
		t.Error("the record of the call in progress isn't there")
	}
}

// A call that outlasts the grace is cut, and the server stops.
func TestShutdownCutsCallsAfterGrace(t *testing.T) {
	var b blocking
	h := start(t, func(c *Config) { b = newBlocking(c); c.Limits.Grace = 50 * time.Millisecond })
	stored := make(chan error, 1)
	go func() {
		_, err := h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: "a", Records: []*engramv1.Record{{Text: "hello"}}})
		stored <- err
	}()
	<-b.entered
	if err := h.stop(); err != nil {
		t.Error("Serve:", err)
	}
	wantCode(t, <-stored, codes.Unavailable)
}

// A client's deadline and its going away end the work.
func TestDeadlineAndCancellation(t *testing.T) {
	var b blocking
	h := start(t, func(c *Config) { b = newBlocking(c) })
	request := &engramv1.StoreRequest{Namespace: "a", Records: []*engramv1.Record{{Text: "hello"}}}
	short, cancel := context.WithTimeout(ctx(t), 100*time.Millisecond)
	defer cancel()
	go func() { <-b.entered }()
	_, err := h.memory.Store(short, request)
	wantCode(t, err, codes.DeadlineExceeded)

	away, cancel := context.WithCancel(ctx(t))
	go func() { <-b.entered; cancel() }()
	_, err = h.memory.Store(away, request)
	wantCode(t, err, codes.Canceled)
	h.waitIdle() // both handlers have ended
	if h.db.RecordCount() != 0 {
		t.Error("a call that was cancelled has stored")
	}
}
