package config

import (
	"slices"
	"strconv"
)

// Topic is the resolved settings of one topic. It is immutable. Numbers in ms and bytes are
// Kafka's, with -1 for unlimited where Kafka says so; the table documents each field.
type Topic struct {
	SegmentBytes       int64
	SegmentMs          int64
	SegmentJitterMs    int64
	SegmentIndexBytes  int64
	IndexIntervalBytes int64

	RetentionMs         int64 // -1: for ever
	RetentionBytes      int64 // -1: no limit
	LocalRetentionMs    int64 // -2: as RetentionMs; see EffectiveLocalRetentionMs
	LocalRetentionBytes int64 // -2: as RetentionBytes; see EffectiveLocalRetentionBytes

	RemoteStorageEnable      bool
	RemoteLogCopyDisable     bool
	RemoteLogDeleteOnDisable bool
	RemoteCopyLagMs          int64 // 0: at once; -1: the local retention; see EffectiveRemoteCopyLagMs
	RemoteCopyLagBytes       int64 // 0: at once; -1: the local retention; see EffectiveRemoteCopyLagBytes

	MaxMessageBytes      int64
	MinInSyncReplicas    int32
	CleanupDelete        bool
	CleanupCompact       bool
	CompressionType      string // uncompressed, zstd, lz4, snappy, gzip, producer
	CompressionGzipLevel int    // -1: gzip's own default
	CompressionLz4Level  int
	CompressionZstdLevel int

	MessageTimestampType        string // CreateTime or LogAppendTime
	MessageTimestampBeforeMaxMs int64
	MessageTimestampAfterMaxMs  int64

	FlushMessages          int64
	FlushMs                int64
	FileDeleteDelayMs      int64
	DeleteRetentionMs      int64
	MinCompactionLagMs     int64
	MaxCompactionLagMs     int64
	MinCleanableDirtyRatio float64
	UncleanLeaderElection  bool
	Preallocate            bool

	Durability        string // varve.durability
	ProduceFull       bool   // varve.produce.validation is full
	TierDeleteGraceMs int64  // varve.tier.delete.grace.ms
}

// EffectiveLocalRetentionMs is the local retention with -2 resolved; -1: for ever.
func (t *Topic) EffectiveLocalRetentionMs() int64 {
	if t.LocalRetentionMs == -2 {
		return t.RetentionMs
	}
	return t.LocalRetentionMs
}

// EffectiveLocalRetentionBytes is the local retention with -2 resolved; -1: no limit.
func (t *Topic) EffectiveLocalRetentionBytes() int64 {
	if t.LocalRetentionBytes == -2 {
		return t.RetentionBytes
	}
	return t.LocalRetentionBytes
}

// EffectiveRemoteCopyLagMs is the copy lag with -1 resolved; -1 again: no age is old enough.
// Source: KIP-1241.
func (t *Topic) EffectiveRemoteCopyLagMs() int64 {
	if t.RemoteCopyLagMs == -1 {
		return t.EffectiveLocalRetentionMs()
	}
	return t.RemoteCopyLagMs
}

// EffectiveRemoteCopyLagBytes is the copy lag with -1 resolved; -1 again: no size is enough.
// Source: KIP-1241.
func (t *Topic) EffectiveRemoteCopyLagBytes() int64 {
	if t.RemoteCopyLagBytes == -1 {
		return t.EffectiveLocalRetentionBytes()
	}
	return t.RemoteCopyLagBytes
}

