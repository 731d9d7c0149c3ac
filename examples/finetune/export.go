package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"engram/client"
	"engram/memory/prompt"
)

// A session is a conversation: its turns that have a text, in order.
type session struct {
	name  string
	turns []client.Record
}

// sessions reads a memory, in the order in which its sessions began. Records without a
// session are one together.
func sessions(ctx context.Context, memory *client.Client, namespace string) ([]*session, error) {
	var all []*session
	byName := map[string]*session{}
	for r, err := range memory.List(ctx, namespace, client.In(client.ByTime)) {
		if err != nil {
			return nil, err
		}
		if strings.TrimSpace(r.Text) == "" {
			continue
		}
		s := byName[r.Session]
		if s == nil {
			s = &session{name: r.Session}
			byName[r.Session] = s
			all = append(all, s)
		}
		s.turns = append(s.turns, r)
	}
	return all, nil
}

// A line is one example to learn from.
type line struct {
	Messages []message `json:"messages"`
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// messages gives a session's turns with roles; what one role says in a row is one message.
func (s *session) messages(assistant string) []message {
	var all []message
	for _, turn := range s.turns {
		role := "user"
		if turn.Speaker == assistant {
			role = "assistant"
		}
		if n := len(all); n > 0 && all[n-1].Role == role {
			all[n-1].Content += "\n" + turn.Text
		} else {
			all = append(all, message{role, turn.Text})
		}
	}
	return all
}

// A report counts what was written and what was left out.
type report struct {
	assistant           string
	lines, sessions     int
	skipped             int // sessions without a turn of the assistant
	unanswered, tooLong int // messages at the end of a session; exchanges over the most tokens
}

func (r report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "lines: %d, of sessions: %d\n", r.lines, r.sessions)
	for _, left := range []struct {
		n    int
		what string
	}{
		{r.skipped, "sessions without a turn of " + r.assistant},
		{r.unanswered, "messages at the end of a session that nobody answered"},
		{r.tooLong, "exchanges of more tokens than a line may have"},
	} {
		if left.n > 0 {
			fmt.Fprintf(&b, "left out, %s: %d\n", left.what, left.n)
		}
	}
	return b.String()
}

// export writes a memory's sessions, each as one line or as several that keep to the limits.
func export(ctx context.Context, memory *client.Client, o options, out io.Writer) (report, error) {
	all, err := sessions(ctx, memory, o.Namespace)
	if err != nil {
		return report{}, err
	}
	r := report{assistant: o.Assistant}
	s := newSplitter(o)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for _, session := range all {
		exchanges, rest := exchanges(session.messages(o.Assistant))
		if len(exchanges) == 0 {
			r.skipped++
			continue
		}
		r.unanswered += len(rest)
		lines, tooLong := s.split(exchanges)
		r.tooLong += tooLong
		if len(lines) > 0 {
			r.sessions++
		}
		for _, l := range lines {
			r.lines++
			if err := enc.Encode(l); err != nil {
				return r, err
			}
		}
	}
	if r.lines == 0 {
		return r, fmt.Errorf("nothing to learn from in %s: %s", o.Namespace, strings.ReplaceAll(strings.TrimSpace(r.String()), "\n", "; "))
	}
	return r, nil
}

// exchanges takes messages apart after each of the assistant: what it was told, and its
// answer. The rest is what nobody answered, from which there is nothing to learn.
func exchanges(messages []message) (all [][]message, rest []message) {
	rest = messages
	for i, m := range messages {
		if m.Role == "assistant" {
			n := i + 1 - (len(messages) - len(rest))
			all, rest = append(all, rest[:n]), rest[n:]
		}
	}
	return all, rest
}

// A splitter makes lines of a session's exchanges, as many to a line as the limits allow.
type splitter struct {
	options
	count prompt.Counter
}

func newSplitter(o options) splitter {
	count, _ := prompt.CounterOf(o.Tokenizer) // the flag is one of prompt.Tokenizers
	return splitter{o, count}
}

// marks is about how many tokens stand around a message in a model's template.
const marks = 4

func (s splitter) tokens(messages []message) int {
	n := 0
	for _, m := range messages {
		n += s.count([]byte(m.Content)) + marks
	}
	return n
}

// split breaks a session only between exchanges. One that no line has room for is left out,
// and what follows it begins a new line.
func (s splitter) split(exchanges [][]message) (lines []line, tooLong int) {
	var head []message
	if s.System != "" {
		head = []message{{"system", s.System}}
	}
	empty := s.tokens(head)
	room := false // in the last line
	var messages, tokens int
	for _, e := range exchanges {
		n := s.tokens(e)
		if s.MaxTokens > 0 && empty+n > s.MaxTokens {
			tooLong++
			room = false
			continue
		}
		if !room || s.MaxMessages > 0 && messages+len(e) > s.MaxMessages || s.MaxTokens > 0 && tokens+n > s.MaxTokens {
			lines = append(lines, line{append([]message(nil), head...)})
			room, messages, tokens = true, 0, empty
		}
		last := &lines[len(lines)-1]
		last.Messages = append(last.Messages, e...)
		messages, tokens = messages+len(e), tokens+n
	}
	return lines, tooLong
}
