package embed

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const testKey = "sk-very-secret-0123456789"

// vectorOf is what the fake endpoint gives a text: its length, and ones.
func vectorOf(text string, dimension int) []float32 {
	v := make([]float32, dimension)
	for i := range v {
		v[i] = 1
	}
	v[0] = float32(len(text))
	return v
}

type datum struct {
	Index     int `json:"index"`
	Embedding any `json:"embedding"`
}

func reply(w http.ResponseWriter, data []datum) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"object": "list", "data": data})
}

// endpoint serves POST /v1/embeddings by f.
func endpoint(t *testing.T, f func(w http.ResponseWriter, r *http.Request, q embeddingsRequest)) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/embeddings", func(w http.ResponseWriter, r *http.Request) {
		var q embeddingsRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f(w, r, q)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

func good(w http.ResponseWriter, _ *http.Request, q embeddingsRequest) {
	data := make([]datum, len(q.Input))
	for i, text := range q.Input {
		data[i] = datum{i, vectorOf(text, 4)}
	}
	reply(w, data)
}

func client(t *testing.T, c OpenAIConfig) *OpenAI {
	t.Helper()
	if c.Model == "" {
		c.Model = "m"
	}
	if c.InitialBackoff == 0 {
		c.InitialBackoff = time.Millisecond
	}
	o, err := NewOpenAI(c)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func checkVectors(t *testing.T, texts []string, got [][]float32) {
	t.Helper()
	if len(got) != len(texts) {
		t.Fatalf("%d vectors for %d texts", len(got), len(texts))
	}
	for i, text := range texts {
		if len(got[i]) != 4 || got[i][0] != float32(len(text)) || got[i][3] != 1 {
			t.Errorf("vector of texts[%d] %q = %v", i, text, got[i])
		}
	}
}

func TestOpenAIRequest(t *testing.T) {
	t.Setenv("TEST_EMBED_KEY", " "+testKey+"\n")
	var seen embeddingsRequest
	var auth string
	url := endpoint(t, func(w http.ResponseWriter, r *http.Request, q embeddingsRequest) {
		seen, auth = q, r.Header.Get("Authorization")
		good(w, r, q)
	})
	for _, base := range []string{url, url + "/", url + "/v1", url + "/v1/"} {
		o := client(t, OpenAIConfig{BaseURL: base, Model: "some-model", Dimension: 4, Shorten: true, APIKeyEnv: "TEST_EMBED_KEY"})
		texts := []string{"a", "bcd"}
		got, err := o.Embed(t.Context(), texts, true)
		if err != nil {
			t.Fatalf("%s: %v", base, err)
		}
		checkVectors(t, texts, got)
		if seen.Model != "some-model" || seen.EncodingFormat != "float" || seen.Dimensions != 4 || len(seen.Input) != 2 {
			t.Errorf("request = %+v", seen)
		}
		if auth != "Bearer "+testKey {
			t.Errorf("Authorization = %q", auth)
		}
	}
	o := client(t, OpenAIConfig{BaseURL: url, Dimension: 4})
	if _, err := o.Embed(t.Context(), []string{"a"}, false); err != nil {
		t.Fatal(err)
	}
	if seen.Dimensions != 0 || auth != "" {
		t.Errorf("unasked: dimensions %d, Authorization %q", seen.Dimensions, auth)
	}
	if o.Name() != "openai:m" || o.Version() != "1" {
		t.Errorf("Name, Version = %q, %q", o.Name(), o.Version())
	}
}

func TestOpenAIProbe(t *testing.T) {
	o := client(t, OpenAIConfig{BaseURL: endpoint(t, good)})
	if o.Dimension() != 0 {
		t.Errorf("dimension %d before Probe", o.Dimension())
	}
	if _, err := o.Embed(t.Context(), []string{"a"}, false); err == nil || !strings.Contains(err.Error(), "Probe") {
		t.Errorf("Embed before Probe: %v", err)
	}
	if err := o.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if o.Dimension() != 4 {
		t.Errorf("dimension %d, want 4", o.Dimension())
	}
	if got, err := o.Embed(t.Context(), nil, false); err != nil || len(got) != 0 {
		t.Errorf("no texts: %v, %v", got, err)
	}
	if _, err := o.Embed(t.Context(), []string{"a", " \t"}, false); !errors.Is(err, ErrEmpty) || !strings.Contains(err.Error(), "texts[1]") {
		t.Errorf("white space: %v", err)
	}
	wrong := client(t, OpenAIConfig{BaseURL: endpoint(t, good), Dimension: 5})
	if err := wrong.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "has 4 components, want 5") {
		t.Errorf("Probe with the wrong dimension: %v", err)
	}
}

