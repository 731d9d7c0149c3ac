package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"engram/client"
	"engram/internal/servertest"
)

// turns stores turns written "minute session speaker text…", _ for no session.
func turns(t *testing.T, c *client.Client, namespace string, all ...string) {
	t.Helper()
	var records []client.Record
	for _, turn := range all {
		var minute int
		var session, speaker string
		if _, err := fmt.Sscan(turn, &minute, &session, &speaker); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.SplitN(turn, " ", 4)[3:], "")
		records = append(records, client.Record{
			Session: strings.Trim(session, "_"), Speaker: speaker, Text: text, Key: []float32{1},
			Time: time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC),
		})
	}
	if _, err := c.Store(t.Context(), namespace, records...); err != nil {
		t.Fatal(err)
	}
}

func TestExport(t *testing.T) {
	c := servertest.Start(t)
	turns(t, c, "talks",
		"4 pets Bot Ada, you said.", // stored first, said last
		"1 pets Ann My dog is <Ada>.",
		"2 home Ann The key is under the pot.",
		"3 pets Ben Is she?",
		"3 pets Ann What is she called?",
		"5 pets Bot A fine name.",
		"6 empty Ann Hello?",
		"7 _ Bot Good morning.",
		"8 home Bot Noted.",
		"9 _ Ann Morning.",
		"9 home Bot",
		"10 _ Bot Coffee?",
		"11 home Ann Thanks.",
		"12 home Ben Bye.",
	)
	pets := `{"role":"user","content":"My dog is <Ada>.\nIs she?\nWhat is she called?"},{"role":"assistant","content":"Ada, you said.\nA fine name."}`
	home := `{"role":"user","content":"The key is under the pot."},{"role":"assistant","content":"Noted."}`
	greeting := `{"role":"assistant","content":"Good morning."}`
	coffee := `{"role":"user","content":"Morning."},{"role":"assistant","content":"Coffee?"}`
	brief := `{"role":"system","content":"Be brief."},`
	for _, test := range []struct {
		name   string
		o      options
		want   []string
		report string
	}{
		{"whole", options{}, []string{pets, home, greeting + "," + coffee},
			"lines: 3, of sessions: 3\nleft out, sessions without a turn of Bot: 1\nleft out, messages at the end of a session that nobody answered: 1\n"},
		{"system", options{System: "Be brief."}, []string{brief + pets, brief + home, brief + greeting + "," + coffee},
			"lines: 3, of sessions: 3\nleft out, sessions without a turn of Bot: 1\nleft out, messages at the end of a session that nobody answered: 1\n"},
		{"messages", options{MaxMessages: 2}, []string{pets, home, greeting, coffee},
			"lines: 4, of sessions: 3\nleft out, sessions without a turn of Bot: 1\nleft out, messages at the end of a session that nobody answered: 1\n"},
		{"tokens", options{MaxTokens: 22}, []string{home, greeting + "," + coffee},
			"lines: 2, of sessions: 2\nleft out, sessions without a turn of Bot: 1\nleft out, messages at the end of a session that nobody answered: 1\nleft out, exchanges of more tokens than a line may have: 1\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.o.Namespace, test.o.Assistant, test.o.Tokenizer = "talks", "Bot", "cl100k_base"
			var out strings.Builder
			r, err := export(t.Context(), c, test.o, &out)
			if err != nil {
				t.Fatal(err)
			}
			want := `{"messages":[` + strings.Join(test.want, "]}\n{\"messages\":[") + "]}\n"
			if out.String() != want {
				t.Errorf("wrote\n%swant\n%s", out.String(), want)
			}
			if r.String() != test.report {
				t.Errorf("reported\n%swant\n%s", r, test.report)
			}
		})
	}

	var out strings.Builder
	_, err := export(t.Context(), c, options{Namespace: "talks", Assistant: "Eve", Tokenizer: "estimate"}, &out)
	if want := "nothing to learn from in talks: lines: 0, of sessions: 0; left out, sessions without a turn of Eve: 4"; err == nil || err.Error() != want || out.Len() > 0 {
		t.Errorf("of nobody: %v, want %s", err, want)
	}
	if _, err := export(t.Context(), c, options{Namespace: "none"}, &out); status.Code(err) != codes.NotFound {
		t.Errorf("of no memory: %v", err)
	}
}

