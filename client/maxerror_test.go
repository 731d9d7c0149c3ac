package client_test

import (
	"fmt"
	"math"
	"testing"

	"engram/client"
)

// MaxError reaches the server, and the bound comes back; ErrorBound is 0 without.
func TestMaxError(t *testing.T) {
	c, err := client.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	var records []client.Record
	for i := range 500 {
		at := float64(i) * 2 * math.Pi / 500
		records = append(records, client.Record{ID: fmt.Sprint(i), Key: []float32{float32(math.Cos(at)), float32(math.Sin(at))}, Value: []float32{float32(i % 2), 1}})
	}
	if _, err := c.Store(t.Context(), "TestMaxError", records...); err != nil {
		t.Fatal(err)
	}
	query := client.Vector([]float32{1, 0})
	whole, err := c.Attend(t.Context(), "TestMaxError", query, client.Scale(200))
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.Attend(t.Context(), "TestMaxError", query, client.Scale(200), client.MaxError(0.01))
	if err != nil {
		t.Fatal(err)
	}
	if whole.ErrorBound != 0 || !(a.ErrorBound > 0 && a.ErrorBound <= 0.01) {
		t.Errorf("the bounds are %v and, with max_error 0.01, %v", whole.ErrorBound, a.ErrorBound)
	}
	for i, x := range a.Context {
		if math.Abs(float64(x-whole.Context[i])) > a.ErrorBound*math.Sqrt2+1e-5 {
			t.Errorf("component %d is %v, of all %v, with the bound %v", i, x, whole.Context[i], a.ErrorBound)
		}
	}
	if _, err := c.Attend(t.Context(), "TestMaxError", query, client.MaxError(2)); err == nil {
		t.Error("max_error 2 is taken")
	}
}