func TestOpenAIBatches(t *testing.T) {
	var mu sync.Mutex
	var sizes []int
	var now, most atomic.Int32
	url := endpoint(t, func(w http.ResponseWriter, r *http.Request, q embeddingsRequest) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		bytes := 0
		for _, text := range q.Input {
			bytes += len(text)
		}
		if len(q.Input) > 3 || bytes > 20 && len(q.Input) > 1 {
			t.Errorf("a request of %d texts, %d bytes", len(q.Input), bytes)
		}
		mu.Lock()
		sizes = append(sizes, len(q.Input))
		mu.Unlock()
		time.Sleep(2 * time.Millisecond)
		good(w, r, q)
	})
	o := client(t, OpenAIConfig{BaseURL: url, Dimension: 4, MaxBatch: 3, MaxBatchBytes: 20, MaxConcurrent: 2})
	texts := []string{strings.Repeat("x", 50)}
	for i := range 40 {
		texts = append(texts, strings.Repeat("y", 1+i%12))
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			got, err := o.Embed(t.Context(), texts, false)
			if err != nil {
				t.Error(err)
				return
			}
			checkVectors(t, texts, got)
		})
	}
	wg.Wait()
	if most.Load() > 2 {
		t.Errorf("%d requests at once, limit 2", most.Load())
	}
	if len(sizes) < 3*(len(texts)/3) {
		t.Errorf("%d requests for 3×%d texts", len(sizes), len(texts))
	}
}

