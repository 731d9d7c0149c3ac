// Chat talks with a language model behind any OpenAI-compatible endpoint, which
// remembers through Engram what was said, however long ago.
package main

import (
	"context"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"engram/client"
)

type options struct {
	Endpoint  string `help:"The model's endpoint, up to /v1." env:"OPENAI_BASE_URL" required:"" placeholder:"URL"`
	Model     string `help:"The model." env:"OPENAI_MODEL" required:"" placeholder:"NAME"`
	KeyFile   []byte `help:"A file with the endpoint's key; default: the variable OPENAI_API_KEY." type:"filecontent" placeholder:"FILE"`
	Addr      string `help:"The Engram server." env:"ENGRAM_ADDR" default:"127.0.0.1:7440"`
	Namespace string `help:"The memory." default:"chat"`
	Session   string `help:"The name of this conversation; default: when it began."`
	User      string `help:"Your name." default:"user"`
	Assistant string `help:"The model's name." default:"assistant"`
	System    string `help:"What the model is told beside what it remembers."`
	Tokens    int    `help:"The most tokens of memory that the model is given." default:"1000"`
	Last      int    `help:"So many last turns are in them in any case." default:"6"`
}

func main() {
	var o options
	k := kong.Parse(&o, kong.Description("Talks with a language model that remembers through Engram. Reads what you say line by line; an empty line tries again what failed."))
	k.FatalIfErrorf(run(context.Background(), o))
}

func run(ctx context.Context, o options) error {
	memory, err := client.Dial(o.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = memory.Close() }()
	key := string(o.KeyFile)
	if key == "" {
		key = os.Getenv("OPENAI_API_KEY")
	}
	if o.Session == "" {
		o.Session = time.Now().UTC().Format(time.DateTime)
	}
	c := conversation{
		options: o,
		memory:  memory,
		model: &model{
			url: strings.TrimRight(o.Endpoint, "/") + "/chat/completions", name: o.Model, key: strings.TrimSpace(key),
			http: &http.Client{Timeout: 5 * time.Minute},
		},
	}
	return c.loop(ctx, os.Stdin, os.Stdout, os.Stderr)
}
