package main

import (
	"context"

	"engram/client"
)

// leaveOneOut prints for each dialogue what is found in it by the ranking that found most in
// the others.
func (c *evalLocomoCmd) leaveOneOut(ctx context.Context, e *client.Client, t *terminal, dialogues []dialogue, rankings []*client.Ranking) error {
	if len(dialogues) < 2 || len(rankings) < 2 {
		return usagef("--leave-one-out: there are %s and %s; it takes two of each", plural(len(dialogues), "dialogue"), plural(len(rankings), "ranking"))
	}
	names := make([]string, len(rankings))
	found := make([][]tally, len(rankings)) // by ranking and dialogue
	for i, r := range rankings {
		var options []client.ReadOption
		options, names[i] = c.asked(ctx, e, dialogues, r)
		found[i] = make([]tally, len(dialogues))
		for k, d := range dialogues {
			for _, q := range d.questions {
				places, err := q.places(ctx, e, d.name, q.wanted(), options)
				if err != nil {
					return err
				}
				found[i][k].add(places, len(q.evidence))
			}
		}
	}
	var all tally
	columns := append(foundColumns("dialogue"), column{title: "chosen by the others"})
	var rows [][]string
	for k := range len(dialogues) + 1 {
		y, name, ranking := &all, "all", ""
		if k < len(dialogues) {
			i := bestWithout(found, k)
			y, name, ranking = &found[i][k], dialogues[k].name, names[i]
			all.join(y)
		}
		o := map[string]any{"ranking": ranking}
		rows = append(rows, append(y.found("dialogue", name, o), ranking))
		if t.json {
			if err := t.object(o); err != nil {
				return err
			}
		}
	}
	if !t.json {
		t.table(columns, rows)
	}
	return nil
}

// join adds what another counted of other questions.
func (y *tally) join(other *tally) {
	y.questions += other.questions
	y.mrr += other.mrr
	for i, x := range other.recall {
		y.recall[i] += x
	}
}

// bestWithout gives the ranking with the highest sum of recalls, over questions, of all
// dialogues but one; of equal ones the first.
func bestWithout(found [][]tally, out int) (best int) {
	most := -1.0
	for i, dialogues := range found {
		var others tally
		for k := range dialogues {
			if k != out {
				others.join(&dialogues[k])
			}
		}
		sum := 0.0
		for _, x := range others.recall {
			sum += x
		}
		if sum > most {
			best, most = i, sum
		}
	}
	return best
}
