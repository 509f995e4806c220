package config

// ClientMetricsInterval is the name of the time between two pushes of a client's metrics.
const ClientMetricsInterval = "interval.ms"

// clientMetricsSettings are the settings of a subscription to metrics of clients.
var clientMetricsSettings = []Setting{
	{
		Name: ClientMetricsInterval, Type: Int, Unit: Milliseconds, Default: "300000", Valid: between(100, 3_600_000), Scope: ClientMetricsScope,
		Importance: Medium, Since: "Kafka 3.7 (KIP-714)",
		Doc: "How long a client that matches waits between two pushes. The shortest of the subscriptions that match counts.",
	}, {
		Name: "metrics", Type: List, Scope: ClientMetricsScope, Importance: Medium, Since: "Kafka 3.7 (KIP-714)",
		Doc: "Prefixes of the names of metrics that clients are asked for, separated by commas; `*` for all. Empty: none.",
	}, {
		Name: "match", Type: List, Valid: clientMatch, Scope: ClientMetricsScope, Importance: Medium, Since: "Kafka 3.7 (KIP-714)",
		Doc: "The clients that are asked: NAME=PATTERN, separated by commas, all of which must match. A name is client_instance_id, client_id, " +
			"client_software_name, client_software_version, client_source_address or client_source_port; a pattern is a regular expression (RE2) for the whole value. Empty: every client.",
	},
}

var clientMatch = Validator{"NAME=PATTERN", func(v string) string {
	if _, err := parseMatch(v); err != nil {
		return err.Error()
	}
	return ""
}}
