package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/DataDog/zstd"
)

// transcript is what was said on the flight of Apollo 11, utterance by utterance, as the
// demo has it.
func transcript(ctx context.Context) (said []string, err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return nil, err
	}
	packed, err := os.ReadFile(filepath.Join(root, "cmd", "engram", "apollo11.jsonl.zst"))
	if err != nil {
		return nil, err
	}
	raw, err := zstd.Decompress(nil, packed)
	if err != nil {
		return nil, err
	}
	for lines := json.NewDecoder(bytes.NewReader(raw)); ; {
		var u struct{ Text string }
		if err := lines.Decode(&u); errors.Is(err, io.EOF) {
			return said, nil
		} else if err != nil {
			return nil, fmt.Errorf("apollo11.jsonl.zst, after %d utterances: %w", len(said), err)
		}
		said = append(said, u.Text)
	}
}
