// Package config is the one table of settings: of a node, of the cluster's defaults, of a
// topic.
//
// It owns names, types, units, defaults, ranges, the order in which layers override each
// other, the reading of varve.yaml, of environment variables and of Kafka's
// server.properties, and the typed views Node and Topic. It opens no file and keeps no
// state: a Node and a Topic are immutable, safe to share, and swapped as a whole when a
// setting changes. Names are Kafka's own; those of Varve alone start with "varve.".
// docs/configuration.md is generated from the table.
package config

import (
	"slices"
	"strings"
)

// Type is the type of a value; the numbers are those of Kafka's DescribeConfigs.
type Type int8

// The types, as Kafka numbers them.
const (
	Bool     Type = 1
	String   Type = 2
	Int      Type = 3 // 32 bits
	Short    Type = 4 // 16 bits
	Long     Type = 5 // 64 bits
	Double   Type = 6
	List     Type = 7 // comma-separated
	Class    Type = 8
	Password Type = 9
)

// String is Kafka's name of the type.
func (t Type) String() string {
	names := [...]string{"unknown", "boolean", "string", "int", "short", "long", "double", "list", "class", "password"}
	return names[t]
}

// Unit is what a number counts.
type Unit string

// The units.
const (
	NoUnit         Unit = ""
	Bytes          Unit = "bytes"
	BytesPerSecond Unit = "bytes per second"
	Records        Unit = "records"
	Milliseconds   Unit = "milliseconds"
	Seconds        Unit = "seconds"
	Minutes        Unit = "minutes"
	Hours          Unit = "hours"
)

// millis is how many milliseconds one of the unit is; 1 for what is not a time.
func (u Unit) millis() int64 {
	switch u {
	case Seconds:
		return 1000
	case Minutes:
		return 60 * 1000
	case Hours:
		return 60 * 60 * 1000
	default:
		return 1
	}
}

// Scope is where a setting may be set.
type Scope uint8

// The scopes; a setting may have several.
const (
	NodeScope          Scope = 1 << iota // on a broker: file, environment, command line
	TopicScope                           // on a topic
	GroupScope                           // on a group
	ClientMetricsScope                   // on a subscription to metrics of clients
)

// Update says how a broker-level setting may change while the broker runs.
type Update uint8

// The update modes, as Kafka documents them.
const (
	ReadOnly    Update = iota // at a restart only
	PerBroker                 // for one broker
	ClusterWide               // for one broker or as the cluster's default
)

// String is Kafka's name of the mode.
func (u Update) String() string { return [...]string{"read-only", "per-broker", "cluster-wide"}[u] }

// Importance tells a reader of the documentation where to look first.
type Importance uint8

// The grades.
const (
	High Importance = iota
	Medium
	Low
)

// String is the grade in lower case.
func (i Importance) String() string { return [...]string{"high", "medium", "low"}[i] }

// Setting is one row of the table.
type Setting struct {
	Name        string
	Type        Type
	Unit        Unit
	Default     string // canonical text; "" where nothing is set
	Valid       Validator
	Scope       Scope
	Update      Update // of the broker-level setting; topic settings can always be changed
	Sensitive   bool   // its value is never shown, nor taken from a command line
	PerListener bool   // may be set for one listener alone, behind listener.name.NAME.
	Importance  Importance
	Synonyms    []string // of a setting of a topic or group: the broker-level names that give its default, first set one first
	Since       string   // the version of Kafka, or the KIP, or the version of Varve it comes from
	Doc         string
}

// Table is every setting, sorted by name. The caller must not change what it points to.
func Table() []Setting { return slices.Clone(table) }

// Lookup finds a setting by its exact name.
func Lookup(name string) (Setting, bool) {
	i, ok := slices.BinarySearchFunc(table, name, func(s Setting, name string) int {
		return strings.Compare(s.Name, name)
	})
	if !ok {
		return Setting{}, false
	}
	return table[i], true
}

var table = slices.SortedFunc(slices.Values(slices.Concat(nodeSettings, securitySettings, oauthSettings, tracingSettings, delegationTokenSettings, groupSettings, txnSettings, logSettings, topicSettings, clientMetricsSettings)),
	func(a, b Setting) int { return strings.Compare(a.Name, b.Name) })

// siblings are the broker-level names that stand for the same thing as name, in the order
// in which they count: log.retention.ms before log.retention.minutes before log.retention.hours.
func siblings(name string) []string {
	for _, s := range topicSettings {
		if slices.Contains(s.Synonyms, name) {
			return s.Synonyms
		}
	}
	return []string{name}
}
