package main

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"engram/client"
)

// A dialogue is one conversation of LoCoMo (Maharana et al., "Evaluating Very Long-Term
// Conversational Memory of LLM Agents", ACL 2024) with its questions.
type dialogue struct {
	name      string
	turns     []client.Record
	questions []evidenced

	// What couldn't be used: evidence that names no turn, and questions left with none.
	dropped, skipped int
}

// An evidenced question is one whose answer stands in certain turns.
type evidenced struct {
	text     string
	category int
	evidence []string // ids of turns, each once
}

// categories name LoCoMo's, by number.
var categories = []string{1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}

// turnName is how evidence names a turn; one string may name several.
var turnName = regexp.MustCompile(`D\d+:\d+`)

// locomo reads a file of LoCoMo's format. A turn's text ends with the caption of its image,
// if it has one, in brackets; its time is its session's.
func locomo(in io.Reader) ([]dialogue, error) {
	var samples []struct {
		ID           string                     `json:"sample_id"`
		Conversation map[string]json.RawMessage `json:"conversation"`
		QA           []struct {
			Question string   `json:"question"`
			Evidence []string `json:"evidence"`
			Category int      `json:"category"`
		} `json:"qa"`
	}
	if err := json.NewDecoder(in).Decode(&samples); err != nil {
		return nil, fmt.Errorf("not a file of LoCoMo's format: %w", err)
	}
	out := make([]dialogue, len(samples))
	for i := range samples {
		s, d := &samples[i], &out[i]
		d.name = s.ID
		known := make(map[string]bool)
		for _, session := range sessionNumbers(s.Conversation) {
			if err := d.addSession(session, s.Conversation); err != nil {
				return nil, fmt.Errorf("dialogue %q, session %d: %w", s.ID, session, err)
			}
		}
		for _, t := range d.turns {
			known[t.ID] = true
		}
		for _, q := range s.QA {
			e := evidenced{text: q.Question, category: q.Category}
			if q.Category < 1 || q.Category >= len(categories) {
				return nil, fmt.Errorf("dialogue %q has a question of category %d", s.ID, q.Category)
			}
			seen := make(map[string]bool)
			for _, text := range q.Evidence {
				named := turnName.FindAllString(text, -1)
				if len(named) == 0 {
					d.dropped++
				}
				for _, id := range named {
					switch {
					case !known[id]:
						d.dropped++
					case !seen[id]:
						seen[id] = true
						e.evidence = append(e.evidence, id)
					}
				}
			}
			if len(e.evidence) == 0 {
				d.skipped++
				continue
			}
			d.questions = append(d.questions, e)
		}
	}
	return out, nil
}

// sessionNumbers gives the numbers of the sessions there are, in order.
func sessionNumbers(conversation map[string]json.RawMessage) (numbers []int) {
	most := 0
	for key := range conversation {
		if n, err := strconv.Atoi(strings.TrimPrefix(key, "session_")); err == nil {
			most = max(most, n)
		}
	}
	for n := 1; n <= most; n++ {
		if _, ok := conversation[fmt.Sprint("session_", n)]; ok {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

func (d *dialogue) addSession(number int, conversation map[string]json.RawMessage) error {
	name := fmt.Sprint("session_", number)
	var turns []struct {
		ID      string `json:"dia_id"`
		Speaker string `json:"speaker"`
		Text    string `json:"text"`
		Caption string `json:"blip_caption"`
	}
	if err := json.Unmarshal(conversation[name], &turns); err != nil {
		return err
	}
	var when string
	if err := json.Unmarshal(conversation[name+"_date_time"], &when); err != nil {
		return fmt.Errorf("its date: %w", err)
	}
	at, err := time.Parse("3:04 pm on 2 January, 2006", when)
	if err != nil {
		return err
	}
	for _, t := range turns {
		text := t.Text
		if t.Caption != "" {
			text += " [" + t.Caption + "]"
		}
		d.turns = append(d.turns, client.Record{ID: t.ID, Text: text, Speaker: t.Speaker, Session: name, Time: at})
	}
	return nil
}
