package main

import (
	"context"
	"fmt"
	"math"
	"strings"

	"engram/client"
)

type attendCmd struct {
	queryFlags
	Where
	Scale        *float32  `help:"What scores are multiplied by before the softmax; default: 1/√d of a head, for cosine √d." placeholder:"S"`
	TopWeights   int       `short:"n" help:"How many of the heaviest records of each head to name." default:"10"`
	QueryHeads   int       `help:"How many heads the query has; default: as many as the namespace." placeholder:"N"`
	Last         int       `help:"Attend to the last N records alone." placeholder:"N"`
	Sinks        int       `help:"With --last: and to the first N." placeholder:"N"`
	Before       *int64    `help:"Attend to records of a lesser position alone." placeholder:"POSITION"`
	Position     *int64    `help:"Where the query stands, for --slopes." placeholder:"POSITION"`
	Slopes       []float64 `help:"How much less a record counts by its distance, one for each query head." placeholder:"M,…"`
	ByImportance float64   `help:"Add so many times ln(importance)." placeholder:"W"`
	ByRetention  float64   `help:"Add so many times ln(retention), which falls with the time since a record was stored or rehearsed." placeholder:"W"`
	TopK         int       `help:"Attend to the N best records alone." placeholder:"N"`
	MaxError     float64   `help:"Leave unread what can't move a context by more than E times the greatest norm of a value." placeholder:"E"`
	Svg          string    `help:"Write a heat map, queries by time, to this file." placeholder:"FILE" type:"path"`
	And          []string  `help:"Another query in words for --svg; may be repeated." placeholder:"WORDS" sep:"none"`
}

func (*attendCmd) Help() string {
	return `Examples:
  engram attend notes where is the spare key
  engram attend notes where is the key --and "who has a dog" --svg attention.svg
  engram attend tokens --vector 0.1,0.2,0.3 --last 1000 --sinks 4 --json`
}

// options are what it asks of Attend, but for the filter.
func (c *attendCmd) options() []client.ReadOption {
	options := []client.ReadOption{client.TopWeights(c.TopWeights)}
	if c.Scale != nil {
		options = append(options, client.Scale(*c.Scale))
	}
	if c.QueryHeads != 0 {
		options = append(options, client.QueryHeads(c.QueryHeads))
	}
	if c.Last != 0 || c.Sinks != 0 {
		options = append(options, client.Last(c.Last, c.Sinks))
	}
	if c.Before != nil {
		options = append(options, client.BeforePosition(*c.Before))
	}
	if len(c.Slopes) > 0 {
		options = append(options, client.BySlopes(c.Slopes...))
	}
	if c.ByRetention != 0 {
		options = append(options, client.ByRetention(c.ByRetention))
	}
	if c.ByImportance != 0 {
		options = append(options, client.ByImportance(c.ByImportance))
	}
	if c.TopK != 0 {
		options = append(options, client.TopK(c.TopK))
	}
	if c.MaxError != 0 {
		options = append(options, client.MaxError(c.MaxError))
	}
	return options
}

func (c *attendCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	if c.Position != nil {
		q = q.At(*c.Position)
	}
	filters, err := c.Where.options()
	if err != nil {
		return err
	}
	// What a window or the best leave depends on all records, so spans of time can't be asked
	// for one by one.
	mapped := c.Last == 0 && c.TopK == 0
	if c.Svg != "" && !mapped {
		return usagef("--svg is for attention to all records, without --last and --top-k")
	}
	if len(c.And) > 0 && c.Svg == "" {
		return usagef("--and is for --svg")
	}
	options := c.options()
	return cli.with(ctx, func(ctx context.Context, e *client.Client) error {
		a, err := e.Attend(ctx, c.Namespace, q, append(options, filters...)...)
		if err != nil {
			return err
		}
		if c.Svg != "" {
			return c.svg(ctx, e, t, q)
		}
		if t.json {
			return t.object(attentionObject(a))
		}
		for h := range a.Heads {
			head := &a.Heads[h]
			if len(a.Heads) > 1 {
				t.printf("head %d: ", h)
			}
			t.printf("%s records attended, %.1f in effect; log-sum-exp %.4f\n", countText(head.Attended), math.Exp(head.Entropy), head.LogSumExp)
			if c.MaxError != 0 {
				t.printf("the context is within %.2g of the greatest norm of a value\n", head.ErrorBound)
			}
			if len(a.Heads) > 1 {
				t.weights(head.TopWeights)
			}
		}
		t.printf("context  %s\n\n", vectorText(a.Context, 8))
		if mapped {
			m, err := c.heatMap(ctx, e, []client.Query{q}, []string{""})
			if err != nil {
				return err
			}
			if m != nil {
				m.print(t)
			}
		}
		if len(a.Heads) == 1 {
			t.weights(a.TopWeights)
		}
		return nil
	})
}

