package server

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	engramv1 "engram/proto/engram/v1"
)

// Several heads, a causal window with sinks, biases and every way to combine, over a real
// socket, against the formulas in float64.
func TestAttendHeads(t *testing.T) {
	h := start(t)
	const kv, d, dv, n = 2, 6, 6, 90
	r := rand.New(rand.NewPCG(7, 8))
	vector := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = r.Float32()*2 - 1
		}
		return v
	}
	must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
		Namespace: &engramv1.Namespace{Name: "m", Metric: engramv1.Metric_METRIC_DOT, Dimension: kv * d, ValueDimension: kv * dv, KvHeads: kv}}))
	records := make([]*engramv1.Record, n)
	for i := range records {
		records[i] = &engramv1.Record{
			Id: fmt.Sprint(i), Key: vec(vector(kv * d)...), Value: vec(vector(kv * dv)...), Position: ptr(int64(i)), Importance: ptr(float32(1+i%10) / 10),
		}
	}
	h.store("m", records...)
	if got := must[*engramv1.NamespaceServiceGetResponse](t)(h.namespaces.Get(ctx(t), &engramv1.NamespaceServiceGetRequest{Name: "m"})); got.Namespace.KvHeads != kv {
		t.Fatalf("the namespace has %d heads", got.Namespace.KvHeads)
	}
	one := must[*engramv1.GetResponse](t)(h.memory.Get(ctx(t), &engramv1.GetRequest{Namespace: "m", Ids: []string{"7"}}))
	if one.Records[0].Position == nil || *one.Records[0].Position != 7 {
		t.Fatalf("the record is %v, without its position 7", one.Records[0])
	}

	for _, heads := range []int{2, 4} {
		for _, combine := range []engramv1.Combine{0, 1, 2, 3, 4} {
			const before, last, sinks = 80, 30, 4
			query, gate := vector(heads*d), []float32(nil)
			if combine == engramv1.Combine_COMBINE_GATE {
				gate = make([]float32, []int{1, heads, heads * dv}[r.IntN(3)])
				for i := range gate {
					gate[i] = r.Float32()
				}
			}
			slopes := make([]float64, heads)
			for i := range slopes {
				slopes[i] = math.Pow(2, float64(-i-1))
			}
			got := must[*engramv1.AttendResponse](t)(h.memory.Attend(ctx(t), &engramv1.AttendRequest{
				Namespaces: []string{"m"}, QueryHeads: uint32(heads), TopWeights: 3,
				Queries: []*engramv1.Query{{Vector: vec(query...), Position: ptr(int64(before))}},
				Window:  &engramv1.Window{Last: last, Sinks: sinks, BeforePosition: ptr(int64(before))},
				Bias:    &engramv1.Bias{Importance: 1.5, Slopes: slopes},
				Combine: combine, Gate: gate,
			})).Results[0]
			if len(got.Heads) != heads || len(got.Context.Values) != heads*dv {
				t.Fatalf("%d heads and %d components", len(got.Heads), len(got.Context.Values))
			}
			for head := range heads {
				at := head * kv / heads
				logits, sum, entropy := map[int]float64{}, 0.0, 0.0
				for i, p := range records {
					if i >= before || i >= sinks && i < before-last {
						continue
					}
					score := 0.0
					for k := range d {
						score += float64(query[head*d+k]) * float64(p.Key.Values[at*d+k])
					}
					logits[i] = score/math.Sqrt(d) + 1.5*math.Log(float64(*p.Importance)) - slopes[head]*float64(before-i)
					sum += math.Exp(logits[i])
				}
				want, best := make([]float64, dv), 0
				for i, x := range logits {
					w := math.Exp(x) / sum
					entropy -= w * math.Log(w)
					if _, ok := logits[best]; !ok || x > logits[best] {
						best = i
					}
					for k := range want {
						want[k] += w * float64(records[i].Value.Values[at*dv+k])
					}
				}
				for k, x := range want {
					if got := got.Context.Values[head*dv+k]; math.Abs(float64(got)-x) > 1e-5 {
						t.Errorf("%d heads: component %d of head %d is %v, want %v", heads, k, head, got, x)
					}
				}
				a := got.Heads[head]
				if math.Abs(a.LogSumExp-math.Log(sum)) > 1e-5 || math.Abs(a.Entropy-entropy) > 1e-4 || a.Attended != last+sinks {
					t.Errorf("head %d is %v, want log-sum-exp %v, entropy %v", head, a, math.Log(sum), entropy)
				}
				if len(a.TopWeights) != 3 || a.TopWeights[0].Record.Id != fmt.Sprint(best) || math.Abs(a.TopWeights[0].Weight-math.Exp(logits[best])/sum) > 1e-5 {
					t.Errorf("the heaviest of head %d are %v, want %d first", head, a.TopWeights, best)
				}
			}
			checkCombine(t, combine, query, got.Context.Values, gate, got.Output)
		}
	}
}

// checkCombine holds an output to its formula, to the last bit.
func checkCombine(t *testing.T, how engramv1.Combine, query, context, gate []float32, output *engramv1.Vector) {
	t.Helper()
	var want []float32
	switch how {
	case engramv1.Combine_COMBINE_ADD:
		for i := range query {
			want = append(want, float32(float64(query[i])+float64(context[i]))) // exact, then rounded once
		}
	case engramv1.Combine_COMBINE_CONCAT:
		want = append(append(want, query...), context...)
	case engramv1.Combine_COMBINE_GATE:
		for i := range query {
			g := float64(gate[i*len(gate)/len(query)])
			a := float32(g * float64(query[i]))
			b := float32(float64(float32(1-g)) * float64(context[i]))
			want = append(want, float32(float64(a)+float64(b)))
		}
	}
	if len(output.GetValues()) != len(want) {
		t.Fatalf("%v: the output has %d components, want %d", how, len(output.GetValues()), len(want))
	}
	for i, x := range want {
		if math.Float32bits(output.Values[i]) != math.Float32bits(x) {
			t.Errorf("%v: component %d is %v, want %v", how, i, output.Values[i], x)
		}
	}
}

// With top_k the softmax runs over the best alone, and a record is in Attend as in Retrieve.
func TestAttendTopK(t *testing.T) {
	h := start(t)
	h.store("a", rec("near", 1, 0.1, 0), rec("nearer", 1, 0, 0), rec("far", 0, 0, 1), rec("opposite", -1, 0, 0))
	got := must[*engramv1.AttendResponse](t)(h.memory.Attend(ctx(t), &engramv1.AttendRequest{
		Namespaces: []string{"a"}, Queries: []*engramv1.Query{{Vector: vec(1, 0, 0)}}, TopK: 2, TopWeights: 10, Scale: ptr(float32(1)),
		Search: &engramv1.Search{Recall: ptr(0.9)},
	}))
	head := got.Results[0].Heads[0]
	cos := 1 / math.Sqrt(1.01)
	if head.Attended != 2 || len(head.TopWeights) != 2 || head.TopWeights[0].Record.Id != "nearer" || head.TopWeights[1].Record.Id != "near" ||
		math.Abs(head.TopWeights[0].Weight-math.Exp(1)/(math.Exp(1)+math.Exp(cos))) > 1e-6 {
		t.Errorf("the head is %v", head)
	}
	if c := got.Results[0].Context.Values; math.Abs(float64(c[0])-1) > 1e-6 || c[2] != 0 || !got.Search.Exact {
		t.Errorf("the context is %v, by %v", c, got.Search)
	}
}
