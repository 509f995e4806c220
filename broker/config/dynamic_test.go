package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
)

func TestValidateBroker(t *testing.T) {
	n := load(t, Sources{Set: []string{"varve.tier.url=mem://x"}})
	for _, tt := range []struct {
		cluster bool
		values  map[string]string
		want    string // of the problem, "" for none
	}{
		{true, map[string]string{"log.retention.ms": "5000", "log.local.retention.ms": "4000"}, ""},
		{false, map[string]string{"max.connections": " 7 "}, ""},
		{false, map[string]string{"node.id": "2"}, "Cannot update node.id dynamically"},
		{true, map[string]string{"no.such": "2"}, "no.such is not a setting"},
		{true, map[string]string{"retention.ms": "2"}, "retention.ms is a setting of a topic"},
		{true, map[string]string{"max.connections": "x"}, "Not a number of type INT"},
		{true, map[string]string{"log.local.retention.ms": "604800001"}, "must not be more than log.retention.ms"},
	} {
		err := n.ValidateBroker(tt.cluster, tt.values)
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, kafka.InvalidRequest) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%v: %v, want %q", tt.values, err, tt.want)
		}
	}
}

// What a newer version set does not keep a broker from starting.
func TestUsable(t *testing.T) {
	got, err := Usable(map[string]string{"max.connections": "7", "future.setting": "1", "node.id": "4"})
	if len(got) != 1 || got["max.connections"] != "7" || err == nil || !strings.Contains(err.Error(), "future.setting") {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := Usable(nil); len(got) != 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestClientMetricsSettings(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		want        kafka.Error
	}{
		{"interval.ms", "100", kafka.NoError}, {"interval.ms", "99", kafka.InvalidRequest}, {"interval.ms", "3600001", kafka.InvalidRequest},
		{"interval.ms", "x", kafka.InvalidConfig}, {"retention.ms", "1", kafka.InvalidRequest}, {"metrics", "*", kafka.NoError}, {"metrics", "", kafka.NoError},
		{"match", "client_id=a.*, client_software_name=x", kafka.NoError}, {"match", "client_id", kafka.InvalidConfig},
		{"match", "client=a", kafka.InvalidConfig}, {"match", "client_id=(", kafka.InvalidConfig}, {"match", "client_id=a=b", kafka.InvalidConfig},
	} {
		if err := ValidateClientMetrics(map[string]string{tt.name: tt.value}); kafka.Code(err) != tt.want && (err != nil || tt.want != kafka.NoError) {
			t.Errorf("%s=%s: %v, want %s", tt.name, tt.value, err, tt.want.Name())
		}
	}
	c := NewClientMetrics(map[string]string{"match": "client_id=a.*", "interval.ms": "bad"})
	if c.IntervalMs != 300_000 || len(c.Metrics) != 0 || !c.Match["client_id"].MatchString("ab") || c.Match["client_id"].MatchString("xab") {
		t.Errorf("%+v", c)
	}
	list := DescribeClientMetrics(map[string]string{"metrics": "a,b", "interval.ms": "100"})
	if len(list) != 3 || list[0].Name != "interval.ms" || *list[2].Value != "a,b" || list[2].Source != DynamicClientMetrics || list[1].Source != Default {
		t.Errorf("%+v", list)
	}
}

func TestGroupSettings(t *testing.T) {
	n := load(t, Sources{Set: []string{"group.consumer.min.session.timeout.ms=30000", "group.consumer.max.heartbeat.interval.ms=40000", "group.consumer.session.timeout.ms=46000"}})
	for _, tt := range []struct {
		values map[string]string
		want   string // of the problem, "" for none
	}{
		{nil, ""},
		{map[string]string{"no.such": "1"}, "is not a setting of a group"},
		{map[string]string{"consumer.session.timeout.m": "1"}, "did you mean consumer.session.timeout.ms"},
		{map[string]string{"share.session.timeout.ms": "45000"}, "is not a setting of a group"},
		{map[string]string{"group.consumer.session.timeout.ms": "45000"}, "is not a setting of a group"},
		{map[string]string{"consumer.session.timeout.ms": "x"}, "Not a number of type INT"},
		{map[string]string{"consumer.session.timeout.ms": "30000"}, ""},
		{map[string]string{"consumer.session.timeout.ms": "29999"}, "at least group.consumer.min.session.timeout.ms (30000)"},
		{map[string]string{"consumer.session.timeout.ms": "60001"}, "at most group.consumer.max.session.timeout.ms (60000)"},
		{map[string]string{"consumer.heartbeat.interval.ms": "4999"}, "at least group.consumer.min.heartbeat.interval.ms (5000)"},
		{map[string]string{"consumer.heartbeat.interval.ms": "40000"}, ""},
		{map[string]string{"consumer.heartbeat.interval.ms": "40000", "consumer.session.timeout.ms": "40000"}, "must be more than consumer.heartbeat.interval.ms (40000)"},
		{map[string]string{"consumer.assignment.interval.ms": "0"}, ""},
		{map[string]string{"consumer.assignment.interval.ms": "15001"}, "at most group.consumer.max.assignment.interval.ms (15000)"},
	} {
		err := n.ValidateGroup(tt.values)
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, kafka.InvalidConfig) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%v: %v, want %q", tt.values, err, tt.want)
		}
	}
	// What was set under other limits is held within those of now.
	for _, tt := range []struct {
		values map[string]string
		want   ConsumerGroup
	}{
		{nil, ConsumerGroup{46000, 5000, 1000}},
		{map[string]string{"consumer.session.timeout.ms": "50000", "consumer.assignment.interval.ms": "0"}, ConsumerGroup{50000, 5000, 0}},
		{map[string]string{"consumer.session.timeout.ms": "1", "consumer.heartbeat.interval.ms": "50000"}, ConsumerGroup{46000, 5000, 1000}},
		{map[string]string{"consumer.session.timeout.ms": "70000", "consumer.heartbeat.interval.ms": "1"}, ConsumerGroup{60000, 5000, 1000}},
		{map[string]string{"consumer.session.timeout.ms": "no number"}, ConsumerGroup{46000, 5000, 1000}},
	} {
		if got := n.ConsumerGroup(tt.values); got != tt.want {
			t.Errorf("%v: %+v, want %+v", tt.values, got, tt.want)
		}
	}
	list := n.DescribeGroup(map[string]string{"consumer.session.timeout.ms": "50000"})
	if len(list) != 3 || list[2].Source != DynamicGroup || *list[2].Value != "50000" || len(list[2].Synonyms) != 3 || *list[2].Synonyms[1].Value != "46000" ||
		list[1].Source != Default || *list[1].Value != "5000" {
		t.Errorf("%+v", list)
	}
}
