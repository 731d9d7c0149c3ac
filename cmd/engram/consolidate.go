package main

import (
	"context"
	"fmt"
	"time"

	"engram/client"
)

// consolidationOf gives what flags say; nil: nothing.
func consolidationOf(similarity float64, minAge *longTime) *client.Consolidation {
	if similarity == 0 {
		return nil
	}
	by := &client.Consolidation{Similarity: similarity}
	if minAge != nil {
		age := time.Duration(*minAge)
		by.MinAge = &age
	}
	return by
}

// consolidationObject is a consolidation as JSON shows it, its time in seconds.
func consolidationObject(by *client.Consolidation) map[string]any {
	if by == nil {
		return nil
	}
	o := map[string]any{"similarity": by.Similarity}
	if by.MinAge != nil {
		o["min_age"] = by.MinAge.Seconds()
	}
	return o
}

func sourceObjects(list []client.Source) []map[string]any {
	out := make([]map[string]any, len(list))
	for i, s := range list {
		out[i] = map[string]any{"id": s.ID, "time": s.Time.UTC()}
	}
	return out
}

type namespacesConsolidationCmd struct {
	Name       string    `arg:"" help:"The namespace."`
	Similarity float64   `arg:"" help:"The cosine from which on old records of one session and speaker are merged; 0: none are."`
	MinAge     *longTime `help:"How old they must be, as 7d or 36h; default: 1d." placeholder:"TIME"`
}

func (*namespacesConsolidationCmd) Help() string {
	return `What would be merged is shown by engram consolidate --dry-run.

Example:
  engram namespaces consolidation notes 0.9 --min-age 30d`
}

func (c *namespacesConsolidationCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.changed(ctx, t, func(ctx context.Context, e *client.Client) (client.Namespace, error) {
		return e.SetConsolidation(ctx, c.Name, consolidationOf(c.Similarity, c.MinAge))
	})
}

type consolidateCmd struct {
	Namespace string `arg:"" help:"The namespace."`
	Where
	DryRun     bool      `help:"Change nothing, and show what would be merged."`
	Similarity float64   `help:"The cosine from which on records are merged; default: the namespace's." placeholder:"COSINE"`
	MinAge     *longTime `help:"How old records must be, as 7d or 36h; beside --similarity; default: 1d." placeholder:"TIME"`
}

func (*consolidateCmd) Help() string {
	return `Records of one session and speaker that are close are merged into one, which has their
texts, the mean of their vectors, and names them as its sources. Pinned records and those that
expire are not.

Examples:
  engram consolidate notes --similarity 0.9 --dry-run
  engram consolidate notes --similarity 0.9 --min-age 30d
  engram consolidate notes --json`
}

func (c *consolidateCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	if c.MinAge != nil && c.Similarity == 0 {
		return usagef("--min-age is for --similarity")
	}
	options, err := c.options()
	if err != nil {
		return err
	}
	return cli.with(ctx, func(ctx context.Context, e *client.Client) error {
		run := e.Consolidate
		if c.DryRun {
			run = e.WouldConsolidate
		}
		res, err := run(ctx, c.Namespace, consolidationOf(c.Similarity, c.MinAge), options...)
		if err != nil {
			return err
		}
		if t.json {
			records := make([]map[string]any, len(res.Records))
			for i := range res.Records {
				records[i] = recordObject(&res.Records[i])
			}
			return t.object(map[string]any{"records": records, "made": res.Made, "merged": res.Merged, "cancelled": res.Cancelled, "lsn": res.LSN, "dry_run": c.DryRun})
		}
		rows := make([][]string, len(res.Records))
		for i := range res.Records {
			rows[i] = append([]string{fmt.Sprint(len(res.Records[i].Sources))}, recordCells(&res.Records[i])...)
		}
		if len(rows) > 0 {
			t.table(append([]column{{title: "sources", right: true, sgr: green}}, recordColumns...), rows)
		}
		if n := res.Made - len(res.Records); n > 0 {
			t.note("and %s more\n", countText(n))
		}
		verb := "merged"
		if c.DryRun {
			verb = "would merge"
		}
		t.printf("%s %s into %s\n", verb, plural(res.Merged, "record"), countText(res.Made))
		if res.Cancelled > 0 {
			t.note("%s left as they were, for they were changed meanwhile\n", plural(res.Cancelled, "cluster"))
		}
		return nil
	})
}
