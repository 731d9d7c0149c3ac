package client_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"engram/client"
)

// Engram's attention over the older records merged with a model's own over the newer equals
// one softmax over both, in each head.
func TestMerge(t *testing.T) {
	c, err := client.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	const kv, heads, d, remote, local = 2, 4, 5, 40, 12
	if _, err := c.CreateNamespace(t.Context(), client.Namespace{Name: "TestMerge", Metric: client.Dot, Dimension: kv * d, KVHeads: kv}); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	vector := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = 4*r.Float32() - 2
		}
		return v
	}
	var keys, values [][]float32
	var records []client.Record
	for i := range remote + local {
		keys, values = append(keys, vector(kv*d)), append(values, vector(kv*d))
		if i < remote {
			records = append(records, client.Record{ID: fmt.Sprint(i), Key: keys[i], Value: values[i]})
		}
	}
	if _, err := c.Store(t.Context(), "TestMerge", records...); err != nil {
		t.Fatal(err)
	}
	query := vector(heads * d)
	softmax := func(from, to int) client.Part {
		var out client.Part
		for h := range heads {
			at, sum, context := h*kv/heads*d, 0.0, make([]float64, d)
			for i := from; i < to; i++ {
				score := 0.0
				for k := range d {
					score += float64(query[h*d+k]) * float64(keys[i][at+k])
				}
				w := math.Exp(score / math.Sqrt(d))
				sum += w
				for k := range d {
					context[k] += w * float64(values[i][at+k])
				}
			}
			for _, x := range context {
				out.Context = append(out.Context, float32(x/sum))
			}
			out.LogSumExp = append(out.LogSumExp, math.Log(sum))
		}
		return out
	}
	a, err := c.Attend(t.Context(), "TestMerge", client.Vector(query), client.QueryHeads(heads))
	if err != nil {
		t.Fatal(err)
	}
	nothing := client.Part{Context: make([]float32, heads*d), LogSumExp: []float64{math.Inf(-1), math.Inf(-1), math.Inf(-1), math.Inf(-1)}}
	got, want := client.Merge(nothing, a.Part(), softmax(remote, remote+local)), softmax(0, remote+local)
	for h := range heads {
		if math.Abs(got.LogSumExp[h]-want.LogSumExp[h]) > 2e-6 {
			t.Errorf("head %d: log-sum-exp %v, want %v", h, got.LogSumExp[h], want.LogSumExp[h])
		}
	}
	for i := range want.Context {
		if math.Abs(float64(got.Context[i]-want.Context[i])) > 4e-6 {
			t.Errorf("component %d is %v, want %v", i, got.Context[i], want.Context[i])
		}
	}
	if of := client.Merge(nothing, nothing); !math.IsInf(of.LogSumExp[0], -1) || of.Context[0] != 0 {
		t.Errorf("of nothing: %+v", of)
	}
}

// Every option of Attend reaches the server.
func TestAttendOptions(t *testing.T) {
	c, err := client.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for i := range int64(10) {
		r := client.Record{ID: fmt.Sprint(i), Key: []float32{1, 0}, Value: []float32{float32(i), 0}, Position: &i, Importance: float32(1+i) / 10}
		if _, err := c.Store(t.Context(), "TestAttendOptions", r); err != nil {
			t.Fatal(err)
		}
	}
	attend := func(options ...client.ReadOption) *client.Attention {
		t.Helper()
		a, err := c.Attend(t.Context(), "TestAttendOptions", client.Vector([]float32{1, 0}).At(10), options...)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	lsn := func(id string) uint64 {
		found, _, err := c.Get(t.Context(), "TestAttendOptions", []string{id})
		if err != nil {
			t.Fatal(err)
		}
		return found[0].Version
	}
	for _, o := range []struct {
		name     string
		options  []client.ReadOption
		attended uint64
		context  float64
	}{
		{"all", nil, 10, 4.5},
		{"last", []client.ReadOption{client.Last(2, 1)}, 3, 17.0 / 3},
		{"position", []client.ReadOption{client.BeforePosition(4)}, 4, 1.5},
		{"window before a position", []client.ReadOption{client.BeforePosition(4), client.Last(2, 0)}, 2, 2.5},
		{"LSN", []client.ReadOption{client.BeforeLSN(lsn("3"))}, 3, 1},
		{"top", []client.ReadOption{client.TopK(2)}, 2, 0.5},
		{"importance", []client.ReadOption{client.ByImportance(1)}, 10, 6},
		{"slopes", []client.ReadOption{client.BySlopes(50)}, 10, 9},
	} {
		a := attend(o.options...)
		if a.Attended != o.attended || math.Abs(float64(a.Context[0])-o.context) > 1e-5 {
			t.Errorf("%s: %d attended, context %v, want %d, %v", o.name, a.Attended, a.Context, o.attended, o.context)
		}
	}
	for name, o := range map[string]struct {
		option client.ReadOption
		want   []float32
	}{
		"add": {client.Add(), []float32{5.5, 0}}, "concat": {client.Concat(), []float32{1, 0, 4.5, 0}}, "gate": {client.Gate(0.5), []float32{2.75, 0}},
	} {
		if a := attend(o.option, client.Scale(0)); fmt.Sprint(a.Output) != fmt.Sprint(o.want) {
			t.Errorf("%s: %v, want %v", name, a.Output, o.want)
		}
	}
}