func (c *attendCmd) heatMap(ctx context.Context, e *client.Client, queries []client.Query, labels []string) (*heatMap, error) {
	var where []client.Filter
	if len(c.Where.Where) > 0 {
		f, err := c.filter()
		if err != nil {
			return nil, err
		}
		where = append(where, f)
	}
	return heatMapOf(ctx, e, c.Namespace, queries, labels, where, append(c.options(), client.TopWeights(0)))
}

// svg writes the heat map of the query, and of those in --and.
func (c *attendCmd) svg(ctx context.Context, e *client.Client, t *terminal, q client.Query) error {
	label := strings.Join(c.Text, " ")
	if label == "" {
		label = c.Like + c.Vector
	}
	queries, labels := []client.Query{q}, []string{label}
	for _, text := range c.And {
		queries, labels = append(queries, client.Text(text)), append(labels, text)
	}
	m, err := c.heatMap(ctx, e, queries, labels)
	if err != nil {
		return err
	}
	if m == nil {
		return fmt.Errorf("namespace %q has no records to draw", c.Namespace)
	}
	if err := m.write(c.Svg); err != nil {
		return err
	}
	t.note("wrote %s of attention by time to %s\n", plural(len(m.shares), "row"), c.Svg)
	return nil
}

// weights prints the heaviest records, each with a bar as long as its weight.
func (t *terminal) weights(list []client.Weight) {
	rows := make([][]string, len(list))
	for i, w := range list {
		rows[i] = append([]string{fmt.Sprintf("%.2f%%", 100*w.Weight), bar(w.Weight/list[0].Weight, 10)}, recordCells(&w.Record)...)
	}
	if len(rows) > 0 {
		t.table(append([]column{{title: "weight", right: true, sgr: green}, {title: "", sgr: green}}, recordColumns...), rows)
	}
}

// bar draws a share in [0, 1] as a bar of at most width cells, in eighths.
func bar(share float64, width int) string {
	eighths := int(math.Round(share * float64(8*width)))
	s := strings.Repeat("█", eighths/8)
	if r := eighths % 8; r > 0 {
		s += string([]rune(" ▏▎▍▌▋▊▉")[r])
	}
	return s
}

// vectorText shows the first n components.
func vectorText(v []float32, n int) string {
	var parts []string
	for i, x := range v {
		if i == n {
			parts = append(parts, fmt.Sprintf("… (%d components)", len(v)))
			break
		}
		parts = append(parts, fmt.Sprintf("%.4f", x))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func attentionObject(a *client.Attention) map[string]any {
	out := headObject(&a.Head)
	out["context"] = a.Context
	if len(a.Heads) > 1 {
		heads := make([]map[string]any, len(a.Heads))
		for i := range a.Heads {
			heads[i] = headObject(&a.Heads[i])
		}
		out = map[string]any{"context": a.Context, "heads": heads}
	}
	return out
}

func headObject(a *client.Head) map[string]any {
	weights := make([]map[string]any, len(a.TopWeights))
	for i, w := range a.TopWeights {
		weights[i] = recordObject(&w.Record)
		weights[i]["namespace"], weights[i]["weight"], weights[i]["score"] = w.Namespace, w.Weight, w.Score
	}
	var lse any = a.LogSumExp
	if math.IsInf(a.LogSumExp, 0) { // JSON has no infinity
		lse = nil
	}
	return map[string]any{"log_sum_exp": lse, "entropy": a.Entropy, "attended": a.Attended, "top_weights": weights, "error_bound": a.ErrorBound}
}