func TestOpenAIReplies(t *testing.T) {
	pack := func(v []float32) string {
		b := make([]byte, 0, 4*len(v))
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
		return base64.StdEncoding.EncodeToString(b)
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	texts := []string{"a", "bb"}
	a, b := vectorOf("a", 4), vectorOf("bb", 4)
	for _, c := range []struct {
		name string
		data []datum
		body string // instead of data
		want string // part of the error; none if empty
	}{
		{name: "in order", data: []datum{{0, a}, {1, b}}},
		{name: "out of order", data: []datum{{1, b}, {0, a}}},
		{name: "base64", data: []datum{{0, pack(a)}, {1, pack(b)}}},
		{name: "no indexes", body: `{"data":[{"embedding":[1,1,1,1]},{"embedding":[2,1,1,1]}]}`},
		{name: "one too few", data: []datum{{0, a}}, want: "1 vectors for 2 texts"},
		{name: "one too many", data: []datum{{0, a}, {1, b}, {2, b}}, want: "3 vectors for 2 texts"},
		{name: "index twice", data: []datum{{0, a}, {0, b}}, want: "index 0 twice"},
		{name: "index outside", data: []datum{{0, a}, {2, b}}, want: "index 2 for 2"},
		{name: "index negative", data: []datum{{-1, a}, {0, b}}, want: "index -1"},
		{name: "wrong dimension", data: []datum{{0, a}, {1, b[:3]}}, want: "vector 1 has 3 components, want 4"},
		{name: "NaN", data: []datum{{0, a}, {1, pack([]float32{1, nan, 1, 1})}}, want: "vector 1: component 1 is NaN"},
		{name: "Inf", data: []datum{{0, a}, {1, pack([]float32{1, 1, 1, inf})}}, want: "component 3 is +Inf"},
		{name: "NaN in JSON", body: `{"data":[{"index":0,"embedding":[NaN,1,1,1]},{"index":1,"embedding":[1,1,1,1]}]}`, want: "isn't the JSON"},
		{name: "beyond float32", body: `{"data":[{"index":0,"embedding":[1e39,1,1,1]},{"index":1,"embedding":[1,1,1,1]}]}`, want: "not an array of float32"},
		{name: "null", body: `{"data":[{"index":0,"embedding":[null,1,1,1]},{"index":1,"embedding":[1,1,1,1]}]}`, want: "null"},
		{name: "zeros", data: []datum{{0, a}, {1, []float32{0, 0, 0, 0}}}, want: "all zeros"},
		{name: "no vector", body: `{"data":[{"index":0},{"index":1}]}`, want: "vector 0"},
		{name: "base64 cut", data: []datum{{0, a}, {1, "AAA="}}, want: "multiple of 4"},
		{name: "not base64", data: []datum{{0, a}, {1, "!"}}, want: "base64"},
		{name: "cut JSON", body: `{"data":[{"index":0,`, want: "isn't the JSON"},
		{name: "a web page", body: `<html>welcome</html>`, want: "check the base URL"},
		{name: "nothing", body: ``, want: "1 of 5 tries"},
		{name: "giant", body: strings.Repeat(" ", 1<<20), want: "check that the base URL is an embeddings endpoint"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := client(t, OpenAIConfig{Dimension: 4, BaseURL: endpoint(t, func(w http.ResponseWriter, _ *http.Request, _ embeddingsRequest) {
				if c.data != nil {
					reply(w, c.data)
					return
				}
				_, _ = io.WriteString(w, c.body)
			})})
			got, err := o.Embed(t.Context(), texts, false)
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want == "":
				checkVectors(t, texts, got)
			case err == nil || !strings.Contains(err.Error(), c.want):
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestOpenAIRetries(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		header string // Retry-After
		fails  int
		tries  int
		want   string
	}{
		{name: "429 then OK", status: 429, fails: 2, tries: 3},
		{name: "429 with Retry-After", status: 429, header: "0", fails: 2, tries: 3},
		{name: "503 with a past date", status: 503, header: "Thu, 24 Jul 1969 16:50:35 GMT", fails: 1, tries: 2},
		{name: "503 with nonsense", status: 503, header: "soon", fails: 1, tries: 2},
		{name: "500 forever", status: 500, fails: 99, tries: 4, want: "after 4 of 4 tries: status 500 Internal Server Error: check the endpoint's own log; it says \"no\""},
		{name: "a wait beyond the limit", status: 429, header: "3600", fails: 99, tries: 1, want: "asks to wait 1h0m0s, over the limit"},
		{name: "401", status: 401, fails: 99, tries: 1, want: "check the API key"},
		{name: "403", status: 403, fails: 99, tries: 1, want: "check the API key"},
		{name: "404", status: 404, fails: 99, tries: 1, want: "serves this model"},
		{name: "400", status: 400, fails: 99, tries: 1, want: "check the model"},
		{name: "413", status: 413, fails: 99, tries: 1, want: "lower the batch"},
		{name: "301", status: 301, fails: 99, tries: 1, want: "check the base URL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tries atomic.Int32
			o := client(t, OpenAIConfig{Dimension: 4, MaxTries: 4, BaseURL: endpoint(t, func(w http.ResponseWriter, r *http.Request, q embeddingsRequest) {
				if int(tries.Add(1)) > c.fails {
					good(w, r, q)
					return
				}
				if c.header != "" {
					w.Header().Set("Retry-After", c.header)
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, "no")
			})})
			_, err := o.Embed(t.Context(), []string{"a"}, false)
			if int(tries.Load()) != c.tries {
				t.Errorf("%d tries, want %d", tries.Load(), c.tries)
			}
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var status *StatusError
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &status) || status.Status != c.status {
				t.Fatalf("error %v, want one of status %d with %q", err, c.status, c.want)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		value, date string
		want        time.Duration
		ok          bool
	}{
		{value: "7", want: 7 * time.Second, ok: true},
		{value: "Wed, 16 Jul 1969 13:32:30 GMT", date: "Wed, 16 Jul 1969 13:32:00 GMT", want: 30 * time.Second, ok: true},
		{value: "Wed, 16 Jul 1969 13:32:00 GMT", date: "Wed, 16 Jul 1969 13:32:30 GMT", want: 0, ok: true},
		{value: "Wed, 16 Jul 1969 13:32:30 GMT"},
		{value: "-1"},
		{value: ""},
	} {
		h := http.Header{"Retry-After": {c.value}, "Date": {c.date}}
		if got, ok := retryAfter(h); got != c.want || ok != c.ok {
			t.Errorf("retryAfter(%q, %q) = %v, %v; want %v, %v", c.value, c.date, got, ok, c.want, c.ok)
		}
	}
}

func TestOpenAINetwork(t *testing.T) {
	t.Run("connection cut, then OK", func(t *testing.T) {
		var tries atomic.Int32
		o := client(t, OpenAIConfig{Dimension: 4, BaseURL: endpoint(t, func(w http.ResponseWriter, r *http.Request, q embeddingsRequest) {
			if tries.Add(1) == 1 {
				w.Header().Set("Content-Length", "1000")
				_, _ = io.WriteString(w, `{"data":`)
				panic(http.ErrAbortHandler)
			}
			good(w, r, q)
		})})
		if _, err := o.Embed(t.Context(), []string{"a"}, false); err != nil || tries.Load() != 2 {
			t.Fatalf("after %d tries: %v", tries.Load(), err)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		s := httptest.NewServer(nil)
		s.Close()
		o := client(t, OpenAIConfig{Dimension: 4, BaseURL: s.URL, MaxTries: 2})
		_, err := o.Embed(t.Context(), []string{"a"}, false)
		if err == nil || !strings.Contains(err.Error(), "2 of 2 tries: check that the endpoint is up") {
			t.Fatalf("error %v", err)
		}
	})
	slow := func(w http.ResponseWriter, r *http.Request, q embeddingsRequest) { <-r.Context().Done() }
	t.Run("slow server", func(t *testing.T) {
		o := client(t, OpenAIConfig{Dimension: 4, BaseURL: endpoint(t, slow), Timeout: 10 * time.Millisecond, MaxTries: 2})
		_, err := o.Embed(t.Context(), []string{"a"}, false)
		if err == nil || !strings.Contains(err.Error(), "2 of 2 tries: no reply within 10ms") || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v", err)
		}
	})
	t.Run("cancelled under way", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		o := client(t, OpenAIConfig{Dimension: 4, MaxBatch: 1, BaseURL: endpoint(t, func(w http.ResponseWriter, r *http.Request, q embeddingsRequest) {
			cancel()
			slow(w, r, q)
		})})
		if _, err := o.Embed(ctx, []string{"a", "b", "c", "d", "e", "f"}, false); !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v", err)
		}
	})
	t.Run("cancelled while it waits to retry", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		o := client(t, OpenAIConfig{Dimension: 4, BaseURL: endpoint(t, func(w http.ResponseWriter, r *http.Request, _ embeddingsRequest) {
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(http.StatusTooManyRequests)
			cancel()
		})})
		if _, err := o.Embed(ctx, []string{"a"}, false); !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v", err)
		}
	})
}

