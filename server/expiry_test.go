package server

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	engramv1 "engram/proto/engram/v1"
)

// TestExpiry asks by every read for a record whose time is over, before and after it is
// removed.
func TestExpiry(t *testing.T) {
	h, db, clock := clocked(t)
	key := func(x ...float32) *engramv1.Vector { return &engramv1.Vector{Values: x} }
	store := func(r *engramv1.Record) error {
		_, err := h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: "n", Records: []*engramv1.Record{r}})
		return err
	}
	goes := &engramv1.Record{Id: "goes", Key: key(1, 0), Ttl: durationpb.New(time.Minute)}
	if err := store(goes); err != nil {
		t.Fatal(err)
	}
	if err := store(&engramv1.Record{Id: "stays", Key: key(0, 1), Pinned: true}); err != nil {
		t.Fatal(err)
	}
	end := clock.Now().Add(time.Minute)
	if r := h.record("n", "goes"); !r.GetExpireTime().AsTime().Equal(end) || r.Ttl != nil || r.Pinned {
		t.Errorf("%v", r)
	}
	if r := h.record("n", "stays"); r.ExpireTime != nil || !r.Pinned {
		t.Errorf("%v", r)
	}
	seen := func() (n int) {
		t.Helper()
		get := must[*engramv1.GetResponse](t)(h.memory.Get(ctx(t), &engramv1.GetRequest{Namespace: "n", Ids: []string{"goes", "stays"}}))
		n = len(get.Records)
		query := []*engramv1.Query{{Vector: key(1, 0)}}
		names := []string{"n"}
		hits := must[*engramv1.RetrieveResponse](t)(h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{Namespaces: names, Queries: query}))
		attended := must[*engramv1.AttendResponse](t)(h.memory.Attend(ctx(t), &engramv1.AttendRequest{Namespaces: names, Queries: query}))
		list := must[*engramv1.ListResponse](t)(h.memory.List(ctx(t), &engramv1.ListRequest{Namespace: "n"}))
		count := must[*engramv1.CountResponse](t)(h.memory.Count(ctx(t), &engramv1.CountRequest{Namespace: "n"}))
		space := must[*engramv1.NamespaceServiceGetResponse](t)(h.namespaces.Get(ctx(t), &engramv1.NamespaceServiceGetRequest{Name: "n"}))
		for what, m := range map[string]int{
			"Retrieve": len(hits.Results[0].Hits), "Attend": int(attended.Results[0].Heads[0].Attended),
			"List": len(list.Records), "Count": int(count.Count), "the namespace": int(space.Namespace.RecordCount),
		} {
			if m != n {
				t.Errorf("%s sees %d records, Get %d", what, m, n)
			}
		}
		_, err := h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{Namespaces: names, Queries: []*engramv1.Query{{Record: &engramv1.RecordName{Id: "goes"}}}})
		if (err == nil) != (n == 2) {
			t.Errorf("a query by the record: %v", err)
		}
		return n
	}
	clock.move(time.Minute - 1)
	if n := seen(); n != 2 {
		t.Errorf("%d records are seen before", n)
	}
	clock.move(1)
	if n := seen(); n != 1 {
		t.Errorf("%d records are seen when it expires", n)
	}
	if err := db.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := seen(); n != 1 {
		t.Errorf("%d records are seen behind", n)
	}
	stats := must[*engramv1.StatsResponse](t)(h.admin.Stats(ctx(t), &engramv1.StatsRequest{Namespaces: []string{"n"}}))
	if n := stats.Namespaces[0]; n.Expired != 1 || n.Evicted != 0 || n.Forgotten != 0 {
		t.Errorf("%v", n)
	}
	// A mask names either field, and sets never where both are unset.
	for _, path := range []string{"ttl", "expire_time"} {
		update := func(r *engramv1.Record) *engramv1.Record {
			t.Helper()
			must[*engramv1.UpdateResponse](t)(h.memory.Update(ctx(t), &engramv1.UpdateRequest{
				Namespace: "n", Records: []*engramv1.Record{r}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{path}},
			}))
			return h.record("n", "stays")
		}
		at := clock.Now().Add(time.Hour)
		if r := update(&engramv1.Record{Id: "stays", ExpireTime: timestamppb.New(at)}); !r.ExpireTime.AsTime().Equal(at) || !r.Pinned {
			t.Errorf("%v", r)
		}
		if r := update(&engramv1.Record{Id: "stays"}); r.ExpireTime != nil {
			t.Errorf("%v", r)
		}
	}
	for _, bad := range []*engramv1.Record{
		{Ttl: durationpb.New(0)}, {Ttl: durationpb.New(-1)}, {Ttl: &durationpb.Duration{Seconds: 1 << 40}},
		{Ttl: durationpb.New(1), ExpireTime: timestamppb.New(end)}, {ExpireTime: &timestamppb.Timestamp{}}, {ExpireTime: &timestamppb.Timestamp{Seconds: -5}},
		{ExpireTime: &timestamppb.Timestamp{Seconds: 1 << 40}},
	} {
		bad.Id, bad.Key = "bad", key(1, 0)
		if err := store(bad); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// TestPinnedAndForget makes a namespace with bounds and changes them.
func TestPinnedAndForget(t *testing.T) {
	h, _, _ := clocked(t)
	made := must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: &engramv1.Namespace{
		Name: "n", Dimension: 2, MaxRecords: 2, Eviction: engramv1.Eviction_EVICTION_OLDEST, Forget: 0.25,
	}})).Namespace
	if made.MaxRecords != 2 || made.Eviction != engramv1.Eviction_EVICTION_OLDEST || made.Forget != 0.25 {
		t.Errorf("%v", made)
	}
	store := func(id string, pinned bool) error {
		_, err := h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: "n", Records: []*engramv1.Record{
			{Id: id, Key: &engramv1.Vector{Values: []float32{1, 2}}, Pinned: pinned},
		}})
		return err
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := store(id, id != "a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := store("d", false); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("where all is pinned: %v", err)
	}
	list := must[*engramv1.ListResponse](t)(h.memory.List(ctx(t), &engramv1.ListRequest{Namespace: "n"})).Records
	if len(list) != 2 || list[0].Id != "b" || list[1].Id != "c" {
		t.Errorf("%v", list)
	}
	stats := must[*engramv1.StatsResponse](t)(h.admin.Stats(ctx(t), &engramv1.StatsRequest{Namespaces: []string{"n"}}))
	if n := stats.Namespaces[0].Evicted; n != 1 {
		t.Errorf("%d evicted", n)
	}
	changed := must[*engramv1.NamespaceServiceUpdateResponse](t)(h.namespaces.Update(ctx(t), &engramv1.NamespaceServiceUpdateRequest{
		Namespace: &engramv1.Namespace{Name: "n"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"max_records", "eviction", "forget"}},
	})).Namespace
	if changed.MaxRecords != 0 || changed.Eviction != engramv1.Eviction_EVICTION_NONE || changed.Forget != 0 {
		t.Errorf("%v", changed)
	}
	if err := store("d", false); err != nil {
		t.Error(err)
	}
	for _, bad := range []*engramv1.Namespace{{MaxRecords: 1 << 63}, {Eviction: 9}, {Forget: 1}, {Forget: -0.1}} {
		bad.Name, bad.Dimension = "bad", 2
		if _, err := h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: bad}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
