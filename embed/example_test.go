package embed_test

import (
	"context"
	"fmt"
	"log"

	"engram/embed"
)

func ExampleLexical() {
	lexical, err := embed.NewLexical(embed.DefaultDimension)
	if err != nil {
		log.Fatal(err)
	}
	said := []string{
		"Houston, Tranquility Base here. The Eagle has landed.",
		"We are beginning our preparations for the walk.",
		"Magnificent desolation.",
	}
	documents, err := lexical.Embed(context.Background(), said, false)
	if err != nil {
		log.Fatal(err)
	}
	queries, err := lexical.Embed(context.Background(), []string{"Where did the Eagle land?"}, true)
	if err != nil {
		log.Fatal(err)
	}
	for i, d := range documents {
		var similarity float64
		for j, x := range d {
			similarity += float64(x) * float64(queries[0][j])
		}
		fmt.Printf("%.2f %s\n", max(0, similarity), said[i])
	}
	// Output:
	// 0.36 Houston, Tranquility Base here. The Eagle has landed.
	// 0.00 We are beginning our preparations for the walk.
	// 0.00 Magnificent desolation.
}
