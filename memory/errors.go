package memory

import (
	"errors"
	"fmt"
)

// ErrClosed is the error of a write to a DB that was closed.
var ErrClosed = errors.New("the memory is closed")

// Kinds of things that can be missing, or be there already.
const (
	kindNamespace = "namespace"
	kindRecord    = "record"
)

// NotFound says that something doesn't exist.
type NotFound struct {
	Kind      string // "namespace" or "record"
	Namespace string // the one that a record was sought in, or the one sought
	Name      string
}

func (e *NotFound) Error() string { return describe(e.Kind, e.Namespace, e.Name) + " doesn't exist" }

// Exists says that something is there already.
type Exists struct{ Kind, Namespace, Name string }

func (e *Exists) Error() string { return describe(e.Kind, e.Namespace, e.Name) + " exists already" }

func describe(kind, namespace, name string) string {
	if kind == kindNamespace {
		return fmt.Sprintf("namespace %q", name)
	}
	return fmt.Sprintf("%s %q of namespace %q", kind, name, namespace)
}

func noNamespace(name string) error { return &NotFound{kindNamespace, name, name} }

// Conflict says that a record isn't at the version that a write asks for.
type Conflict struct {
	ID        string
	IfVersion LSN
	Version   LSN // 0: there is no such record
}

func (e *Conflict) Error() string {
	switch {
	case e.IfVersion == 0:
		return fmt.Sprintf("record %q exists, at version %d; if_version 0 asks that it doesn't", e.ID, e.Version)
	case e.Version == 0:
		return fmt.Sprintf("record %q doesn't exist; if_version asks for version %d", e.ID, e.IfVersion)
	}
	return fmt.Sprintf("record %q is at version %d; if_version asks for %d", e.ID, e.Version, e.IfVersion)
}

// A Violation is one field that is wrong. The reason reads on from the field's
// name: "records[3].id", "is 300 bytes; at most 256 are allowed".
type Violation struct{ Field, Reason string }

// Invalid names every field that is wrong, each once.
type Invalid struct{ Violations []Violation }

func (e *Invalid) Error() string {
	first := e.Violations[0].Field + " " + e.Violations[0].Reason
	if n := len(e.Violations); n > 1 {
		return fmt.Sprintf("%d fields are invalid, the first: %s", n, first)
	}
	return first
}

func invalid(field, format string, args ...any) error {
	return &Invalid{[]Violation{{field, fmt.Sprintf(format, args...)}}}
}

// Precondition says that the namespace isn't made for a request.
type Precondition struct{ Reason string }

func (e *Precondition) Error() string { return e.Reason }

func precondition(format string, args ...any) error {
	return &Precondition{fmt.Sprintf(format, args...)}
}

// Exhausted says that a budget is full.
type Exhausted struct {
	What  string // whose budget
	Limit int64  // bytes
	Need  int64  // bytes that the refused write would have brought it to
	cause error
}

func (e *Exhausted) Error() string {
	return fmt.Sprintf("the memory budget of %s is full: %d bytes are needed, of %d", e.What, e.Need, e.Limit)
}

// Unwrap gives slab.ErrBudget where it was the server's budget.
func (e *Exhausted) Unwrap() error { return e.cause }
