package api

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// DescribeConfigs, versions 1 to 4: the settings of topics, of this broker, of groups and of
// client metrics subscriptions, and the level of the broker's log.
//
//   - Null and an empty list of names both mean all settings.
//   - The broker resource with an empty name is the cluster's dynamic defaults; with another
//     broker's id it is refused, as in Kafka: only the broker itself knows.
//   - Values of sensitive settings are null.
//   - A resource that is named again gets INVALID_REQUEST: an entry of ten bytes would be
//     answered with tens of kilobytes each time.
//   - 1: sources and synonyms (KIP-226). 3: types, and documentation when asked for (KIP-569).
//
// Gaps: there is one logger, root.
func (a admin) describeConfigs(r *server.Request) error {
	var req wire.DescribeConfigsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	img := a.o.Cluster.Image()
	var resp wire.DescribeConfigsResponse
	resp.Default()
	type resource struct {
		kind int8
		name string
	}
	seen := make(map[resource]bool, len(req.Resources))
	for i := range req.Resources {
		res := &req.Resources[i]
		out := wire.DescribeConfigsResponseResult{ResourceType: res.ResourceType, ResourceName: res.ResourceName}
		var entries []config.Entry
		err := fmt.Errorf("%q is named more than once: %w", res.ResourceName, kafka.InvalidRequest)
		key := resource{res.ResourceType, res.ResourceName}
		if id, err := strconv.ParseInt(key.name, 10, 32); err == nil && key.kind == int8(metadata.BrokerResource) {
			key.name = strconv.FormatInt(id, 10) // 1, 01 and +1 are one broker
		}
		if !seen[key] {
			seen[key] = true
			if err = a.by(r).configs(kafka.OpDescribeConfigs, res.ResourceType, res.ResourceName); err == nil {
				entries, err = a.settings(img, res)
			}
		}
		if out.ErrorCode, out.ErrorMessage = a.failure(err); err == nil {
			out.ErrorMessage = new(string) // Kafka's is empty where others are null
		}
		for j := range entries {
			if len(res.ConfigurationKeys) == 0 || slices.Contains(res.ConfigurationKeys, entries[j].Name) {
				out.Configs = append(out.Configs, describedSetting(&entries[j], &req))
			}
		}
		resp.Results = append(resp.Results, out)
	}
	reply(r, &resp)
	return nil
}

// settings lists the settings of a resource.
func (a admin) settings(img *metadata.Image, res *wire.DescribeConfigsRequestResource) ([]config.Entry, error) {
	name, kind := res.ResourceName, metadata.ResourceType(res.ResourceType)
	set := img.Config(metadata.ConfigResource{Type: kind, Name: name})
	switch kind {
	case metadata.TopicResource:
		if err := metadata.ValidateTopicName(name); err != nil {
			return nil, err
		}
		t := img.Topic(name)
		if t == nil {
			return nil, kafka.UnknownTopicOrPartition
		}
		return a.o.Node().DescribeTopic(t.Config), nil
	case metadata.BrokerResource:
		if name == "" {
			return a.o.Node().DescribeCluster(), nil
		}
		if _, err := a.thisBroker(name); err != nil {
			return nil, err
		}
		return a.o.Node().Describe(), nil
	case metadata.BrokerLoggerResource:
		if _, err := a.thisBroker(name); err != nil {
			return nil, err
		}
		return a.loggers(), nil
	case metadata.ClientMetricsResource, metadata.GroupResource:
		if name == "" {
			return nil, fmt.Errorf("resources of type %s have no settings in common: name one: %w", kind, kafka.InvalidRequest)
		}
		if kind == metadata.GroupResource {
			return a.o.Node().DescribeGroup(set), nil
		}
		return config.DescribeClientMetrics(set), nil
	}
	return nil, fmt.Errorf("resource type %d has no settings here: %w", res.ResourceType, kafka.InvalidRequest)
}

// describedSetting is one setting as the request wants to see it.
func describedSetting(e *config.Entry, req *wire.DescribeConfigsRequest) wire.DescribeConfigsResponseConfig {
	out := wire.DescribeConfigsResponseConfig{
		Name: e.Name, Value: e.Value, ReadOnly: e.ReadOnly, ConfigSource: int8(e.Source),
		IsSensitive: e.Sensitive, ConfigType: int8(e.Type),
	}
	if req.IncludeSynonyms {
		for _, s := range e.Synonyms {
			out.Synonyms = append(out.Synonyms, wire.DescribeConfigsResponseSynonym{
				Name: s.Name, Value: s.Value, Source: int8(s.Source),
			})
		}
	}
	if req.IncludeDocumentation {
		out.Documentation = &e.Doc
	}
	return out
}
