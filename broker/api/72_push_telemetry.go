package api

import (
	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/telemetry"
	"github.com/varve-io/varve/broker/wire"
)

// PushTelemetry, version 0: metrics of a client (KIP-714), which /metrics shows by client.id.
//
//   - The error codes are Kafka's; see telemetry.Manager.Take.
//
// Gaps: gauges and sums are kept, histograms and attributes of single values are not.
func (a admin) pushTelemetry(r *server.Request) error {
	var req wire.PushTelemetryRequest
	if err := read(r, &req); err != nil {
		return err
	}
	push := telemetry.Push{
		InstanceID: req.ClientInstanceID, SubscriptionID: req.SubscriptionID, Terminating: req.Terminating,
		Codec: batch.Codec(req.CompressionType), Metrics: req.Metrics,
	}
	client := telemetryClient(r)
	r.Go(func() {
		var resp wire.PushTelemetryResponse
		resp.Default()
		resp.ErrorCode, _ = a.failure(a.o.Telemetry.Take(push, client))
		reply(r, &resp)
	})
	return nil
}
