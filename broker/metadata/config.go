package metadata

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
)

// ResourceType is a kind of thing that has settings; the numbers are those of Kafka's
// ConfigResource.Type.
type ResourceType int16

// The kinds. A topic's settings are part of the topic; a broker's log levels are kept nowhere.
const (
	TopicResource         ResourceType = 2
	BrokerResource        ResourceType = 4
	BrokerLoggerResource  ResourceType = 8
	ClientMetricsResource ResourceType = 16
	GroupResource         ResourceType = 32
)

// String is Kafka's name of the kind.
func (t ResourceType) String() string {
	switch t {
	case TopicResource:
		return "TOPIC"
	case BrokerResource:
		return "BROKER"
	case BrokerLoggerResource:
		return "BROKER_LOGGER"
	case ClientMetricsResource:
		return "CLIENT_METRICS"
	case GroupResource:
		return "GROUP"
	}
	return fmt.Sprintf("UNKNOWN(%d)", int16(t))
}

// ConfigResource is a thing that has dynamic settings. The BrokerResource without a name
// stands for all brokers.
type ConfigResource struct {
	Type ResourceType
	Name string
}

// Config is the dynamic settings of a resource that is no topic; nil for none. The caller
// must not change it.
func (img *Image) Config(r ConfigResource) map[string]string { return img.configs[r] }

// ConfigResources lists the resources that have settings, topics excepted, by type and name.
func (img *Image) ConfigResources() iter.Seq[ConfigResource] {
	return slices.Values(slices.SortedFunc(maps.Keys(img.configs), compareResources))
}

func compareResources(a, b ConfigResource) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
}

// diffConfigs lists the resources whose settings differ between two images.
func diffConfigs(from, to *Image) []ConfigResource {
	var list []ConfigResource
	for r := range to.ConfigResources() {
		if !maps.Equal(from.configs[r], to.configs[r]) {
			list = append(list, r)
		}
	}
	for r := range from.ConfigResources() {
		if to.configs[r] == nil {
			list = append(list, r)
		}
	}
	return list
}

func (r ConfigRecord) apply(c *change) error {
	switch r.Resource.Type {
	case BrokerResource, ClientMetricsResource, GroupResource:
	default:
		return fmt.Errorf("resources of type %s keep no settings in a record of their own: %w", r.Resource.Type, kafka.InvalidRequest)
	}
	configs := maps.Clone(c.img.configs)
	if configs == nil {
		configs = map[ConfigResource]map[string]string{}
	}
	delete(configs, r.Resource)
	if len(r.Config) > 0 {
		configs[r.Resource] = r.Config
	}
	c.img.configs = configs
	c.configs = append(c.configs, r.Resource)
	return nil
}

func (r RemoveBrokerRecord) apply(c *change) error {
	i, found := c.img.brokerIndex(r.ID)
	if !found {
		return fmt.Errorf("broker %d is not registered: %w", r.ID, kafka.BrokerIDNotRegistered)
	}
	if epoch := c.img.brokers[i].Epoch; epoch != r.Epoch {
		return fmt.Errorf("broker %d is registered with epoch %d, not %d: %w", r.ID, epoch, r.Epoch, kafka.StaleBrokerEpoch)
	}
	c.img.brokers = slices.Delete(slices.Clone(c.img.brokers), i, i+1)
	return nil
}
