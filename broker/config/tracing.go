package config

import "net/url"

// Tracing is where spans go.
type Tracing struct {
	Endpoint    string  // "": nowhere
	SampleRatio float64 // part of the requests that is traced
	HeadersFile string  // "" for none
	CAFile      string  // "": the system's authorities
}

// tracingURL accepts the collector's URL. It may hold no password, which would show in DescribeConfigs.
var tracingURL = Validator{"http://HOST:PORT, https://HOST:PORT, or with a path", func(v string) string {
	if v == "" {
		return ""
	}
	u, err := url.Parse(v)
	switch {
	case err != nil, u.Host == "", u.Scheme != "http" && u.Scheme != "https":
		return "Expected a URL such as http://127.0.0.1:4318"
	case u.User != nil, u.RawQuery != "":
		return "A secret does not belong into it: put it into varve.tracing.headers.file"
	}
	return ""
}}

// tracingSettings are those of OpenTelemetry.
var tracingSettings = []Setting{
	{
		Name: "varve.tracing.endpoint", Type: String, Valid: tracingURL, Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "The OpenTelemetry collector that spans are sent to, by OTLP over HTTP as protobuf: `http://HOST:4318` or `https://…`. Without a path it is `/v1/traces`. Not set: nothing is traced, and nothing of tracing runs.",
	}, {
		Name: "varve.tracing.sample.ratio", Type: Double, Default: "0.01", Valid: fraction, Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "The part of the requests that is traced, from 0 to 1. Uploads, deletions and other work on the object store are few, and always traced.",
	}, {
		Name: "varve.tracing.headers.file", Type: String, Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "A file with headers for the collector, a line `NAME: VALUE` for each, such as `Authorization: Bearer …`. It is read at the start.",
	}, {
		Name: "varve.tracing.ssl.truststore.location", Type: String, Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "The file with the certificates, in PEM, of the authorities that sign the collector's. Not set: those of the system.",
	},
}
