package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
)

// The sources of settings that belong to neither a topic nor a broker, as Kafka numbers them.
const (
	DynamicLogger        Source = 6 // Kafka: DYNAMIC_BROKER_LOGGER_CONFIG
	DynamicClientMetrics Source = 7 // Kafka: CLIENT_METRICS_CONFIG
	DynamicGroup         Source = 8 // Kafka: GROUP_CONFIG
)

// IsList says whether a setting of the scope is a list, which may be appended to, and what
// its built-in default is.
func IsList(name string, scope Scope) (builtin string, ok bool) {
	s, known := Lookup(name)
	return s.Default, known && s.Scope&scope != 0 && s.Type == List
}

// ValidateBroker checks the dynamic settings that are to take the place of this broker's own,
// or, with cluster, of those of all brokers: their names, types and ranges, and what they make
// of this broker together with all others. Errors wrap kafka.InvalidRequest, as in Kafka
// (KAFKA-13609), in one line.
func (n *Node) ValidateBroker(cluster bool, values map[string]string) error {
	next := n.layers
	checked, err := dynamicValues(values)
	if err != nil {
		return recoded(err)
	}
	if cluster {
		next.cluster = checked
	} else {
		next.broker = checked
	}
	_, err = newNode(next)
	return recoded(err)
}

// recoded is refusals as one that is kafka.InvalidRequest.
func recoded(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		err = merge(joined.Unwrap()...)
	}
	var e *Error
	if errors.As(err, &e) {
		return &Error{Name: e.Name, Problem: e.Problem, Code: kafka.InvalidRequest}
	}
	return err
}

// Usable is those of the dynamic settings that this version takes, and why it does not take
// the others: they were set through another version, and the broker must run all the same.
func Usable(values map[string]string) (map[string]string, error) {
	usable := maps.Clone(values)
	var errs []error
	for _, name := range sortedNames(values) {
		if _, err := dynamicValues(map[string]string{name: values[name]}); err != nil {
			delete(usable, name)
			errs = append(errs, err)
		}
	}
	return usable, errors.Join(errs...)
}

// ValidateClientMetrics checks the settings of a subscription to metrics of clients. An
// unknown name and an interval out of its range are kafka.InvalidRequest, as in Kafka; what
// else is wrong is kafka.InvalidConfig.
func ValidateClientMetrics(values map[string]string) error {
	for _, name := range sortedNames(values) {
		s, ok := Lookup(name)
		if !ok || s.Scope&ClientMetricsScope == 0 {
			return recoded(refuse(name, "%s is not a setting of a client metrics subscription%s", name, didYouMean(name, ClientMetricsScope)))
		}
		if _, problem := spell(s.Type, strings.TrimSpace(values[name])); problem != "" {
			return invalid(s, values[name], problem)
		}
		if _, err := s.canonical(values[name]); err != nil {
			if name == ClientMetricsInterval {
				return recoded(err)
			}
			return err
		}
	}
	return nil
}

// ClientMetrics is one subscription to metrics of clients (KIP-714).
type ClientMetrics struct {
	IntervalMs int32
	Metrics    []string                  // prefixes of names; "*" for all
	Match      map[string]*regexp.Regexp // by what of the client must match whole
}

// NewClientMetrics resolves the settings of a subscription. What is refused does not count.
func NewClientMetrics(values map[string]string) ClientMetrics {
	get := func(name string) string {
		s := row(name)
		if v, err := s.canonical(values[name]); err == nil && values[name] != "" {
			return v
		}
		return s.Default
	}
	c := ClientMetrics{IntervalMs: int32(integer(get(ClientMetricsInterval))), Metrics: splitList(get("metrics"))}
	c.Match, _ = parseMatch(get("match")) // canonical
	return c
}

// matchable is what of a client a pattern may speak of.
var matchable = []string{"client_instance_id", "client_id", "client_software_name", "client_software_version", "client_source_address", "client_source_port"}

// parseMatch reads name=pattern pairs, separated by commas.
func parseMatch(list string) (map[string]*regexp.Regexp, error) {
	patterns := map[string]*regexp.Regexp{}
	for _, pair := range splitList(list) {
		name, pattern, ok := strings.Cut(pair, "=")
		name, pattern = strings.TrimSpace(name), strings.TrimSpace(pattern)
		if !ok || pattern == "" || strings.Contains(pattern, "=") || !slices.Contains(matchable, name) {
			return nil, fmt.Errorf("%q is not NAME=PATTERN with a name among %s", pair, strings.Join(matchable, ", "))
		}
		re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
		if err != nil {
			return nil, fmt.Errorf("%q is no regular expression", pattern)
		}
		patterns[name] = re
	}
	return patterns, nil
}

// DescribeClientMetrics is every setting of a subscription with the given overrides, sorted by name.
func DescribeClientMetrics(overrides map[string]string) []Entry {
	return topicValues{}.describeScope(ClientMetricsScope, DynamicClientMetrics, overrides)
}

// describeScope is the settings of a scope. As in Kafka a built-in default is no synonym.
func (v topicValues) describeScope(scope Scope, source Source, overrides map[string]string) []Entry {
	var list []Entry
	for _, s := range table {
		if s.Scope&scope == 0 {
			continue
		}
		e := v.describe(s)
		if raw, ok := overrides[s.Name]; ok {
			if value, err := s.canonical(raw); err == nil {
				e.Value = e.shown(value)
				e.Synonyms = slices.Insert(e.Synonyms, 0, Synonym{s.Name, e.Value, source})
			}
		}
		e.settle()
		list = append(list, e)
	}
	return list
}
