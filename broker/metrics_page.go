package broker

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// metricName is one metric as docs/metrics.md shows it.
type metricName struct{ name, kind, labels, help string }

// MetricsPage is docs/metrics.md: every metric that this node has registered, whether it has a
// series yet or not. A node with a tier has all there are.
func (n *Node) MetricsPage() ([]byte, error) {
	var b strings.Builder
	b.WriteString(`# Metrics

Written by ` + "`make gen`" + ` from what a running broker has registered; a test compares the two. The admin listener
(` + "`varve.admin.listener`" + `) serves two pages in Prometheus' text format: ` + "`/metrics`" + `, our own names, and ` + "`/metrics/kafka`" + `, the same
broker under the names that dashboards and alerts for Kafka ask for. Scrape the one you use, or both.

Figures are asked of their owners when a page is read. Labels that clients choose are bounded: ` + "`varve.group.lag.max.series`" + `,
` + "`varve.metrics.kafka.max.partitions`" + `; what is left out is counted.

## /metrics

Beside these there are ` + "`go_*` and `process_*`" + ` of Prometheus' client library: memory, descriptors, processor time of the process.

`)
	for _, page := range []struct {
		from  *prometheus.Registry
		above string
	}{{n.registry, ""}, {n.kafkaRegistry, `
## /metrics/kafka

The names of [kafka_exporter](https://github.com/danielqsj/kafka_exporter), and those that the JMX exporter makes of Kafka's beans with
Strimzi's rules. There is no idle percentage of network and request threads, since there are no such threads
(` + "`process_cpu_seconds_total`" + ` says how busy a broker is), no ` + "`linux_disk_*_bytes`" + `, which the node exporter has, and of
` + "`raftmetrics`" + ` what a single quorum has a figure for.

`}} {
		names, err := metricNames(page.from)
		if err != nil {
			return nil, err
		}
		b.WriteString(page.above + "| name | type | labels | meaning |\n|---|---|---|---|\n")
		for _, m := range names {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, m.labels, m.help)
		}
	}
	return []byte(b.String()), nil
}

// metricNames lists what is registered, by name.
func metricNames(from *prometheus.Registry) ([]metricName, error) {
	kinds := map[string]string{}
	families, err := from.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	for _, f := range families {
		kinds[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	descs := make(chan *prometheus.Desc)
	go func() {
		from.Describe(descs)
		close(descs)
	}()
	described := regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: ("(?:[^"\\]|\\.)*"), (?:unit: "[^"]*", )?constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}\}$`)
	all := map[string]metricName{}
	for d := range descs {
		m := described.FindStringSubmatch(d.String())
		if m == nil {
			return nil, fmt.Errorf("BUG: a metric describes itself as %s", d)
		}
		name := m[1]
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		help, err := strconv.Unquote(m[2])
		if err != nil {
			return nil, fmt.Errorf("BUG: the help of %s: %w", name, err)
		}
		var labels []string
		for label := range strings.SplitSeq(m[3]+","+m[4], ",") {
			if label, _, _ = strings.Cut(label, "="); label != "" {
				labels = append(labels, "`"+label+"`")
			}
		}
		kind := kinds[name]
		if kind == "" { // it has no series yet
			kind = "gauge"
			if strings.HasSuffix(name, "_total") {
				kind = "counter"
			}
		}
		all[name] = metricName{name, kind, strings.Join(labels, ", "), help}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b metricName) int { return cmp.Compare(a.name, b.name) }), nil
}
