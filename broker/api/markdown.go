package api

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/wire"
)

const protocolHead = `# Protocol

Generated from the table in broker/api and the gaps in [differences](differences.md) by ` + "`make gen`" + `; do not edit.

The API keys that a broker serves, as its ApiVersions answer tells them. The basis is Apache Kafka 4.4: a test holds every
range against its. "Flexible" is the first version with compact fields and tags; "since" the version of Varve that
first served the key. A request of another key or version closes its connection.

| key | API | versions | flexible | since | gaps |
|--|--|--|--|--|--|
`

// gapRow is a row of the table of keys in docs/differences.md.
var gapRow = regexp.MustCompile(`(?m)^\| (\d+) \| \w+ \| \S+ \| (.*) ?\|$`)

// Markdown is docs/protocol.md: the table of keys, with the gaps that docs/differences.md,
// handed in, lists for each.
func Markdown(differences []byte) []byte {
	gaps := map[string]string{}
	for _, row := range gapRow.FindAllSubmatch(differences, -1) {
		gaps[string(row[1])] = string(bytes.TrimSpace(row[2]))
	}
	var b bytes.Buffer
	b.WriteString(protocolHead)
	for _, row := range table {
		known, _ := wire.Lookup(row.key)
		versions := fmt.Sprintf("%d–%d", row.min, row.max)
		if known.AdvertisedMin < row.min {
			versions += fmt.Sprintf(" (advertised from %d)", known.AdvertisedMin)
		}
		flexible := "never"
		if known.FlexibleFrom >= 0 {
			flexible = strconv.Itoa(int(known.FlexibleFrom))
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s | %s |\n", row.key, known.Name, versions, flexible, config.Version, gaps[strconv.Itoa(int(row.key))])
	}
	b.WriteString("\n## Features\n\nWhat ApiVersions lists as supported (KIP-584), because it is honoured in full; UpdateFeatures changes the level.\n\n")
	if len(metadata.SupportedFeatures()) == 0 {
		b.WriteString("None yet.\n")
		return b.Bytes()
	}
	b.WriteString("| feature | levels |\n|--|--|\n")
	for _, f := range metadata.SupportedFeatures() {
		fmt.Fprintf(&b, "| %s | %d–%d |\n", f.Name, f.Min, f.Max)
	}
	return b.Bytes()
}
