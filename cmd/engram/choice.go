package main

import (
	"engram/client"
)

// choiceFlags say what picks hits from a ranking, and what is shown around them.
type choiceFlags struct {
	Diversity  *float64 `help:"Have hits give way that resemble those before them: from 0, the order of the ranking, to 1." placeholder:"W"`
	Candidates *int     `help:"How many of the best --diversity picks from; default: 100, or -k if that is more." placeholder:"N"`
	Before     int      `help:"Show so many records before each hit, in its session."`
	After      int      `help:"Show so many records after each hit, in its session."`
	GroupBy    string   `help:"Put hits together by session, speaker or meta.KEY.KEY; -k then counts groups." placeholder:"PATH"`
	PerGroup   *int     `help:"How many hits of each group, with --group-by; default: 1." placeholder:"N"`
}

func (c *choiceFlags) options() (options []client.ReadOption, err error) {
	for _, n := range []struct {
		flag string
		of   *int
	}{{"candidates", c.Candidates}, {"per-group", c.PerGroup}} {
		if n.of != nil && *n.of < 1 {
			return nil, usagef("--%s is %d; give 1 or more", n.flag, *n.of)
		}
	}
	switch {
	case c.Candidates != nil && c.Diversity == nil:
		return nil, usagef("--candidates goes with --diversity")
	case c.PerGroup != nil && c.GroupBy == "":
		return nil, usagef("--per-group goes with --group-by")
	case c.Before < 0 || c.After < 0:
		return nil, usagef("--before and --after are 0 or more")
	}
	if c.Diversity != nil {
		candidates := 0
		if c.Candidates != nil {
			candidates = *c.Candidates
		}
		options = append(options, client.Diverse(*c.Diversity, candidates))
	}
	if c.Before+c.After > 0 {
		options = append(options, client.Neighbours(c.Before, c.After))
	}
	if c.GroupBy != "" {
		o, _, err := operand(c.GroupBy)
		if err != nil {
			return nil, usagef("--group-by: no field %q; metadata is written meta.%s", c.GroupBy, c.GroupBy)
		}
		hits := 1
		if c.PerGroup != nil {
			hits = *c.PerGroup
		}
		options = append(options, client.GroupBy(o, hits))
	}
	return options, nil
}

// object adds to a hit's object what the flags asked for.
func (c *choiceFlags) object(o map[string]any, h *client.Hit) {
	if c.Diversity != nil {
		o["diversity"] = h.Diversity
	}
	if c.GroupBy != "" {
		o["group"] = h.Group
	}
	if c.Before > 0 {
		o["before"] = recordObjects(h.Before)
	}
	if c.After > 0 {
		o["after"] = recordObjects(h.After)
	}
}

func recordObjects(records []client.Record) []map[string]any {
	out := make([]map[string]any, len(records))
	for i := range records {
		out[i] = recordObject(&records[i])
	}
	return out
}

// rows are a hit's in a table, with its neighbours' around it, which have no score.
func (c *choiceFlags) rows(number, score string, h *client.Hit) (rows [][]string) {
	beside := func(records []client.Record) {
		for i := range records {
			rows = append(rows, append([]string{"", ""}, recordCells(&records[i])...))
		}
	}
	beside(h.Before)
	rows = append(rows, append([]string{number, score}, recordCells(&h.Record)...))
	beside(h.After)
	return rows
}
