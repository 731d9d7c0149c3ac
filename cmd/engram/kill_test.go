//go:build heavy

package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	pb "engram/proto/engram/v1"
)

var rounds = flag.Int("rounds", 20, "how often TestKill kills a server")

const (
	killClients = 16
	killBatch   = 3 // records of one write
)

// killer is one client with records of its own, which nobody else writes: it knows what
// must be there. Its namespace has one durability, and is shared with others or, if it
// drops it at times, its own.
type killer struct {
	id        int
	namespace string
	drops     bool
	large     bool // writes are large, so that the journal fills segments
	conn      *grpc.ClientConn
	memory    pb.MemoryServiceClient
	n         int

	have *killState // what was acknowledged
	next *killState // what a write that wasn't answered would have left; nil: there is none
	// retry repeats that write with its request id.
	retry func(context.Context) (*killState, error)
}

// killState is the state of a killer's records: all of them are written together.
type killState struct {
	text    string // empty: they don't exist
	version uint64
}

func (s *killState) String() string {
	if s == nil {
		return "nothing"
	}
	return fmt.Sprintf("%.40q at version %d", s.text, s.version)
}

func (s *killState) there() bool { return s.text != "" }

func (k *killer) ids() (ids []string) {
	for i := range killBatch {
		ids = append(ids, fmt.Sprintf("client%d-%d", k.id, i))
	}
	return ids
}

// step writes once. It returns an error that isn't about the server's death.
func (k *killer) step(ctx context.Context) (alive bool, err error) {
	k.n++
	if k.n%5 == 0 {
		return k.refused(ctx)
	}
	request := fmt.Sprintf("client%d-%d", k.id, k.n)
	text := fmt.Sprintf("%s %x", request, rand.Uint64())
	if k.large {
		text += strings.Repeat(" more", 60<<10/5)
	}
	k.next = &killState{text: text}
	switch n := rand.IntN(16); {
	case k.have.there() && n == 0:
		k.next = &killState{}
		k.retry = k.delete(&pb.DeleteRequest{Namespace: k.namespace, Ids: append(k.ids(), "nobody"), RequestId: request})
	case k.have.there() && n == 1:
		k.next = &killState{}
		mine := &pb.Filter{Node: &pb.Filter_Condition{Condition: &pb.Condition{
			Operand: &pb.Condition_Field{Field: pb.Field_FIELD_SPEAKER}, Test: &pb.Condition_Equals{Equals: structpb.NewStringValue(k.speaker())},
		}}}
		k.retry = k.delete(&pb.DeleteRequest{Namespace: k.namespace, Filter: mine, RequestId: request})
	case k.have.there() && k.drops && n == 2:
		k.next = &killState{}
		k.retry = k.drop
	case k.have.there() && n < 6:
		k.retry = k.update(request, text)
	case k.have.there() && n < 9:
		k.retry = k.store(pb.StoreMode_STORE_MODE_UPDATE, request, text, nil)
	case !k.have.there() && n < 8:
		k.retry = k.store(pb.StoreMode_STORE_MODE_INSERT, request, text, nil)
	default:
		// On condition of the version that is known: applied twice it would be refused.
		was := k.have.version
		k.retry = k.store(pb.StoreMode_STORE_MODE_UPSERT, request, text, &was)
	}
	now, err := k.retry(ctx)
	if err == nil {
		k.have, k.next, k.retry = now, nil, nil
		return true, nil
	}
	if !unanswered(status.Code(err)) {
		return true, fmt.Errorf("write %d of client %d: %w", k.n, k.id, err)
	}
	return false, nil
}

// refused tries a write that can't succeed: it is refused, or never decided, and nothing
// of it may be there.
func (k *killer) refused(ctx context.Context) (alive bool, err error) {
	wrong := k.have.version + 1
	try := k.store(pb.StoreMode_STORE_MODE_UPSERT, "", "refused", &wrong)
	want := codes.FailedPrecondition
	switch {
	case rand.IntN(2) == 0:
	case k.have.there():
		try, want = k.store(pb.StoreMode_STORE_MODE_INSERT, "", "refused", nil), codes.AlreadyExists
	default:
		try, want = k.update("", "refused"), codes.NotFound
	}
	_, err = try(ctx)
	switch code := status.Code(err); {
	case code == want:
		return true, nil
	case unanswered(code):
		return false, nil
	}
	return true, fmt.Errorf("client %d expected %v, not: %w", k.id, want, err)
}

func unanswered(code codes.Code) bool { return code == codes.Unavailable || code == codes.Canceled }

func (k *killer) speaker() string { return fmt.Sprint("client", k.id) }

