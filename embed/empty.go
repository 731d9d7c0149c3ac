package embed

import (
	"errors"
	"fmt"
	"strings"
)

// ErrEmpty says that a text is empty or only white space: it has no direction,
// so no vector could be compared with it.
var ErrEmpty = errors.New("text is empty or only white space")

// checkTexts refuses the first text that nothing can be made of.
func checkTexts(texts []string) error {
	for i, t := range texts {
		if strings.TrimSpace(t) == "" {
			return fmt.Errorf("embed: texts[%d]: %w", i, ErrEmpty)
		}
	}
	return nil
}
