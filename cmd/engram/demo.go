package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"iter"
	"math"
	"strings"
	"time"

	"github.com/DataDog/zstd"

	"engram/client"
	"engram/embed"
	"engram/memory"
)

// transcript is the Apollo 11 technical air-to-ground voice transcript, July 1969
// (NASA, public domain): JSONL, compressed.
//
//go:embed apollo11.jsonl.zst
var transcript []byte

const utterances = 8482

// launch is when mission time began.
var launch = time.Date(1969, 7, 16, 13, 32, 0, 0, time.UTC)

var questions = []string{
	"Where has the Eagle landed?",
	"What was the 1202 program alarm?",
	"That's one small step for man",
	"Who saw the flag on the lunar surface?",
	"collecting rocks and core tube samples of the soil",
	"the President of the United States would like to say a few words to you",
	"How is the passive seismic experiment doing?",
	"you are GO for TLI",
	"the morning news and the sports scores",
	"splashdown and the recovery ship Hornet",
}

type demoCmd struct {
	Width int `help:"Columns to draw in; default: the terminal's." hidden:""`
}

func (*demoCmd) Help() string {
	return `Starts a server of its own on a free port of this machine, stores the 8,482
utterances of the Apollo 11 voice transcript, asks questions by Retrieve, Attend and
Recall, and leaves nothing behind.`
}

