package prompt

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// TimeForm is how a template writes times, by UTC: to the minute, for every character costs.
const TimeForm = "2006-01-02 15:04"

// Fields are what a template can name.
type Fields struct {
	ID, Session, Speaker, Text, Namespace string

	Time  int64    // Unix nanoseconds
	Score *float32 // nil: none
}

// names are those of the fields, in the order of their numbers.
var names = []string{"id", "session", "speaker", "time", "text", "namespace", "score"}

// A piece is text as it is, and then a field; −1: none.
type piece struct {
	text  string
	field int
}

// A Template writes a record as a line.
type Template struct {
	pieces    []piece
	anonymous []piece // for records without speaker
}

// Default writes who said what and when.
var Default = Template{
	pieces:    []piece{{"", 3}, {" ", 2}, {": ", 4}},
	anonymous: []piece{{"", 3}, {" ", 4}},
}

// ParseTemplate reads a template: text with names of fields in braces, each at most once;
// {{ and }} stand for braces.
func ParseTemplate(s string) (Template, error) {
	var t Template
	var text strings.Builder
	used := map[string]bool{}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '{' && c != '}' {
			text.WriteByte(c)
			continue
		}
		if i+1 < len(s) && s[i+1] == c {
			text.WriteByte(c)
			i++
			continue
		}
		if c == '}' {
			return t, fmt.Errorf("has a } at byte %d that closes nothing; }} stands for a brace", i)
		}
		n := strings.IndexAny(s[i+1:], "{}")
		if n < 0 || s[i+1+n] == '{' {
			return t, fmt.Errorf("has a { at byte %d that isn't closed; {{ stands for a brace", i)
		}
		name := s[i+1 : i+1+n]
		field := slices.Index(names, name)
		if field < 0 {
			return t, fmt.Errorf("names %q, which is no field; there are %s", name, strings.Join(names, ", "))
		}
		if used[name] {
			return t, fmt.Errorf("names %q twice; each field may stand once", name)
		}
		used[name] = true
		t.pieces = append(t.pieces, piece{text.String(), field})
		text.Reset()
		i += n + 1
	}
	if text.Len() > 0 {
		t.pieces = append(t.pieces, piece{text.String(), -1})
	}
	if len(used) == 0 {
		return t, fmt.Errorf("names no field; there are %s", strings.Join(names, ", "))
	}
	t.anonymous = t.pieces
	return t, nil
}

// Append writes a record and a newline.
func (t *Template) Append(b []byte, f *Fields) []byte {
	pieces := t.pieces
	if f.Speaker == "" {
		pieces = t.anonymous
	}
	for _, p := range pieces {
		b = append(b, p.text...)
		switch p.field {
		case 0:
			b = append(b, f.ID...)
		case 1:
			b = append(b, f.Session...)
		case 2:
			b = append(b, f.Speaker...)
		case 3:
			b = time.Unix(0, f.Time).UTC().AppendFormat(b, TimeForm)
		case 4:
			b = append(b, f.Text...)
		case 5:
			b = append(b, f.Namespace...)
		case 6:
			if f.Score != nil {
				b = strconv.AppendFloat(b, float64(*f.Score), 'f', 3, 32)
			}
		}
	}
	return append(b, '\n')
}
