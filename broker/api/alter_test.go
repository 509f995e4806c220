package api

import (
	"log/slog"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/kafka"
)

// alterReq is an IncrementalAlterConfigs of one resource: operation, name, value again and again.
func alterReq(kind kmsg.ConfigResourceType, name string, changes ...any) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for i := 0; i < len(changes); i += 3 {
		c := kmsg.IncrementalAlterConfigsRequestResourceConfig{Op: changes[i].(kmsg.IncrementalAlterConfigOp), Name: changes[i+1].(string)}
		if value, ok := changes[i+2].(string); ok {
			c.Value = &value
		}
		r.Configs = append(r.Configs, c)
	}
	req.Resources = append(req.Resources, r)
	return req
}

const (
	opSet, opDelete, opAppend, opSubtract = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete,
		kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract
	ofTopic, ofBroker, ofLogger = kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger
	ofMetrics, ofGroup          = kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigResourceTypeGroupConfig
)

// alter sends one change in every version and wants one answer.
func (c *client) alter(want kafka.Error, req *kmsg.IncrementalAlterConfigsRequest) {
	c.t.Helper()
	for v := int16(0); v <= 1; v++ {
		resp := ask[*kmsg.IncrementalAlterConfigsResponse](c, v, req)
		if len(resp.Resources) != 1 || kafka.Error(resp.Resources[0].ErrorCode) != want || (resp.Resources[0].ErrorMessage == nil) != (want == 0) {
			c.t.Errorf("v%d %+v: %+v, want %s", v, req.Resources, resp.Resources, want.Name())
		}
	}
}

// setting is how DescribeConfigs shows one setting; false when it does not.
func (c *client) setting(kind kmsg.ConfigResourceType, name, setting string) (kmsg.DescribeConfigsResponseResourceConfig, bool) {
	c.t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms = true
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, []string{setting}
	req.Resources = append(req.Resources, r)
	resp := ask[*kmsg.DescribeConfigsResponse](c, 4, req)
	if resp.Resources[0].ErrorCode != 0 || len(resp.Resources[0].Configs) == 0 {
		return kmsg.DescribeConfigsResponseResourceConfig{}, false
	}
	return resp.Resources[0].Configs[0], true
}

func (c *client) wantSetting(kind kmsg.ConfigResourceType, name, setting, value string, source kmsg.ConfigSource) {
	c.t.Helper()
	e, ok := c.setting(kind, name, setting)
	if !ok || e.Value == nil || *e.Value != value || e.Source != source {
		c.t.Errorf("%s of %q is %+v, want %s from %v", setting, name, e, value, source)
	}
}