func (k *killer) records(text string, ifVersion *uint64) (list []*pb.Record) {
	speaker := k.speaker()
	for _, id := range k.ids() {
		list = append(list, &pb.Record{
			Id: id, Text: text, Speaker: &speaker, Key: &pb.Vector{Values: []float32{1, float32(k.n)}}, IfVersion: ifVersion,
		})
	}
	return list
}

// A write, as a function, can be repeated: it gives the state that it leaves.
func (k *killer) store(mode pb.StoreMode, request, text string, ifVersion *uint64) func(context.Context) (*killState, error) {
	req := &pb.StoreRequest{Namespace: k.namespace, Mode: mode, RequestId: request, Records: k.records(text, ifVersion)}
	return func(ctx context.Context) (*killState, error) {
		r, err := k.memory.Store(ctx, req)
		return &killState{text, r.GetLsn()}, err
	}
}

func (k *killer) update(request, text string) func(context.Context) (*killState, error) {
	req := &pb.UpdateRequest{
		Namespace: k.namespace, RequestId: request, Records: k.records(text, nil),
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"text"}},
	}
	return func(ctx context.Context) (*killState, error) {
		r, err := k.memory.Update(ctx, req)
		return &killState{text, r.GetLsn()}, err
	}
}

func (k *killer) delete(req *pb.DeleteRequest) func(context.Context) (*killState, error) {
	return func(ctx context.Context) (*killState, error) {
		r, err := k.memory.Delete(ctx, req)
		if err == nil && r.Deleted != killBatch {
			return nil, fmt.Errorf("deleted %d records of %d", r.Deleted, killBatch)
		}
		return &killState{}, err
	}
}

// drop deletes the namespace. It takes no request id: done twice it is as done once.
func (k *killer) drop(ctx context.Context) (*killState, error) {
	_, err := pb.NewNamespaceServiceClient(k.conn).Delete(ctx, &pb.NamespaceServiceDeleteRequest{Name: k.namespace})
	if status.Code(err) == codes.NotFound {
		err = nil
	}
	return &killState{}, err
}

// check compares what is there with what must be, and settles a write that wasn't
// answered: it is there as a whole or not at all, and its retry is applied once.
func (k *killer) check(ctx context.Context) error {
	is, err := k.read(ctx)
	if err != nil {
		return err
	}
	switch {
	case is.text == k.have.text && (!is.there() || is.version == k.have.version):
	case k.next != nil && is.text == k.next.text:
	default:
		return fmt.Errorf("client %d has %v; acknowledged was %v, and not answered %v", k.id, is, k.have, k.next)
	}
	if k.next == nil {
		return nil
	}
	applied := is.text == k.next.text && is.text != k.have.text
	then, err := k.retry(ctx)
	if err != nil {
		return fmt.Errorf("the retry of client %d's write %d: %w", k.id, k.n, err)
	}
	now, err := k.read(ctx)
	if err != nil {
		return err
	}
	if now.text != then.text || now.version != then.version || applied && *now != *is {
		return fmt.Errorf("the retry of client %d left %v, was answered with %v, and before it was %v", k.id, now, then, is)
	}
	k.have, k.next, k.retry = now, nil, nil
	return nil
}

// read reads the client's records, which are all alike.
func (k *killer) read(ctx context.Context) (*killState, error) {
	r, err := k.memory.Get(ctx, &pb.GetRequest{Namespace: k.namespace, Ids: k.ids()})
	if status.Code(err) == codes.NotFound {
		return &killState{}, nil
	}
	if err != nil {
		return nil, err
	}
	if len(r.Missing) == killBatch {
		return &killState{}, nil
	}
	if len(r.Records) != killBatch {
		return nil, fmt.Errorf("client %d has %d of %d records", k.id, len(r.Records), killBatch)
	}
	first := killState{r.Records[0].Text, r.Records[0].Version}
	for _, rec := range r.Records {
		if (killState{rec.Text, rec.Version}) != first {
			return nil, fmt.Errorf("client %d has a batch in halves: %v and %.40q at version %d", k.id, &first, rec.Text, rec.Version)
		}
	}
	return &first, nil
}

var killNamespaces = []string{"sync", "interval", "none"}

var recoveredLog = regexp.MustCompile(`lsn=[0-9]+ namespaces`)

