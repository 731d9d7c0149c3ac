package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	engramv1 "engram/proto/engram/v1"
)

func TestConsolidate(t *testing.T) {
	h, _, clock := clocked(t)
	h.store("n", said("a", "Ann", "It rains."), said("b", "Ann", "It rains."), said("c", "Bob", "It rains."), said("d", "Ann", "The dog sleeps."))
	start := h.record("n", "a").CreateTime
	day := &engramv1.Consolidation{Similarity: 0.9}
	ask := func(req *engramv1.ConsolidateRequest) *engramv1.ConsolidateResponse {
		t.Helper()
		req.Namespace = "n"
		return must[*engramv1.ConsolidateResponse](t)(h.memory.Consolidate(ctx(t), req))
	}
	if got := ask(&engramv1.ConsolidateRequest{Consolidation: day}); got.Made != 0 || got.Lsn != h.lsn("n") {
		t.Errorf("of what is new: %v", got)
	}
	clock.move(24 * time.Hour)
	lsn := h.lsn("n")
	dry := ask(&engramv1.ConsolidateRequest{Consolidation: day, DryRun: true, Include: &engramv1.Include{Key: true}})
	if dry.Made != 1 || dry.Merged != 2 || dry.Lsn != lsn || h.lsn("n") != lsn || len(dry.Records) != 1 || dry.Records[0].Id != "" || dry.Records[0].Key == nil {
		t.Fatalf("a dry run: %v", dry)
	}
	req := &engramv1.ConsolidateRequest{Consolidation: day, RequestId: "once"}
	done := ask(req)
	if done.Made != 1 || done.Merged != 2 || done.Cancelled != 0 || done.Lsn != lsn+1 || len(done.Records) != 1 {
		t.Fatalf("%v", done)
	}
	r := done.Records[0]
	if r.Id == "" || r.Version != done.Lsn || r.Text != "It rains." || r.GetSpeaker() != "Ann" || r.Key != nil || len(r.Sources) != 2 ||
		r.Sources[0].Id != "a" || r.Sources[1].Id != "b" || !proto.Equal(r.Sources[0].Time, start) || !proto.Equal(r.CreateTime, start) {
		t.Errorf("it made %v", r)
	}
	if got := h.record("n", r.Id); !proto.Equal(got, r) {
		t.Errorf("it is %v, and was answered as %v", got, r)
	}
	if again := ask(req); !proto.Equal(again, done) {
		t.Errorf("a retry is answered %v, want %v", again, done)
	}
	no := false
	get := must[*engramv1.GetResponse](t)(h.memory.Get(ctx(t), &engramv1.GetRequest{Namespace: "n", Ids: []string{r.Id, "a"}, Include: &engramv1.Include{Sources: &no}}))
	if len(get.Records) != 1 || get.Records[0].Sources != nil || !slices.Equal(get.Missing, []string{"a"}) {
		t.Errorf("without sources: %v", get)
	}
	stats := must[*engramv1.StatsResponse](t)(h.admin.Stats(ctx(t), &engramv1.StatsRequest{Namespaces: []string{"n"}}))
	if n := stats.Namespaces[0]; n.Merged != 2 || n.Forgotten != 0 {
		t.Errorf("%v", n)
	}
	if text := h.get("/metrics"); !strings.Contains(text, "\nengram_records_merged_total 2\n") {
		t.Error("/metrics doesn't count 2 merged records")
	}
	stream, err := h.memory.Watch(ctx(t), &engramv1.WatchRequest{Namespace: "n", AfterLsn: &lsn})
	if err != nil {
		t.Fatal(err)
	}
	event := must[*engramv1.WatchResponse](t)(stream.Recv()).Mutations[0]
	if !slices.Equal(event.DeletedIds, []string{"a", "b"}) || len(event.Changes) != 1 || event.Changes[0].ChangedFields != nil || !proto.Equal(event.Changes[0].Record, r) {
		t.Errorf("Watch tells %v", event)
	}

	// It comes and goes with an export.
	h.update("n", day)
	items, err := h.exportItems("n")
	if err != nil {
		t.Fatal(err)
	}
	var spread float64
	for _, i := range items {
		spread = max(spread, i.GetRecord().GetSpread())
	}
	if spread != 0 { // both keys are of one text
		t.Errorf("sources are %v from the key", spread)
	}
	must[*engramv1.NamespaceServiceDeleteResponse](t)(h.namespaces.Delete(ctx(t), &engramv1.NamespaceServiceDeleteRequest{Name: "n"}))
	must[*engramv1.ImportResponse](t)(h.importItems("", items))
	if got := h.record("n", r.Id); !proto.Equal(got, r) {
		t.Errorf("imported, it is %v, want %v", got, r)
	}
	ns := must[*engramv1.NamespaceServiceGetResponse](t)(h.namespaces.Get(ctx(t), &engramv1.NamespaceServiceGetRequest{Name: "n"})).Namespace
	if c := ns.GetConsolidation(); c.GetSimilarity() != 0.9 || c.GetMinAge().AsDuration() != 24*time.Hour {
		t.Errorf("imported, the namespace has %v", c)
	}
	must[*engramv1.NamespaceServiceDeleteResponse](t)(h.namespaces.Delete(ctx(t), &engramv1.NamespaceServiceDeleteRequest{Name: "n"}))
	for at, i := range items {
		if i.GetRecord().GetRecord().GetId() == r.Id {
			field := fmt.Sprintf("items[%d].record.record.sources[1].time", at)
			i.GetRecord().Record.Sources[1].Time = nil
			_, err := h.importItems("", items)
			wantFields(t, err, field)
			i.GetRecord().Record.Sources, i.GetRecord().Spread = nil, 1
			_, err = h.importItems("", items)
			wantCode(t, err, codes.InvalidArgument)
		}
	}
}