func TestOpenAIConfig(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	const base = "http://127.0.0.1:1"
	for _, c := range []struct {
		name   string
		config OpenAIConfig
		want   string
	}{
		{"no URL", OpenAIConfig{Model: "m"}, "base URL"},
		{"no scheme", OpenAIConfig{BaseURL: "127.0.0.1:1", Model: "m"}, "base URL"},
		{"other scheme", OpenAIConfig{BaseURL: "ftp://a", Model: "m"}, "base URL"},
		{"credentials", OpenAIConfig{BaseURL: "http://u:" + testKey + "@a", Model: "m"}, "credentials"},
		{"bad URL with credentials", OpenAIConfig{BaseURL: "http://u:" + testKey + "@a:b%", Model: "m"}, "can't be parsed"},
		{"query", OpenAIConfig{BaseURL: "http://a/?key=" + testKey, Model: "m"}, "credentials"},
		{"no model", OpenAIConfig{BaseURL: base}, "no model"},
		{"dimension", OpenAIConfig{BaseURL: base, Model: "m", Dimension: 8193}, "dimension 8193"},
		{"shorten", OpenAIConfig{BaseURL: base, Model: "m", Shorten: true}, "shorten"},
		{"batch", OpenAIConfig{BaseURL: base, Model: "m", MaxBatch: -1}, "MaxBatch -1"},
		{"time-out", OpenAIConfig{BaseURL: base, Model: "m", Timeout: -time.Second}, "Timeout -1s"},
		{"missing file", OpenAIConfig{BaseURL: base, Model: "m", APIKeyFile: filepath.Join(dir, "none")}, "API key"},
		{"empty file", OpenAIConfig{BaseURL: base, Model: "m", APIKeyFile: write("empty", "\n")}, "is empty"},
		{"two lines", OpenAIConfig{BaseURL: base, Model: "m", APIKeyFile: write("two", testKey+"\n"+testKey)}, "more than one word"},
		{"variable not set", OpenAIConfig{BaseURL: base, Model: "m", APIKeyEnv: "TEST_EMBED_NOT_SET"}, "TEST_EMBED_NOT_SET"},
	} {
		_, err := NewOpenAI(c.config)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		} else if strings.Contains(err.Error(), testKey) {
			t.Errorf("%s: the error holds the secret: %v", c.name, err)
		}
	}
}

func TestOpenAIKeyStaysSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(testKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var sent string
	url := endpoint(t, func(w http.ResponseWriter, r *http.Request, _ embeddingsRequest) {
		sent = r.Header.Get("Authorization")
		// Across the edge of what an error shows.
		http.Error(w, strings.Repeat("-", 190)+"bad key "+testKey+" "+testKey, http.StatusUnauthorized)
	})
	o := client(t, OpenAIConfig{BaseURL: url, Dimension: 4, APIKeyFile: file})
	_, err := o.Embed(t.Context(), []string{"a"}, false)
	if sent != "Bearer "+testKey {
		t.Fatalf("the key was not sent: %q", sent)
	}
	if err == nil {
		t.Fatal("no error")
	}
	shown := []string{err.Error(), fmt.Sprintf("%#v", err)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		shown = append(shown, fmt.Sprintf(verb, o))
	}
	for _, s := range shown {
		if strings.Contains(s, testKey) || strings.Contains(s, fmt.Sprintf("%x", testKey)) || strings.Contains(s, testKey[:8]) {
			t.Errorf("shows the key: %s", s)
		}
	}
}
