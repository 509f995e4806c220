package config

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

const head = `# Configuration

Generated from the table in broker/config by ` + "`go run ./broker/config/gendoc`" + `; do not edit.

## Where settings come from

A setting has one name everywhere. Names are Apache Kafka's own; those that only Varve has start with ` + "`varve.`" + `.
A broker reads, each source overriding those before it:

1. the built-in default,
2. ` + "`--properties server.properties`" + `, a Kafka file: known names are taken, each other line is reported and ignored,
3. ` + "`--config varve.yaml`" + `, a flat map of names; an unknown name is an error,
4. environment variables: ` + "`VARVE_`" + ` and the name in upper case with underscores for dots (` + "`log.dirs`" + ` is ` +
	"`VARVE_LOG_DIRS`" + `, ` + "`varve.tier.url`" + ` is ` + "`VARVE_TIER_URL`" + `),
5. ` + "`--set name=value`" + `,
6. dynamic settings in the cluster's metadata: first the default of all brokers, then that of one broker.

A topic takes its own setting, else the first of its broker-level names that is set, else the default.
`

// Markdown is docs/configuration.md.
func Markdown() []byte {
	var b bytes.Buffer
	b.WriteString(head)
	chapter(&b, "Broker settings", func(s Setting) bool { return s.Scope == NodeScope && topicNames(s.Name) == "" })
	chapter(&b, "Topic settings", func(s Setting) bool { return s.Scope&TopicScope != 0 })
	chapter(&b, "Group settings", func(s Setting) bool { return s.Scope&GroupScope != 0 })
	chapter(&b, "Settings of client metrics subscriptions", func(s Setting) bool { return s.Scope&ClientMetricsScope != 0 })
	chapter(&b, "Broker-level defaults of topic settings", func(s Setting) bool { return s.Scope == NodeScope && topicNames(s.Name) != "" })
	return b.Bytes()
}

func chapter(b *bytes.Buffer, title string, in func(Setting) bool) {
	fmt.Fprintf(b, "\n## %s\n", title)
	for _, s := range table {
		if in(s) {
			s.markdown(b)
		}
	}
}

func (s Setting) markdown(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n### `%s`\n\n%s\n\n", s.Name, s.Doc)
	kind := s.Type.String()
	if s.Unit != NoUnit {
		kind += ", " + string(s.Unit)
	}
	fmt.Fprintf(b, "- Type: %s\n- Default: %s\n", kind, s.defaultText())
	if s.Valid.Range != "" {
		fmt.Fprintf(b, "- Valid: %s\n", s.Valid.Range)
	}
	if len(s.Synonyms) > 0 {
		fmt.Fprintf(b, "- On the broker: `%s`\n", strings.Join(s.Synonyms, "`, `"))
	}
	if s.Scope&NodeScope != 0 {
		fmt.Fprintf(b, "- Environment: `%s`\n- Update: %s\n", EnvName(s.Name), s.Update)
	}
	fmt.Fprintf(b, "- Importance: %s\n- Since: %s\n", s.Importance, s.Since)
}

// defaultText is the default with its meaning where the number alone says little.
func (s Setting) defaultText() string {
	if s.Default == "" {
		return "not set"
	}
	text := "`" + s.Default + "`"
	if n, err := strconv.ParseInt(s.Default, 10, 64); err == nil {
		if reading := s.Unit.reading(n); reading != "" {
			text += " (" + reading + ")"
		}
	}
	return text
}

// reading is a number in the largest unit in which it is whole, "" where that says no more.
func (u Unit) reading(n int64) string {
	if strconv.FormatInt(n, 10) == maxLong {
		return "no limit"
	}
	type step struct {
		size int64
		name string
	}
	var steps []step
	switch u {
	case Bytes:
		steps = []step{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}}
	case Milliseconds, Seconds, Minutes, Hours:
		n *= u.millis()
		steps = []step{{24 * 3600 * 1000, "d"}, {3600 * 1000, "h"}, {60 * 1000, "min"}, {1000, "s"}}
	}
	for _, s := range steps {
		if n >= s.size && n%s.size == 0 {
			return fmt.Sprintf("%d %s", n/s.size, s.name)
		}
	}
	return ""
}

// Sample is a varve.yaml with every broker-level setting, commented out at its default.
func Sample() []byte {
	var b bytes.Buffer
	b.WriteString("# varve.yaml: one setting a line, all of them shown at their defaults.\n# docs/configuration.md explains them.\n")
	for _, s := range table {
		if s.Scope&NodeScope == 0 {
			continue
		}
		value := s.Default
		if s.Type == String || s.Type == List {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&b, "\n# %s\n# %s: %s\n", s.Doc, s.Name, value)
	}
	return b.Bytes()
}
