package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"engram/client"
	pb "engram/proto/engram/v1"
)

type namespacesCmd struct {
	List          namespacesListCmd          `cmd:"" default:"withargs" help:"List namespaces."`
	Create        namespacesCreateCmd        `cmd:"" help:"Make a namespace with options of its own."`
	Limit         namespacesLimitCmd         `cmd:"" help:"Set the most memory that a namespace may take."`
	Durability    namespacesDurabilityCmd    `cmd:"" help:"Set when a namespace's writes are acknowledged."`
	Encoding      namespacesEncodingCmd      `cmd:"" help:"Set how a namespace's keys, or values, are kept."`
	Ranking       namespacesRankingCmd       `cmd:"" help:"Change what queries by text are ranked by."`
	Retention     namespacesRetentionCmd     `cmd:"" help:"Change how fast records fade."`
	Capacity      namespacesCapacityCmd      `cmd:"" help:"Set how many records there may be, and which make room for new ones."`
	Repeats       namespacesRepeatsCmd       `cmd:"" help:"Change which records repeat others."`
	Forget        namespacesForgetCmd        `cmd:"" help:"Set the retention below which records are removed."`
	Consolidation namespacesConsolidationCmd `cmd:"" help:"Have old records that are close merged in the background."`
	Recall        namespacesRecallCmd        `cmd:"" help:"Have a namespace searched by an index, or exactly."`
	Delete        namespacesDeleteCmd        `cmd:"" help:"Delete a namespace with all its records."`
}

