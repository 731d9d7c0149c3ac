package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"engram/client"
	"engram/internal/servertest"
	"engram/memory/prompt"
)

// A body is what an endpoint is sent.
type body struct {
	Model    string
	Messages []message
}

// system and user are the two messages of a body.
func (b body) system() string { return b.Messages[0].Content }
func (b body) user() string   { return b.Messages[1].Content }

// A fakeModel is an endpoint that answers "answer N", or as the test says.
type fakeModel struct {
	t *testing.T

	mu     sync.Mutex
	bodies []body
	answer http.HandlerFunc // nil: answer N
}

// sent gives what the endpoint was sent.
func (f *fakeModel) sent() []body {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.bodies)
}

// answerBy has the endpoint answer by a handler from now on, or as before by nil.
func (f *fakeModel) answerBy(h http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = h
}

func (f *fakeModel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/v1/chat/completions" || r.Header.Get("Content-Type") != "application/json" {
		f.t.Errorf("%s %s, %s", r.Method, r.URL, r.Header.Get("Content-Type"))
	}
	if got := r.Header.Get("Authorization"); got != "Bearer secret" {
		f.t.Errorf("Authorization: %q", got)
	}
	var b body
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
		f.t.Error(err)
	}
	if len(b.Messages) != 2 || b.Messages[0].Role != "system" || b.Messages[1].Role != "user" {
		f.t.Errorf("messages: %+v", b.Messages)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bodies = append(f.bodies, b)
	if f.answer != nil {
		f.answer(w, r)
		return
	}
	fmt.Fprintf(w, `{"choices": [{"message": {"role": "assistant", "content": "answer %d\n"}, "finish_reason": "stop"}]}`, len(f.bodies))
}

// start gives a conversation with a fake model, over a server of its own.
func start(t *testing.T) (*conversation, *fakeModel) {
	t.Helper()
	memory := servertest.Start(t)
	fake := &fakeModel{t: t}
	endpoint := httptest.NewServer(fake)
	t.Cleanup(endpoint.Close)
	return &conversation{
		options: options{Namespace: "chat", Session: "today", User: "Ann", Assistant: "Bot", Tokens: 200, Last: 2},
		memory:  memory,
		model:   &model{url: endpoint.URL + "/v1/chat/completions", name: "tiny", key: "secret", http: endpoint.Client()},
	}, fake
}

// hear runs the loop over lines, and gives what it wrote.
func hear(t *testing.T, c *conversation, lines ...string) (out, errs string) {
	t.Helper()
	var o, e strings.Builder
	if err := c.loop(t.Context(), strings.NewReader(strings.Join(lines, "\n")), &o, &e); err != nil {
		t.Fatal(err)
	}
	return o.String(), e.String()
}

// stored gives the turns in memory as lines.
func stored(t *testing.T, c *conversation) []string {
	t.Helper()
	var turns []string
	for r, err := range c.memory.List(t.Context(), c.Namespace, client.In(client.ByTime)) {
		if err != nil {
			t.Fatal(err)
		}
		turns = append(turns, fmt.Sprintf("%s/%s: %s", r.Session, r.Speaker, r.Text))
	}
	return turns
}

