package prompt

import (
	"strings"
	"testing"
	"time"
)

var landing = time.Date(1969, 7, 20, 20, 17, 58, 0, time.UTC).UnixNano()

func TestTemplate(t *testing.T) {
	score := float32(0.12345)
	full := Fields{ID: "a", Session: "s", Speaker: "CDR", Text: "The {Eagle} has landed.", Namespace: "n", Time: landing, Score: &score}
	silent := Fields{ID: "b", Text: "x", Time: landing}
	for _, c := range []struct {
		template string
		of       Fields
		want     string
	}{
		{"{time} {speaker}: {text}", full, "1969-07-20 20:17 CDR: The {Eagle} has landed.\n"},
		{"{time} {speaker}: {text}", silent, "1969-07-20 20:17 : x\n"},
		{"{id}|{session}|{namespace}|{score}", full, "a|s|n|0.123\n"},
		{"{id}|{session}|{namespace}|{score}", silent, "b|||\n"},
		{"{{{text}}}", silent, "{x}\n"},
		{"- {{}} {text} é\n", silent, "- {} x é\n\n"},
	} {
		tmpl, err := ParseTemplate(c.template)
		if err != nil {
			t.Errorf("%q: %v", c.template, err)
			continue
		}
		if got := string(tmpl.Append(nil, &c.of)); got != c.want {
			t.Errorf("%q writes %q, want %q", c.template, got, c.want)
		}
	}
	if got := string(Default.Append([]byte("> "), &full)); got != "> 1969-07-20 20:17 CDR: The {Eagle} has landed.\n" {
		t.Errorf("by default %q", got)
	}
	if got := string(Default.Append(nil, &silent)); got != "1969-07-20 20:17 x\n" {
		t.Errorf("by default, without speaker, %q", got)
	}
}

func TestBadTemplates(t *testing.T) {
	for template, want := range map[string]string{
		"{who}: {text}":     `"who", which is no field; there are id, session, speaker, time, text, namespace, score`,
		"{Text}":            `"Text", which is no field`,
		"{ text }":          `" text ", which is no field`,
		"{}":                `"", which is no field`,
		"{text":             "a { at byte 0 that isn't closed",
		"a{te{xt}":          "a { at byte 1 that isn't closed",
		"text}":             "a } at byte 4 that closes nothing",
		"{text} {text}":     `"text" twice`,
		"all the same":      "names no field",
		"{{text}}":          "names no field",
		"{{.Text}} {.Text}": `".Text", which is no field`,
	} {
		if _, err := ParseTemplate(template); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %s", template, err, want)
		}
	}
}

// What is read writes each field once and all text between; nothing makes the parser or
// what it gives panic.
func FuzzParseTemplate(f *testing.F) {
	for _, s := range []string{"{time} {speaker}: {text}", "{{{id}}}", "}}{{{score}", "{text", "}", "{unknown}", "{text}{text}", "é{namespace}\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tmpl, err := ParseTemplate(s)
		if err != nil {
			return
		}
		// Fields with values that stand for themselves give the template back, its escapes
		// and the time aside.
		got := string(tmpl.Append(nil, &Fields{ID: "\x00id\x01", Session: "\x00session\x01", Speaker: "\x00speaker\x01", Text: "\x00text\x01", Namespace: "\x00namespace\x01"}))
		escaped := strings.NewReplacer("{", "{{", "}", "}}").Replace(strings.TrimSuffix(got, "\n"))
		escaped = strings.NewReplacer("\x00", "{", "\x01", "}").Replace(escaped)
		want := s
		if strings.ContainsAny(s, "\x00\x01") || strings.Contains(s, "{time}") || strings.Contains(s, "{score}") {
			return
		}
		if escaped != want {
			t.Errorf("%q writes %q", s, got)
		}
	})
}