func (c *demoCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	if c.Width > 0 {
		t.width = c.Width
	}
	began := memory.SystemClock().Now()
	lexical, err := embed.NewLexical(embed.DefaultDimension)
	if err != nil {
		return err
	}
	t.printf("%s\n\n", t.paint(bold, "Engram remembers Apollo 11: 8,482 utterances between the crew and Houston, July 1969."))
	err = withOwnServer(ctx, memory.Options{Clock: memory.SystemClock(), Embedder: lexical}, func(ctx context.Context, _ *memory.DB, e *client.Client) error {
		if err := demoLoad(ctx, e, t); err != nil {
			return err
		}
		for i, q := range questions {
			if err := demoQuestion(ctx, e, t, i+1, q); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.printf("%s\n", t.paint(dim, fmt.Sprintf("All of it took %.1f s, and nothing is left behind.", memory.SystemClock().Now().Sub(began).Seconds())))
	t.printf(`
To go on with your own:

  %s
  %s
  %s
  %s
  %s
`,
		t.paint(bold, "go run ./cmd/engram serve --data ./memory"),
		t.paint(bold, `go run ./cmd/engram store notes "The spare key is under the blue pot."`),
		t.paint(bold, "go run ./cmd/engram retrieve notes where is the key"),
		t.paint(bold, "go run ./cmd/engram attend notes where is the key"),
		t.paint(bold, "go run ./cmd/engram recall notes where is the key"))
	return nil
}

// demoLoad stores the transcript through gRPC.
func demoLoad(ctx context.Context, e *client.Client, t *terminal) error {
	lines := zstd.NewReader(bytes.NewReader(transcript))
	defer func() { _ = lines.Close() }()
	p := t.progress("utterances", utterances)
	clock := memory.SystemClock()
	began := clock.Now()
	n, err := e.Load(ctx, "apollo11", demoRecords(lines), func(n int) { p.set(int64(n)) })
	p.end()
	if err != nil {
		return err
	}
	took := clock.Now().Sub(began)
	t.printf("%s\n\n", t.paint(dim, fmt.Sprintf("stored %s through gRPC in %.1f s (%s a second), each embedded as a %d-dimensional vector",
		plural(n, "utterance"), took.Seconds(), countText(int(float64(n)/took.Seconds())), embed.DefaultDimension)))
	return nil
}

func demoRecords(lines io.Reader) iter.Seq2[client.Record, error] {
	names := fields{"id", "text", "key", "value", "metadata", "session", "speaker", "time", "importance"}
	return func(yield func(client.Record, error) bool) {
		for r, err := range names.jsonlRecords(lines) {
			r.Metadata = map[string]any{"day": float64(missionDay(r.Time))}
			if !yield(r.Record, err) {
				return
			}
		}
	}
}

func missionDay(t time.Time) int { return int(t.Sub(launch)/(24*time.Hour)) + 1 }

// missionTime is the time since launch, as the transcript's readers know it.
func missionTime(t time.Time) string {
	s := int(t.Sub(launch) / time.Second)
	return fmt.Sprintf("%03d:%02d:%02d", s/3600, s/60%60, s%60)
}

func demoQuestion(ctx context.Context, e *client.Client, t *terminal, number int, question string) error {
	hits, err := e.Retrieve(ctx, "apollo11", client.Text(question), client.TopK(3))
	if err != nil {
		return err
	}
	a, err := e.Attend(ctx, "apollo11", client.Text(question), client.TopWeights(3))
	if err != nil {
		return err
	}
	t.printf("%s %s\n", t.paint(green, fmt.Sprintf("%d.", number)), t.paint(bold, question))
	rows := make([][]string, len(hits))
	for i, h := range hits {
		rows[i] = []string{fmt.Sprintf("  %.3f", h.Score), missionTime(h.Record.Time), h.Record.Speaker, h.Record.Text}
	}
	t.table([]column{{title: "  score", sgr: green}, {title: "mission", sgr: dim}, {title: "speaker", sgr: yellow}, {title: "Retrieve: the nearest utterances", wide: true}}, rows)
	for i, w := range a.TopWeights {
		rows[i] = []string{fmt.Sprintf("  %4.1f%%", 100*w.Weight), missionTime(w.Record.Time), w.Record.Speaker, w.Record.Text}
	}
	t.table([]column{{title: "  weight", sgr: cyan}, {title: "mission", sgr: dim}, {title: "speaker", sgr: yellow}, {title: fmt.Sprintf("Attend: where the weight lies, over %.0f utterances in effect", math.Exp(a.Entropy)), wide: true}}, rows[:len(a.TopWeights)])
	grid, err := attentionByHour(ctx, e, question, a.LogSumExp)
	if err != nil {
		return err
	}
	t.heatMap(grid)
	if err := demoPrompt(ctx, e, t, question); err != nil {
		return err
	}
	t.printf("\n")
	return nil
}

// promptTokens is the budget of the demo's prompts.
const promptTokens = 150

// demoPrompt shows what a language model would be given to answer a question with.
func demoPrompt(ctx context.Context, e *client.Client, t *terminal, question string) error {
	between := "…\n"
	p, err := e.Recall(ctx, "apollo11", client.Text(question), client.PromptOptions{
		MaxTokens: promptTokens, Before: 1, After: 1, Separator: &between,
	}, client.TopK(10), client.WithoutContent())
	if err != nil {
		return err
	}
	var rows [][]string
	for line := range strings.Lines(p.Text) {
		rows = append(rows, []string{"  " + strings.TrimSuffix(line, "\n")})
	}
	t.table([]column{{title: fmt.Sprintf("  Recall: a prompt of %d tokens, of %d allowed", p.Tokens, promptTokens), wide: true}}, rows)
	return nil
}

// The heat map has a row a mission day and a cell an hour.
const (
	days  = 9
	hours = 24
)

// attentionByHour gives the share of the attention that each hour of the mission
// gets: exp of the log-sum-exp over the hour's records less that over all.
func attentionByHour(ctx context.Context, e *client.Client, question string, all float64) ([days][hours]float64, error) {
	var grid [days][hours]float64
	for d := range days {
		day, err := hourMass(ctx, e, question, d*hours, hours)
		if err != nil {
			return grid, err
		}
		if math.IsInf(day, -1) {
			continue
		}
		for h := range hours {
			mass, err := hourMass(ctx, e, question, d*hours+h, 1)
			if err != nil {
				return grid, err
			}
			grid[d][h] = math.Exp(mass - all)
		}
	}
	return grid, nil
}

// hourMass is the log-sum-exp over the records of n hours.
func hourMass(ctx context.Context, e *client.Client, question string, from, n int) (float64, error) {
	a := launch.Add(time.Duration(from) * time.Hour)
	got, err := e.Attend(ctx, "apollo11", client.Text(question), client.WithoutContent(),
		client.Where(client.Time.Between(a, a.Add(time.Duration(n)*time.Hour))))
	if err != nil {
		return 0, err
	}
	return got.LogSumExp, nil
}

// heat are the 256-colour codes of the map, from none to most.
var heat = []int{236, 53, 89, 125, 161, 197, 203, 209, 215, 221, 227}

const shades = " ·░▒▓█"

// heatMap draws the shares, darker to brighter, on a scale of square roots.
func (t *terminal) heatMap(grid [days][hours]float64) {
	most := 0.0
	for _, day := range grid {
		for _, x := range day {
			most = max(most, x)
		}
	}
	t.printf("%s\n", t.paint(dim, "  attention by hour of the mission, a row a day"))
	for d, day := range grid {
		sum := 0.0
		for _, x := range day {
			sum += x
		}
		t.printf("  %s %s %s\n", t.paint(dim, fmt.Sprintf("day %d", d+1)), t.heatRow(day[:], most), t.paint(dim, fmt.Sprintf("%5.1f%%", 100*sum)))
	}
}
