package client_test

import (
	"testing"
	"time"

	"engram/client"
)

func TestConsolidate(t *testing.T) {
	c, ctx := dial(t, address)
	now := time.Duration(0)
	by := &client.Consolidation{Similarity: 0.9, MinAge: &now}
	made, err := c.CreateNamespace(ctx, client.Namespace{Name: t.Name(), Dimension: 2, Consolidation: &client.Consolidation{Similarity: 0.5}})
	if err != nil || made.Consolidation.Similarity != 0.5 || *made.Consolidation.MinAge != 24*time.Hour {
		t.Fatalf("%+v, %v", made, err)
	}
	at := time.Unix(100, 0).UTC()
	if _, err := c.Store(ctx, t.Name(),
		client.Record{ID: "a", Key: []float32{1, 0}, Text: "A", Time: at},
		client.Record{ID: "b", Key: []float32{1, 0}, Text: "B"},
		client.Record{ID: "c", Key: []float32{0, 1}},
	); err != nil {
		t.Fatal(err)
	}
	if res, err := c.Consolidate(ctx, t.Name(), nil); err != nil || res.Made != 0 {
		t.Errorf("by its own, of records that are new: %+v, %v", res, err)
	}
	dry, err := c.WouldConsolidate(ctx, t.Name(), by, client.WithVectors())
	if err != nil || dry.Made != 1 || dry.Merged != 2 || len(dry.Records) != 1 || dry.Records[0].ID != "" || len(dry.Records[0].Key) != 2 {
		t.Fatalf("%+v, %v", dry, err)
	}
	if res, err := c.Consolidate(ctx, t.Name(), by, client.Where(client.Speaker.Equals("nobody"))); err != nil || res.Made != 0 {
		t.Errorf("of none: %+v, %v", res, err)
	}
	res, err := c.Consolidate(ctx, t.Name(), by)
	if err != nil || res.Made != 1 || res.Merged != 2 || res.Cancelled != 0 || res.LSN <= dry.LSN {
		t.Fatalf("%+v, %v", res, err)
	}
	r := res.Records[0]
	if r.ID == "" || r.Text != "A\nB" || len(r.Sources) != 2 || r.Sources[0].ID != "a" || !r.Sources[0].Time.Equal(at) || r.Sources[1].ID != "b" {
		t.Errorf("%+v", r)
	}
	got, missing, err := c.Get(ctx, t.Name(), []string{"a", "b", r.ID}, client.WithoutContent())
	if err != nil || len(got) != 1 || len(missing) != 2 || got[0].Sources != nil {
		t.Errorf("%+v, %v, %v", got, missing, err)
	}
	if n, err := c.SetConsolidation(ctx, t.Name(), nil); err != nil || n.Consolidation != nil {
		t.Errorf("%+v, %v", n, err)
	}
	if n, err := c.SetConsolidation(ctx, t.Name(), by); err != nil || n.Consolidation.Similarity != 0.9 || *n.Consolidation.MinAge != 0 {
		t.Errorf("%+v, %v", n, err)
	}
	merged, none := false, false
	for m, err := range c.Watch(ctx, t.Name(), client.After(0)) {
		if err != nil {
			t.Fatal(err)
		}
		merged = merged || len(m.Deleted) == 2 && len(m.Changes) == 1 && len(m.Changes[0].Record.Sources) == 2 && m.Changes[0].Record.ID == r.ID
		none = none || m.Consolidation != nil && m.Consolidation.Similarity == 0
		if m.Consolidation != nil && m.Consolidation.Similarity == 0.9 {
			break
		}
	}
	if !merged || !none {
		t.Errorf("Watch told of what was merged: %v; of none: %v", merged, none)
	}
}