// update sets a namespace's consolidation.
func (h *harness) update(name string, by *engramv1.Consolidation) *engramv1.Namespace {
	h.t.Helper()
	return must[*engramv1.NamespaceServiceUpdateResponse](h.t)(h.namespaces.Update(ctx(h.t), &engramv1.NamespaceServiceUpdateRequest{
		Namespace: &engramv1.Namespace{Name: name, Consolidation: by}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"consolidation"}},
	})).Namespace
}

func (h *harness) lsn(name string) uint64 {
	h.t.Helper()
	return must[*engramv1.NamespaceServiceGetResponse](h.t)(h.namespaces.Get(ctx(h.t), &engramv1.NamespaceServiceGetRequest{Name: name})).Namespace.Lsn
}

// wantFields checks which fields an error names, and gives all that it says.
func wantFields(t *testing.T, err error, want ...string) string {
	t.Helper()
	var got []string
	says := status.Convert(err).Message()
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.FieldViolations {
				got = append(got, v.Field)
				says += "\n" + v.Description
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("it names %v, want %v: %v", got, want, err)
	}
	return says
}

// A namespace has a consolidation of its own, which is done in the background.
func TestConsolidationOfANamespace(t *testing.T) {
	h, db, clock := clocked(t)
	minute := &engramv1.Consolidation{Similarity: 0.9, MinAge: durationpb.New(time.Minute)}
	made := must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
		Namespace: &engramv1.Namespace{Name: "n", Dimension: 2, Consolidation: minute},
	})).Namespace
	if !proto.Equal(made.Consolidation, minute) {
		t.Errorf("it was made with %v", made.Consolidation)
	}
	h.store("n", rec("a", 1, 0), rec("b", 1, 0))
	clock.move(time.Minute)
	if err := db.ConsolidateDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := must[*engramv1.ListResponse](t)(h.memory.List(ctx(t), &engramv1.ListRequest{Namespace: "n"})).Records
	if len(list) != 1 || len(list[0].Sources) != 2 {
		t.Errorf("%v", list)
	}
	must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
		Namespace: &engramv1.Namespace{Name: "own", Dimension: 2, Consolidation: &engramv1.Consolidation{Similarity: 0.9, MinAge: durationpb.New(0)}},
	}))
	h.store("own", rec("a", 1, 0), rec("b", 1, 0))
	if got := must[*engramv1.ConsolidateResponse](t)(h.memory.Consolidate(ctx(t), &engramv1.ConsolidateRequest{Namespace: "own"})); got.Made != 1 || len(got.Records[0].Sources) != 2 {
		t.Errorf("by its own: %v", got)
	}
	before := h.lsn("n")
	if n := h.update("n", nil); n.Consolidation != nil {
		t.Errorf("it has %v", n.Consolidation)
	}
	stream, err := h.memory.Watch(ctx(t), &engramv1.WatchRequest{Namespace: "n", AfterLsn: &before})
	if err != nil {
		t.Fatal(err)
	}
	if event := must[*engramv1.WatchResponse](t)(stream.Recv()).Mutations[0]; event.Consolidation == nil || event.Consolidation.Similarity != 0 {
		t.Errorf("Watch tells %v", event)
	}
	if n := h.update("n", &engramv1.Consolidation{Similarity: 1, MinAge: durationpb.New(0)}); n.Consolidation.Similarity != 1 || n.Consolidation.MinAge.AsDuration() != 0 {
		t.Errorf("it has %v", n.Consolidation)
	}
}

