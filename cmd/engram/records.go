package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"engram/client"
)

type storeCmd struct {
	Namespace  string            `arg:"" help:"The namespace; made if it isn't there."`
	Text       []string          `arg:"" optional:"" help:"The record's text; - reads it from standard input."`
	ID         string            `name:"id" help:"The record's id; default: a new UUID."`
	Key        string            `help:"The key vector: numbers with commas between; default: made from the text." placeholder:"X,Y,…"`
	Value      string            `help:"The value vector; default: the key." placeholder:"X,Y,…"`
	Meta       map[string]string `help:"Metadata, KEY=VALUE; what is JSON is taken as JSON. May be repeated." placeholder:"KEY=VALUE"`
	Session    string            `help:"Which sitting of the conversation."`
	Speaker    string            `help:"Who said it."`
	Time       time.Time         `help:"When it happened (RFC 3339); default: now." placeholder:"TIME"`
	Position   *int64            `help:"Where it stands in a sequence, for attend." placeholder:"N"`
	Importance float32           `help:"How much it matters, in (0, 1]; default: 0.5." placeholder:"X"`
	TTL        longTime          `help:"How long until it is gone, as 30d or 36h; default: never." placeholder:"TIME"`
	Pinned     bool              `help:"Never evict nor forget it."`
	Insert     bool              `help:"Refuse if the id exists."`
}

func (*storeCmd) Help() string {
	return `Examples:
  engram store notes "The spare key is under the blue pot." --speaker me --meta topic=home
  engram store vectors --id a --key 0.1,0.2,0.3
  git log -1 | engram store notes -`
}

func (c *storeCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	r := client.Record{ID: c.ID, Text: strings.Join(c.Text, " "), Session: c.Session, Speaker: c.Speaker, Time: c.Time, Importance: c.Importance, Position: c.Position, TTL: time.Duration(c.TTL), Pinned: c.Pinned}
	if r.Text == "-" {
		b, err := io.ReadAll(io.LimitReader(t.in, 64<<10+1))
		if err != nil {
			return err
		}
		r.Text = string(b)
	}
	var err error
	if c.Key != "" {
		if r.Key, err = parseVector(c.Key); err != nil {
			return err
		}
	}
	if c.Value != "" {
		if r.Value, err = parseVector(c.Value); err != nil {
			return err
		}
	}
	if len(c.Meta) > 0 {
		r.Metadata = map[string]any{}
		for k, v := range c.Meta {
			var j any
			if json.Unmarshal([]byte(v), &j) != nil {
				j = v
			}
			r.Metadata[k] = j
		}
	}
	return cli.with(ctx, func(ctx context.Context, e *client.Client) error {
		store := e.Store
		if c.Insert {
			store = e.Insert
		}
		results, err := store(ctx, c.Namespace, r)
		if err != nil {
			return err
		}
		res := results[0]
		if t.json {
			return t.object(map[string]any{"id": res.ID, "version": res.Version, "created": res.Created, "repeated": res.Repeated})
		}
		verb := "replaced"
		switch {
		case res.Created:
			verb = "stored"
		case res.Repeated:
			verb = "repeated"
		}
		t.printf("%s %s in %s\n", verb, t.paint(bold, res.ID), c.Namespace)
		return nil
	})
}

// with runs f with a client of the server, within the time that a request may take.
func (c *cli) with(ctx context.Context, f func(context.Context, *client.Client) error) error {
	e, err := c.dial()
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	return f(ctx, e)
}

type retrieveCmd struct {
	queryFlags
	Where
	Choice   choiceFlags `embed:""`
	TopK     int         `short:"k" help:"How many hits." default:"10"`
	MinScore *float32    `help:"Leave out hits below this similarity." placeholder:"S"`
	Ranking  string      `help:"What hits are ranked by: ${ranking_help}; default: for words the namespace's ranking." placeholder:"R"`
	Rehearse bool        `help:"Rehearse the hits: what is found is kept longer."`
	Exact    bool        `help:"The best of all records, whatever the namespace's recall."`
	Recall   float64     `help:"Find this share of the best records on average, if the namespace has an index." placeholder:"R"`
	Vectors  bool        `help:"Show vectors too (with --json)."`
}