// Topic resolves the settings of a topic: its own first, then the broker's, then the
// defaults. An override that this version does not know, or would refuse, does not count:
// it was set through another version, and a partition must be served all the same.
func (n *Node) Topic(overrides map[string]string) *Topic {
	v := topicValues{n.layers, overrides}
	policy := splitList(v.text("cleanup.policy"))
	ratio, _ := strconv.ParseFloat(v.text("min.cleanable.dirty.ratio"), 64) // canonical
	return &Topic{
		SegmentBytes:       v.int("segment.bytes"),
		SegmentMs:          v.int("segment.ms"),
		SegmentJitterMs:    v.int("segment.jitter.ms"),
		SegmentIndexBytes:  v.int("segment.index.bytes"),
		IndexIntervalBytes: v.int("index.interval.bytes"),

		RetentionMs:         max(-1, v.int("retention.ms")),
		RetentionBytes:      max(-1, v.int("retention.bytes")),
		LocalRetentionMs:    v.int("local.retention.ms"),
		LocalRetentionBytes: v.int("local.retention.bytes"),

		RemoteStorageEnable:      v.bool("remote.storage.enable"),
		RemoteLogCopyDisable:     v.bool("remote.log.copy.disable"),
		RemoteLogDeleteOnDisable: v.bool("remote.log.delete.on.disable"),
		RemoteCopyLagMs:          v.int("remote.copy.lag.ms"),
		RemoteCopyLagBytes:       v.int("remote.copy.lag.bytes"),

		MaxMessageBytes:      v.int("max.message.bytes"),
		MinInSyncReplicas:    int32(v.int("min.insync.replicas")),
		CleanupDelete:        slices.Contains(policy, "delete"),
		CleanupCompact:       slices.Contains(policy, "compact"),
		CompressionType:      v.text("compression.type"),
		CompressionGzipLevel: int(v.int("compression.gzip.level")),
		CompressionLz4Level:  int(v.int("compression.lz4.level")),
		CompressionZstdLevel: int(v.int("compression.zstd.level")),

		MessageTimestampType:        v.text("message.timestamp.type"),
		MessageTimestampBeforeMaxMs: v.int("message.timestamp.before.max.ms"),
		MessageTimestampAfterMaxMs:  v.int("message.timestamp.after.max.ms"),

		FlushMessages:          v.int("flush.messages"),
		FlushMs:                v.int("flush.ms"),
		FileDeleteDelayMs:      v.int("file.delete.delay.ms"),
		DeleteRetentionMs:      v.int("delete.retention.ms"),
		MinCompactionLagMs:     v.int("min.compaction.lag.ms"),
		MaxCompactionLagMs:     v.int("max.compaction.lag.ms"),
		MinCleanableDirtyRatio: ratio,
		UncleanLeaderElection:  v.bool("unclean.leader.election.enable"),
		Preallocate:            v.bool("preallocate"),

		Durability:        v.text("varve.durability"),
		ProduceFull:       v.text("varve.produce.validation") == "full",
		TierDeleteGraceMs: v.int("varve.tier.delete.grace.ms"),
	}
}

// topicValues resolves one topic setting after the other.
type topicValues struct {
	layers    layers
	overrides map[string]string
}

func (v topicValues) text(name string) string {
	s := row(name)
	if raw, ok := v.overrides[name]; ok {
		if value, err := s.canonical(raw); err == nil {
			return value
		}
	}
	for _, synonym := range s.Synonyms {
		if value, ok := v.layers.get(synonym); ok {
			return convert(value, row(synonym), s)
		}
	}
	return s.Default
}

// convert turns the value of a broker-level setting into the topic setting's unit.
func convert(value string, from, to Setting) string {
	if from.Unit.millis() == to.Unit.millis() {
		return value
	}
	return strconv.FormatInt(integer(value)*from.Unit.millis()/to.Unit.millis(), 10)
}

func (v topicValues) int(name string) int64 { return integer(v.text(name)) }

func (v topicValues) bool(name string) bool { return v.text(name) == "true" }

// ValidateTopic checks the settings of a topic against their types and ranges and against
// each other, with built-in defaults for what they leave open. The error wraps
// kafka.InvalidConfig and names every setting that is wrong.
func ValidateTopic(overrides map[string]string) error {
	n, err := newNode(layers{static: map[string]string{"varve.tier.url": "mem://validation"}})
	if err != nil {
		panic("BUG: the defaults are refused: " + err.Error())
	}
	return n.ValidateTopic(overrides)
}