// The process is killed again and again under clients that write, in the middle of
// snapshots, and while it starts. What was acknowledged is there after every kill,
// whatever its durability, for the system has it; what was refused isn't; what wasn't
// answered is there as a whole or not at all, and its retry is applied once.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	killers := make([]*killer, killClients)
	for i := range killers {
		killers[i] = &killer{id: i, namespace: killNamespaces[i%len(killNamespaces)], have: &killState{}}
		if i >= killClients-3 {
			killers[i].namespace, killers[i].drops = fmt.Sprint("own", i), true
		}
	}
	acknowledged, unsettled, starts, rotations := 0, 0, 0, 0
	for round := range *rounds {
		if rand.IntN(4) == 0 { // killed before it is ready, or just then
			p := begin(t, "--data="+dir, "--snapshot-interval=50ms")
			time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
			p.kill()
			starts++
		}
		p := serve(t, "--data="+dir, "--snapshot-interval=50ms", "--sync-interval=20ms")
		first := p.recovered()
		conn, err := grpc.NewClient(p.api, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if round == 0 {
			makeNamespaces(ctx, t, conn)
		}
		// No one writes more before all have retried: a namespace remembers a bounded
		// number of results.
		var wg, checked sync.WaitGroup
		checked.Add(len(killers))
		errs := make([]error, len(killers))
		counts := make([]int, len(killers))
		stop := make(chan struct{})
		large := round%3 == 2
		for i, k := range killers {
			k.conn, k.memory, k.large = conn, pb.NewMemoryServiceClient(conn), large
			wg.Go(func() {
				errs[i] = k.check(ctx)
				checked.Done()
				if checked.Wait(); errs[i] != nil {
					return
				}
				for {
					alive, err := k.step(ctx)
					if errs[i] = err; err != nil || !alive {
						return
					}
					counts[i]++
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		lives := 50 + rand.IntN(300)
		if large {
			lives = 500 + rand.IntN(1000)
		}
		time.Sleep(time.Duration(lives) * time.Millisecond)
		p.kill()
		if strings.Contains(p.log.String(), "level=ERROR") {
			t.Fatalf("round %d:\n%s", round, p.log)
		}
		close(stop)
		wg.Wait()
		cancel()
		_ = conn.Close()
		if rotated(t, dir, first) {
			rotations++
		}
		for i, k := range killers {
			if errs[i] != nil && !unanswered(status.Code(errs[i])) {
				t.Fatalf("round %d: %v\n%s", round, errs[i], p.log)
			}
			acknowledged += counts[i]
			if k.next != nil {
				unsettled++
			}
		}
	}
	last := serve(t, "--data="+dir)
	conn, err := grpc.NewClient(last.api, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, k := range killers {
		k.conn, k.memory = conn, pb.NewMemoryServiceClient(conn)
		if err := k.check(t.Context()); err != nil {
			t.Error(err)
		}
	}
	last.stop()
	offline := &process{t: t, api: "127.0.0.1:1", admin: "127.0.0.1:1"}
	offline.ok("", "check", dir)
	t.Logf("%d kills, %d of them of a start; %d writes acknowledged, %d cut short; %d rounds filled a segment",
		*rounds+starts, starts, acknowledged, unsettled, rotations)
	if acknowledged < *rounds*killClients {
		t.Errorf("too few writes, %d, to tell anything", acknowledged)
	}
}

// recovered is the LSN that a server which answers says it recovered, up to which its first
// segment of the journal is named.
func (p *process) recovered() (lsn uint64) {
	p.t.Helper()
	for range 1000 { // what it has said before it answers may still be on its way
		if _, err := fmt.Sscanf(recoveredLog.FindString(p.log.String()), "lsn=%d", &lsn); err == nil {
			return lsn
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("nothing was recovered:\n%s", p.log)
	return 0
}

// rotated is true if the last process began segments beside its first.
func rotated(t *testing.T, dir string, first uint64) bool {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "journal-*.engram"))
	if err != nil || len(names) == 0 {
		t.Fatalf("the journal is %v (%v)", names, err)
	}
	var base uint64
	if _, err := fmt.Sscanf(filepath.Base(slices.Max(names)), "journal-%016x.engram", &base); err != nil {
		t.Fatal(err)
	}
	const number = 1<<48 - 1
	return base&number > first&number
}

func makeNamespaces(ctx context.Context, t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	namespaces := pb.NewNamespaceServiceClient(conn)
	for name, d := range map[string]pb.Durability{
		"sync": pb.Durability_DURABILITY_SYNC, "interval": pb.Durability_DURABILITY_INTERVAL, "none": pb.Durability_DURABILITY_NONE,
	} {
		if _, err := namespaces.Create(ctx, &pb.NamespaceServiceCreateRequest{Namespace: &pb.Namespace{Name: name, Dimension: 2, Durability: d}}); err != nil {
			t.Fatal(err)
		}
	}
}

// kill ends the process by SIGKILL.
func (p *process) kill() {
	p.t.Helper()
	_ = p.cmd.Process.Kill()
	<-p.done
}
