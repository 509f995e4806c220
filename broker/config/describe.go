package config

import (
	"maps"
	"slices"
)

// Source is the layer that a value comes from; the numbers are those of DescribeConfigs.
type Source int8

// The sources, as Kafka numbers them.
const (
	DynamicTopic   Source = 1
	DynamicBroker  Source = 2
	DynamicCluster Source = 3 // Kafka: DYNAMIC_DEFAULT_BROKER_CONFIG
	StaticBroker   Source = 4
	Default        Source = 5
)

// String is Kafka's name of the source.
func (s Source) String() string {
	return map[Source]string{
		DynamicLogger: "DYNAMIC_BROKER_LOGGER_CONFIG", DynamicClientMetrics: "CLIENT_METRICS_CONFIG", DynamicGroup: "GROUP_CONFIG",
		DynamicTopic: "DYNAMIC_TOPIC_CONFIG", DynamicBroker: "DYNAMIC_BROKER_CONFIG",
		DynamicCluster: "DYNAMIC_DEFAULT_BROKER_CONFIG", StaticBroker: "STATIC_BROKER_CONFIG", Default: "DEFAULT_CONFIG",
	}[s]
}

// Entry is one setting as DescribeConfigs shows it.
type Entry struct {
	Name      string
	Value     *string // nil where nothing is set, and for a sensitive setting
	Source    Source
	IsDefault bool
	ReadOnly  bool
	Sensitive bool
	Type      Type
	Doc       string
	Synonyms  []Synonym // what sets it, the first one counts
}

// Synonym is one of the places that set a value.
type Synonym struct {
	Name   string
	Value  *string // nil for a sensitive setting
	Source Source
}

// Describe is every broker-level setting: those that are set for one listener alone, then all
// others, sorted by name.
func (n *Node) Describe() []Entry {
	var list []Entry
	for _, s := range table {
		if s.Scope&NodeScope != 0 {
			list = append(list, n.describe(s))
		}
	}
	return append(n.describeListeners(), list...)
}

// DescribeCluster is the dynamic defaults of all brokers, sorted by name: what
// DescribeConfigs answers for the broker resource with an empty name.
func (n *Node) DescribeCluster() []Entry {
	var list []Entry
	for _, name := range sortedNames(n.layers.cluster) {
		e := n.describe(row(name))
		e.Synonyms = slices.DeleteFunc(e.Synonyms, func(s Synonym) bool { return s.Source != DynamicCluster })
		value := n.layers.cluster[name]
		e.Value, e.Source, e.IsDefault = e.shown(value), DynamicCluster, false
		list = append(list, e)
	}
	return list
}

// DescribeTopic is every setting of a topic with the given overrides, sorted by name.
func (n *Node) DescribeTopic(overrides map[string]string) []Entry {
	values := topicValues{n.layers, overrides}
	var list []Entry
	for _, s := range table {
		if s.Scope&TopicScope != 0 {
			list = append(list, values.describe(s))
		}
	}
	return list
}

func newEntry(s Setting) Entry {
	return Entry{Name: s.Name, Sensitive: s.Sensitive, Type: s.Type, Doc: s.Doc}
}

// shown is a value as the entry may show it.
func (e Entry) shown(value string) *string {
	if e.Sensitive {
		return nil
	}
	value = withoutQueries(e.Name, value)
	return &value
}

// Shown is the value of a setting as logs may show it: a secret is hidden, and so is whatever
// may be one.
func Shown(name, value string) string {
	s, known := nodeSetting(name)
	if !known {
		s, known = Lookup(name)
	}
	if !known || s.Sensitive {
		return "[hidden]"
	}
	return withoutQueries(name, value)
}

// settle takes the source from the first synonym.
func (e *Entry) settle() {
	e.Source = Default
	if len(e.Synonyms) > 0 {
		e.Source = e.Synonyms[0].Source
	}
	e.IsDefault = e.Source == Default
}

// describe is one broker-level setting. As in Kafka its synonyms are those of its whole
// family (log.retention.ms, .minutes, .hours) by layer, from the first that has its name.
func (n *Node) describe(s Setting) Entry {
	e := newEntry(s)
	e.ReadOnly = s.Update == ReadOnly
	if value, ok := n.layers.get(s.Name); ok {
		e.Value = e.shown(value)
	}
	all := n.layers.synonyms(e, siblings(s.Name))
	if first := slices.IndexFunc(all, func(y Synonym) bool { return y.Name == s.Name }); first >= 0 {
		e.Synonyms = all[first:]
	}
	e.settle()
	return e
}

// describe is one topic setting. Its synonyms start with the topic's own value, then come
// the broker's by layer. Built-in defaults under another name than the first are left out,
// as Kafka leaves them out; values that somebody set are not, which Kafka forgets when
// only the second or third name is set (log.retention.hours).
func (v topicValues) describe(s Setting) Entry {
	e := newEntry(s)
	e.Value = e.shown(v.text(s.Name))
	if raw, ok := v.overrides[s.Name]; ok {
		if value, err := s.canonical(raw); err == nil {
			e.Synonyms = append(e.Synonyms, Synonym{s.Name, e.shown(value), DynamicTopic})
		}
	}
	if len(s.Synonyms) > 0 {
		all := v.layers.synonyms(e, s.Synonyms)
		for len(all) > 0 && all[0].Source == Default && all[0].Name != s.Synonyms[0] {
			all = all[1:]
		}
		e.Synonyms = append(e.Synonyms, all...)
	}
	e.settle()
	return e
}

// synonyms lists what sets any of the names: this broker's dynamic settings, the cluster's,
// the static ones, the defaults; within each the names in their order.
func (l layers) synonyms(e Entry, names []string) []Synonym {
	defaults := map[string]string{}
	for _, name := range names {
		if s := row(name); s.Default != "" {
			defaults[name] = s.Default
		}
	}
	var list []Synonym
	for _, layer := range []struct {
		values map[string]string
		source Source
	}{{l.broker, DynamicBroker}, {l.cluster, DynamicCluster}, {l.static, StaticBroker}, {defaults, Default}} {
		for _, name := range names {
			if value, ok := layer.values[name]; ok {
				list = append(list, Synonym{name, e.shown(value), layer.source})
			}
		}
	}
	return list
}

func sortedNames(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