func (*retrieveCmd) Help() string {
	return `Examples:
  engram retrieve notes where is the spare key
  engram retrieve notes "the key" -k 3 --where speaker=me --where meta.topic=home
  engram retrieve notes "the key" --diversity=0.5 --before=1 --after=1
  engram retrieve notes "the key" --group-by=meta.topic --per-group=2
  engram retrieve vectors --vector 0.1,0.2,0.3
  engram retrieve vectors --like a`
}

func (c *retrieveCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	options, err := c.options()
	if err != nil {
		return err
	}
	chosen, err := c.Choice.options()
	if err != nil {
		return err
	}
	options = append(append(options, chosen...), client.TopK(c.TopK))
	if c.MinScore != nil {
		options = append(options, client.MinScore(*c.MinScore))
	}
	if c.Recall != 0 {
		options = append(options, client.Recall(c.Recall))
	}
	if c.Ranking != "" {
		r, err := parseRanking(c.Ranking)
		if err != nil {
			return err
		}
		options = append(options, client.RankBy(r))
	}
	if c.Rehearse {
		options = append(options, client.Rehearse())
	}
	if c.Exact {
		options = append(options, client.Exact())
	}
	if c.Vectors {
		options = append(options, client.WithVectors())
	}
	return cli.with(ctx, func(ctx context.Context, e *client.Client) error {
		hits, err := e.Retrieve(ctx, c.Namespace, q, options...)
		if err != nil {
			return err
		}
		if t.json {
			for _, h := range hits {
				o := recordObject(&h.Record)
				o["namespace"], o["score"], o["similarity"] = h.Namespace, h.Score, h.Similarity
				o["lexical"], o["kin"], o["association"], o["mention"] = h.Parts.Lexical, h.Parts.Kin, h.Parts.Association, h.Parts.Mention
				o["retention"] = h.Parts.Retention
				c.Choice.object(o, &h)
				if err := t.object(o); err != nil {
					return err
				}
			}
			return nil
		}
		if len(hits) == 0 {
			t.note("nothing found\n")
			return nil
		}
		var rows [][]string
		for i, h := range hits {
			rows = append(rows, c.Choice.rows(fmt.Sprint(i+1), fmt.Sprintf("%.4f", h.Score), &h)...)
		}
		t.table(append([]column{{title: "#", right: true, sgr: dim}, {title: "score", right: true, sgr: green}}, recordColumns...), rows)
		return nil
	})
}

var recordColumns = []column{{title: "id", sgr: cyan}, {title: "time", sgr: dim}, {title: "speaker", sgr: yellow}, {title: "text", wide: true}}

func recordCells(r *client.Record) []string {
	text := r.Text
	if len(r.Metadata) > 0 {
		if b, err := json.Marshal(r.Metadata); err == nil {
			text = strings.TrimSpace(text + " " + string(b))
		}
	}
	return []string{r.ID, r.Time.UTC().Format("2006-01-02 15:04:05"), r.Speaker, text}
}

// recordObject is the record as JSON shows it; its fields are those of import.
func recordObject(r *client.Record) map[string]any {
	o := map[string]any{"id": r.ID, "time": r.Time.UTC(), "version": r.Version, "importance": r.Importance}
	if r.Position != nil {
		o["position"] = *r.Position
	}
	set := func(k string, v any, is bool) {
		if is {
			o[k] = v
		}
	}
	set("rehearsals", r.Rehearsals, r.Rehearsals > 0)
	set("rehearse_time", r.RehearseTime.UTC(), r.Rehearsals > 0)
	set("expire_time", r.ExpireTime.UTC(), !r.ExpireTime.IsZero())
	set("pinned", true, r.Pinned)
	set("sources", sourceObjects(r.Sources), len(r.Sources) > 0)
	set("text", r.Text, r.Text != "")
	set("metadata", r.Metadata, r.Metadata != nil)
	set("session", r.Session, r.Session != "")
	set("speaker", r.Speaker, r.Speaker != "")
	set("key", r.Key, r.Key != nil)
	set("value", r.Value, r.Value != nil)
	return o
}

type getCmd struct {
	Namespace string   `arg:"" help:"The namespace."`
	IDs       []string `arg:"" name:"id" help:"The records' ids."`
	Vectors   bool     `help:"Show vectors too (with --json)."`
}

