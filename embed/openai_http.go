package embed

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

type embeddingsRequest struct {
	Model          string   `json:"model"`
	Input          []string `json:"input"`
	EncodingFormat string   `json:"encoding_format"`
	Dimensions     int      `json:"dimensions,omitempty"`
}

type embeddingsResponse struct {
	Data []struct {
		Index *int `json:"index"`
		// An array of numbers, or float32s in little-endian order in base64,
		// which some servers send whatever is asked for.
		Embedding json.RawMessage `json:"embedding"`
	} `json:"data"`
}

// StatusError is an answer other than 200.
type StatusError struct {
	Status int
	Body   string // its first 200 bytes, without the API key
	// wait is what the server asked for by Retry-After, for package backoff.
	wait *backoff.RetryAfterError
}

func (e *StatusError) Error() string {
	advice := "check the base URL"
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		advice = "check the API key and what it may use"
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		advice = "check the base URL and that the endpoint serves this model"
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		advice = "check the model, that it can shorten if that was asked, and that no text is longer than it takes"
	case http.StatusRequestEntityTooLarge:
		advice = "lower the batch"
	case http.StatusTooManyRequests:
		advice = "lower the concurrency, or raise the quota"
	default:
		if e.Status >= 500 {
			advice = "check the endpoint's own log"
		}
	}
	s := fmt.Sprintf("status %d %s: %s", e.Status, http.StatusText(e.Status), advice)
	if e.Body != "" {
		s += fmt.Sprintf("; it says %q", e.Body)
	}
	return s
}

// Unwrap lets package backoff find how long to wait.
func (e *StatusError) Unwrap() error {
	if e.wait == nil {
		return nil
	}
	return e.wait
}

// post makes one try. Errors that another try can't mend are permanent.
func (o *OpenAI) post(ctx context.Context, body []byte, count int) ([][]float32, error) {
	select {
	case o.slots <- struct{}{}:
		defer func() { <-o.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	try, cancel := context.WithTimeout(ctx, o.config.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(try, http.MethodPost, o.endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, backoff.Permanent(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	o.authorize(request)
	response, err := o.client.Do(request)
	if err != nil {
		return nil, o.unreachable(try, ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, o.refused(response)
	}

	limit := o.replyLimit(count)
	reply, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, o.unreachable(try, ctx, err)
	}
	if int64(len(reply)) > limit {
		return nil, backoff.Permanent(fmt.Errorf("the reply is over %d bytes, more than %d vectors can need: check that the base URL is an embeddings endpoint", limit, count))
	}
	vectors, err := decodeEmbeddings(reply, count, o.Dimension())
	if err != nil {
		return nil, backoff.Permanent(err)
	}
	return vectors, nil
}

// unreachable explains an error of the network; once the caller's own time is
// up, backoff stops by itself.
func (o *OpenAI) unreachable(try, caller context.Context, err error) error {
	if caller.Err() == nil && errors.Is(try.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no reply within %v: raise the time-out, or lower the batch: %w", o.config.Timeout, err)
	}
	return fmt.Errorf("check that the endpoint is up: %w", err)
}

func (o *OpenAI) refused(response *http.Response) error {
	const shown = 200
	// More is read than shown, so that a key across the edge is seen whole; what
	// can't be read is left out.
	said, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	text := strings.ToValidUTF8(strings.TrimSpace(o.redact(string(said))), "\uFFFD")
	if len(text) > shown {
		text = strings.ToValidUTF8(text[:shown], "")
	}
	refusal := &StatusError{Status: response.StatusCode, Body: text}
	if s := response.StatusCode; s != http.StatusTooManyRequests && s != http.StatusRequestTimeout && s < 500 {
		return backoff.Permanent(refusal)
	}
	if wait, ok := retryAfter(response.Header); ok {
		if wait > o.config.MaxRetryAfter {
			return backoff.Permanent(fmt.Errorf("it asks to wait %v, over the limit of %v: %w", wait, o.config.MaxRetryAfter, refusal))
		}
		refusal.wait = &backoff.RetryAfterError{Duration: wait}
	}
	return refusal
}

// retryAfter reads RFC 9110's Retry-After: seconds, or a date, which is taken
// against the server's own Date, so that clocks need not agree.
func retryAfter(h http.Header) (time.Duration, bool) {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0, false
	}
	return max(0, until.Sub(now)), true
}

// replyLimit is how many bytes a reply of count vectors can take: 64 a number
// allows for indented JSON.
func (o *OpenAI) replyLimit(count int) int64 {
	dimension := o.Dimension()
	if dimension == 0 {
		dimension = MaxDimension
	}
	return 64<<10 + int64(count)*(1<<10+64*int64(dimension))
}

// decodeEmbeddings gives the reply's vectors by their index. All have the
// dimension given; if that is 0, that of the first.
func decodeEmbeddings(reply []byte, count, dimension int) ([][]float32, error) {
	var r embeddingsResponse
	if err := json.Unmarshal(reply, &r); err != nil {
		return nil, fmt.Errorf("the reply isn't the JSON of embeddings (check the base URL): %w", err)
	}
	if len(r.Data) != count {
		return nil, fmt.Errorf("the reply has %d vectors for %d texts: check that the endpoint takes several texts a request, or set the batch to 1", len(r.Data), count)
	}
	vectors := make([][]float32, count)
	for place, d := range r.Data {
		i := place
		if d.Index != nil {
			i = *d.Index
		}
		if i < 0 || i >= count {
			return nil, fmt.Errorf("the reply has index %d for %d texts", i, count)
		}
		if vectors[i] != nil {
			return nil, fmt.Errorf("the reply has index %d twice", i)
		}
		v, err := decodeVector(d.Embedding)
		if err != nil {
			return nil, fmt.Errorf("the reply's vector %d: %w", i, err)
		}
		if dimension == 0 {
			dimension = len(v)
		}
		if len(v) != dimension || len(v) > MaxDimension {
			return nil, fmt.Errorf("the reply's vector %d has %d components, want %d, at most %d: check the model and the configured dimension", i, len(v), dimension, MaxDimension)
		}
		vectors[i] = v
	}
	return vectors, nil
}

func decodeVector(raw json.RawMessage) ([]float32, error) {
	var v []float32
	switch {
	case len(raw) > 0 && raw[0] == '"':
		var packed []byte
		if err := json.Unmarshal(raw, &packed); err != nil {
			return nil, fmt.Errorf("neither numbers nor base64: %w", err)
		}
		if len(packed)%4 != 0 {
			return nil, fmt.Errorf("%d bytes of base64, not a multiple of 4", len(packed))
		}
		v = make([]float32, len(packed)/4)
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(packed[4*i:]))
		}
	case bytes.IndexByte(raw, 'n') >= 0: // null, which would decode as 0
		return nil, errors.New("null among its numbers")
	default:
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("not an array of float32: %w", err)
		}
	}
	zero := true
	for i, x := range v {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return nil, fmt.Errorf("component %d is %v", i, x)
		}
		zero = zero && x == 0
	}
	if zero {
		return nil, errors.New("it is empty or all zeros")
	}
	return v, nil
}
