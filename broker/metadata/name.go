package metadata

import (
	"fmt"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
)

// maxTopicName is the longest name of a topic, in bytes: with "-2147483647" and a suffix it
// still fits the 255 bytes that file systems allow.
const maxTopicName = 249

// ValidateTopicName checks a name against Kafka's rules: 1 to 249 of [a-zA-Z0-9._-], neither
// "." nor "..". Errors wrap kafka.InvalidTopic.
func ValidateTopicName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a topic name must not be empty: %w", kafka.InvalidTopic)
	case name == "." || name == "..":
		return fmt.Errorf("a topic cannot be named %q: %w", name, kafka.InvalidTopic)
	case len(name) > maxTopicName:
		return fmt.Errorf("a topic name of %d characters is longer than %d: %w", len(name), maxTopicName, kafka.InvalidTopic)
	}
	for i := range len(name) {
		c := name[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-' {
			continue
		}
		return fmt.Errorf("topic name %q has a character other than ASCII letters, digits, '.', '_' and '-': %w", name, kafka.InvalidTopic)
	}
	return nil
}

// canCollide says whether a name holds one of the two characters that metrics confuse.
func canCollide(name string) bool { return strings.ContainsAny(name, "._") }

// unify gives names that metrics would confuse the same form.
func unify(name string) string { return strings.ReplaceAll(name, ".", "_") }
