package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"engram/client"
	"engram/memory"
)

type evalRetentionCmd struct {
	File       string   `arg:"" help:"The file: JSON, as LoCoMo publishes it." type:"existingfile"`
	MaxRecords int64    `help:"How many turns a memory keeps at most." default:"200"`
	HalfLife   longTime `help:"The half-life of a turn." default:"7d"`
	Rehearse   int      `help:"How many of the first hits of a question are rehearsed, as those that an answer uses." default:"1"`
	Only       []string `help:"Only the dialogues of these names." placeholder:"NAME"`

	embedderFlags
}

func (*evalRetentionCmd) Help() string {
	return `Starts a server of its own on a free port of this machine, with a clock that goes as the
dialogues did: each session begins at its time, and its turns are a minute apart. A memory
keeps --max-records turns, and evicts those of the least retention. Each question is asked
so many turns after the last of its evidence, and what share of that is among the first 10
hits is told: once in a memory that is only asked, once in one where each question rehearses
its first --rehearse hits.

Example:
  engram eval retention locomo10.json --max-records 100`
}

// furtherTurns are how long after its evidence a question is asked.
var furtherTurns = [...]int{10, 20, 50, 100, 200, 400}

// A dialogueClock goes as a dialogue did.
type dialogueClock struct{ ns atomic.Int64 }

func (c *dialogueClock) Now() time.Time { return time.Unix(0, c.ns.Load()) }

// A kept is what share of evidence was found after so many further turns, summed.
type kept struct {
	questions int
	found     [2]float64 // without, and with rehearsal
}

func (c *evalRetentionCmd) Run(ctx context.Context, _ *cli, t *terminal) error {
	dialogues, err := locomoFile(c.File, c.Only)
	if err != nil {
		return err
	}
	if c.MaxRecords < 1 || c.Rehearse < 1 {
		return usagef("--max-records %d, --rehearse %d: give 1 or more", c.MaxRecords, c.Rehearse)
	}
	embedder, err := c.required(ctx)
	if err != nil {
		return err
	}
	clock := new(dialogueClock)
	var tallies [len(furtherTurns)]kept
	opt := memory.Options{Clock: clock, Embedder: embedder, RehearseAfter: time.Hour}
	err = withOwnServer(ctx, opt, func(ctx context.Context, db *memory.DB, e *client.Client) error {
		for i := range dialogues {
			for column, rehearse := range []int{0, c.Rehearse} {
				r := retentionRun{e: e, db: db, clock: clock, d: &dialogues[i], rehearse: rehearse, column: column, tallies: &tallies}
				if err := r.run(ctx, fmt.Sprintf("%s-%d", dialogues[i].name, column), c); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return t.retention(tallies[:])
}

// A retentionRun is one dialogue in one memory.
type retentionRun struct {
	e        *client.Client
	db       *memory.DB
	clock    *dialogueClock
	d        *dialogue
	rehearse int // so many of the hits
	column   int // of the tallies
	tallies  *[len(furtherTurns)]kept
}

func (r *retentionRun) run(ctx context.Context, name string, c *evalRetentionCmd) error {
	_, err := r.e.CreateNamespace(ctx, client.Namespace{
		Name: name, MaxRecords: c.MaxRecords, Eviction: client.EvictRetention, Retention: &client.Retention{HalfLife: time.Duration(c.HalfLife)},
	})
	if err != nil {
		return err
	}
	asked := make(map[int][]evidenced) // by the turn that is the last of the evidence
	number := make(map[string]int)
	for i, turn := range r.d.turns {
		number[turn.ID] = i
	}
	for _, q := range r.d.questions {
		last := 0
		for _, id := range q.evidence {
			last = max(last, number[id])
		}
		asked[last] = append(asked[last], q)
	}
	session, minutes := "", 0
	for i, turn := range r.d.turns {
		if turn.Session != session {
			session, minutes = turn.Session, 0
		}
		r.clock.ns.Store(turn.Time.Add(time.Duration(minutes) * time.Minute).UnixNano())
		minutes++
		if _, err := r.e.Store(ctx, name, turn); err != nil {
			return err
		}
		for at, further := range furtherTurns {
			for _, q := range asked[i-further] {
				found, err := r.ask(ctx, name, q)
				if err != nil {
					return err
				}
				if r.column == 0 {
					r.tallies[at].questions++
				}
				r.tallies[at].found[r.column] += found
			}
		}
	}
	return nil
}

// ask gives the share of a question's evidence among the first 10 hits.
func (r *retentionRun) ask(ctx context.Context, name string, q evidenced) (float64, error) {
	hits, err := r.e.Retrieve(ctx, name, client.Text(q.text), client.TopK(10), client.WithoutContent())
	if err != nil {
		return 0, err
	}
	if r.rehearse > 0 {
		if _, err := r.e.Retrieve(ctx, name, client.Text(q.text), client.TopK(r.rehearse), client.WithoutContent(), client.Rehearse()); err != nil {
			return 0, err
		}
	}
	wanted := make(map[string]bool, len(q.evidence))
	for _, id := range q.evidence {
		wanted[id] = true
	}
	found := 0
	for _, h := range hits {
		if wanted[h.Record.ID] {
			found++
		}
	}
	return float64(found) / float64(len(q.evidence)), r.db.CommitRehearsals(ctx)
}

// retention prints what was found after how many further turns.
func (t *terminal) retention(tallies []kept) error {
	var rows [][]string
	for i, k := range tallies {
		if k.questions == 0 {
			continue
		}
		n := float64(k.questions)
		if t.json {
			if err := t.object(map[string]any{"further_turns": furtherTurns[i], "questions": k.questions, "recall@10": k.found[0] / n, "recall@10_rehearsed": k.found[1] / n}); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{fmt.Sprint(furtherTurns[i]), fmt.Sprint(k.questions), fmt.Sprintf("%.3f", k.found[0]/n), fmt.Sprintf("%.3f", k.found[1]/n)})
	}
	if !t.json {
		t.table([]column{{title: "further turns", right: true}, {title: "questions", right: true, sgr: dim}, {title: "recall@10", right: true}, {title: "with rehearsal", right: true}}, rows)
	}
	return nil
}
