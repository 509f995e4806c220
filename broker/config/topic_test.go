package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
)

// TestTopicValues: what Kafka 4.3.1 answers to the same values.
func TestTopicValues(t *testing.T) {
	for _, c := range []struct{ name, value, problem string }{
		{"cleanup.policy", "", ""},
		{"cleanup.policy", "delete,delete", ""},
		{"cleanup.policy", " compact , delete ", ""},
		{"cleanup.policy", "Delete", "Invalid value Delete for configuration cleanup.policy: String must be one of: compact, delete"},
		{"cleanup.policy", "delete,", "Values must not be empty"},
		{"segment.bytes", " 1048576 ", ""},
		{"segment.bytes", "1048575", "Invalid value 1048575 for configuration segment.bytes: Value must be at least 1048576"},
		{"segment.bytes", "1gb", "Invalid value 1gb for configuration segment.bytes: Not a number of type INT"},
		{"segment.bytes", "4294967296", "Not a number of type INT"},
		{"segment.bytes", "", "Not a number of type INT"},
		{"retention.ms", "-1", ""},
		{"retention.ms", "-2", "Value must be at least -1"},
		{"retention.bytes", "-5", ""},
		{"compression.type", "gzip ", ""},
		{"compression.type", "lzma", "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"},
		{"compression.gzip.level", "0", "Value must be between 1 and 9 or equal to -1"},
		{"preallocate", "TRUE", ""},
		{"preallocate", "yes", "Expected value to be either true or false"},
		{"min.cleanable.dirty.ratio", "1.5", "Value must be no more than 1"},
		{"min.cleanable.dirty.ratio", "NaN", "Not a number of type DOUBLE"},
		{"message.timestamp.type", "createtime", "String must be one of: CreateTime, LogAppendTime"},
		{"max.message.bytes", "-1", "Value must be at least 0"},
		{"local.retention.ms", "-3", "Value must be at least -2"},
		{"nosuch", "1", "Unknown topic config name: nosuch"},
		{"retention.mss", "1", "Unknown topic config name: retention.mss; did you mean retention.ms?"},
		{"log.segment.bytes", "1048576", "it is a setting of the broker; on a topic it is segment.bytes"},
		{"varve.durability", "pagecache", ""},
		{"varve.durability", "group", ""},
		{"varve.durability", "raid", "String must be one of: pagecache, group"},
	} {
		err := ValidateTopic(map[string]string{c.name: c.value})
		switch {
		case c.problem == "" && err != nil:
			t.Errorf("%s=%q: %v", c.name, c.value, err)
		case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
			t.Errorf("%s=%q: %v, want %q", c.name, c.value, err, c.problem)
		case err != nil && kafka.Code(err) != kafka.InvalidConfig:
			t.Errorf("%s=%q: code %v", c.name, c.value, kafka.Code(err))
		}
	}
}

func TestRulesBetweenTopicSettings(t *testing.T) {
	tiered := func(pairs ...string) map[string]string {
		m := map[string]string{"remote.storage.enable": "true"}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	for _, c := range []struct {
		overrides map[string]string
		problem   string
	}{
		{tiered("cleanup.policy", "compact,delete"), "Remote log storage is unsupported for compacted topics"},
		{tiered("retention.ms", "10", "local.retention.ms", "11"), "local.retention.ms: Value must not be more than retention.ms property value: 10"},
		{tiered("retention.ms", "10", "local.retention.ms", "-1"), "Value must not be -1 as retention.ms value is set as 10"},
		{tiered("retention.ms", "-1", "local.retention.ms", "-1"), ""},
		{tiered("retention.ms", "-1", "local.retention.ms", "11"), ""},
		{tiered("retention.ms", "10", "local.retention.ms", "10"), ""},
		{tiered("retention.bytes", "10", "local.retention.bytes", "11"), "Value must not be more than retention.bytes property value: 10"},
		{tiered("local.retention.ms", "10", "remote.copy.lag.ms", "11"), "remote.copy.lag.ms: Value must not be more than local.retention.ms property value: 10"},
		{tiered("local.retention.ms", "10", "remote.copy.lag.ms", "-1"), ""},
		{tiered("remote.log.copy.disable", "true", "local.retention.ms", "5"), "When remote.log.copy.disable is true"},
		{tiered("remote.log.copy.disable", "true"), ""},
		{map[string]string{"retention.ms": "10", "local.retention.ms": "11"}, ""}, // counts once the topic is tiered
		{map[string]string{"min.compaction.lag.ms": "5", "max.compaction.lag.ms": "4"}, "min.compaction.lag.ms (5) > max.compaction.lag.ms (4)"},
	} {
		err := ValidateTopic(c.overrides)
		if (err == nil) != (c.problem == "") || err != nil && (!strings.Contains(err.Error(), c.problem) || !errors.Is(err, kafka.InvalidConfig)) {
			t.Errorf("%v: %v, want %q", c.overrides, err, c.problem)
		}
	}
	if err := load(t, Sources{}).ValidateTopic(tiered()); err == nil || !strings.Contains(err.Error(), "varve.tier.url") {
		t.Errorf("tiered topic without a tier: %v", err)
	}
	err := ValidateTopic(map[string]string{"segment.bytes": "1", "nosuch": "1"})
	if err == nil || !strings.Contains(err.Error(), "; Invalid value 1 for") || strings.Contains(err.Error(), "\n") {
		t.Errorf("two problems in one line: %v", err)
	}
}

func TestTurningTieringOff(t *testing.T) {
	n := load(t, Sources{Set: []string{"varve.tier.url=mem://x"}})
	old := map[string]string{"remote.storage.enable": "true"}
	if err := n.ValidateTopicChange(old, nil); err == nil || !errors.Is(err, kafka.InvalidConfig) {
		t.Errorf("data left behind: %v", err)
	}
	if err := n.ValidateTopicChange(old, map[string]string{"remote.log.delete.on.disable": "true"}); err == nil {
		t.Error("nothing deletes what is in the object store of a topic that lives")
	}
	if err := n.ValidateTopicChange(nil, old); err != nil {
		t.Errorf("turning it on: %v", err)
	}
}

func TestTopicSurvivesForeignOverrides(t *testing.T) {
	topic := load(t, Sources{}).Topic(map[string]string{"future.setting": "1", "segment.bytes": "12", "cleanup.policy": ""})
	if topic.SegmentBytes != 1<<30 || topic.CleanupDelete || topic.CleanupCompact {
		t.Errorf("%+v", topic)
	}
}

func TestEffectiveLags(t *testing.T) {
	topic := Topic{RetentionMs: 100, RetentionBytes: 200, LocalRetentionMs: -2, LocalRetentionBytes: 50, RemoteCopyLagMs: -1, RemoteCopyLagBytes: -1}
	if ms, b := topic.EffectiveRemoteCopyLagMs(), topic.EffectiveRemoteCopyLagBytes(); ms != 100 || b != 50 {
		t.Errorf("derived: %d ms, %d bytes", ms, b)
	}
	topic = Topic{LocalRetentionMs: 7, LocalRetentionBytes: -2, RetentionBytes: -1, RemoteCopyLagMs: 3, RemoteCopyLagBytes: 4}
	if topic.EffectiveRemoteCopyLagMs() != 3 || topic.EffectiveRemoteCopyLagBytes() != 4 ||
		topic.EffectiveLocalRetentionMs() != 7 || topic.EffectiveLocalRetentionBytes() != -1 {
		t.Errorf("%+v", topic)
	}
}
