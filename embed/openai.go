package embed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"
)

// OpenAIConfig says which endpoint to ask, and how. Zero values take the
// defaults.
type OpenAIConfig struct {
	// BaseURL is where the API lies, with or without its last "/v1":
	// "http://127.0.0.1:11434", "https://models.example.org/v1". It carries no
	// credentials and no query.
	BaseURL string
	// Model is sent as it is: "text-embedding-3-small".
	Model string
	// Dimension is what the model gives, at most MaxDimension; 0 leaves it to
	// Probe.
	Dimension int
	// Shorten asks the endpoint for vectors of Dimension components, for models
	// that can give fewer than they have.
	Shorten bool

	// The API key is read once, from the file or else from the environment
	// variable of these names; neither means that none is sent.
	APIKeyFile, APIKeyEnv string

	MaxBatch      int           // texts a request; default 128
	MaxBatchBytes int           // bytes of text a request, unless one text has more; default 256 KiB
	MaxConcurrent int           // requests under way; default 4
	MaxTries      int           // tries a request; default 5
	Timeout       time.Duration // of one try; default 30 s
	// InitialBackoff is the mean of the first pause between tries; each later
	// one is twice as long, up to MaxRetryAfter. Default 500 ms.
	InitialBackoff time.Duration
	// MaxRetryAfter is the longest pause an endpoint may ask for; one that asks
	// for more has failed. Default 60 s.
	MaxRetryAfter time.Duration
}

// OpenAI embeds by POST /v1/embeddings, as OpenAI defines it and most model
// servers offer it. The API key shows in no error and under no verb of fmt.
type OpenAI struct {
	config    OpenAIConfig
	endpoint  string
	dimension atomic.Int64
	slots     chan struct{}
	client    *http.Client
	// Functions, because fmt prints unexported fields, but not what a function
	// has captured.
	authorize func(*http.Request)
	redact    func(string) string
}

// NewOpenAI checks the configuration and reads the key. It sends nothing.
func NewOpenAI(c OpenAIConfig) (*OpenAI, error) {
	endpoint, err := endpointOf(c.BaseURL)
	if err != nil {
		return nil, err
	}
	if c.Model == "" {
		return nil, errors.New("embed: no model: name one that the endpoint serves")
	}
	if c.Dimension < 0 || c.Dimension > MaxDimension {
		return nil, fmt.Errorf("embed: dimension %d: want 1 to %d, or 0 to ask the endpoint", c.Dimension, MaxDimension)
	}
	if c.Shorten && c.Dimension == 0 {
		return nil, errors.New("embed: shortening needs the dimension to shorten to")
	}
	key, err := readKey(c.APIKeyFile, c.APIKeyEnv)
	if err != nil {
		return nil, err
	}
	for _, n := range []struct {
		name  string
		value *int
		unset int
	}{
		{"MaxBatch", &c.MaxBatch, 128},
		{"MaxBatchBytes", &c.MaxBatchBytes, 256 << 10},
		{"MaxConcurrent", &c.MaxConcurrent, 4},
		{"MaxTries", &c.MaxTries, 5},
	} {
		if *n.value < 0 {
			return nil, fmt.Errorf("embed: %s %d: want at least 1, or 0 for %d", n.name, *n.value, n.unset)
		}
		if *n.value == 0 {
			*n.value = n.unset
		}
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		unset time.Duration
	}{
		{"Timeout", &c.Timeout, 30 * time.Second},
		{"InitialBackoff", &c.InitialBackoff, 500 * time.Millisecond},
		{"MaxRetryAfter", &c.MaxRetryAfter, 60 * time.Second},
	} {
		if *d.value < 0 {
			return nil, fmt.Errorf("embed: %s %v: want more than 0, or 0 for %v", d.name, *d.value, d.unset)
		}
		if *d.value == 0 {
			*d.value = d.unset
		}
	}

	o := &OpenAI{
		config:    c,
		endpoint:  endpoint,
		slots:     make(chan struct{}, c.MaxConcurrent),
		authorize: func(*http.Request) {},
		redact:    func(s string) string { return s },
		client: &http.Client{
			// A redirect could carry texts elsewhere, and turns a POST into a GET.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if key != "" {
		o.authorize = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+key) }
		o.redact = func(s string) string { return strings.ReplaceAll(s, key, "[API key]") }
	}
	o.dimension.Store(int64(c.Dimension))
	return o, nil
}

