package main

import (
	"context"
	"strings"

	"engram/client"
)

// boundsFlags say what a namespace keeps.
type boundsFlags struct {
	MaxRecords int64   `help:"The most records it holds; default: no bound." placeholder:"N"`
	Eviction   string  `enum:"none,retention,oldest,least-recently-used" default:"none" help:"What goes for a record beyond --max-records: none (it is refused), retention (the least retention times importance), oldest, least-recently-used (by the last rehearsal); pinned records never go."`
	Forget     float64 `help:"The retention below which records are removed, pinned ones aside; default: none is." placeholder:"X"`
}

var clientEvictions = map[string]client.Eviction{
	"none": client.EvictNone, "retention": client.EvictByRetention, "oldest": client.EvictOldest, "least-recently-used": client.EvictLeastRecentlyUsed,
}

func evictionText(e client.Eviction) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(e.String(), "EVICTION_"), "_", "-"))
}

type namespacesCapacityCmd struct {
	Name string `arg:"" help:"The namespace."`

	boundsFlags
}

func (*namespacesCapacityCmd) Help() string {
	return `What no flag says takes its default, not what it was.

Example:
  engram namespaces capacity notes --max-records 10000 --eviction retention --forget 0.01`
}

func (c *namespacesCapacityCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.changed(ctx, t, func(ctx context.Context, e *client.Client) (client.Namespace, error) {
		return e.SetCapacity(ctx, c.Name, c.MaxRecords, clientEvictions[c.Eviction], c.Forget)
	})
}
