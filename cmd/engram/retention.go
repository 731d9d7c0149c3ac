package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"engram/client"
)

// retentionFlags say how fast records fade.
type retentionFlags struct {
	HalfLife    longTime  `help:"After how long without rehearsal half of a record is left, as 7d or 36h; default: 7d." placeholder:"TIME"`
	Growth      float64   `help:"What a half-life is multiplied by at a rehearsal; default: 2." placeholder:"X"`
	MinInterval *longTime `help:"How long after one growth a rehearsal makes a half-life grow again; default: a seventh of --half-life." placeholder:"TIME"`
	MaxHalfLife longTime  `help:"How long a half-life can get; default: 52 times --half-life." placeholder:"TIME"`
}

// retention gives what the flags say; nil: nothing.
func (f *retentionFlags) retention() *client.Retention {
	r := client.Retention{HalfLife: time.Duration(f.HalfLife), Growth: f.Growth, MaxHalfLife: time.Duration(f.MaxHalfLife)}
	if f.MinInterval != nil {
		d := time.Duration(*f.MinInterval)
		r.MinInterval = &d
	}
	if r == (client.Retention{}) {
		return nil
	}
	return &r
}

// longTime is a duration that may be given in days.
type longTime time.Duration

// UnmarshalText reads a duration of Go, or a number of days as 7d.
func (d *longTime) UnmarshalText(b []byte) error {
	if number, ok := strings.CutSuffix(string(b), "d"); ok {
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || !(n >= 0 && n <= 36500) {
			return fmt.Errorf("%q is no number of days from 0 to 36500", number)
		}
		*d = longTime(n * float64(24*time.Hour))
		return nil
	}
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is no duration: give it as 7d, 36h or 90s", b)
	}
	*d = longTime(v)
	return nil
}

// retentionObject is a retention as JSON shows it, in seconds.
func retentionObject(r *client.Retention) map[string]any {
	if r == nil {
		return nil
	}
	o := map[string]any{"half_life": r.HalfLife.Seconds(), "growth": r.Growth, "max_half_life": r.MaxHalfLife.Seconds()}
	if r.MinInterval != nil {
		o["min_interval"] = r.MinInterval.Seconds()
	}
	return o
}

type namespacesRetentionCmd struct {
	Name string `arg:"" help:"The namespace."`

	retentionFlags
}

func (*namespacesRetentionCmd) Help() string {
	return `What no flag says takes its default, not what it was.

Example:
  engram namespaces retention notes --half-life 30d --growth 1.5`
}

func (c *namespacesRetentionCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.changed(ctx, t, func(ctx context.Context, e *client.Client) (client.Namespace, error) {
		keep := c.retention()
		if keep == nil {
			keep = new(client.Retention)
		}
		return e.SetRetention(ctx, c.Name, *keep)
	})
}

type namespacesRepeatsCmd struct {
	Name       string  `arg:"" help:"The namespace."`
	Similarity float64 `arg:"" help:"The cosine from which on a record stored without an id repeats one of its speaker that is there; 0: none does."`
}

func (*namespacesRepeatsCmd) Help() string {
	return `A record that repeats another isn't added; the other is rehearsed.

Example:
  engram namespaces repeats notes 0.97`
}

func (c *namespacesRepeatsCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.changed(ctx, t, func(ctx context.Context, e *client.Client) (client.Namespace, error) {
		return e.SetRepeatSimilarity(ctx, c.Name, c.Similarity)
	})
}

var clientEvictions = map[string]client.Eviction{"none": client.EvictNone, "retention": client.EvictRetention, "oldest": client.EvictOldest, "lru": client.EvictLeastRecentlyUsed}

func evictionText(e client.Eviction) string {
	for name, known := range clientEvictions {
		if known == e {
			return name
		}
	}
	return e.String()
}

type namespacesCapacityCmd struct {
	Name       string `arg:"" help:"The namespace."`
	MaxRecords int64  `arg:"" help:"The most records that there may be; 0: no bound."`
	Eviction   string `enum:"none,retention,oldest,lru" default:"retention" help:"Which records make room, for max_bytes too: none (a write is refused), retention (the least retention × importance), oldest, or lru (rehearsed or created longest ago)."`
}

func (*namespacesCapacityCmd) Help() string {
	return `Example:
  engram namespaces capacity notes 10000 --eviction lru`
}

func (c *namespacesCapacityCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.changed(ctx, t, func(ctx context.Context, e *client.Client) (client.Namespace, error) {
		return e.SetMaxRecords(ctx, c.Name, c.MaxRecords, clientEvictions[c.Eviction])
	})
}
