package metadata

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
)

// adminSamples are the records that came after samples.
func adminSamples() []Record {
	return []Record{
		ConfigRecord{Resource: ConfigResource{BrokerResource, "1"}, Config: map[string]string{"log.retention.ms": "5", "message.max.bytes": "7"}},
		ConfigRecord{Resource: ConfigResource{GroupResource, "g"}, Config: map[string]string{"a": "b"}},
		ConfigRecord{Resource: ConfigResource{GroupResource, "g"}},
		RegisterBrokerRecord{ID: 2, Incarnation: id(12), Epoch: 1},
		RemoveBrokerRecord{ID: 2, Epoch: 1},
	}
}

// The bytes of adminSamples, which must open for ever.
const goldenAdmin = "564d454e0130abc421050a012b08013102106c6f672e726574656e74696f6e2e6d730135116d6573736167652e6d61782e627974657301370a010840016701016101620a010440016700030116040000000000000000000000000000000c02000000000b01020402"

func TestGoldenAdminRecords(t *testing.T) { golden(t, adminSamples(), goldenAdmin) }

// Settings of resources are kept by snapshots, forgotten when there are none, and told of.
func TestConfigsOfResources(t *testing.T) {
	broker, all, group := ConfigResource{BrokerResource, "1"}, ConfigResource{BrokerResource, ""}, ConfigResource{GroupResource, "g"}
	img, d := apply(t, &Image{},
		ConfigRecord{Resource: group, Config: map[string]string{"x": "1"}},
		ConfigRecord{Resource: broker, Config: map[string]string{"y": "2"}},
		ConfigRecord{Resource: all, Config: map[string]string{"z": "3"}})
	if !slices.Equal(d.Configs, []ConfigResource{group, broker, all}) || d.Empty() {
		t.Errorf("delta %+v", d)
	}
	again, err := ReadImage(bytes.NewReader(encoded(t, img)))
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(again.ConfigResources()); !slices.Equal(got, []ConfigResource{all, broker, group}) || again.Config(broker)["y"] != "2" {
		t.Errorf("after a snapshot: %v", got)
	}
	next, _ := apply(t, again, ConfigRecord{Resource: broker}, ConfigRecord{Resource: group, Config: map[string]string{"x": "2"}})
	if next.Config(broker) != nil || next.Config(group)["x"] != "2" || again.Config(group)["x"] != "1" {
		t.Errorf("settings %v", slices.Collect(next.ConfigResources()))
	}
	if d := Diff(again, next); !slices.Equal(d.Configs, []ConfigResource{group, broker}) {
		t.Errorf("Diff %+v", d)
	}
	for _, kind := range []ResourceType{0, TopicResource, BrokerLoggerResource, 99} {
		if _, _, err := img.Apply(9, []Record{ConfigRecord{Resource: ConfigResource{kind, "x"}}}); !errors.Is(err, kafka.InvalidRequest) {
			t.Errorf("settings of %s: %v", kind, err)
		}
	}
}

// A broker is removed by the epoch that it is registered with, so that none is removed that
// has come back meanwhile.
func TestRemoveBroker(t *testing.T) {
	img, _ := apply(t, &Image{}, RegisterBrokerRecord{ID: 1, Epoch: 4}, RegisterBrokerRecord{ID: 2, Epoch: 5})
	for _, tt := range []struct {
		r    RemoveBrokerRecord
		want kafka.Error
	}{{RemoveBrokerRecord{ID: 3, Epoch: 5}, kafka.BrokerIDNotRegistered}, {RemoveBrokerRecord{ID: 2, Epoch: 4}, kafka.StaleBrokerEpoch}} {
		if _, _, err := img.Apply(9, []Record{tt.r}); !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v", tt.r, err)
		}
	}
	next, _ := apply(t, img, RemoveBrokerRecord{ID: 2, Epoch: 5})
	if next.Broker(2) != nil || next.Broker(1) == nil || img.Broker(2) == nil {
		t.Error("the wrong broker is gone")
	}
}
