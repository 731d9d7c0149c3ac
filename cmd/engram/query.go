package main

import (
	"strconv"
	"strings"

	"engram/client"
)

// queryFlags say what is looked for.
type queryFlags struct {
	Namespace string   `arg:"" help:"The namespace."`
	Text      []string `arg:"" optional:"" help:"The query in words."`
	Vector    string   `help:"The query as a vector: numbers with commas between." placeholder:"X,Y,…"`
	Like      string   `help:"The query is the key of this record." placeholder:"ID"`
}

func (q *queryFlags) query() (client.Query, error) {
	text := strings.Join(q.Text, " ")
	given := 0
	for _, s := range []string{text, q.Vector, q.Like} {
		if s != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return client.Query{}, usagef("give one query: words, --vector or --like")
	case q.Vector != "":
		v, err := parseVector(q.Vector)
		return client.Vector(v), err
	case q.Like != "":
		return client.Like(q.Namespace, q.Like), nil
	}
	return client.Text(text), nil
}

func parseVector(s string) ([]float32, error) {
	parts := strings.FieldsFunc(strings.Trim(s, "[] \n"), func(r rune) bool { return r == ',' || r == ' ' })
	v := make([]float32, len(parts))
	for i, p := range parts {
		x, err := strconv.ParseFloat(p, 32)
		if err != nil {
			return nil, usagef("a vector is numbers with commas between: %q (component %d) is not one", p, i)
		}
		v[i] = float32(x)
	}
	return v, nil
}
