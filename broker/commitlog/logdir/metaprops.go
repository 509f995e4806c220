package logdir

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
)

// metaName is the file that says whose a log dir is: Kafka's.
const metaName = "meta.properties"

// metaProperties is the content of meta.properties, version 1 (KIP-631, KIP-858).
type metaProperties struct {
	clusterID   string
	nodeID      int32
	directoryID kafka.UUID
}

func (m metaProperties) append(dst []byte) []byte {
	return fmt.Appendf(dst, "#\nversion=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%s\n", m.clusterID, m.nodeID, m.directoryID)
}

// parseMetaProperties reads a Java properties file as far as Kafka's own writes it.
// Errors wrap kafka.ErrCorrupt.
func parseMetaProperties(b []byte) (m metaProperties, err error) {
	values := map[string]string{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return m, fmt.Errorf("%s: line %q has no '=': %w", metaName, line, kafka.ErrCorrupt)
		}
		values[strings.TrimSpace(key)] = strings.ReplaceAll(strings.TrimSpace(value), `\`, "")
	}
	if v := values["version"]; v != "1" {
		return m, fmt.Errorf("%s: version %q, want 1: %w", metaName, v, kafka.ErrCorrupt)
	}
	if m.clusterID = values["cluster.id"]; m.clusterID == "" {
		return m, fmt.Errorf("%s: no cluster.id: %w", metaName, kafka.ErrCorrupt)
	}
	id, err := strconv.ParseInt(values["node.id"], 10, 32)
	if err != nil || id < 0 {
		return m, fmt.Errorf("%s: node.id %q: %w", metaName, values["node.id"], kafka.ErrCorrupt)
	}
	m.nodeID = int32(id)
	if m.directoryID, err = kafka.ParseUUID(values["directory.id"]); err != nil || m.directoryID.IsZero() {
		return m, fmt.Errorf("%s: directory.id %q: %w", metaName, values["directory.id"], kafka.ErrCorrupt)
	}
	return m, nil
}
