package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// ConfigOp is what to do with one setting; the numbers are those of Kafka's AlterConfigOp.
type ConfigOp int8

// The operations.
const (
	SetConfig      ConfigOp = 0
	DeleteConfig   ConfigOp = 1
	AppendConfig   ConfigOp = 2 // to a list
	SubtractConfig ConfigOp = 3 // from a list
)

// ConfigEdit is one operation on one setting.
type ConfigEdit struct {
	Name  string
	Op    ConfigOp
	Value string // not used by DeleteConfig
}

// ConfigChange is a change of the dynamic settings of one resource: a topic, a broker, all
// brokers, a group, a subscription to metrics of clients.
type ConfigChange struct {
	Resource metadata.ConfigResource
	Edits    []ConfigEdit
	// Replace drops every setting that Edits do not set.
	Replace bool
}

// AlterConfigs changes what can be changed, all in one entry; with validateOnly it says what
// would happen and writes nothing. A resource's edits count together or not at all. The
// errors are in the order of changes: nil, or a wrapped kafka.Error.
// Source: Kafka's ConfigurationControlManager (KIP-339).
func (c *Controller) AlterConfigs(ctx context.Context, changes []ConfigChange, validateOnly bool) []error {
	errs := make([]error, len(changes))
	_, err := c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		p := plan{img: img}
		for i, ch := range changes {
			errs[i] = c.planConfig(&p, ch)
		}
		if validateOnly {
			return nil, nil
		}
		return p.all, nil
	})
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

// planConfig decides one resource. As in Kafka the settings are judged before it matters
// whether the resource exists.
func (c *Controller) planConfig(p *plan, ch ConfigChange) error {
	topic := (*metadata.Topic)(nil)
	old := p.img.Config(ch.Resource)
	if ch.Resource.Type == metadata.TopicResource {
		if topic = p.img.Topic(ch.Resource.Name); topic != nil {
			old = topic.Config
		}
	}
	next, err := edited(old, ch)
	if err != nil {
		return err
	}
	if err := c.judge(p.img, ch.Resource, old, next); err != nil {
		return err
	}
	switch {
	case ch.Resource.Type == metadata.TopicResource && topic == nil:
		return fmt.Errorf("there is no topic %q: %w", ch.Resource.Name, kafka.UnknownTopicOrPartition)
	case maps.Equal(old, next):
		return nil
	case topic != nil:
		return p.try(metadata.TopicConfigRecord{TopicID: topic.ID, Version: topic.Version + 1, Config: next})
	}
	return p.try(metadata.ConfigRecord{Resource: ch.Resource, Config: next})
}

// edited is the settings after the edits.
func edited(old map[string]string, ch ConfigChange) (map[string]string, error) {
	next := map[string]string{}
	if !ch.Replace {
		maps.Copy(next, old)
	}
	for _, e := range ch.Edits {
		switch e.Op {
		case SetConfig:
			next[e.Name] = e.Value
		case DeleteConfig:
			delete(next, e.Name)
		case AppendConfig, SubtractConfig:
			builtin, ok := config.IsList(e.Name, scopeOf(ch.Resource.Type))
			if !ok {
				return nil, fmt.Errorf("%s is no list, which alone can be appended to or subtracted from: %w", e.Name, kafka.InvalidConfig)
			}
			now, set := next[e.Name]
			if !set {
				now = builtin
			}
			next[e.Name] = editedList(now, e)
		default:
			return nil, fmt.Errorf("operation %d on %s: want 0 to set, 1 to delete, 2 to append, 3 to subtract: %w", e.Op, e.Name, kafka.InvalidRequest)
		}
	}
	return next, nil
}

// editedList is a list with items appended that it has not, or without items.
func editedList(list string, e ConfigEdit) string {
	var items []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	for item := range strings.SplitSeq(e.Value, ",") {
		item = strings.TrimSpace(item)
		i := slices.Index(items, item)
		switch {
		case e.Op == AppendConfig && i < 0:
			items = append(items, item)
		case e.Op == SubtractConfig && i >= 0:
			items = slices.Delete(items, i, i+1)
		}
	}
	return strings.Join(items, ",")
}

func scopeOf(t metadata.ResourceType) config.Scope {
	switch t {
	case metadata.TopicResource:
		return config.TopicScope
	case metadata.BrokerResource:
		return config.NodeScope
	case metadata.GroupResource:
		return config.GroupScope
	default:
		return config.ClientMetricsScope
	}
}

// judge says whether a resource may have the settings.
func (c *Controller) judge(img *metadata.Image, r metadata.ConfigResource, old, next map[string]string) error {
	node := c.opts.Settings()
	switch r.Type {
	case metadata.TopicResource:
		if r.Name == "" {
			return fmt.Errorf("topics have no settings in common: name one: %w", kafka.InvalidRequest)
		}
		if err := metadata.ValidateTopicName(r.Name); err != nil {
			return err
		}
		return node.ValidateTopicChange(old, next)
	case metadata.BrokerResource:
		if r.Name != "" {
			id, err := strconv.ParseInt(r.Name, 10, 32)
			if err != nil {
				return fmt.Errorf("broker %q: a broker id is a number: %w", r.Name, kafka.InvalidRequest)
			}
			if img.Broker(int32(id)) == nil {
				return fmt.Errorf("broker %d is not registered: %w", id, kafka.BrokerIDNotRegistered)
			}
		}
		return node.ValidateBroker(r.Name == "", next)
	case metadata.GroupResource:
		if r.Name == "" {
			return fmt.Errorf("groups have no settings in common: name one: %w", kafka.InvalidRequest)
		}
		return node.ValidateGroup(next)
	case metadata.ClientMetricsResource:
		if r.Name == "" {
			return fmt.Errorf("a client metrics subscription needs a name: %w", kafka.InvalidRequest)
		}
		return config.ValidateClientMetrics(next)
	}
	return fmt.Errorf("resources of type %s have no dynamic settings: %w", r.Type, kafka.InvalidRequest)
}
