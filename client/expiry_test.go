package client_test

import (
	"testing"
	"time"

	"engram/client"
)

func TestExpiry(t *testing.T) {
	c, ctx := dial(t, address)
	made, err := c.CreateNamespace(ctx, client.Namespace{Name: t.Name(), Dimension: 2, Forget: 0.5})
	if err != nil || made.Forget != 0.5 {
		t.Fatalf("%+v, %v", made, err)
	}
	at := time.Now().Add(time.Hour).UTC()
	if _, err := c.Store(ctx, t.Name(),
		client.Record{ID: "at", Key: []float32{1, 0}, ExpireTime: at},
		client.Record{ID: "ttl", Key: []float32{1, 0}, TTL: time.Hour, Pinned: true},
		client.Record{ID: "gone", Key: []float32{1, 0}, ExpireTime: time.Unix(1, 0)},
	); err != nil {
		t.Fatal(err)
	}
	got, missing, err := c.Get(ctx, t.Name(), []string{"at", "ttl", "gone"})
	if err != nil || len(got) != 2 || len(missing) != 1 {
		t.Fatalf("%+v, %v, %v", got, missing, err)
	}
	if !got[0].ExpireTime.Equal(at) || got[0].Pinned {
		t.Errorf("%+v", got[0])
	}
	if !got[1].ExpireTime.Equal(got[1].CreateTime.Add(time.Hour)) || !got[1].Pinned {
		t.Errorf("%+v", got[1])
	}
	if n, err := c.SetForget(ctx, t.Name(), 0.25); err != nil || n.Forget != 0.25 {
		t.Errorf("%+v, %v", n, err)
	}
	forgot, deleted := false, false
	for m, err := range c.Watch(ctx, t.Name(), client.After(0)) {
		if err != nil {
			t.Fatal(err)
		}
		forgot = forgot || m.Forget != nil && *m.Forget == 0.25
		deleted = deleted || len(m.Deleted) == 1 && m.Deleted[0] == "gone"
		if forgot && deleted {
			break
		}
	}
}
