package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"engram/client"
	pb "engram/proto/engram/v1"
)

type namespacesCmd struct {
	List   namespacesListCmd   `cmd:"" default:"withargs" help:"List namespaces."`
	Create namespacesCreateCmd `cmd:"" help:"Make a namespace with options of its own."`
	Limit  namespacesLimitCmd  `cmd:"" help:"Set the most memory that a namespace may take."`
	Delete namespacesDeleteCmd `cmd:"" help:"Delete a namespace with all its records."`
}

func (*namespacesCmd) Help() string {
	return `Examples:
  engram namespaces
  engram namespaces create vectors --metric l2 --dimension 128
  engram namespaces limit vectors 1GiB
  engram namespaces delete vectors`
}

type namespacesListCmd struct {
	Prefix string `arg:"" optional:"" help:"Only names that begin so."`
}

func (c *namespacesListCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.with(ctx, func(ctx context.Context, e *client.Client) error {
		var list []client.Namespace
		for n, err := range e.Namespaces(ctx, c.Prefix) {
			if err != nil {
				return err
			}
			list = append(list, n)
		}
		return t.namespaces(list)
	})
}

func (t *terminal) namespaces(list []client.Namespace) error {
	rows := make([][]string, len(list))
	for i, n := range list {
		metric := strings.ToLower(strings.TrimPrefix(n.Metric.String(), "METRIC_"))
		if t.json {
			if err := t.object(map[string]any{
				"name": n.Name, "metric": metric, "dimension": n.Dimension, "value_dimension": n.ValueDimension, "embedder": n.Embedder,
				"records": n.Records, "max_bytes": n.MaxBytes, "create_time": n.CreateTime.UTC(), "lsn": n.LSN,
			}); err != nil {
				return err
			}
			continue
		}
		rows[i] = []string{n.Name, countText(n.Records), metric, fmt.Sprint(n.Dimension), n.Embedder, n.CreateTime.Local().Format("2006-01-02 15:04")}
	}
	if !t.json && len(rows) > 0 {
		t.table([]column{{title: "namespace", sgr: cyan}, {title: "records", right: true}, {title: "metric"}, {title: "dimension", right: true}, {title: "embedder"}, {title: "created", sgr: dim}}, rows)
	}
	return nil
}

type namespacesCreateCmd struct {
	Name           string   `arg:"" help:"The namespace."`
	Metric         string   `enum:"cosine,dot,l2" default:"cosine" help:"cosine, dot or l2."`
	Dimension      int      `help:"Components of a key; default: the embedder's."`
	ValueDimension int      `help:"Components of a value; default: those of a key."`
	Embedder       string   `help:"What makes keys from text; default: the server's embedder if --dimension is not given, else none." placeholder:"NAME"`
	MaxBytes       byteSize `help:"The most memory it may take; default: no bound but the server's." placeholder:"SIZE"`
}

var metrics = map[string]client.Metric{"cosine": client.Cosine, "dot": client.Dot, "l2": client.L2}

func (c *namespacesCreateCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.with(ctx, func(ctx context.Context, e *client.Client) error {
		n, err := e.CreateNamespace(ctx, client.Namespace{
			Name: c.Name, Metric: metrics[c.Metric], Dimension: c.Dimension, ValueDimension: c.ValueDimension,
			Embedder: c.Embedder, MaxBytes: int64(c.MaxBytes),
		})
		if err != nil {
			return err
		}
		return t.namespaces([]client.Namespace{n})
	})
}

type namespacesLimitCmd struct {
	Name     string   `arg:"" help:"The namespace."`
	MaxBytes byteSize `arg:"" help:"The most memory it may take, like 1GiB; 0: no bound but the server's."`
}

func (c *namespacesLimitCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.with(ctx, func(ctx context.Context, e *client.Client) error {
		n, err := e.LimitNamespace(ctx, c.Name, int64(c.MaxBytes))
		if err != nil {
			return err
		}
		return t.namespaces([]client.Namespace{n})
	})
}

type namespacesDeleteCmd struct {
	Name string `arg:"" help:"The namespace."`
}

func (c *namespacesDeleteCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.with(ctx, func(ctx context.Context, e *client.Client) error {
		n, err := e.DeleteNamespace(ctx, c.Name)
		if err != nil {
			return err
		}
		if t.json {
			return t.object(map[string]int{"deleted": n})
		}
		t.printf("deleted %s with %s\n", c.Name, plural(n, "record"))
		return nil
	})
}

