package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	engramv1 "engram/proto/engram/v1"
)

// A namespace at its capacity makes room as its eviction says, or refuses.
func TestCapacity(t *testing.T) {
	h, db, clock := clocked(t)
	stored := func(name string) (ids []string) {
		t.Helper()
		for _, r := range must[*engramv1.ListResponse](t)(h.memory.List(ctx(t), &engramv1.ListRequest{Namespace: name})).Records {
			ids = append(ids, r.Id)
		}
		return ids
	}
	store := func(name string, r *engramv1.Record) error {
		_, err := h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: name, Records: []*engramv1.Record{r}})
		return err
	}
	for eviction, want := range map[engramv1.Eviction][]string{
		engramv1.Eviction_EVICTION_RETENTION:           {"dear", "asked", "new"},
		engramv1.Eviction_EVICTION_OLDEST:              {"asked", "late", "new"},
		engramv1.Eviction_EVICTION_LEAST_RECENTLY_USED: {"asked", "late", "new"},
	} {
		name := eviction.String()
		must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
			Namespace: &engramv1.Namespace{Name: name, Dimension: 2, MaxRecords: 3, Eviction: eviction},
		}))
		for _, r := range []struct {
			id         string
			importance float32
		}{{"dear", 1}, {"asked", 0.5}, {"late", 0.1}} {
			in := rec(r.id, 1, 0)
			in.Importance = &r.importance
			if err := store(name, in); err != nil {
				t.Fatal(err)
			}
			clock.move(time.Hour)
		}
		must[*engramv1.RetrieveResponse](t)(h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{
			Namespaces: []string{name}, Queries: []*engramv1.Query{{Record: &engramv1.RecordName{Id: "dear"}}}, TopK: ptr(uint32(1)), Rehearse: true,
		}))
		if err := db.CommitRehearsals(ctx(t)); err != nil {
			t.Fatal(err)
		}
		clock.move(time.Hour)
		if err := store(name, rec("new", 1, 0)); err != nil {
			t.Fatal(err)
		}
		if got := stored(name); !slices.Equal(got, want) {
			t.Errorf("%v: %q stay, want %q", eviction, got, want)
		}
	}
	must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
		Namespace: &engramv1.Namespace{Name: "full", Dimension: 2, MaxRecords: 1},
	}))
	if err := store("full", rec("a", 1, 0)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, store("full", rec("b", 1, 0)), codes.ResourceExhausted)
	if err := store("full", rec("a", 0, 1)); err != nil {
		t.Errorf("a record is replaced: %v", err)
	}
	n := must[*engramv1.NamespaceServiceUpdateResponse](t)(h.namespaces.Update(ctx(t), &engramv1.NamespaceServiceUpdateRequest{
		Namespace:  &engramv1.Namespace{Name: "full", Eviction: engramv1.Eviction_EVICTION_OLDEST, MaxRecords: 2},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"eviction", "max_records"}},
	})).Namespace
	if n.MaxRecords != 2 || n.Eviction != engramv1.Eviction_EVICTION_OLDEST {
		t.Errorf("changed to %v", n)
	}
	for _, id := range []string{"b", "c", "d"} {
		if err := store("full", rec(id, 1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if got := stored("full"); !slices.Equal(got, []string{"c", "d"}) {
		t.Errorf("%q stay", got)
	}
	for _, c := range []*engramv1.Namespace{{MaxRecords: 1<<40 + 1}, {Eviction: 9}} {
		c.Name, c.Dimension = "bad", 2
		_, err := h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: c})
		wantCode(t, err, codes.InvalidArgument)
	}
}

// At its max_bytes a namespace makes room as its eviction says, for an Update too, or refuses.
func TestByteCapacity(t *testing.T) {
	h, _, clock := clocked(t)
	const limit = 64 << 10
	must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
		Namespace: &engramv1.Namespace{Name: "n", Dimension: 2, MaxBytes: limit, Eviction: engramv1.Eviction_EVICTION_RETENTION},
	}))
	sized := func(id string, kib int) *engramv1.Record {
		r := rec(id, 1, 0)
		r.Text = strings.Repeat("x", kib<<10)
		return r
	}
	store := func(r *engramv1.Record) error {
		_, err := h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: "n", Records: []*engramv1.Record{r}})
		clock.move(time.Hour)
		return err
	}
	stored := func() (ids []string) {
		for _, r := range must[*engramv1.ListResponse](t)(h.memory.List(ctx(t), &engramv1.ListRequest{Namespace: "n"})).Records {
			ids = append(ids, r.Id)
		}
		return ids
	}
	first := sized("pinned", 1)
	first.Pinned = true
	if err := store(first); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		r := sized(fmt.Sprintf("%03d", i), 1)
		if i == 10 {
			r.Importance = ptr(float32(1))
		} else {
			r.Importance = ptr(float32(1e-30))
		}
		if err := store(r); err != nil {
			t.Fatal(err)
		}
	}
	ids := stored()
	if n := len(ids); n < 40 || n > 60 || ids[0] != "pinned" || ids[1] != "010" || ids[2] != fmt.Sprintf("%03d", 200-n+2) {
		t.Fatalf("%d records stay: %q", n, ids)
	}
	update := func(r *engramv1.Record) error {
		_, err := h.memory.Update(ctx(t), &engramv1.UpdateRequest{Namespace: "n", Records: []*engramv1.Record{r}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"text", "pinned"}}})
		return err
	}
	if err := update(sized("199", 30)); err != nil {
		t.Fatal(err)
	}
	grown := stored()
	if n := len(grown); n > len(ids)-25 || n < 15 || !slices.Contains(grown, "pinned") || !slices.Contains(grown, "199") {
		t.Errorf("a record grew, and %d stay: %q", n, grown)
	}
	large := sized("199", 40)
	large.Pinned = true
	if err := update(large); err != nil {
		t.Fatal(err)
	}
	before := stored()
	wantCode(t, store(sized("no", 40)), codes.ResourceExhausted)
	wantCode(t, update(sized("199", 64)), codes.ResourceExhausted)
	if now := stored(); !slices.Equal(now, before) {
		t.Errorf("refused writes left %q of %q", now, before)
	}
	if err := store(sized("small", 4)); err != nil {
		t.Error(err)
	}
	if now := stored(); !slices.Contains(now, "pinned") || !slices.Contains(now, "199") || !slices.Contains(now, "small") {
		t.Errorf("%q stay", now)
	}
}
