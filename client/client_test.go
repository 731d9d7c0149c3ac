package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"engram/client"
	"engram/embed"
	"engram/internal/slab"
	"engram/memory"
	pb "engram/proto/engram/v1"
	"engram/server"
	"engram/storage"
)

func TestMain(m *testing.M) {
	stop, err := start()
	if err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	if err := stop(); err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

// start runs a server for all the tests, and sets address.
func start() (stop func() error, err error) {
	lexical, err := embed.NewLexical(embed.DefaultDimension)
	if err != nil {
		return nil, err
	}
	var listeners [2]net.Listener
	for i := range listeners {
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	quiet := slog.New(slog.DiscardHandler)
	pool := slab.NewPool(1 << 30)
	db := memory.New(memory.Options{Pool: pool, Clock: memory.SystemClock(), Embedder: lexical, Limits: memory.DefaultLimits(), Log: quiet})
	data, err := os.MkdirTemp("", "engram-client-test")
	if err != nil {
		return nil, err
	}
	dir, err := storage.Open(data, storage.Options{Log: quiet})
	if err != nil {
		return nil, err
	}
	if _, err := dir.Recover(context.Background(), db); err != nil {
		return nil, err
	}
	s, err := server.New(server.Config{DB: db, Pool: pool, Embedder: lexical, Version: "test", Log: quiet})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, listeners[0], listeners[1]) }()
	s.SetReady()
	address = listeners[0].Addr().String()
	return func() error {
		cancel()
		return errors.Join(<-served, db.Close(), dir.Close(), os.RemoveAll(data))
	}, nil
}