// TestA2IncrementalAlterConfigs: each operation, what is refused, and that the partitions of the
// topic have the settings when the answer is there.
func TestA2IncrementalAlterConfigs(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	k.create("t")
	p, err := k.replicas.Partition("t", 0)
	if err != nil {
		t.Fatal(err)
	}
	c.alter(0, alterReq(ofTopic, "t", opSet, "retention.ms", " 6000", opSet, "max.message.bytes", "2000", opSet, "min.insync.replicas", "2", opSet, "segment.bytes", "2000000"))
	c.wantSetting(ofTopic, "t", "retention.ms", "6000", kmsg.ConfigSourceDynamicTopicConfig)
	if cfg := p.Config(); cfg.RetentionMs != 6000 || cfg.MaxMessageBytes != 2000 || cfg.MinInSyncReplicas != 2 || cfg.SegmentBytes != 2_000_000 {
		t.Errorf("the partition has %+v", cfg)
	}
	c.alter(0, alterReq(ofTopic, "t", opDelete, "max.message.bytes", nil, opDelete, "min.insync.replicas", nil, opAppend, "cleanup.policy", "compact"))
	c.wantSetting(ofTopic, "t", "max.message.bytes", "1048588", kmsg.ConfigSourceDefaultConfig)
	c.wantSetting(ofTopic, "t", "cleanup.policy", "delete,compact", kmsg.ConfigSourceDynamicTopicConfig)
	c.alter(0, alterReq(ofTopic, "t", opSubtract, "cleanup.policy", "delete"))
	if cfg := p.Config(); cfg.CleanupDelete || !cfg.CleanupCompact || cfg.MaxMessageBytes != 1048588 {
		t.Errorf("the partition has %+v", cfg)
	}
	version := k.cluster.Image().Topic("t").Version
	validate := alterReq(ofTopic, "t", opSet, "retention.ms", "1")
	validate.ValidateOnly = true
	c.alter(0, validate)
	for _, tc := range []struct {
		want kafka.Error
		req  *kmsg.IncrementalAlterConfigsRequest
	}{
		{kafka.InvalidConfig, alterReq(ofTopic, "t", opSet, "no.such", "1")},
		{kafka.InvalidConfig, alterReq(ofTopic, "t", opSet, "retention.ms", "1", opSet, "segment.bytes", "1")},
		{kafka.InvalidConfig, alterReq(ofTopic, "t", opAppend, "retention.ms", "1")},
		{kafka.InvalidConfig, alterReq(ofTopic, "t", opSet, "remote.storage.enable", "true")},
		{kafka.InvalidRequest, alterReq(ofTopic, "t", opSet, "retention.ms", nil)},
		{kafka.InvalidRequest, alterReq(ofTopic, "t", opSet, "retention.ms", "1", opDelete, "retention.ms", nil)},
		{kafka.InvalidRequest, alterReq(ofTopic, "t", kmsg.IncrementalAlterConfigOp(4), "retention.ms", "1")},
		{kafka.InvalidRequest, alterReq(ofTopic, "", opSet, "retention.ms", "1")},
		{kafka.InvalidTopic, alterReq(ofTopic, "a b", opSet, "retention.ms", "1")},
		{kafka.UnknownTopicOrPartition, alterReq(ofTopic, "nowhere", opSet, "retention.ms", "1")},
		{kafka.InvalidConfig, alterReq(ofTopic, "nowhere", opSet, "no.such", "1")},
		{kafka.InvalidRequest, alterReq(99, "t", opSet, "retention.ms", "1")},
	} {
		c.alter(tc.want, tc.req)
	}
	if now := k.cluster.Image().Topic("t"); now.Version != version || now.Config["retention.ms"] != " 6000" {
		t.Errorf("what was refused, or only validated, changed the topic: %+v", now)
	}
	twice := alterReq(ofTopic, "t", opSet, "retention.ms", "1")
	twice.Resources = append(twice.Resources, alterReq(ofTopic, "t", opSet, "segment.ms", "1").Resources[0])
	for _, r := range ask[*kmsg.IncrementalAlterConfigsResponse](c, 1, twice).Resources {
		if kafka.Error(r.ErrorCode) != kafka.InvalidRequest {
			t.Errorf("named twice: %+v", r)
		}
	}
}

// TestA2AlterConfigsResetsWhatIsLeftOut: the older request replaces all settings of a resource.
func TestA2AlterConfigsResetsWhatIsLeftOut(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	k.create("t")
	for v := int16(0); v <= 2; v++ {
		c.alter(0, alterReq(ofTopic, "t", opSet, "retention.ms", "5000", opSet, "segment.ms", "5000"))
		req := kmsg.NewPtrAlterConfigsRequest()
		r := kmsg.NewAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = ofTopic, "t"
		r.Configs = []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: kmsg.StringPtr("7000")}}
		logger := r
		logger.ResourceType, logger.ResourceName = ofLogger, "1"
		req.Resources = append(req.Resources, r, logger)
		resp := ask[*kmsg.AlterConfigsResponse](c, v, req)
		if len(resp.Resources) != 2 || resp.Resources[0].ErrorCode != 0 || kafka.Error(resp.Resources[1].ErrorCode) != kafka.InvalidRequest {
			t.Fatalf("v%d: %+v", v, resp.Resources)
		}
		c.wantSetting(ofTopic, "t", "retention.ms", "7000", kmsg.ConfigSourceDynamicTopicConfig)
		c.wantSetting(ofTopic, "t", "segment.ms", "604800000", kmsg.ConfigSourceDefaultConfig)
	}
}