// TestPages exports more records than List fetches at a time.
func TestPages(t *testing.T) {
	c := servertest.Start(t)
	const sessions, exchanges = 7, 200
	var want []line
	var records []client.Record
	for s := range sessions {
		var l line
		for e := range exchanges {
			question, answer := fmt.Sprintf("question %d of %d", e, s), fmt.Sprintf("answer %d of %d", e, s)
			at := time.Unix(int64(e*sessions+s), 0) // the sessions interleave
			records = append(records,
				client.Record{Session: fmt.Sprint(s), Speaker: "user", Text: question, Time: at, Key: []float32{1}},
				client.Record{Session: fmt.Sprint(s), Speaker: "assistant", Text: answer, Time: at, Key: []float32{1}})
			l.Messages = append(l.Messages, message{"user", question}, message{"assistant", answer})
		}
		want = append(want, l)
	}
	for batch := range slices.Chunk(records, 1000) {
		if _, err := c.Store(t.Context(), "many", batch...); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if _, err := export(t.Context(), c, options{Namespace: "many", Assistant: "assistant", Tokenizer: "estimate"}, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d", len(lines), len(want))
	}
	for i, text := range lines {
		var got line
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Messages, want[i].Messages) {
			t.Errorf("line %d: %s", i, text)
		}
	}
}

func TestSplit(t *testing.T) { rapid.Check(t, checkSplit) }

// checkSplit holds the lines of any session to the limits, and to the session.
func checkSplit(t *rapid.T) {
	o := options{
		Tokenizer: "estimate", System: rapid.SampledFrom([]string{"", "Be brief."}).Draw(t, "system"),
		MaxMessages: rapid.SampledFrom([]int{0, 2, 3, 5}).Draw(t, "max messages"),
		MaxTokens:   rapid.SampledFrom([]int{0, 1, 20, 60}).Draw(t, "max tokens"),
	}
	var se session
	for _, speaker := range rapid.SliceOfN(rapid.SampledFrom([]string{"assistant", "Ann", "Ben"}), 0, 30).Draw(t, "speakers") {
		text := strings.Repeat("word ", rapid.IntRange(1, 30).Draw(t, "words"))
		se.turns = append(se.turns, client.Record{Speaker: speaker, Text: text})
	}
	messages := se.messages("assistant")
	all, rest := exchanges(messages)
	if got := append(slices.Concat(all...), rest...); !slices.Equal(got, messages) {
		t.Fatalf("exchanges are %v, of %v", got, messages)
	}
	s := newSplitter(o)
	lines, tooLong := s.split(all)

	var want, got []message
	for _, e := range all {
		if o.MaxTokens == 0 || s.tokens(e)+s.tokens(system(o)) <= o.MaxTokens {
			want = append(want, e...)
		} else {
			tooLong--
		}
	}
	for _, l := range lines {
		if o.MaxTokens > 0 && s.tokens(l.Messages) > o.MaxTokens {
			t.Fatalf("%d tokens in %v", s.tokens(l.Messages), l)
		}
		head := len(system(o))
		if !slices.Equal(l.Messages[:head], system(o)) {
			t.Fatalf("without system message: %v", l)
		}
		said := l.Messages[head:]
		if o.MaxMessages > 0 && len(said) > o.MaxMessages {
			t.Fatalf("%d messages in %v", len(said), l)
		}
		for i, m := range said {
			if fromEnd := len(said) - i; (m.Role == "assistant") != (fromEnd%2 == 1) {
				t.Fatalf("roles don't alternate up to an answer: %v", said)
			}
		}
		got = append(got, said...)
	}
	if !slices.Equal(got, want) || tooLong != 0 {
		t.Fatalf("lines hold %v, want %v; %d too many or too few are too long", got, want, tooLong)
	}
}

func system(o options) []message {
	if o.System == "" {
		return nil
	}
	return []message{{"system", o.System}}
}
