package server

import (
	"log/slog"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
	"engram/storage"
)

// hand is a clock that is moved by hand.
type hand struct{ ns atomic.Int64 }

func (h *hand) Now() time.Time        { return time.Unix(0, h.ns.Load()).UTC() }
func (h *hand) move(by time.Duration) { h.ns.Add(int64(by)) }

const day = 24 * time.Hour

// clocked runs a server with a journal, whose memory has a clock of its own and commits
// rehearsals when it is told.
func clocked(t *testing.T) (*harness, *memory.DB, *hand) {
	t.Helper()
	clock := new(hand)
	clock.ns.Store(1e18)
	dir, err := storage.Open(t.TempDir(), storage.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var db *memory.DB
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	h := start(t, func(c *Config) {
		db = memory.New(memory.Options{Pool: c.Pool, Clock: clock, Embedder: c.Embedder, RehearseAfter: time.Hour})
		if _, err := dir.Recover(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		c.DB, c.Snapshots = db, dir.Snapshots(db)
	})
	return h, db, clock
}

func (h *harness) record(namespace, id string) *engramv1.Record {
	h.t.Helper()
	return must[*engramv1.GetResponse](h.t)(h.memory.Get(ctx(h.t), &engramv1.GetRequest{Namespace: namespace, Ids: []string{id}})).Records[0]
}

func (h *harness) setRetention(name string, r *engramv1.Retention) (*engramv1.Namespace, error) {
	reply, err := h.namespaces.Update(ctx(h.t), &engramv1.NamespaceServiceUpdateRequest{
		Namespace: &engramv1.Namespace{Name: name, Retention: r}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"retention"}},
	})
	return reply.GetNamespace(), err
}

// wantField wants one field to be refused.
func wantField(t *testing.T, err error, field string) {
	t.Helper()
	if got := fields(err); len(got) != 1 || got[0] != field {
		t.Errorf("the fields are %q, want %s: %v", got, field, err)
	}
}

func TestNamespaceRetention(t *testing.T) {
	h := start(t)
	week := &engramv1.Retention{HalfLife: durationpb.New(7 * day), Growth: ptr(2.0), MinInterval: durationpb.New(day), MaxHalfLife: durationpb.New(364 * day)}
	hour := &engramv1.Retention{HalfLife: durationpb.New(time.Hour), Growth: ptr(1.0), MinInterval: durationpb.New(0), MaxHalfLife: durationpb.New(52 * time.Hour)}
	h.store("stored", &engramv1.Record{Id: "a", Key: vec(1, 2)})
	if got := must[*engramv1.NamespaceServiceGetResponse](t)(h.namespaces.Get(ctx(t), &engramv1.NamespaceServiceGetRequest{Name: "stored"})).Namespace; !proto.Equal(got.Retention, week) {
		t.Errorf("made by a Store it has %v", got.Retention)
	}
	made := must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
		Namespace: &engramv1.Namespace{Name: "own", Dimension: 2, Retention: &engramv1.Retention{HalfLife: hour.HalfLife, Growth: hour.Growth, MinInterval: hour.MinInterval}},
	})).Namespace
	if !proto.Equal(made.Retention, hour) {
		t.Errorf("made with %v", made.Retention)
	}
	if got := must[*engramv1.Namespace](t)(h.setRetention("own", nil)); !proto.Equal(got.Retention, week) {
		t.Errorf("taken back it is %v", got.Retention)
	}
	if got := must[*engramv1.Namespace](t)(h.setRetention("own", hour)); !proto.Equal(got.Retention, hour) {
		t.Errorf("changed it is %v", got.Retention)
	}
	for field, bad := range map[string]*engramv1.Retention{
		"half_life":     {HalfLife: durationpb.New(time.Millisecond)},
		"growth":        {Growth: ptr(0.5)},
		"min_interval":  {MinInterval: durationpb.New(-1)},
		"max_half_life": {HalfLife: durationpb.New(time.Hour), MaxHalfLife: durationpb.New(time.Minute)},
	} {
		_, err := h.setRetention("own", bad)
		wantField(t, err, "namespace.retention."+field)
		_, err = h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: &engramv1.Namespace{Name: "bad", Dimension: 2, Retention: bad}})
		wantField(t, err, "namespace.retention."+field)
	}
	_, err := h.setRetention("own", &engramv1.Retention{HalfLife: &durationpb.Duration{Seconds: 1, Nanos: -1}})
	wantField(t, err, "namespace.retention.half_life")
	_, err = h.setRetention("own", &engramv1.Retention{HalfLife: &durationpb.Duration{Seconds: 300e9}})
	wantField(t, err, "namespace.retention.half_life")
}