func endpointOf(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		// The error of url.Parse repeats what it was given, credentials included.
		return "", errors.New("embed: the base URL can't be parsed: want one like http://127.0.0.1:11434")
	}
	switch {
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("embed: the base URL holds credentials, a query or a fragment: give the key by a file or an environment variable")
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return "", fmt.Errorf("embed: base URL %q: want one like http://127.0.0.1:11434", base)
	}
	return strings.TrimSuffix(strings.TrimRight(base, "/"), "/v1") + "/v1/embeddings", nil
}

func readKey(file, env string) (string, error) {
	var key, from string
	switch {
	case file != "":
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("embed: API key: %w", err)
		}
		key, from = string(b), "file "+file
	case env != "":
		key, from = os.Getenv(env), "environment variable "+env
	default:
		return "", nil
	}
	key = strings.TrimSpace(key)
	if key == "" {
		return "", fmt.Errorf("embed: API key: %s is empty or not set", from)
	}
	if strings.IndexFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return "", fmt.Errorf("embed: API key: %s holds more than one word of ASCII", from)
	}
	return key, nil
}

// Name is "openai:" and the model.
func (o *OpenAI) Name() string { return "openai:" + o.config.Model }

// Version is "1": an endpoint doesn't tell when it changes a model under the
// same name.
func (*OpenAI) Version() string { return "1" }

// Dimension is the one configured or probed; 0 before either.
func (o *OpenAI) Dimension() int { return int(o.dimension.Load()) }

// String says what is asked, without the key.
func (o *OpenAI) String() string { return o.Name() + " at " + o.endpoint }

// Probe embeds one word, and so checks the endpoint, the key and the model. It
// sets the dimension where none was configured.
func (o *OpenAI) Probe(ctx context.Context) error {
	vectors, err := o.try(ctx, []string{"memory"})
	if err != nil {
		return err
	}
	o.dimension.CompareAndSwap(0, int64(len(vectors[0])))
	return nil
}

// Embed asks for the texts in batches, several at once. The first batch that
// fails for good fails the call. Documents and queries are sent alike.
func (o *OpenAI) Embed(ctx context.Context, texts []string, _ bool) ([][]float32, error) {
	if err := checkTexts(texts); err != nil {
		return nil, err
	}
	if o.Dimension() == 0 {
		return nil, errors.New("embed: the dimension isn't known yet: configure it, or call Probe first")
	}
	vectors := make([][]float32, len(texts))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(o.config.MaxConcurrent)
	for start := 0; start < len(texts); {
		end := o.batchEnd(texts, start)
		batch, into := texts[start:end], vectors[start:end]
		group.Go(func() error {
			got, err := o.try(ctx, batch)
			copy(into, got)
			return err
		})
		start = end
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return vectors, nil
}

func (o *OpenAI) batchEnd(texts []string, start int) int {
	end, size := start, 0
	for end < len(texts) && end-start < o.config.MaxBatch {
		size += len(texts[end])
		if size > o.config.MaxBatchBytes && end > start {
			break
		}
		end++
	}
	return end
}

// try asks for one batch, again where that may help.
func (o *OpenAI) try(ctx context.Context, texts []string) ([][]float32, error) {
	request := embeddingsRequest{Model: o.config.Model, Input: texts, EncodingFormat: "float"}
	if o.config.Shorten {
		request.Dimensions = o.config.Dimension
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("embed: %s: %w", o, err)
	}
	tries := 0
	vectors, err := backoff.Retry(ctx, func() ([][]float32, error) {
		tries++
		return o.post(ctx, body, len(texts))
	},
		backoff.WithBackOff(&backoff.ExponentialBackOff{
			InitialInterval:     o.config.InitialBackoff,
			RandomizationFactor: 0.5,
			Multiplier:          2,
			MaxInterval:         o.config.MaxRetryAfter,
		}),
		backoff.WithMaxTries(uint(o.config.MaxTries)),
		backoff.WithMaxElapsedTime(0), // the tries and ctx bound it
	)
	if err != nil {
		return nil, fmt.Errorf("embed: %s: after %d of %d tries: %w", o, tries, o.config.MaxTries, err)
	}
	return vectors, nil
}