func (*namespacesCmd) Help() string {
	return `Examples:
  engram namespaces
  engram namespaces create vectors --metric l2 --dimension 128
  engram namespaces create cache --dimension 64 --durability none
  engram namespaces limit vectors 1GiB
  engram namespaces durability vectors interval
  engram namespaces encoding vectors int8
  engram namespaces encoding vectors f16 --values
  engram namespaces recall vectors 0.95
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
				"records": n.Records, "max_bytes": n.MaxBytes, "durability": durabilityText(n.Durability), "key_encoding": encodingText(n.KeyEncoding), "value_encoding": valueEncodingText(n.ValueEncoding), "recall": n.Recall, "lexical": lexicalText(n.Lexical), "ranking": rankingText(n.Ranking), "retention": retentionObject(n.Retention), "repeat_similarity": n.RepeatSimilarity, "max_records": n.MaxRecords, "eviction": evictionText(n.Eviction), "forget": n.Forget, "consolidation": consolidationObject(n.Consolidation), "kv_heads": n.KVHeads, "create_time": n.CreateTime.UTC(), "lsn": n.LSN,
			}); err != nil {
				return err
			}
			continue
		}
		rows[i] = []string{n.Name, countText(n.Records), metric, fmt.Sprint(n.Dimension), n.Embedder, durabilityText(n.Durability), encodingText(n.KeyEncoding), valueEncodingText(n.ValueEncoding), recallText(n.Recall), n.CreateTime.Local().Format("2006-01-02 15:04")}
	}
	if !t.json && len(rows) > 0 {
		t.table([]column{{title: "namespace", sgr: cyan}, {title: "records", right: true}, {title: "metric"}, {title: "dimension", right: true}, {title: "embedder"}, {title: "durability"}, {title: "keys"}, {title: "values"}, {title: "recall"}, {title: "created", sgr: dim}}, rows)
	}
	return nil
}

type namespacesCreateCmd struct {
	Name           string   `arg:"" help:"The namespace."`
	Metric         string   `enum:"cosine,dot,l2" default:"cosine" help:"cosine, dot or l2."`
	Dimension      int      `help:"Components of a key; default: the embedder's."`
	ValueDimension int      `help:"Components of a value; default: those of a key."`
	Heads          int      `help:"How many heads keys and values are put together of, for attend; it divides both." default:"1"`
	Embedder       string   `help:"What makes keys from text; default: the server's embedder if --dimension is not given, else none." placeholder:"NAME"`
	MaxBytes       byteSize `help:"The most memory it may take, beyond which --eviction makes room; default: no bound but the server's." placeholder:"SIZE"`
	Durability     string   `enum:"sync,interval,none,default" default:"default" help:"When writes are acknowledged: sync (on disk), interval (on disk within the server's --sync-interval), none (when the system likes); default: the server's."`
	KeyEncoding    string   `enum:"f32,int8,int8-only,f16,bf16" default:"f32" help:"How keys are kept: f32 (as they are given), int8 (beside them codes of a byte a component: the same answers, faster), int8-only (the codes alone: a quarter of the memory, keys are rounded), f16 and bf16 (half of the memory, keys are rounded to 11 and 8 bits)."`
	ValueEncoding  string   `enum:"f32,f16,bf16" default:"f32" help:"How values are kept: f32 (as they are given), f16 or bf16 (half of the memory, rounded to 11 or 8 bits)."`
	Recall         float64  `help:"The share of the best records to find, by an index from 50,000 records on; 0: all, exactly." placeholder:"R"`
	Lexical        string   `enum:"none,words,english,default" default:"default" help:"How texts are searched by their words: none, words (every word as it is) or english (by stems, without function words); default: english where there is an embedder."`
	Ranking        string   `help:"What queries by text are ranked by: ${ranking_help}; default: all parts where there is an embedder, else similarity." placeholder:"R"`

	MaxRecords int64   `help:"The most records that there may be; 0: no bound." placeholder:"N"`
	Eviction   string  `enum:"none,retention,oldest,lru" default:"none" help:"Which records make room at --max-records or --max-bytes: none (a write is refused), retention (the least retention × importance), oldest, or lru (rehearsed or created longest ago)."`
	Forget     float64 `help:"The retention below which records are removed, pinned ones aside; 0: none is." placeholder:"X"`
	Repeats    float64 `help:"The cosine from which on a record stored without an id repeats one of its speaker that is there: it isn't added, and that one is rehearsed; 0: none does." placeholder:"COSINE"`

	Consolidate float64   `help:"The cosine from which on old records of one session and speaker are merged, in the background; 0: none are." placeholder:"COSINE"`
	MinAge      *longTime `help:"How old records must be to be merged, as 7d or 36h; default: 1d." placeholder:"TIME"`

	retentionFlags
}

var clientLexicals = map[string]client.Lexical{"none": client.NoWords, "words": client.Words, "english": client.English}

func recallText(r float64) string {
	if r == 0 {
		return "exact"
	}
	return fmt.Sprint(r)
}

var clientEncodings = map[string]client.KeyEncoding{"f32": client.F32, "int8": client.Int8, "int8-only": client.Int8Only, "f16": client.F16, "bf16": client.BF16}

var clientValueEncodings = map[string]client.ValueEncoding{"f32": client.ValuesF32, "f16": client.ValuesF16, "bf16": client.ValuesBF16}

func valueEncodingText(e client.ValueEncoding) string {
	return strings.ToLower(strings.TrimPrefix(e.String(), "VALUE_ENCODING_"))
}

func encodingText(e client.KeyEncoding) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(e.String(), "KEY_ENCODING_"), "_", "-"))
}

var clientDurabilities = map[string]client.Durability{"sync": client.Sync, "interval": client.Interval, "none": client.None}

func durabilityText(d client.Durability) string {
	return strings.ToLower(strings.TrimPrefix(d.String(), "DURABILITY_"))
}

var metrics = map[string]client.Metric{"cosine": client.Cosine, "dot": client.Dot, "l2": client.L2}

func (c *namespacesCreateCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	var order *client.Ranking
	if c.Ranking != "" {
		r, err := parseRanking(c.Ranking)
		if err != nil {
			return err
		}
		order = &r
	}
	return cli.changed(ctx, t, func(ctx context.Context, e *client.Client) (client.Namespace, error) {
		return e.CreateNamespace(ctx, client.Namespace{
			Name: c.Name, Metric: metrics[c.Metric], Dimension: c.Dimension, ValueDimension: c.ValueDimension, KVHeads: c.Heads,
			Embedder: c.Embedder, MaxBytes: int64(c.MaxBytes), Durability: clientDurabilities[c.Durability],
			KeyEncoding: clientEncodings[c.KeyEncoding], ValueEncoding: clientValueEncodings[c.ValueEncoding], Recall: c.Recall,
			Lexical: clientLexicals[c.Lexical], Ranking: order, Retention: c.retention(), RepeatSimilarity: c.Repeats,
			MaxRecords: c.MaxRecords, Eviction: clientEvictions[c.Eviction], Forget: c.Forget, Consolidation: consolidationOf(c.Consolidate, c.MinAge),
		})
	})
}

// changed makes or changes a namespace, and shows it.
func (c *cli) changed(ctx context.Context, t *terminal, change func(context.Context, *client.Client) (client.Namespace, error)) error {
	return c.with(ctx, func(ctx context.Context, e *client.Client) error {
		n, err := change(ctx, e)
		if err != nil {
			return err
		}
		return t.namespaces([]client.Namespace{n})
	})
}

type namespacesLimitCmd struct {
	Name     string   `arg:"" help:"The namespace."`
	MaxBytes byteSize `arg:"" help:"The most memory it may take, like 1GiB, beyond which its eviction makes room; 0: no bound but the server's."`
}

func (c *namespacesLimitCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.changed(ctx, t, func(ctx context.Context, e *client.Client) (client.Namespace, error) {
		return e.LimitNamespace(ctx, c.Name, int64(c.MaxBytes))
	})
}

type namespacesDurabilityCmd struct {
	Name       string `arg:"" help:"The namespace."`
	Durability string `arg:"" enum:"sync,interval,none" help:"sync, interval or none: see engram namespaces create --help."`
}

func (c *namespacesDurabilityCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.changed(ctx, t, func(ctx context.Context, e *client.Client) (client.Namespace, error) {
		return e.SetDurability(ctx, c.Name, clientDurabilities[c.Durability])
	})
}

type namespacesEncodingCmd struct {
	Name     string `arg:"" help:"The namespace."`
	Encoding string `arg:"" enum:"f32,int8,int8-only,f16,bf16" help:"f32, int8, int8-only, f16 or bf16: see engram namespaces create --help."`
	Values   bool   `help:"Set the encoding of values (f32, f16 or bf16) instead."`
}

func (c *namespacesEncodingCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.changed(ctx, t, func(ctx context.Context, e *client.Client) (client.Namespace, error) {
		if c.Values {
			values, ok := clientValueEncodings[c.Encoding]
			if !ok {
				return client.Namespace{}, fmt.Errorf("values can't be kept as %s: give f32, f16 or bf16", c.Encoding)
			}
			return e.SetValueEncoding(ctx, c.Name, values)
		}
		return e.SetKeyEncoding(ctx, c.Name, clientEncodings[c.Encoding])
	})
}

type namespacesRecallCmd struct {
	Name   string  `arg:"" help:"The namespace."`
	Recall float64 `arg:"" help:"The share of the best records to find, below 1; 0: all, exactly, without an index."`
}

func (c *namespacesRecallCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	return cli.changed(ctx, t, func(ctx context.Context, e *client.Client) (client.Namespace, error) {
		return e.SetRecall(ctx, c.Name, c.Recall)
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
	t.line("durability", fmt.Sprintf("%s by default; namespaces: %s sync, %s interval, %s none", durabilityText(s.GetDefaultDurability()),
		countText(s.GetSyncNamespaces()), countText(s.GetIntervalNamespaces()), countText(s.GetNoneNamespaces())))
	if sh := s.GetSharedScan(); sh == nil {
		t.line("shared scan", "off")
	} else if sh.GetPasses() > 0 {
		t.line("shared scan", fmt.Sprintf("%s reads in %s passes, %.1f a pass; %s now", countText(sh.GetReads()),
			countText(uint64(math.Ceil(sh.GetPasses()))), float64(sh.GetReads())/sh.GetPasses(), countText(sh.GetRiding())))
	}
	if j := s.GetJournal(); j != nil {
		t.line("journal", fmt.Sprintf("%s in %s", bytesText(j.GetBytes()), plural(int(j.GetSegments()), "segment")))
	}
	if why := s.GetReadOnlyReason(); why != "" {
		t.line("READ-ONLY", why)
	}
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
	t.line("words", bytesText(n.GetLexicalBytes()))
	x := n.GetIvf()
	switch recall := n.GetNamespace().GetRecall(); {
	case x != nil:
		by := "queries"
		if x.GetCalibratedByKeys() {
			by = "stored keys, for want of queries"
		}
		t.line("lists", fmt.Sprintf("%s, %s; %s records in none yet; calibrated by %s", countText(x.GetLists()), bytesText(x.GetBytes()), countText(x.GetUncoveredRows()), by))
		for _, c := range x.GetCurves() {
			for _, p := range c.GetPoints() {
				if float64(p.GetRecall()) >= recall {
					t.line("", fmt.Sprintf("the best %d: recall %.3f by %s", c.GetTopK(), p.GetRecall(), plural(int(p.GetProbes()), "list")))
					break
				}
			}
		}
	case recall > 0:
		t.line("lists", "none yet: answers are exact")
	}
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
