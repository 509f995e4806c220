package consumer

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/varve-io/varve/broker/kafka"
)

// The limits of a regular expression. Matching a name takes time in proportion to the size of
// the program, so that 1,000 instructions, which an expression of a few hundred characters
// has, bound what a scan of many topics can cost.
const (
	maxRegexBytes        = 4096
	maxRegexInstructions = 1000
)

// Regex is a regular expression of RE2's syntax that matches whole topic names.
type Regex struct{ re *regexp.Regexp }

// CompileRegex reads a regular expression. What it refuses is INVALID_REGULAR_EXPRESSION, with
// the cause.
func CompileRegex(text string) (*Regex, error) {
	if len(text) > maxRegexBytes {
		return nil, fmt.Errorf("a regular expression of %d bytes is longer than %d: %w", len(text), maxRegexBytes, kafka.InvalidRegularExpression)
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("the regular expression %q is not one of RE2's: %w: %w", text, kafka.InvalidRegularExpression, err)
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, fmt.Errorf("the regular expression %q: %w: %w", text, kafka.InvalidRegularExpression, err)
	}
	if len(prog.Inst) > maxRegexInstructions {
		return nil, fmt.Errorf("a regular expression of %d instructions is too large, the limit is %d; repetitions {n,m} count as often as they say: %w",
			len(prog.Inst), maxRegexInstructions, kafka.InvalidRegularExpression)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("the regular expression %q: %w: %w", text, kafka.InvalidRegularExpression, err)
	}
	re.Longest() // so that it finds the whole name, if it matches that
	return &Regex{re}, nil
}

// Match says whether the expression matches a topic's whole name.
func (r *Regex) Match(topic string) bool {
	at := r.re.FindStringIndex(topic)
	return at != nil && at[0] == 0 && at[1] == len(topic)
}
