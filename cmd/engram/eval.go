package main

import (
	"context"
	"fmt"
	"os"

	"engram/client"
	"engram/memory"
)

type evalCmd struct {
	Locomo    evalLocomoCmd    `cmd:"" help:"How much of the evidence for questions about long dialogues is found, on a file of LoCoMo's format."`
	Retention evalRetentionCmd `cmd:"" help:"How long what was said is found in a memory that keeps few turns, with and without rehearsal."`
}

type evalLocomoCmd struct {
	File      string   `arg:"" help:"The file: JSON, as LoCoMo publishes it." type:"existingfile"`
	Ranking   []string `help:"What hits are ranked by: ${ranking_help}. May be repeated, for a table of several; default: that of a namespace made by Store." placeholder:"R" sep:"none"`
	Diversity *float64 `help:"Ask with this weight of diversity, for 100 hits and so many candidates." placeholder:"W"`
	Only      []string `help:"Only the dialogues of these names." placeholder:"NAME"`

	LeaveOneOut bool `help:"For each dialogue choose the ranking that finds most in the others, and tell what that finds in this one."`

	Tokenizer string `help:"What counts the tokens of prompts: estimate, cl100k_base or o200k_base." default:"estimate"`

	embedderFlags
}

func (*evalLocomoCmd) Help() string {
	return `Starts a server of its own on a free port of this machine and stores the turns of each
dialogue in a namespace of its own. Then it asks each question by Retrieve and tells what
share of its evidence was among the first 1, 5, 10 and 25 hits, and the mean reciprocal
rank (MRR) of the first evidence, and by Recall what share stood in a prompt of at most 500,
1,000 and 2,000 tokens; all are means over questions.

With --leave-one-out no figure is of a dialogue that its ranking was chosen by: each is scored
by the ranking with the highest mean of recall@1, 5, 10 and 25 over the questions of the others,
of equal ones the first given.

Examples:
  engram eval locomo locomo10.json
  engram eval locomo locomo10.json --ranking similarity --ranking lexical --json
  engram eval locomo locomo10.json --leave-one-out --ranking=lexical,kin={0,0.3,0.6}`
}

// evalDepths are the numbers of hits among which evidence is looked for.
var evalDepths = [...]int{1, 5, 10, 25}

// evalBudgets are the tokens of prompts in which evidence is looked for.
var evalBudgets = [...]int{500, 1000, 2000}

// A tally is what a ranking found, summed over questions.
type tally struct {
	questions int
	recall    [len(evalDepths)]float64
	mrr       float64
	prompts   [len(evalBudgets)]float64
}

// add counts a question with evidence that was found at these places, from 1; what wasn't
// found has none.
func (y *tally) add(places []int, evidence int) {
	y.questions++
	first := 0
	for _, p := range places {
		if first == 0 || p < first {
			first = p
		}
		for i, depth := range evalDepths {
			if p <= depth {
				y.recall[i] += 1 / float64(evidence)
			}
		}
	}
	if first > 0 {
		y.mrr += 1 / float64(first)
	}
}