func (*getCmd) Help() string {
	return `Example:
  engram get notes 0198c2f0-… --json --vectors

The exit code is 1 if any id doesn't exist.`
}

func (c *getCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	var options []client.ReadOption
	if c.Vectors {
		options = append(options, client.WithVectors())
	}
	return cli.with(ctx, func(ctx context.Context, e *client.Client) error {
		found, missing, err := e.Get(ctx, c.Namespace, c.IDs, options...)
		if err != nil {
			return err
		}
		if err := t.records(found); err != nil {
			return err
		}
		if len(missing) > 0 {
			return fmt.Errorf("no record in %s with id: %s", c.Namespace, strings.Join(missing, ", "))
		}
		return nil
	})
}

func (t *terminal) records(list []client.Record) error {
	if t.json {
		for i := range list {
			if err := t.object(recordObject(&list[i])); err != nil {
				return err
			}
		}
		return nil
	}
	rows := make([][]string, len(list))
	for i := range list {
		rows[i] = recordCells(&list[i])
	}
	if len(rows) > 0 {
		t.table(recordColumns, rows)
	}
	return nil
}

type deleteCmd struct {
	Namespace string   `arg:"" help:"The namespace."`
	IDs       []string `arg:"" optional:"" name:"id" help:"The records' ids."`
	Where
}

func (*deleteCmd) Help() string {
	return `Examples:
  engram delete notes 0198c2f0-…
  engram delete notes --where 'time<2020-01-01T00:00:00Z'

To delete a whole namespace: engram namespaces delete NAME`
}

func (c *deleteCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	if (len(c.IDs) == 0) == (len(c.Where.Where) == 0) {
		return usagef("name records by id, or by --where")
	}
	return cli.with(ctx, func(ctx context.Context, e *client.Client) error {
		var n int
		var err error
		if len(c.IDs) > 0 {
			n, err = e.Delete(ctx, c.Namespace, c.IDs...)
		} else {
			var f client.Filter
			if f, err = c.filter(); err == nil {
				n, err = e.DeleteWhere(ctx, c.Namespace, f)
			}
		}
		if err != nil {
			return err
		}
		if t.json {
			return t.object(map[string]int{"deleted": n})
		}
		t.printf("deleted %s\n", plural(n, "record"))
		return nil
	})
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return countText(n) + " " + what + "s"
}

type listCmd struct {
	Namespace string `arg:"" help:"The namespace."`
	Where
	Order   string `enum:"created,-created,time,-time" default:"created" help:"created or time; with - before it, newest first."`
	Limit   int    `short:"n" help:"How many at most; 0: all." default:"20"`
	Vectors bool   `help:"Show vectors too (with --json)."`
}

func (*listCmd) Help() string {
	return `Examples:
  engram list notes --order=-time -n 5
  engram list notes -n 0 --json > notes.jsonl`
}

var orders = map[string]client.Order{
	"created": client.ByCreation, "-created": client.ByCreationDesc, "time": client.ByTime, "-time": client.ByTimeDesc,
}

func (c *listCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	options, err := c.options()
	if err != nil {
		return err
	}
	options = append(options, client.In(orders[c.Order]))
	if c.Vectors {
		options = append(options, client.WithVectors())
	}
	return cli.with(ctx, func(ctx context.Context, e *client.Client) error {
		var page []client.Record
		n := 0
		for r, err := range e.List(ctx, c.Namespace, options...) {
			if err != nil {
				return err
			}
			if c.Limit > 0 && n == c.Limit {
				t.note("there are more: -n 0 lists all\n")
				break
			}
			n++
			if page = append(page, r); t.json {
				if err := t.records(page); err != nil {
					return err
				}
				page = page[:0]
			}
		}
		return t.records(page)
	})
}

type countCmd struct {
	Namespace string `arg:"" help:"The namespace."`
	Where
}

func (*countCmd) Help() string {
	return `Example:
  engram count notes --where speaker=me`
}

func (c *countCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	options, err := c.options()
	if err != nil {
		return err
	}
	return cli.with(ctx, func(ctx context.Context, e *client.Client) error {
		n, err := e.Count(ctx, c.Namespace, options...)
		if err != nil {
			return err
		}
		if t.json {
			return t.object(map[string]int{"count": n})
		}
		t.printf("%s\n", countText(n))
		return nil
	})
}
