package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"engram/client"
)

// Where selects records by conditions on the command line, all of which must hold.
type Where struct {
	Where []string `short:"w" help:"Only records where this holds: PATH=VALUE, PATH!=VALUE, PATH<VALUE, PATH<=VALUE, PATH>VALUE, PATH>=VALUE, PATH~PART (contains), PATH^=PREFIX, or PATH? (is there). PATH is id, text, session, speaker, time, create_time, update_time, importance, or a path into metadata as meta.KEY.KEY. May be repeated; all must hold." placeholder:"COND" sep:"none"`
}

// The operators, longest first where one begins another.
var operators = []string{"!=", ">=", "<=", "^=", ">", "<", "=", "~"}

// options gives the filter as a read option; none if nothing was asked for.
func (w *Where) options() ([]client.ReadOption, error) {
	if len(w.Where) == 0 {
		return nil, nil
	}
	f, err := w.filter()
	return []client.ReadOption{client.Where(f)}, err
}

func (w *Where) filter() (client.Filter, error) {
	all := make([]client.Filter, len(w.Where))
	for i, s := range w.Where {
		f, err := condition(s)
		if err != nil {
			return client.Filter{}, err
		}
		all[i] = f
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return client.All(all...), nil
}

func condition(s string) (client.Filter, error) {
	at, op := len(s), ""
	for _, o := range operators {
		if i := strings.Index(s, o); i >= 0 && i < at {
			at, op = i, o
		}
	}
	if op == "" {
		path, ok := strings.CutSuffix(s, "?")
		if !ok {
			return client.Filter{}, usagef("--where %q: expected PATH=VALUE, PATH!=VALUE, PATH<VALUE, PATH<=VALUE, PATH>VALUE, PATH>=VALUE, PATH~PART, PATH^=PREFIX or PATH?", s)
		}
		o, _, err := operand(path)
		return o.Exists(), err
	}
	o, kind, err := operand(s[:at])
	if err != nil {
		return client.Filter{}, err
	}
	text := s[at+len(op):]
	v, err := kind.value(text)
	if err != nil {
		return client.Filter{}, usagef("--where %q: %v", s, err)
	}
	switch op {
	case "=":
		return o.Equals(v), nil
	case "!=":
		return client.Not(o.Equals(v)), nil
	case ">=":
		return o.AtLeast(v), nil
	case ">":
		return o.Above(v), nil
	case "<":
		return o.Below(v), nil
	case "<=":
		return o.AtMost(v), nil
	case "~":
		return o.Contains(v), nil
	default:
		return o.Prefix(text), nil
	}
}

type valueKind int

const (
	anyValue valueKind = iota
	textValue
	timeValue
	numberValue
)

func operand(path string) (client.Operand, valueKind, error) {
	switch path {
	case "id":
		return client.ID, textValue, nil
	case "text":
		return client.TextField, textValue, nil
	case "session":
		return client.Session, textValue, nil
	case "speaker":
		return client.Speaker, textValue, nil
	case "time":
		return client.Time, timeValue, nil
	case "create_time":
		return client.CreateTime, timeValue, nil
	case "update_time":
		return client.UpdateTime, timeValue, nil
	case "importance":
		return client.Importance, numberValue, nil
	}
	if keys, ok := strings.CutPrefix(path, "meta."); ok {
		return client.Metadata(strings.Split(keys, ".")...), anyValue, nil
	}
	return client.Operand{}, 0, usagef("--where: no field %q; metadata is written meta.%s", path, path)
}

// value reads a value as its operand takes it. In metadata, what is JSON for a
// number, a bool or a string is one, and anything else is a string.
func (k valueKind) value(s string) (any, error) {
	switch k {
	case textValue:
		return s, nil
	case numberValue:
		return strconv.ParseFloat(s, 64)
	case timeValue:
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return nil, fmt.Errorf("expected a time like 1969-07-20T20:17:40Z, not %q", s)
		}
		return t, nil
	}
	var v any
	if json.Unmarshal([]byte(s), &v) == nil {
		switch v.(type) {
		case float64, bool, string:
			return v, nil
		}
	}
	return s, nil
}