func wantTurns(t *testing.T, c *conversation, want ...string) {
	t.Helper()
	if got := stored(t, c); !slices.Equal(got, want) {
		t.Errorf("stored\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestConversation(t *testing.T) {
	c, fake := start(t)
	c.System = "Be brief."
	out, errs := hear(t, c, "  My dog is called Ada.", "", "What is my dog called?")
	if want := "Ann: Bot: answer 1\nAnn: Ann: Bot: answer 2\nAnn: \n"; out != want || errs != "" {
		t.Errorf("wrote %q and %q, want %q", out, errs, want)
	}
	wantTurns(t, c,
		"today/Ann: My dog is called Ada.", "today/Bot: answer 1",
		"today/Ann: What is my dog called?", "today/Bot: answer 2")

	sent := fake.sent()
	if len(sent) != 2 {
		t.Fatalf("%d requests", len(sent))
	}
	first, second := sent[0], sent[1]
	if want := "Be brief.\n\nYou are Bot, in a conversation with Ann."; first.system() != want {
		t.Errorf("with nothing to remember: %q, want %q", first.system(), want)
	}
	if first.Model != "tiny" || first.user() != "My dog is called Ada." || second.user() != "What is my dog called?" {
		t.Errorf("sent %+v", sent)
	}
	_, memories, _ := strings.Cut(second.system(), "<memory>\n")
	lines := strings.Split(memories, "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[0], " Ann: My dog is called Ada.") || !strings.HasSuffix(lines[1], " Bot: answer 1") || lines[2] != "</memory>" {
		t.Errorf("remembers %q", memories)
	}
}

// TestLongAgo tells a fact in a session long past, which only a search brings back.
func TestLongAgo(t *testing.T) {
	c, fake := start(t)
	c.Session = "long ago"
	hear(t, c, "The spare key is under the blue pot.")
	c.Session = "between"
	for i := range 100 {
		hear(t, c, fmt.Sprintf("Day %d was cloudy, with some rain towards the evening.", i))
	}
	c.Session = "today"
	hear(t, c, "Where did I put the spare key?")

	system := fake.sent()[101].system()
	if !strings.Contains(system, "Ann: The spare key is under the blue pot.") {
		t.Errorf("the fact isn't in %s", system)
	}
	if !strings.Contains(system, "Ann: Day 99 ") || !strings.Contains(system, "Bot: answer 101") {
		t.Errorf("the last turns aren't in %s", system)
	}
	if strings.Contains(system, "Where did I put") {
		t.Errorf("the question is its own memory: %s", system)
	}
	_, memories, _ := strings.Cut(system, "<memory>\n")
	memories, _, _ = strings.Cut(memories, "</memory>")
	if n := prompt.Estimate([]byte(memories)); n > c.Tokens {
		t.Errorf("%d tokens of memory, over %d", n, c.Tokens)
	}
}

func TestEndpointFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"error of OpenAI's form", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"error": {"message": "Slow down."}}`)
		}, "429 Too Many Requests: Slow down."},
		{"other error", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no such page", http.StatusNotFound) }, "404 Not Found: no such page"},
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "the answer is no chat completion"},
		{"no choices", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) }, "the answer has no choices"},
		{"silence", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}`)
		}, `the model said nothing (finish_reason "length")`},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, fake := start(t)
			fake.answerBy(test.answer)
			out, errs := hear(t, c, "Hello?")
			if out != "Ann: Ann: \n" || !strings.Contains(errs, test.want) || !strings.Contains(errs, "an empty line asks again") {
				t.Errorf("wrote %q and %q, want %q", out, errs, test.want)
			}
			wantTurns(t, c, "today/Ann: Hello?")

			fake.answerBy(nil)
			before := len(fake.sent())
			out, errs = hear(t, c, "\n")
			if want := fmt.Sprintf("Ann: Bot: answer %d\nAnn: \n", before+1); out != want || errs != "" {
				t.Errorf("wrote %q and %q, want %q", out, errs, want)
			}
			if b := fake.sent()[before]; b.user() != "Hello?" || strings.Contains(b.system(), "<memory>") {
				t.Errorf("asked again by %+v", b)
			}
			wantTurns(t, c, "today/Ann: Hello?", fmt.Sprintf("today/Bot: answer %d", before+1))
		})
	}
}

// TestMemoryFails has Engram refuse a write for a while: it is made up for, in order.
func TestMemoryFails(t *testing.T) {
	c, fake := start(t)
	limit := func(records int64) {
		t.Helper()
		if _, err := c.memory.SetMaxRecords(t.Context(), c.Namespace, records, client.EvictNone); err != nil {
			t.Fatal(err)
		}
	}
	hear(t, c, "One.")
	limit(3)
	out, errs := hearAnyway(c, "Two.")
	if !strings.Contains(out, "Bot: answer 2") || !strings.Contains(errs, "turns that aren't stored yet: 1") {
		t.Errorf("wrote %q and %q", out, errs)
	}
	out, errs = hearAnyway(c, "Three.")
	if strings.Contains(out, "answer") || !strings.Contains(errs, "turns that aren't stored yet: 2") || len(fake.sent()) != 2 {
		t.Errorf("wrote %q and %q after %d requests", out, errs, len(fake.sent()))
	}
	limit(0)
	if out, errs = hear(t, c, "\n"); !strings.Contains(out, "Bot: answer 3") || errs != "" {
		t.Errorf("wrote %q and %q", out, errs)
	}
	wantTurns(t, c,
		"today/Ann: One.", "today/Bot: answer 1", "today/Ann: Two.",
		"today/Bot: answer 2", "today/Ann: Three.", "today/Bot: answer 3")
}

// hearAnyway is hear where the loop's own error, of what isn't stored, is written with the
// others.
func hearAnyway(c *conversation, lines ...string) (out, errs string) {
	var o, e strings.Builder
	if err := c.loop(context.Background(), strings.NewReader(strings.Join(lines, "\n")), &o, &e); err != nil {
		fmt.Fprintln(&e, err)
	}
	return o.String(), e.String()
}

// TestTooLong says something that no record can hold: it is told, and stands in nobody's way.
func TestTooLong(t *testing.T) {
	c, fake := start(t)
	long := strings.Repeat("long ", 20_000)
	out, errs := hear(t, c, long, "", "Short.")
	if want := "Ann: Ann: Ann: Bot: answer 1\nAnn: \n"; out != want || !strings.Contains(errs, "a turn of Ann can't be remembered") {
		t.Errorf("wrote %q and %q, want %q", out, errs, want)
	}
	fake.answerBy(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"choices": [{"message": {"content": %q}}]}`, long)
	})
	if out, errs = hear(t, c, "Tell me everything."); !strings.Contains(out, strings.TrimSpace(long)) || !strings.Contains(errs, "a turn of Bot can't be remembered") {
		t.Errorf("wrote %d bytes and %q", len(out), errs)
	}
	wantTurns(t, c, "today/Ann: Short.", "today/Bot: answer 1", "today/Ann: Tell me everything.")
}