func (c *evalLocomoCmd) Run(ctx context.Context, _ *cli, t *terminal) error {
	dialogues, err := locomoFile(c.File, c.Only)
	if err != nil {
		return err
	}
	rankings := []*client.Ranking{nil}
	if len(c.Ranking) > 0 {
		rankings = rankings[:0]
		for _, s := range c.Ranking {
			r, err := parseRanking(s)
			if err != nil {
				return err
			}
			rankings = append(rankings, &r)
		}
	}
	embedder, err := c.required(ctx)
	if err != nil {
		return err
	}
	return withOwnServer(ctx, memory.Options{Clock: memory.SystemClock(), Embedder: embedder}, func(ctx context.Context, _ *memory.DB, e *client.Client) error {
		for _, d := range dialogues {
			if err := remember(ctx, e, &d); err != nil {
				return err
			}
		}
		if !t.json {
			turns, questions, dropped, skipped := 0, 0, 0, 0
			for _, d := range dialogues {
				turns, questions = turns+len(d.turns), questions+len(d.questions)
				dropped, skipped = dropped+d.dropped, skipped+d.skipped
			}
			t.printf("%s, %s, %s; dropped: %s to evidence that name no turn, %s without evidence\n\n",
				plural(len(dialogues), "dialogue"), plural(turns, "turn"), plural(questions, "question"),
				plural(dropped, "reference"), plural(skipped, "question"))
		}
		if c.LeaveOneOut {
			return c.leaveOneOut(ctx, e, t, dialogues, rankings)
		}
		for _, r := range rankings {
			if err := c.measure(ctx, e, t, dialogues, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// required is the embedder, which there must be.
func (c *embedderFlags) required(ctx context.Context) (memory.Embedder, error) {
	e, err := c.embedder(ctx)
	if err == nil && e == nil {
		err = usagef("turns have no vectors of their own: give an --embedder")
	}
	return e, err
}

// locomoFile reads the dialogues of a file that have one of the names, all if there are none.
func locomoFile(path string, names []string) ([]dialogue, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	dialogues, err := locomo(f)
	_ = f.Close()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return named(dialogues, names)
}

// named gives the dialogues of the names, all if there are none.
func named(dialogues []dialogue, names []string) ([]dialogue, error) {
	if len(names) == 0 {
		return dialogues, nil
	}
	var out []dialogue
	for _, name := range names {
		found := false
		for _, d := range dialogues {
			if d.name == name {
				out, found = append(out, d), true
			}
		}
		if !found {
			return nil, usagef("--only: there is no dialogue %q", name)
		}
	}
	return out, nil
}

// remember stores a dialogue's turns, in order.
func remember(ctx context.Context, e *client.Client, d *dialogue) error {
	_, err := e.Load(ctx, d.name, func(yield func(client.Record, error) bool) {
		for _, r := range d.turns {
			if !yield(r, nil) {
				return
			}
		}
	}, nil)
	return err
}

// asked gives how all questions are asked by one ranking, and what that is called.
func (c *evalLocomoCmd) asked(ctx context.Context, e *client.Client, dialogues []dialogue, r *client.Ranking) (options []client.ReadOption, name string) {
	options, name = []client.ReadOption{client.TopK(1000), client.WithoutContent()}, "default"
	if r != nil {
		options, name = append(options, client.RankBy(*r)), rankingText(r)
	} else if n, err := e.Namespace(ctx, dialogues[0].name); err == nil {
		name += " (" + rankingText(n.Ranking) + ")"
	}
	if c.Diversity != nil {
		options, name = append(options, client.TopK(100), client.Diverse(*c.Diversity, 0)), fmt.Sprintf("%s, diversity %v", name, *c.Diversity)
	}
	return options, name
}

// measure asks all questions by one ranking and prints what it found.
func (c *evalLocomoCmd) measure(ctx context.Context, e *client.Client, t *terminal, dialogues []dialogue, r *client.Ranking) error {
	options, name := c.asked(ctx, e, dialogues, r)
	tallies := make([]tally, len(categories)) // [0]: of all
	for _, d := range dialogues {
		for _, q := range d.questions {
			wanted := q.wanted()
			places, err := q.places(ctx, e, d.name, wanted, options)
			if err != nil {
				return err
			}
			for _, y := range []*tally{&tallies[0], &tallies[q.category]} {
				y.add(places, len(q.evidence))
			}
			for i, budget := range evalBudgets {
				p, err := e.Recall(ctx, d.name, client.Text(q.text), client.PromptOptions{MaxTokens: budget, Tokenizer: c.Tokenizer}, options...)
				if err != nil {
					return err
				}
				found := 0
				for _, r := range p.Records {
					if wanted[r.Record.ID] {
						found++
					}
				}
				share := float64(found) / float64(len(q.evidence))
				tallies[0].prompts[i] += share
				tallies[q.category].prompts[i] += share
			}
		}
	}
	return t.tallies(name, tallies)
}

// wanted are the turns that the answer stands in.
func (q *evidenced) wanted() map[string]bool {
	wanted := make(map[string]bool, len(q.evidence))
	for _, id := range q.evidence {
		wanted[id] = true
	}
	return wanted
}

// places asks a question and gives the places of its evidence, from 1.
func (q *evidenced) places(ctx context.Context, e *client.Client, namespace string, wanted map[string]bool, options []client.ReadOption) (places []int, err error) {
	hits, err := e.Retrieve(ctx, namespace, client.Text(q.text), options...)
	for i, h := range hits {
		if wanted[h.Record.ID] {
			places = append(places, i+1)
		}
	}
	return places, err
}

// foundColumns are those of rows that tally.found gives.
func foundColumns(kind string) []column {
	columns := []column{{title: kind}, {title: "questions", right: true, sgr: dim}}
	for _, depth := range evalDepths {
		columns = append(columns, column{title: fmt.Sprint("recall@", depth), right: true})
	}
	return append(columns, column{title: "MRR", right: true})
}

// found gives the means of what was counted of something of a name, as the cells of a row, and
// adds them to a JSON object.
func (y *tally) found(kind, name string, o map[string]any) (row []string) {
	n := float64(max(1, y.questions))
	row = []string{name, fmt.Sprint(y.questions)}
	o[kind], o["questions"], o["mrr"] = name, y.questions, y.mrr/n
	for k, depth := range evalDepths {
		row = append(row, fmt.Sprintf("%.3f", y.recall[k]/n))
		o[fmt.Sprint("recall@", depth)] = y.recall[k] / n
	}
	return append(row, fmt.Sprintf("%.3f", y.mrr/n))
}

// tallies prints what a ranking found, of all questions last.
func (t *terminal) tallies(ranking string, tallies []tally) error {
	columns := foundColumns("category")
	for _, budget := range evalBudgets {
		columns = append(columns, column{title: fmt.Sprint("prompt@", budget), right: true})
	}
	var rows [][]string
	for i := 1; i <= len(tallies); i++ {
		y, name := &tallies[i%len(tallies)], "all"
		if i < len(tallies) {
			name = fmt.Sprintf("%d %s", i, categories[i])
		}
		if y.questions == 0 {
			continue
		}
		o := map[string]any{"ranking": ranking}
		row := y.found("category", name, o)
		n := float64(y.questions)
		for k, budget := range evalBudgets {
			row = append(row, fmt.Sprintf("%.3f", y.prompts[k]/n))
			o[fmt.Sprint("prompt@", budget)] = y.prompts[k] / n
		}
		if t.json {
			if err := t.object(o); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, row)
	}
	if !t.json {
		t.printf("%s\n", t.paint(bold, ranking))
		t.table(columns, rows)
		t.printf("\n")
	}
	return nil
}
