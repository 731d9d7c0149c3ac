package main

import (
	"context"

	"engram/client"
)

type namespacesForgetCmd struct {
	Name      string  `arg:"" help:"The namespace."`
	Retention float64 `arg:"" help:"Records of less retention are removed, pinned ones aside: from 0 (none is) to below 1."`
}

func (*namespacesForgetCmd) Help() string {
	return `Example:
  engram namespaces forget notes 0.01`
}

func (c *namespacesForgetCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.changed(ctx, t, func(ctx context.Context, e *client.Client) (client.Namespace, error) {
		return e.SetForget(ctx, c.Name, c.Retention)
	})
}
