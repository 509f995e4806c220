package api

import (
	"strconv"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// UnregisterBroker, version 0: takes a broker that is gone out of the cluster (KIP-631).
//
// Gaps: the broker that answers cannot be removed; in Kafka it can, and is fenced then.
func (a admin) unregisterBroker(r *server.Request) error {
	var req wire.UnregisterBrokerRequest
	if err := read(r, &req); err != nil {
		return err
	}
	denied := a.by(r).cluster(kafka.OpAlter)
	r.Go(func() {
		var resp wire.UnregisterBrokerResponse
		resp.Default()
		err := denied
		if err == nil {
			err = a.o.Cluster.UnregisterBroker(r.Ctx, req.BrokerID)
			a.by(r).did(err, "broker", strconv.Itoa(int(req.BrokerID)))
		}
		resp.ErrorCode, resp.ErrorMessage = a.failure(err)
		reply(r, &resp)
	})
	return nil
}
