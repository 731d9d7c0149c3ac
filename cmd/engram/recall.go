package main

import (
	"context"
	"fmt"
	"strings"

	"engram/client"
)

type recallCmd struct {
	queryFlags
	Where
	MaxTokens int     `short:"t" help:"The most tokens that the prompt may have." default:"1000"`
	Last      int     `help:"So many last turns go in first." default:"0"`
	TopK      int     `short:"k" help:"How many of the best records are tried." default:"100"`
	Before    int     `help:"So many records before each hit are tried with it." default:"0"`
	After     int     `help:"So many records after each hit are tried with it." default:"0"`
	Order     string  `enum:"time,relevance" default:"time" help:"The order of passages: time or relevance."`
	Template  string  `help:"How a record is written: text with {id}, {session}, {speaker}, {time}, {text}, {namespace} and {score}; {{ and }} are braces. Default: \"{time} {speaker}: {text}\"." placeholder:"T"`
	Separator *string `help:"What stands between passages; default: a newline." placeholder:"S"`
	Tokenizer string  `help:"What counts tokens: estimate, cl100k_base or o200k_base." default:"estimate"`
	Rehearse  bool    `help:"Rehearse the hits that are in the prompt: what is used is kept longer."`
	Ranking   string  `help:"What records are ranked by: ${ranking_help}; default: for words the namespace's ranking." placeholder:"R"`
}

func (*recallCmd) Help() string {
	return `Prints the prompt on standard output, and what went into it on standard error; with
--json, all of it as one object.

Examples:
  engram recall notes where is the spare key -t 200
  engram recall chat "what did we say about the trip?" --last 6 --before 1 --after 1
  engram recall chat --last 20 --top-k 0
  engram recall chat the key --template "- {text} ({speaker}, {time})" --order relevance`
}

var promptOrders = map[string]client.PromptOrder{"time": client.PromptByTime, "relevance": client.PromptByRelevance}

func (c *recallCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	var q client.Query
	var err error
	if c.TopK > 0 || len(c.Text) > 0 || c.Vector != "" || c.Like != "" {
		if q, err = c.query(); err != nil {
			return err
		}
	}
	for _, n := range []struct {
		flag string
		of   int
	}{{"max-tokens", c.MaxTokens}, {"last", c.Last}, {"top-k", c.TopK}, {"before", c.Before}, {"after", c.After}} {
		if n.of < 0 {
			return usagef("--%s: %d is below 0", n.flag, n.of)
		}
	}
	options, err := c.options()
	if err != nil {
		return err
	}
	options = append(options, client.TopK(c.TopK))
	if c.Rehearse {
		options = append(options, client.Rehearse())
	}
	if c.Ranking != "" {
		r, err := parseRanking(c.Ranking)
		if err != nil {
			return err
		}
		options = append(options, client.RankBy(r))
	}
	return cli.with(ctx, func(ctx context.Context, e *client.Client) error {
		p, err := e.Recall(ctx, c.Namespace, q, client.PromptOptions{
			MaxTokens: c.MaxTokens, Last: c.Last, Before: c.Before, After: c.After, Order: promptOrders[c.Order],
			Template: c.Template, Separator: c.Separator, Tokenizer: c.Tokenizer,
		}, options...)
		if err != nil {
			return err
		}
		if t.json {
			return t.object(promptObject(&p))
		}
		for line := range strings.Lines(p.Text) {
			if t.person { // whose terminal isn't the texts' to command
				line = oneLine(strings.TrimSuffix(line, "\n")) + "\n"
			}
			t.printf("%s", line)
		}
		t.note("%s\n", promptText(&p))
		return nil
	})
}

// promptText says what is in a prompt, and what isn't.
func promptText(p *client.Prompt) string {
	in, left := map[client.RecallReason]int{}, map[client.LeftOutReason]int{}
	for _, r := range p.Records {
		in[r.Reason]++
	}
	for _, l := range p.LeftOut {
		left[l.Reason]++
	}
	parts := []string{plural(p.Tokens, "token") + " of " + plural(len(p.Records), "record")}
	for _, n := range []struct {
		of   int
		what string
	}{
		{in[client.RecalledAsLast], "of the last turns"}, {in[client.RecalledAsHit], "found"}, {in[client.RecalledAsNeighbour], "beside what was found"},
		{left[client.LeftOutOverBudget], "left out for want of room"}, {left[client.LeftOutNoText], "left out for want of text"},
	} {
		if n.of > 0 {
			parts = append(parts, fmt.Sprint(countText(n.of), " ", n.what))
		}
	}
	return strings.Join(parts, ", ")
}

func lowerName(s fmt.Stringer, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), prefix))
}

func promptObject(p *client.Prompt) map[string]any {
	records, left := make([]any, len(p.Records)), make([]any, len(p.LeftOut))
	for i, r := range p.Records {
		o := recordObject(&r.Record)
		o["namespace"], o["reason"], o["tokens"] = r.Namespace, lowerName(r.Reason, "RECALL_REASON_"), r.Tokens
		if r.IsHit {
			o["score"], o["similarity"] = r.Score, r.Similarity
			o["lexical"], o["kin"], o["association"], o["mention"] = r.Parts.Lexical, r.Parts.Kin, r.Parts.Association, r.Parts.Mention
		}
		records[i] = o
	}
	for i, l := range p.LeftOut {
		left[i] = map[string]any{
			"namespace": l.Namespace, "id": l.ID, "tokens": l.Tokens,
			"reason": lowerName(l.Reason, "LEFT_OUT_REASON_"), "wanted": lowerName(l.Wanted, "RECALL_REASON_"),
		}
	}
	return map[string]any{"prompt": p.Text, "tokens": p.Tokens, "records": records, "left_out": left}
}