// ValidateTopic checks the settings of a topic as the package's function does, but with
// this node's defaults, and refuses tiered topics where the node has no tier.
func (n *Node) ValidateTopic(overrides map[string]string) error {
	var errs []error
	for _, name := range sortedNames(overrides) {
		s, ok := Lookup(name)
		if !ok || s.Scope&TopicScope == 0 {
			errs = append(errs, unknown(name, TopicScope))
			continue
		}
		if _, err := s.canonical(overrides[name]); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return merge(errs...)
	}
	t := n.Topic(overrides)
	own := func(name string) string { return name }
	err := t.checkCompaction(own)
	if t.RemoteStorageEnable {
		err = merge(err, n.checkTier(), t.checkTierable(), t.checkTiering(own))
	}
	return err
}

// ValidateTopicChange checks new settings of a topic that exists with old ones: what
// ValidateTopic checks, and that tiering is not turned off: what is in the object store would
// be neither read nor deleted.
func (n *Node) ValidateTopicChange(old, overrides map[string]string) error {
	err := n.ValidateTopic(overrides)
	before, after := n.Topic(old), n.Topic(overrides)
	if before.RemoteStorageEnable && !after.RemoteStorageEnable {
		err = merge(err, refuse("remote.storage.enable",
			"remote.storage.enable of a tiered topic cannot be turned off. To copy nothing more and keep what is there for reading, set "+
				"remote.log.copy.disable=true; to get rid of it, delete the topic"))
	}
	return err
}

func (n *Node) checkTier() error {
	if n.TierURL != "" {
		return nil
	}
	return refuse("remote.storage.enable",
		"Tiered storage is disabled in the broker: set varve.tier.url, then create the topic with remote.storage.enable=true")
}

// checkTierable holds what no tiered topic may be.
func (t *Topic) checkTierable() error {
	if t.CleanupCompact {
		return refuse("remote.storage.enable", "Remote log storage is unsupported for compacted topics: "+
			"cleanup.policy contains compact and remote.storage.enable is true")
	}
	return nil
}

// checkCompaction holds the rule between the two lags; name gives the names to speak of.
func (t *Topic) checkCompaction(name func(string) string) error {
	if t.MinCompactionLagMs > t.MaxCompactionLagMs {
		return refuse("min.compaction.lag.ms", "conflict topic config setting %s (%d) > %s (%d)",
			name("min.compaction.lag.ms"), t.MinCompactionLagMs, name("max.compaction.lag.ms"), t.MaxCompactionLagMs)
	}
	return nil
}

// checkTiering holds the rules between local, remote and whole retention.
// Source: LogConfig of Kafka 4.3; for the copy lag KIP-1241.
func (t *Topic) checkTiering(name func(string) string) error {
	var errs []error
	part := func(small string, value int64, large string, limit int64) {
		switch {
		case limit < 0:
		case value == -1:
			errs = append(errs, refuse(small, "Invalid value -1 for configuration %s: Value must not be -1 as %s value is set as %d",
				name(small), name(large), limit))
		case value > limit:
			errs = append(errs, refuse(small, "Invalid value %d for configuration %s: Value must not be more than %s property value: %d",
				value, name(small), name(large), limit))
		}
	}
	localMs, localBytes := t.EffectiveLocalRetentionMs(), t.EffectiveLocalRetentionBytes()
	part("local.retention.ms", localMs, "retention.ms", t.RetentionMs)
	part("local.retention.bytes", localBytes, "retention.bytes", t.RetentionBytes)
	if t.RemoteCopyLagMs > 0 {
		part("remote.copy.lag.ms", t.RemoteCopyLagMs, "local.retention.ms", localMs)
	}
	if t.RemoteCopyLagBytes > 0 {
		part("remote.copy.lag.bytes", t.RemoteCopyLagBytes, "local.retention.bytes", localBytes)
	}
	if t.RemoteLogCopyDisable && (localMs != t.RetentionMs || localBytes != t.RetentionBytes) {
		errs = append(errs, refuse("remote.log.copy.disable",
			"When remote.log.copy.disable is true, local.retention.ms and local.retention.bytes must be those of "+
				"retention.ms and retention.bytes, because nothing more is copied"))
	}
	return merge(errs...)
}
