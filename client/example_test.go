package client_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"engram/client"
)

// address is that of a server for the examples; see TestMain.
var address string

// remember stores a conversation and gives a client to read it.
func remember(ctx context.Context, namespace string) *client.Client {
	c, err := client.Dial(address)
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.Store(ctx, namespace,
		client.Record{ID: "m1", Speaker: "user", Text: "My dog is called Ada.", Metadata: map[string]any{"topic": "pets", "turn": 1}},
		client.Record{ID: "m2", Speaker: "user", Text: "The spare key is under the blue pot.", Metadata: map[string]any{"topic": "home", "turn": 2}},
		client.Record{ID: "m3", Speaker: "assistant", Text: "Noted: under the blue pot.", Metadata: map[string]any{"topic": "home", "turn": 3}},
	)
	if err != nil {
		log.Fatal(err)
	}
	return c
}

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	c, err := client.Dial(address) // "127.0.0.1:7440"
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = c.Close() }()

	_, err = c.Store(ctx, "chat",
		client.Record{ID: "m1", Speaker: "user", Text: "My dog is called Ada.", Metadata: map[string]any{"topic": "pets"}},
		client.Record{ID: "m2", Speaker: "user", Text: "The spare key is under the blue pot.", Metadata: map[string]any{"topic": "home"}},
	)
	if err != nil {
		log.Fatal(err)
	}
	hits, err := c.Retrieve(ctx, "chat", client.Text("where is the key?"),
		client.TopK(1), client.Where(client.Speaker.Equals("user")))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(hits[0].Record.Text)

	attention, err := c.Attend(ctx, "chat", client.Text("where is the key?"), client.TopWeights(1))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(attention.Context), attention.TopWeights[0].Record.ID)
	// Output:
	// The spare key is under the blue pot.
	// 512 m2
}

func ExampleClient_Retrieve() {
	ctx := context.Background()
	c := remember(ctx, "ExampleClient_Retrieve")
	defer func() { _ = c.Close() }()

	hits, err := c.Retrieve(ctx, "ExampleClient_Retrieve", client.Like("", "m2"), client.TopK(1))
	if err != nil {
		log.Fatal(err)
	}
	for _, h := range hits {
		fmt.Println(h.Record.ID, h.Record.Speaker, h.Record.Metadata["topic"])
	}
	// Output: m3 assistant home
}

func ExampleClient_Recall() {
	ctx := context.Background()
	c := remember(ctx, "recall")
	defer func() { _ = c.Close() }()

	prompt, err := c.Recall(ctx, "recall", client.Text("where is the key?"),
		client.PromptOptions{MaxTokens: 100, Last: 1, Template: "{speaker}: {text}"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(prompt.Text)
	// Output:
	// user: My dog is called Ada.
	// user: The spare key is under the blue pot.
	// assistant: Noted: under the blue pot.
}

func ExampleClient_Attend() {
	ctx := context.Background()
	c, err := client.Dial(address)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = c.Close() }()

	// Keys say where to look, values what is there.
	_, err = c.CreateNamespace(ctx, client.Namespace{Name: "ExampleClient_Attend", Metric: client.Dot, Dimension: 2, ValueDimension: 1})
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.Store(ctx, "ExampleClient_Attend",
		client.Record{ID: "a", Key: []float32{1, 0}, Value: []float32{10}},
		client.Record{ID: "b", Key: []float32{0, 1}, Value: []float32{20}},
	)
	if err != nil {
		log.Fatal(err)
	}
	even, err := c.Attend(ctx, "ExampleClient_Attend", client.Vector([]float32{1, 1}))
	if err != nil {
		log.Fatal(err)
	}
	sharp, err := c.Attend(ctx, "ExampleClient_Attend", client.Vector([]float32{0, 1}), client.Scale(100), client.TopWeights(1))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(even.Context, sharp.Context, sharp.TopWeights[0].Record.ID)
	// Output: [15] [20] b
}

func ExampleClient_Load() {
	ctx := context.Background()
	c, err := client.Dial(address)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = c.Close() }()

	lines := func(yield func(client.Record, error) bool) {
		for i := range 2500 {
			if !yield(client.Record{ID: fmt.Sprint(i), Key: []float32{1, float32(i)}}, nil) {
				return
			}
		}
	}
	n, err := c.Load(ctx, "ExampleClient_Load", lines, func(n int) { fmt.Println(n, "acknowledged") })
	fmt.Println(n, err)
	// Output:
	// 1000 acknowledged
	// 2000 acknowledged
	// 2500 acknowledged
	// 2500 <nil>
}

func ExampleClient_List() {
	ctx := context.Background()
	c := remember(ctx, "ExampleClient_List")
	defer func() { _ = c.Close() }()

	atHome := client.All(client.Metadata("topic").Equals("home"), client.Metadata("turn").AtLeast(2))
	for r, err := range c.List(ctx, "ExampleClient_List", client.Where(atHome), client.In(client.ByCreationDesc)) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.ID, r.Text)
	}
	// Output:
	// m3 Noted: under the blue pot.
	// m2 The spare key is under the blue pot.
}

func ExampleClient_Update() {
	ctx := context.Background()
	c := remember(ctx, "ExampleClient_Update")
	defer func() { _ = c.Close() }()

	found, _, err := c.Get(ctx, "ExampleClient_Update", []string{"m1"})
	if err != nil {
		log.Fatal(err)
	}
	// Only if nobody has changed it meanwhile.
	change := client.Record{ID: "m1", Text: "My dog is called Ida.", IfVersion: &found[0].Version}
	_, err = c.Update(ctx, "ExampleClient_Update", []string{"text"}, change)
	fmt.Println(err)
	_, err = c.Update(ctx, "ExampleClient_Update", []string{"text"}, change)
	fmt.Println(status.Code(err) == codes.FailedPrecondition)
	// Output:
	// <nil>
	// true
}

func ExampleClient_DeleteWhere() {
	ctx := context.Background()
	c := remember(ctx, "ExampleClient_DeleteWhere")
	defer func() { _ = c.Close() }()

	n, err := c.DeleteWhere(ctx, "ExampleClient_DeleteWhere", client.Not(client.Speaker.Equals("user")))
	fmt.Println(n, err)
	// Output: 1 <nil>
}
