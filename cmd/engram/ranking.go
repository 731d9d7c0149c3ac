package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"engram/client"
)

// rankingHelp says what --ranking takes.
const rankingHelp = "weights of similarity, lexical, kin, association, mention, retention and importance as NAME=WEIGHT with commas between, and rrf for reciprocal rank fusion in the place of a sum; \"similarity\" stands for similarity alone"

// parseRanking reads a ranking: "similarity=0.2,lexical=1,rrf". A name by itself weighs 1.
func parseRanking(s string) (r client.Ranking, err error) {
	for _, part := range strings.Split(s, ",") {
		name, number, given := strings.Cut(strings.TrimSpace(part), "=")
		weight := 1.0
		if given {
			if weight, err = strconv.ParseFloat(number, 64); err != nil {
				return r, usagef("--ranking: %q is no number", number)
			}
		}
		switch name {
		case "similarity":
			r.Similarity = weight
		case "lexical":
			r.Lexical = weight
		case "kin":
			r.Kin = weight
		case "association":
			r.Association = weight
		case "mention":
			r.Mention = weight
		case "retention":
			r.Retention = weight
		case "importance":
			r.Importance = weight
		case "rrf":
			r.Fusion = client.ReciprocalRank
		default:
			return r, usagef("--ranking: %q is not part of a ranking: give %s", name, rankingHelp)
		}
	}
	return r, nil
}

// rankingText is what parseRanking reads.
func rankingText(r *client.Ranking) string {
	if r == nil {
		return "similarity"
	}
	var parts []string
	for _, p := range []struct {
		name   string
		weight float64
	}{{"similarity", r.Similarity}, {"lexical", r.Lexical}, {"kin", r.Kin}, {"association", r.Association}, {"mention", r.Mention}, {"retention", r.Retention}, {"importance", r.Importance}} {
		switch p.weight {
		case 0:
		case 1:
			parts = append(parts, p.name)
		default:
			parts = append(parts, fmt.Sprintf("%s=%v", p.name, p.weight))
		}
	}
	if r.Fusion == client.ReciprocalRank {
		parts = append(parts, "rrf")
	}
	return strings.Join(parts, ",")
}

func lexicalText(l client.Lexical) string {
	return strings.ToLower(strings.TrimPrefix(l.String(), "LEXICAL_"))
}

type namespacesRankingCmd struct {
	Name    string `arg:"" help:"The namespace."`
	Ranking string `arg:"" help:"${ranking_help}."`
}

func (c *namespacesRankingCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	r, err := parseRanking(c.Ranking)
	if err != nil {
		return err
	}
	return cli.changed(ctx, t, func(ctx context.Context, e *client.Client) (client.Namespace, error) {
		return e.SetRanking(ctx, c.Name, r)
	})
}
