package api

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// Kinds of endpoints that a client may ask for (KIP-919).
const (
	endpointBrokers     int8 = 1
	endpointControllers int8 = 2
)

// DescribeCluster, versions 0 to 2: the brokers and the controller.
//
//   - Endpoints are those of the listener that the request came in on.
//   - 1: controllers may be asked for, which is refused here: they share the brokers'
//     processes and have no listener of their own (KIP-919). 2: fenced brokers (KIP-1073).
//
// Gaps: none known.
func (a *API) describeCluster(r *server.Request) error {
	var req wire.DescribeClusterRequest
	if err := read(r, &req); err != nil {
		return err
	}
	img, listener := a.o.Cluster.Image(), r.Conn.Listener()
	var resp wire.DescribeClusterResponse
	resp.Default()
	switch req.EndpointType {
	case endpointBrokers:
	case endpointControllers:
		resp.ErrorCode, resp.ErrorMessage = a.failure(kafka.MismatchedEndpointType)
	default:
		resp.ErrorCode, resp.ErrorMessage = a.failure(kafka.UnsupportedEndpointType)
	}
	if resp.ErrorCode != int16(kafka.NoError) {
		reply(r, &resp)
		return nil
	}
	resp.ClusterID = img.ClusterID()
	resp.ControllerID = a.controllerID(img, listener)
	for b := range img.Brokers() {
		if b.Fenced && !req.IncludeFencedBrokers {
			continue
		}
		for _, e := range b.Endpoints {
			if e.Name == listener {
				resp.Brokers = append(resp.Brokers, wire.DescribeClusterResponseBroker{
					BrokerID: b.ID, Host: e.Host, Port: e.Port, Rack: optional(b.Rack), IsFenced: b.Fenced,
				})
			}
		}
	}
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = a.by(r).clusterOperations()
	}
	reply(r, &resp)
	return nil
}