func TestRehearse(t *testing.T) {
	h, db, clock := clocked(t)
	key := vec(1, 0)
	h.store("n", &engramv1.Record{Id: "old", Key: key}, &engramv1.Record{Id: "far", Key: vec(0, 1)})
	lsn := h.record("n", "old").Version
	clock.move(7 * day)
	h.store("n", &engramv1.Record{Id: "new", Key: key, Importance: ptr(float32(0.25))})
	by := &engramv1.Ranking{Similarity: 1, Retention: 0.5}
	retrieve := func(k uint32, rehearse bool, by *engramv1.Ranking) []*engramv1.Hit {
		t.Helper()
		return must[*engramv1.RetrieveResponse](t)(h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{
			Namespaces: []string{"n"}, Queries: []*engramv1.Query{{Vector: key}, {Vector: key}}, TopK: &k, Ranking: by, Rehearse: rehearse,
		})).Results[0].Hits
	}
	hits := retrieve(3, false, by)
	if hits[0].Record.Id != "new" || hits[0].Score != 1.5 || hits[1].Record.Id != "old" || hits[1].Parts.Retention != 0.5 || hits[1].Score != 1.25 || hits[1].Parts.Importance != 0 {
		t.Errorf("%v", hits)
	}
	if hit := retrieve(1, false, &engramv1.Ranking{Retention: 1, Importance: 4})[0]; hit.Record.Id != "old" || hit.Parts.Importance != 0.5 || hit.Score != 2.5 {
		t.Errorf("%v", hit)
	}

	weights := func(retention float64) map[string]float64 {
		t.Helper()
		out := map[string]float64{}
		for _, w := range must[*engramv1.AttendResponse](t)(h.memory.Attend(ctx(t), &engramv1.AttendRequest{
			Namespaces: []string{"n"}, Queries: []*engramv1.Query{{Vector: key}}, TopWeights: 3, Bias: &engramv1.Bias{Retention: retention},
		})).Results[0].Heads[0].TopWeights {
			out[w.Record.Id] = w.Weight
		}
		return out
	}
	for _, w := range []float64{0, 1, 3, -1} {
		if got := weights(w); math.Abs(got["new"]/got["old"]-math.Pow(2, w)) > 1e-6 {
			t.Errorf("biased by %v times ln(retention) the weights are %v", w, got)
		}
	}

	if hit := retrieve(1, true, nil)[0]; hit.Record.Id != "old" || hit.Parts != nil { // of equals the older
		t.Errorf("%v", hit)
	}
	if got := h.record("n", "old"); got.Rehearsals != 0 || got.RehearseTime != nil {
		t.Errorf("%v, before it is committed", got)
	}
	when := clock.Now()
	clock.move(time.Second)
	if err := db.CommitRehearsals(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := h.record("n", "old")
	if old.Rehearsals != 1 || !old.RehearseTime.AsTime().Equal(when) || old.Version != lsn || !old.UpdateTime.AsTime().Equal(time.Unix(0, 1e18)) {
		t.Errorf("%v", old)
	}
	if got := h.record("n", "far"); got.Rehearsals != 0 {
		t.Errorf("%v was not found", got)
	}
	must[*engramv1.StoreResponse](t)(h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: "n", Records: []*engramv1.Record{{Id: "old", Key: key, IfVersion: &lsn}}}))
	clock.move(7*day - time.Second)
	if hit := retrieve(1, false, by)[0]; hit.Record.Id != "old" || math.Abs(float64(hit.Parts.Retention)-math.Sqrt(0.5)) > 1e-6 { // a half-life of two weeks
		t.Errorf("%v", hit)
	}

	stream := h.watch(ctx(t), &engramv1.WatchRequest{Namespace: "n", AfterLsn: ptr(uint64(0))})
	var left []*engramv1.MutationEvent
	var seen *engramv1.MutationEvent
	if got := must[*engramv1.Namespace](t)(h.setRetention("n", &engramv1.Retention{Growth: ptr(1.0)})); got.Retention.GetGrowth() != 1 {
		t.Errorf("%v", got)
	}
	if e := nextEvent(t, stream, &left); e.NamespaceCreated.GetRetention().GetHalfLife().AsDuration() != 7*day {
		t.Errorf("%v", e)
	}
	for e := nextEvent(t, stream, &left); e.Retention == nil; e = nextEvent(t, stream, &left) {
		if len(e.Rehearsals) > 0 {
			seen = e
		}
	}
	if want := []*engramv1.Rehearsal{{Id: "old", Time: timestamppb.New(when), Count: 1}}; seen == nil || len(seen.Rehearsals) != 1 || !proto.Equal(seen.Rehearsals[0], want[0]) || len(seen.Changes) != 0 {
		t.Errorf("%v", seen)
	}

	items, err := h.exportItems("n")
	if err != nil {
		t.Fatal(err)
	}
	there, imported, _ := clocked(t)
	must[*engramv1.ImportResponse](t)(there.importItems("r", items))
	want := h.record("n", "old")
	if got := there.record("n", "old"); !proto.Equal(got, want) || got.Rehearsals != 1 {
		t.Errorf("%v, and imported %v", want, got)
	}
	v, err := imported.View("n")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Release()
	var r memory.Record
	if !v.Get("old", &r, 0) || r.Rehearsed != (memory.Rehearsed{Last: when.UnixNano(), Grown: when.UnixNano(), Count: 1, Growths: 1}) || v.Config().Retention.Growth != 1 {
		t.Errorf("imported it is %+v", r)
	}
	for field, change := range map[string]func(*engramv1.ExportItem_RecordState){
		"rehearsals":    func(s *engramv1.ExportItem_RecordState) { s.Growths = 2 },
		"growths":       func(s *engramv1.ExportItem_RecordState) { s.Growths = 1 << 16 },
		"grow_time":     func(s *engramv1.ExportItem_RecordState) { s.GrowTime = nil },
		"rehearse_time": func(s *engramv1.ExportItem_RecordState) { s.Record.RehearseTime = nil },
	} {
		var bad []*engramv1.ExportItem
		for _, item := range items {
			item = proto.Clone(item).(*engramv1.ExportItem)
			if s := item.GetRecord(); s.GetRecord().GetId() == "old" {
				change(s)
			}
			bad = append(bad, item)
		}
		other := start(t)
		_, err := other.importItems("r", bad)
		wantCode(t, err, codes.InvalidArgument)
		if _, err := other.namespaces.Get(ctx(t), &engramv1.NamespaceServiceGetRequest{Name: "n"}); err == nil {
			t.Errorf("imported with bad %s", field)
		}
	}
	_, err = h.memory.Attend(ctx(t), &engramv1.AttendRequest{Namespaces: []string{"n"}, Queries: []*engramv1.Query{{Vector: key}}, Bias: &engramv1.Bias{Retention: math.Inf(1)}})
	wantField(t, err, "bias.retention")
}