func dial(t *testing.T, address string, options ...client.DialOption) (*client.Client, context.Context) {
	t.Helper()
	c, err := client.Dial(address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return c, ctx
}

// numbers gives n records; change may change one or give an error instead.
func numbers(n int, change func(i int, r *client.Record) error) func(func(client.Record, error) bool) {
	return func(yield func(client.Record, error) bool) {
		for i := range n {
			r := client.Record{ID: fmt.Sprint(i), Key: []float32{1, float32(i)}}
			err := change(i, &r)
			if !yield(r, err) {
				return
			}
		}
	}
}

func TestRecordComesBack(t *testing.T) {
	c, ctx := dial(t, address)
	want := client.Record{
		ID: "a", Key: []float32{1, -2.5}, Value: []float32{3, 4}, Text: "t", Session: "s", Speaker: "p", Importance: 0.25,
		Metadata: map[string]any{"n": 1.5, "b": true, "z": nil, "l": []any{"x", 2.0}, "o": map[string]any{"k": "v"}},
		Time:     time.Date(1969, 7, 20, 20, 17, 40, 123456789, time.UTC),
	}
	results, err := c.Insert(ctx, t.Name(), want)
	if err != nil {
		t.Fatal(err)
	}
	found, missing, err := c.Get(ctx, t.Name(), []string{"b", "a"}, client.WithVectors())
	if err != nil || len(found) != 1 || !slices.Equal(missing, []string{"b"}) {
		t.Fatalf("%v, missing %v, %v", found, missing, err)
	}
	got := found[0]
	if got.Version != results[0].Version || got.CreateTime.IsZero() || !got.UpdateTime.Equal(got.CreateTime) || !results[0].Created {
		t.Errorf("what the server sets: %+v; result %+v", got, results[0])
	}
	got.Version, got.CreateTime, got.UpdateTime = 0, time.Time{}, time.Time{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if _, err := c.Insert(ctx, t.Name(), want); status.Code(err) != codes.AlreadyExists {
		t.Errorf("a second Insert: %v", err)
	}
	if _, err := c.Replace(ctx, t.Name(), client.Record{ID: "b", Key: []float32{1, 1}}); status.Code(err) != codes.NotFound {
		t.Errorf("Replace of what isn't there: %v", err)
	}
	if _, err := c.Store(ctx, t.Name(), client.Record{Metadata: map[string]any{"c": make(chan int)}}); err == nil || !strings.Contains(err.Error(), "records[0]") {
		t.Errorf("metadata that isn't JSON: %v", err)
	}
}

func TestLoad(t *testing.T) {
	c, ctx := dial(t, address)
	t.Run("batches are closed by bytes too", func(t *testing.T) {
		var acked []int
		n, err := c.Load(ctx, t.Name(), numbers(200, func(_ int, r *client.Record) error {
			r.Text = strings.Repeat("x", 60<<10)
			return nil
		}), func(n int) { acked = append(acked, n) })
		if err != nil || n != 200 || len(acked) != 3 || !slices.IsSorted(acked) {
			t.Errorf("%d loaded, in %v, %v", n, acked, err)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		if n, err := c.Load(ctx, t.Name(), numbers(0, nil), nil); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
	t.Run("a refused batch", func(t *testing.T) {
		n, err := c.Load(ctx, t.Name(), numbers(5000, func(i int, r *client.Record) error {
			if i == 2345 {
				r.Importance = 7
			}
			return nil
		}), nil)
		if n != 2000 || status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "records[345].importance") {
			t.Errorf("%d loaded, %v", n, err)
		}
		if count, err := c.Count(ctx, t.Name()); count != 2000 {
			t.Errorf("%d stay, %v", count, err)
		}
	})
	t.Run("an error of the source", func(t *testing.T) {
		broken := errors.New("the source is broken")
		n, err := c.Load(ctx, t.Name(), numbers(5000, func(i int, _ *client.Record) error {
			if i == 1500 {
				return broken
			}
			return nil
		}), nil)
		if n != 1500 || !errors.Is(err, broken) {
			t.Errorf("%d loaded, %v; want the 1500 before the error", n, err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		n, err := c.Load(ctx, t.Name(), numbers(1<<30, func(i int, _ *client.Record) error {
			if i == 3000 {
				cancel()
			}
			return nil
		}), nil)
		if n > 3000 || status.Code(err) != codes.Canceled {
			t.Errorf("%d loaded, %v", n, err)
		}
	})
}

func TestFilters(t *testing.T) {
	c, ctx := dial(t, address)
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	record := func(id, speaker, session, text string, n int, metadata map[string]any) client.Record {
		return client.Record{ID: id, Speaker: speaker, Session: session, Text: text, Time: day(n), Importance: float32(n) / 10, Metadata: metadata, Key: []float32{1}}
	}
	_, err := c.Store(ctx, t.Name(),
		record("a", "ann", "s1", "alpha", 1, map[string]any{"n": 1, "tags": []any{"x", "y"}, "deep": map[string]any{"k.l": true}}),
		record("b", "bob", "s1", "beta", 2, map[string]any{"n": 2, "tags": []any{"y"}, "s": "2"}),
		record("c", "", "s2", "", 3, map[string]any{"n": 3, "s": "3", "z": nil}),
	)
	if err != nil {
		t.Fatal(err)
	}
	n, tags := client.Metadata("n"), client.Metadata("tags")
	for name, tt := range map[string]struct {
		filter client.Filter
		want   string
	}{
		"equals":             {client.Speaker.Equals("ann"), "a"},
		"equals, a number":   {n.Equals(2), "b"},
		"equals, by type":    {client.Metadata("s").Equals(2), ""},
		"equals, an element": {tags.Equals("y"), "ab"},
		"a key with a dot":   {client.Metadata("deep", "k.l").Equals(true), "a"},
		"in":                 {client.ID.In("a", "c", "q"), "ac"},
		"contains, text":     {client.TextField.Contains("et"), "b"},
		"contains, element":  {tags.Contains("x"), "a"},
		"prefix":             {client.TextField.Prefix("al"), "a"},
		"exists":             {client.Speaker.Exists(), "ab"},
		"exists, null":       {client.Metadata("z").Exists(), "c"},
		"at least":           {n.AtLeast(2), "bc"},
		"above":              {n.Above(2), "c"},
		"at most":            {n.AtMost(2), "ab"},
		"below":              {n.Below(2), "a"},
		"between":            {client.Time.Between(day(2), day(3)), "b"},
		"since":              {client.CreateTime.AtLeast(day(1)), "abc"},
		"until":              {client.UpdateTime.Below(day(1)), ""},
		"importance":         {client.Importance.Above(0.25), "c"},
		"all":                {client.All(client.Session.Equals("s1"), n.Above(1)), "b"},
		"any":                {client.Any(client.Session.Equals("s2"), n.Below(2)), "ac"},
		"not":                {client.Not(client.Speaker.Equals("ann")), "bc"},
		"not what is absent": {client.Not(client.TextField.Exists()), "c"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			for r, err := range c.List(ctx, "TestFilters", client.Where(tt.filter)) {
				if err != nil {
					t.Fatal(err)
				}
				got += r.ID
			}
			count, err := c.Count(ctx, "TestFilters", client.Where(tt.filter))
			if got != tt.want || count != len(tt.want) || err != nil {
				t.Errorf("List gives %q, Count %d, %v; want %q", got, count, err, tt.want)
			}
		})
	}
	for name, bad := range map[string]client.Filter{
		"equals": n.Equals(struct{}{}), "in": n.In(1, struct{}{}), "between": n.Between(1, struct{}{}),
		"all": client.All(n.Equals(1), n.Equals(struct{}{})), "any": client.Any(n.Equals(struct{}{})), "not": client.Not(n.Below(struct{}{})),
	} {
		_, e1 := c.Count(ctx, t.Name(), client.Where(bad))
		_, e2 := c.DeleteWhere(ctx, t.Name(), bad)
		if e1 == nil || e2 == nil || !strings.Contains(e1.Error(), "filter") {
			t.Errorf("%s of what is no scalar: %v, %v", name, e1, e2)
		}
	}
}

func TestPagesAreFollowed(t *testing.T) {
	c, ctx := dial(t, address)
	const many = 2345
	if _, err := c.Load(ctx, t.Name(), numbers(many, func(int, *client.Record) error { return nil }), nil); err != nil {
		t.Fatal(err)
	}
	i := 0
	for r, err := range c.List(ctx, t.Name()) {
		if err != nil || r.ID != fmt.Sprint(i) {
			t.Fatalf("record %d is %q, %v", i, r.ID, err)
		}
		i++
	}
	if i != many {
		t.Errorf("%d records; want %d", i, many)
	}
	for i := range 1100 {
		if _, err := c.CreateNamespace(ctx, client.Namespace{Name: fmt.Sprintf("%s/%04d", t.Name(), i), Dimension: 1}); err != nil {
			t.Fatal(err)
		}
	}
	i = 0
	for n, err := range c.Namespaces(ctx, t.Name()+"/") {
		if err != nil || n.Name != fmt.Sprintf("%s/%04d", t.Name(), i) {
			t.Fatalf("namespace %d is %q, %v", i, n.Name, err)
		}
		i++
	}
	if i != 1100 {
		t.Errorf("%d namespaces; want 1100", i)
	}
	for _, err := range c.List(ctx, "nowhere") {
		if status.Code(err) != codes.NotFound {
			t.Errorf("List of no namespace: %v", err)
		}
	}
}

func TestNamespace(t *testing.T) {
	c, ctx := dial(t, address)
	made, err := c.CreateNamespace(ctx, client.Namespace{Name: t.Name(), Metric: client.L2, Dimension: 3, ValueDimension: 2, MaxBytes: 1 << 24})
	if err != nil || made.Metric != client.L2 || made.Dimension != 3 || made.ValueDimension != 2 || made.MaxBytes != 1<<24 || made.Embedder != "" {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := c.LimitNamespace(ctx, t.Name(), 1<<25); err != nil {
		t.Error(err)
	}
	got, err := c.Namespace(ctx, t.Name())
	if err != nil || got.MaxBytes != 1<<25 || got.Records != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if n, err := c.DeleteNamespace(ctx, t.Name()); n != 0 || err != nil {
		t.Errorf("%d deleted, %v", n, err)
	}
	if _, err := c.Namespace(ctx, t.Name()); status.Code(err) != codes.NotFound {
		t.Errorf("a namespace that was deleted: %v", err)
	}
}

func TestRehearse(t *testing.T) {
	c, ctx := dial(t, address)
	interval := time.Duration(0)
	keep := client.Retention{HalfLife: time.Hour, Growth: 3, MinInterval: &interval, MaxHalfLife: 5 * time.Hour}
	made, err := c.CreateNamespace(ctx, client.Namespace{Name: t.Name(), Dimension: 2, Retention: &keep})
	if err != nil || !reflect.DeepEqual(made.Retention, &keep) {
		t.Fatalf("%+v, %v", made.Retention, err)
	}
	if _, err := c.Store(ctx, t.Name(), client.Record{ID: "a", Key: []float32{1, 0}}, client.Record{ID: "b", Key: []float32{0, 1}}); err != nil {
		t.Fatal(err)
	}
	by := client.Ranking{Similarity: 1, Retention: 0.5, Importance: 0.25}
	hits, err := c.Retrieve(ctx, t.Name(), client.Vector([]float32{1, 0}), client.TopK(1), client.RankBy(by), client.Rehearse())
	if err != nil || hits[0].Record.ID != "a" || hits[0].Parts.Importance != 0.5 || !(hits[0].Parts.Retention > 0.9) || hits[0].Record.Rehearsals != 0 || !hits[0].Record.RehearseTime.IsZero() {
		t.Fatalf("%+v, %v", hits, err)
	}
	for m, err := range c.Watch(ctx, t.Name(), client.After(0)) {
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Rehearsals) > 0 {
			if r := m.Rehearsals[0]; r.ID != "a" || r.Count != 1 || time.Since(r.Time) > time.Minute {
				t.Errorf("%+v", r)
			}
			break
		}
	}
	got, _, err := c.Get(ctx, t.Name(), []string{"a", "b"})
	if err != nil || got[0].Rehearsals != 1 || got[0].RehearseTime.Before(got[0].CreateTime) || got[1].Rehearsals != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if n, err := c.SetRetention(ctx, t.Name(), client.Retention{}); err != nil || n.Retention.HalfLife != 7*24*time.Hour || *n.Retention.MinInterval != 24*time.Hour {
		t.Errorf("%+v, %v", n.Retention, err)
	}
	if _, err := c.Attend(ctx, t.Name(), client.Vector([]float32{1, 0}), client.ByRetention(1)); err != nil {
		t.Error(err)
	}
}

// A flaky server applies the first Store that it gets and answers that it is
// unavailable, as one does whose answer is lost on the way.
type flaky struct {
	pb.UnimplementedMemoryServiceServer
	behind pb.MemoryServiceClient

	mu  sync.Mutex
	got []*pb.StoreRequest
}

func (f *flaky) Store(ctx context.Context, r *pb.StoreRequest) (*pb.StoreResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, r)
	reply, err := f.behind.Store(ctx, r)
	if len(f.got) == 1 && err == nil {
		return nil, status.Error(codes.Unavailable, "the answer is lost")
	}
	return reply, err
}

func TestALostAnswerIsAskedForAgain(t *testing.T) {
	direct, ctx := dial(t, address)
	for name, text := range map[string]string{"small": "t", "large": strings.Repeat("x", 60<<10)} {
		t.Run(name, func(t *testing.T) {
			f := &flaky{behind: pb.NewMemoryServiceClient(direct.Conn())}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			g := grpc.NewServer(grpc.MaxRecvMsgSize(16 << 20))
			pb.RegisterMemoryServiceServer(g, f)
			go func() { _ = g.Serve(l) }()
			defer g.Stop()

			c, ctx := dial(t, l.Addr().String())
			batch := make([]client.Record, 20) // 1.2 MB of the large
			for i := range batch {
				batch[i] = client.Record{Text: text, Key: []float32{1}} // the server gives the ids: twice applied would be 40
			}
			results, err := c.Store(ctx, t.Name(), batch...)
			if err != nil || len(results) != len(batch) {
				t.Fatalf("%d results, %v", len(results), err)
			}
			if len(f.got) != 2 || f.got[0].GetRequestId() == "" || !proto.Equal(f.got[0], f.got[1]) {
				t.Errorf("%d requests; want the same one twice, with an id", len(f.got))
			}
			if n, err := direct.Count(ctx, t.Name()); n != len(batch) || err != nil {
				t.Errorf("%d records, %v; want %d", n, err, len(batch))
			}
		})
	}
	if err := ctx.Err(); err != nil {
		t.Fatal(err)
	}
}

func TestUnavailableEndsInAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	c, ctx := dial(t, l.Addr().String())
	if _, err := c.Count(ctx, "n"); status.Code(err) != codes.Unavailable {
		t.Errorf("no server: %v", err)
	}
	if n, err := c.Load(ctx, "n", numbers(5, func(int, *client.Record) error { return nil }), nil); n != 0 || status.Code(err) != codes.Unavailable || errors.Is(err, io.EOF) {
		t.Errorf("no server: %d loaded, %v", n, err)
	}
}

// Watch gives what happened and then what happens, and goes on where one left off.
func TestWatch(t *testing.T) {
	c, ctx := dial(t, address)
	name := t.Name()
	if _, err := c.Store(ctx, name, client.Record{ID: "a", Text: "first", Key: []float32{1}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.SetDurability(ctx, name, client.None); err != nil {
		t.Fatal(err)
	}
	var seen []client.Mutation
	follow := func(after uint64, n int) {
		t.Helper()
		for m, err := range c.Watch(ctx, name, client.After(after), client.WithVectors()) {
			if err != nil {
				t.Fatal(err)
			}
			if seen = append(seen, m); len(seen) == n {
				return
			}
		}
	}
	follow(0, 2)
	if n := seen[0].NamespaceCreated; n == nil || n.Dimension != 1 || seen[0].Changes[0].Record.Text != "first" || seen[0].Changes[0].Record.Key[0] != 1 {
		t.Errorf("the store came as %+v", seen[0])
	}
	if d := seen[1].Durability; d == nil || *d != client.None {
		t.Errorf("the change came as %+v", seen[1])
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.Delete(ctx, name, "a")
		done <- err
	}()
	follow(seen[1].LSN, 3)
	if err := <-done; err != nil || len(seen[2].Deleted) != 1 || seen[2].Deleted[0] != "a" {
		t.Errorf("the deletion came as %+v (%v)", seen[2], err)
	}
	for _, err := range c.Watch(ctx, "never", client.WithoutContent()) {
		if status.Code(err) != codes.NotFound {
			t.Error(err)
		}
	}
}
