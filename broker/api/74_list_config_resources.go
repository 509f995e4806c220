package api

import (
	"slices"
	"strconv"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// ListConfigResources, versions 0 to 1: the things that have settings.
//
//   - 0: subscriptions to client metrics only (KIP-714, ListClientMetricsResources).
//   - 1: any type, or all of them (KIP-1142): every topic and broker, and the groups and
//     subscriptions that have settings. An unknown type gets UNSUPPORTED_VERSION.
//
// Gaps: none known.
func (a admin) listConfigResources(r *server.Request) error {
	var req wire.ListConfigResourcesRequest
	if err := read(r, &req); err != nil {
		return err
	}
	known := []metadata.ResourceType{metadata.TopicResource, metadata.BrokerResource, metadata.BrokerLoggerResource, metadata.ClientMetricsResource, metadata.GroupResource}
	wanted := known
	if r.Header.Version == 0 {
		wanted = []metadata.ResourceType{metadata.ClientMetricsResource}
	} else if len(req.ResourceTypes) > 0 {
		wanted = nil
		for _, t := range req.ResourceTypes {
			wanted = append(wanted, metadata.ResourceType(t))
		}
	}
	var resp wire.ListConfigResourcesResponse
	resp.Default()
	add := func(t metadata.ResourceType, name string) {
		if slices.Contains(wanted, t) {
			resp.ConfigResources = append(resp.ConfigResources, wire.ListConfigResourcesResponseResource{ResourceName: name, ResourceType: int8(t)})
		}
	}
	if err := a.by(r).cluster(kafka.OpDescribeConfigs); err != nil {
		resp.ErrorCode = int16(kafka.Code(err))
		reply(r, &resp)
		return nil
	}
	if slices.ContainsFunc(wanted, func(t metadata.ResourceType) bool { return !slices.Contains(known, t) }) {
		resp.ErrorCode = int16(kafka.UnsupportedVersion)
		reply(r, &resp)
		return nil
	}
	img := a.o.Cluster.Image()
	for t := range img.Topics() {
		add(metadata.TopicResource, t.Name)
	}
	for b := range img.Brokers() {
		name := strconv.FormatInt(int64(b.ID), 10)
		add(metadata.BrokerResource, name)
		add(metadata.BrokerLoggerResource, name)
	}
	for res := range img.ConfigResources() {
		if res.Type != metadata.BrokerResource {
			add(res.Type, res.Name)
		}
	}
	reply(r, &resp)
	return nil
}
