package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// A model answers by POST /v1/chat/completions, as OpenAI defines it and most model
// servers offer it.
type model struct {
	url, name, key string
	http           *http.Client
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// maxAnswer is how much of an endpoint's answer is read, in bytes.
const maxAnswer = 4 << 20

// complete gives the model's next message.
func (m *model) complete(ctx context.Context, messages []message) (string, error) {
	body, err := json.Marshal(map[string]any{"model": m.name, "messages": messages})
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	if m.key != "" {
		request.Header.Set("Authorization", "Bearer "+m.key)
	}
	response, err := m.http.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	if body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer)); err != nil {
		return "", fmt.Errorf("%s: %w", m.url, err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s: %s", m.url, response.Status, reason(body))
	}
	var answer struct {
		Choices []struct {
			Message      message `json:"message"`
			FinishReason string  `json:"finish_reason"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("%s: the answer is no chat completion: %w", m.url, err)
	}
	if len(answer.Choices) == 0 {
		return "", fmt.Errorf("%s: the answer has no choices", m.url)
	}
	choice := answer.Choices[0]
	text := strings.TrimSpace(choice.Message.Content)
	if text == "" {
		return "", fmt.Errorf("%s: the model said nothing (finish_reason %q)", m.url, choice.FinishReason)
	}
	return text, nil
}

// reason is what an endpoint says of its error: the message where it is in OpenAI's form,
// else the beginning of the body.
func reason(body []byte) string {
	var e struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &e) == nil && e.Error.Message != "" {
		return e.Error.Message
	}
	return strings.ToValidUTF8(strings.TrimSpace(string(body[:min(len(body), 200)])), "")
}
