package prompt

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// samples are texts of several kinds: the estimate of each must be at least lowest of what
// the encodings count, and at most highest.
var samples = []struct {
	kind, text      string
	lowest, highest float64
}{
	{"dialogue", "2023-05-07 13:40 Ann: I went camping with my sister last weekend, and we didn't even see the river until Sunday!\n2023-05-07 13:41 Bob: Really? That's a shame. How long did it take you to get there?\n", 1, 1.35},
	{"prose", "Memory recalls by association: what answers a question often stands beside the words that the question has, and most of all behind the turn that asked it. An index cannot know that, because it compares one vector with another and forgets the order in which things were said.\n", 1, 1.5},
	{"list", "Groceries:\n- 2 kg of potatoes\n- 500 g flour\n- eggs (a dozen)\n- olive oil, 0.75 l\n", 1, 1.6},
	{"code", "func add(a, b []float32) {\n\tfor i := range a {\n\t\ta[i] += b[i] * 0.5 // half\n\t}\n}\n", 0.95, 1.7},
	{"JSON", `{"id":"0198c2f0-7d1e-7000","score":0.8731,"tags":["home","keys"],"speaker":null}` + "\n", 0.9, 1.6},
	{"numbers", "3.14159, 2.71828; 1,000,000 rows at 12.5% in 0:35:17 of 2027-11-30\n", 0.95, 1.4},
	{"German", "Der Ersatzschlüssel liegt unter dem blauen Blumentopf neben der Haustür, falls du später nach Hause kommst.\n", 0.9, 1.6},
	{"French", "L'été dernier, nous avons passé trois semaines à la campagne, près d'une rivière où les enfants se baignaient.\n", 0.85, 1.6},
	{"Russian", "Запасной ключ лежит под синим горшком у входной двери, если ты вернёшься поздно.\n", 0.9, 1.9},
	{"Chinese", "备用钥匙在门口那个蓝色花盆下面,如果你回来得晚就自己拿。\n", 1, 2.2},
	{"Japanese", "予備の鍵は玄関の青い植木鉢の下にあります。遅くなったら使ってください。\n", 1, 2.2},
	{"Arabic", "المفتاح الاحتياطي تحت الأصيص الأزرق بجانب الباب إذا عدت متأخرا.\n", 0.95, 2.6},
	{"Hindi", "अतिरिक्त चाबी दरवाज़े के पास नीले गमले के नीचे रखी है।\n", 0.95, 4},
	{"emoji", "See you there 🎉🎉 ❤️ 👍🏽 can't wait 😂\n", 0.95, 2},
}

func TestEstimate(t *testing.T) {
	for _, s := range samples {
		for _, name := range Tokenizers[1:] {
			count, _ := CounterOf(name)
			exact, got := count([]byte(s.text)), Estimate([]byte(s.text))
			ratio := float64(got) / float64(exact)
			t.Logf("%-9s %-12s %4d exact, %4d estimated: %.2f", s.kind, name, exact, got, ratio)
			if ratio < s.lowest || ratio > s.highest {
				t.Errorf("%s: %d tokens of %s are estimated to be %d, %.2f times as many", s.kind, exact, name, got, ratio)
			}
		}
	}
}

func TestTokenizers(t *testing.T) {
	for name, want := range map[string]int{"cl100k_base": 7, "o200k_base": 7} { // as tiktoken counts
		count, ok := CounterOf(name)
		if got := count([]byte("The Eagle has landed, Houston.\n")); !ok || got != want {
			t.Errorf("%s counts %d", name, got)
		}
		if got := count(nil); got != 0 {
			t.Errorf("%s counts %d in nothing", name, got)
		}
		if got := count([]byte("<|endoftext|>")); got < 2 {
			t.Errorf("%s takes text for a special token", name)
		}
	}
	if _, ok := CounterOf("gpt-9"); ok {
		t.Error("there is a tokenizer of any name")
	}
	if Estimate(nil) != 0 {
		t.Error("nothing has tokens")
	}
}

// Texts one after the other are estimated to have at most what they have one by one, and
// none more tokens than a byte pair encoding can make of it, twice over.
func TestEstimateOfParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{" ", "  ", "\n", "aB", "Ab", "12", "1", "…", "é", "...", "\t"}))
		a, b := strings.Join(rapid.SliceOfN(word, 0, 8).Draw(t, "a"), ""), strings.Join(rapid.SliceOfN(word, 0, 8).Draw(t, "b"), "")
		both, sum := Estimate([]byte(a+b)), Estimate([]byte(a))+Estimate([]byte(b))
		if both > sum {
			t.Fatalf("%q and %q: %d together, %d one by one", a, b, both, sum)
		}
		if n := len(a) + len(b); both > 3*n || n > 0 && both < 1 {
			t.Fatalf("%q: %d tokens of %d bytes", a+b, both, n)
		}
	})
}
