package client_test

import (
	"slices"
	"testing"

	"engram/client"
)

func TestChoice(t *testing.T) {
	c, ctx := dial(t, address)
	record := func(id, session, topic string, key ...float32) client.Record {
		return client.Record{ID: id, Session: session, Key: key, Metadata: map[string]any{"topic": topic}}
	}
	_, err := c.Store(ctx, t.Name(),
		record("a", "s", "x", 1, 0), record("b", "s", "x", 0.99, 0.01), record("c", "s", "y", 0.98, 0.02), record("d", "t", "y", 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	find := func(options ...client.ReadOption) []client.Hit {
		hits, err := c.Retrieve(ctx, t.Name(), client.Vector([]float32{1, 0}), append(options, client.TopK(2))...)
		if err != nil {
			t.Fatal(err)
		}
		return hits
	}
	ids := func(hits []client.Hit) (out []string) {
		for _, h := range hits {
			out = append(out, h.Record.ID)
		}
		return out
	}
	if hits := find(client.Diverse(0.9, 0)); !slices.Equal(ids(hits), []string{"a", "d"}) || hits[1].Diversity > 0.01 {
		t.Errorf("diverse: %+v", hits)
	}
	if hits := find(client.Diverse(1, 3)); !slices.Equal(ids(hits), []string{"a", "c"}) || hits[1].Diversity < 0.9 {
		t.Errorf("diverse, of 3: %+v", hits)
	}
	hit := find(client.Neighbours(1, 1))[1]
	if len(hit.Before) != 1 || len(hit.After) != 1 || hit.Before[0].ID != "a" || hit.After[0].ID != "c" {
		t.Errorf("b has neighbours %+v and %+v", hit.Before, hit.After)
	}
	hits := find(client.GroupBy(client.Metadata("topic"), 2))
	if !slices.Equal(ids(hits), []string{"a", "b", "c", "d"}) || hits[1].Group != 0 || hits[2].Group != 1 {
		t.Errorf("by topic: %+v", hits)
	}
	if hits := find(client.GroupBy(client.Session, 1)); !slices.Equal(ids(hits), []string{"a", "d"}) {
		t.Errorf("by session: %+v", hits)
	}
	if _, err := c.Retrieve(ctx, t.Name(), client.Vector([]float32{1, 0}), client.GroupBy(client.ID, 1)); err == nil {
		t.Error("records are grouped by id")
	}
}