// withAdmin runs f with a client of the server's admin port, for as long as it takes.
func (c *cli) withAdmin(ctx context.Context, f func(context.Context, pb.AdminServiceClient) error) error {
	e, err := c.dialAdmin()
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }()
	return f(ctx, pb.NewAdminServiceClient(e.Conn()))
}

type statsCmd struct {
	Namespaces []string `arg:"" optional:"" help:"Namespaces to describe one by one."`
}

func (*statsCmd) Help() string {
	return `Examples:
  engram stats
  engram stats notes --json`
}

func (c *statsCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.withAdmin(ctx, func(ctx context.Context, e pb.AdminServiceClient) error {
		ctx, cancel := context.WithTimeout(ctx, cli.Timeout)
		defer cancel()
		reply, err := e.Stats(ctx, &pb.StatsRequest{Namespaces: c.Namespaces})
		if err != nil {
			return err
		}
		if t.json {
			b, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(reply)
			if err != nil {
				return err
			}
			t.printf("%s\n", b)
			return nil
		}
		t.serverStats(reply.GetServer())
		for _, n := range reply.GetNamespaces() {
			t.namespaceStats(n)
		}
		return nil
	})
}

func (t *terminal) line(name, value string) { t.printf("%-12s  %s\n", name, value) }

func (t *terminal) serverStats(s *pb.ServerStats) {
	t.line("version", s.GetVersion())
	t.line("kernel", s.GetInstructionSet())
	t.line("up", s.GetUptime().AsDuration().Round(time.Second).String())
	t.line("namespaces", countText(s.GetNamespaces()))
	t.line("records", countText(s.GetRecords()))
	t.line("memory", fmt.Sprintf("%s of %s, and %s of Go heap", bytesText(s.GetSlabBytes()), bytesText(s.GetSlabLimitBytes()), bytesText(s.GetHeapBytes())))
	t.line("LSN", fmt.Sprint(s.GetLsn()))
	if e := s.GetEmbedder(); e != nil {
		t.line("embedder", fmt.Sprintf("%s %s, %d dimensions", e.GetName(), e.GetVersion(), e.GetDimension()))
	}
	if i := s.GetLastSnapshot(); i != nil {
		t.line("snapshot", t.snapshotText(i))
	} else {
		t.line("snapshot", "none")
	}
}

func (t *terminal) snapshotText(i *pb.SnapshotInfo) string {
	return fmt.Sprintf("%s at %s: %s, %s in %s", i.GetFile(), i.GetTime().AsTime().Local().Format(time.DateTime),
		bytesText(i.GetBytes()), plural(int(i.GetRecords()), "record"), i.GetDuration().AsDuration().Round(time.Millisecond))
}

func (t *terminal) namespaceStats(n *pb.NamespaceStats) {
	t.printf("\n%s\n", t.paint(bold, n.GetNamespace().GetName()))
	t.line("records", fmt.Sprintf("%s, and %s dead rows in %s", countText(n.GetNamespace().GetRecordCount()), countText(n.GetDeadRows()), plural(int(n.GetSegments()), "segment")))
	t.line("vectors", bytesText(n.GetVectorBytes()))
	t.line("payload", bytesText(n.GetPayloadBytes()))
	t.line("rows", bytesText(n.GetRowBytes()))
	t.line("indexes", bytesText(n.GetIndexBytes()))
}

type snapshotCmd struct{}

func (*snapshotCmd) Help() string {
	return `Answers when the snapshot is durable. Reads and writes go on meanwhile.`
}

func (c *snapshotCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.withAdmin(ctx, func(ctx context.Context, e pb.AdminServiceClient) error {
		reply, err := e.Snapshot(ctx, &pb.SnapshotRequest{})
		if err != nil {
			return err
		}
		i := reply.GetSnapshot()
		if t.json {
			return t.object(map[string]any{"file": i.GetFile(), "lsn": i.GetLsn(), "bytes": i.GetBytes(), "namespaces": i.GetNamespaces(),
				"records": i.GetRecords(), "seconds": i.GetDuration().AsDuration().Seconds()})
		}
		t.printf("%s\n", t.snapshotText(i))
		return nil
	})
}