// Everything that is wrong with a consolidation is named.
func TestBadConsolidation(t *testing.T) {
	h, _, _ := clocked(t)
	h.store("n", rec("a", 1, 0))
	must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
		Namespace: &engramv1.Namespace{Name: "dot", Dimension: 2, Metric: engramv1.Metric_METRIC_DOT},
	}))
	right := &engramv1.Consolidation{Similarity: 0.9}
	for _, c := range []struct {
		name   string
		req    *engramv1.ConsolidateRequest
		code   codes.Code
		says   string
		fields []string
	}{
		{"nothing", &engramv1.ConsolidateRequest{}, codes.InvalidArgument, "is empty", []string{"namespace"}},
		{"no namespace", &engramv1.ConsolidateRequest{Namespace: "none", Consolidation: right}, codes.NotFound, "none", nil},
		{"no consolidation", &engramv1.ConsolidateRequest{Namespace: "n"}, codes.FailedPrecondition, "has no consolidation", nil},
		{"another metric", &engramv1.ConsolidateRequest{Namespace: "dot", Consolidation: right}, codes.FailedPrecondition, "is not of metric COSINE", nil},
		{"no similarity", &engramv1.ConsolidateRequest{Namespace: "n", Consolidation: &engramv1.Consolidation{}}, codes.InvalidArgument, "is 0; give a cosine above 0, to 1", []string{"consolidation.similarity"}},
		{"too similar", &engramv1.ConsolidateRequest{Namespace: "n", Consolidation: &engramv1.Consolidation{Similarity: 1.5}}, codes.InvalidArgument, "is 1.5; give a cosine above 0, to 1", []string{"consolidation.similarity"}},
		{"a negative age", &engramv1.ConsolidateRequest{Namespace: "n", Consolidation: &engramv1.Consolidation{Similarity: 1, MinAge: durationpb.New(-1)}}, codes.InvalidArgument, "give 0 to 876000h0m0s", []string{"consolidation.min_age"}},
		{"too old", &engramv1.ConsolidateRequest{Namespace: "n", Consolidation: &engramv1.Consolidation{Similarity: 1, MinAge: &durationpb.Duration{Seconds: 1 << 33}}}, codes.InvalidArgument, "give 0 to 876000h0m0s", []string{"consolidation.min_age"}},
		{"no duration", &engramv1.ConsolidateRequest{Namespace: "n", Consolidation: &engramv1.Consolidation{Similarity: 1, MinAge: &durationpb.Duration{Seconds: 1, Nanos: -1}}}, codes.InvalidArgument, "not a valid duration", []string{"consolidation.min_age"}},
		{"much", &engramv1.ConsolidateRequest{
			Namespace: strings.Repeat("x", 257), Consolidation: &engramv1.Consolidation{Similarity: -1}, Filter: &engramv1.Filter{},
			RequestId: strings.Repeat("x", 129), Include: &engramv1.Include{VectorForm: 9},
		}, codes.InvalidArgument, "at most 128", []string{"namespace", "request_id", "filter", "consolidation.similarity", "include.vector_form"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := h.export()
			_, err := h.memory.Consolidate(ctx(t), c.req)
			wantCode(t, err, c.code)
			if text := wantFields(t, err, c.fields...); !strings.Contains(text, c.says) {
				t.Errorf("it says %s, and not %q", text, c.says)
			}
			if string(h.export()) != string(before) {
				t.Error("it changed something")
			}
		})
	}
	for name, by := range map[string]*engramv1.Consolidation{"similarity": {Similarity: 2}, "min_age": {Similarity: 1, MinAge: durationpb.New(-1)}} {
		_, err := h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: &engramv1.Namespace{Name: "x", Dimension: 2, Consolidation: by}})
		wantFields(t, err, "namespace.consolidation."+name)
		_, err = h.namespaces.Update(ctx(t), &engramv1.NamespaceServiceUpdateRequest{
			Namespace: &engramv1.Namespace{Name: "n", Consolidation: by}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"consolidation"}},
		})
		wantFields(t, err, "namespace.consolidation."+name)
	}
	_, err := h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: &engramv1.Namespace{Name: "x", Dimension: 2, Metric: engramv1.Metric_METRIC_L2, Consolidation: right}})
	wantCode(t, err, codes.InvalidArgument)
	_, err = h.namespaces.Update(ctx(t), &engramv1.NamespaceServiceUpdateRequest{
		Namespace: &engramv1.Namespace{Name: "dot", Consolidation: right}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"consolidation"}},
	})
	wantCode(t, err, codes.FailedPrecondition)
}