// TestA2BrokerSettings: what may change on a broker, and what of it is refused. That it takes
// effect is the node's to see to; see broker.TestDynamicSettings.
func TestA2BrokerSettings(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	c.alter(0, alterReq(ofBroker, "", opSet, "log.retention.ms", "5000"))
	c.alter(0, alterReq(ofBroker, "01", opSet, "max.connections", "500"))
	if img := k.cluster.Image(); img.Config(brokerResource("")) == nil || img.Config(brokerResource("1"))["max.connections"] != "500" {
		t.Error("the settings are not in the image")
	}
	for _, tc := range []struct {
		want kafka.Error
		req  *kmsg.IncrementalAlterConfigsRequest
	}{
		{kafka.InvalidRequest, alterReq(ofBroker, "1", opSet, "node.id", "4")},
		{kafka.InvalidRequest, alterReq(ofBroker, "", opSet, "max.connections", "x")},
		{kafka.InvalidRequest, alterReq(ofBroker, "1", opSet, "no.such", "x")},
		{kafka.InvalidRequest, alterReq(ofBroker, "2", opSet, "max.connections", "5")},
		{kafka.InvalidRequest, alterReq(ofBroker, "x", opSet, "max.connections", "5")},
		{kafka.InvalidConfig, alterReq(ofBroker, "1", opAppend, "max.connections", "5")},
		{kafka.NoError, alterReq(ofBroker, "1", opAppend, "log.cleanup.policy", "compact")},
		{kafka.NoError, alterReq(ofBroker, "1", opDelete, "max.connections", nil, opDelete, "log.cleanup.policy", nil)},
		{kafka.InvalidConfig, alterReq(ofGroup, "g", opSet, "no.such", "5")},
		{kafka.InvalidRequest, alterReq(ofGroup, "", opSet, "no.such", "5")},
		{kafka.InvalidRequest, alterReq(ofMetrics, "", opSet, "interval.ms", "500")},
		{kafka.InvalidRequest, alterReq(ofMetrics, "m", opSet, "interval.ms", "5")},
		{kafka.NoError, alterReq(ofMetrics, "m", opSet, "interval.ms", "500")},
	} {
		c.alter(tc.want, tc.req)
	}
	if k.cluster.Image().Config(brokerResource("1")) != nil {
		t.Error("settings that were deleted are kept")
	}
	c.wantSetting(ofMetrics, "m", "interval.ms", "500", 7)
}

// TestA2LogLevel: the level of the log is a setting of the resource type BROKER_LOGGER.
func TestA2LogLevel(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	c.wantSetting(ofLogger, "1", "root", "INFO", 6)
	validate := alterReq(ofLogger, "1", opSet, "root", "DEBUG")
	validate.ValidateOnly = true
	c.alter(0, validate)
	c.wantSetting(ofLogger, "1", "root", "INFO", 6)
	for _, level := range []string{"TRACE", "DEBUG", "WARN", "ERROR", "FATAL", "INFO"} {
		c.alter(0, alterReq(ofLogger, "1", opSet, "root", level))
		c.wantSetting(ofLogger, "1", "root", level, 6)
	}
	if k.level.Level() != slog.LevelInfo {
		t.Errorf("level %v", k.level.Level())
	}
	for req, want := range map[*kmsg.IncrementalAlterConfigsRequest]kafka.Error{
		alterReq(ofLogger, "1", opSet, "root", "LOUD"):         kafka.InvalidConfig,
		alterReq(ofLogger, "1", opSet, "kafka.server", "INFO"): kafka.InvalidConfig,
		alterReq(ofLogger, "1", opDelete, "root", nil):         kafka.InvalidRequest,
		alterReq(ofLogger, "1", opAppend, "root", "INFO"):      kafka.InvalidRequest,
		alterReq(ofLogger, "2", opSet, "root", "INFO"):         kafka.InvalidRequest,
		alterReq(ofLogger, "", opSet, "root", "INFO"):          kafka.InvalidRequest,
	} {
		c.alter(want, req)
	}
}

// TestListConfigResources: every topic and broker, and what else has settings.
func TestListConfigResources(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	k.create("t")
	c.alter(0, alterReq(ofMetrics, "m", opSet, "interval.ms", "500"))
	c.alter(0, alterReq(ofBroker, "", opSet, "max.connections", "500"))
	list := func(v int16, types ...int8) string {
		req := kmsg.NewPtrListConfigResourcesRequest()
		req.ResourceTypes = types
		resp := ask[*kmsg.ListConfigResourcesResponse](c, v, req)
		text := ""
		for _, r := range resp.ConfigResources {
			text += r.Name + ":" + strconv.Itoa(int(r.Type)) + " "
		}
		return text + strconv.Itoa(int(resp.ErrorCode))
	}
	for _, tc := range []struct{ got, want string }{
		{list(0), "m:16 0"}, {list(1), "t:2 1:4 1:8 m:16 0"}, {list(1, 2), "t:2 0"}, {list(1, 8, 4), "1:4 1:8 0"}, {list(1, 32), "0"}, {list(1, 2, 99), "35"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}
