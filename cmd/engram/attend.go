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
	Scale      *float32 `help:"What scores are multiplied by before the softmax; default: 1/√d, for cosine √d." placeholder:"S"`
	TopWeights int      `short:"n" help:"How many of the heaviest records to name." default:"10"`
}

func (*attendCmd) Help() string {
	return `Examples:
  engram attend notes where is the spare key
  engram attend vectors --vector 0.1,0.2,0.3 --json`
}

func (c *attendCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	options, err := c.options()
	if err != nil {
		return err
	}
	options = append(options, client.TopWeights(c.TopWeights))
	if c.Scale != nil {
		options = append(options, client.Scale(*c.Scale))
	}
	return cli.with(ctx, func(ctx context.Context, e *client.Client) error {
		a, err := e.Attend(ctx, c.Namespace, q, options...)
		if err != nil {
			return err
		}
		if t.json {
			return t.object(attentionObject(a))
		}
		t.printf("%s records attended, %.1f in effect; log-sum-exp %.4f\n", countText(a.Attended), math.Exp(a.Entropy), a.LogSumExp)
		t.printf("context  %s\n\n", vectorText(a.Context, 8))
		t.weights(a.TopWeights)
		return nil
	})
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
	weights := make([]map[string]any, len(a.TopWeights))
	for i, w := range a.TopWeights {
		weights[i] = recordObject(&w.Record)
		weights[i]["namespace"], weights[i]["weight"], weights[i]["score"] = w.Namespace, w.Weight, w.Score
	}
	var lse any = a.LogSumExp
	if math.IsInf(a.LogSumExp, 0) { // JSON has no infinity
		lse = nil
	}
	return map[string]any{
		"context": a.Context, "log_sum_exp": lse, "entropy": a.Entropy, "attended": a.Attended, "top_weights": weights,
	}
}
