package api

import (
	"net"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/telemetry"
	"github.com/varve-io/varve/broker/wire"
)

// GetTelemetrySubscriptions, version 0: which metrics a client is to push (KIP-714).
//
//   - What subscriptions match is joined; without any the client is asked for nothing, and
//     asks again after five minutes. Before its interval is over it gets THROTTLING_QUOTA_EXCEEDED.
//   - Codecs are offered best first, sums as changes since the last push.
//
// Gaps: none known; Kafka serves the key only with a plugin that receives metrics.
func (a admin) getTelemetrySubscriptions(r *server.Request) error {
	var req wire.GetTelemetrySubscriptionsRequest
	if err := read(r, &req); err != nil {
		return err
	}
	var resp wire.GetTelemetrySubscriptionsResponse
	resp.Default()
	sub, err := a.o.Telemetry.Subscribe(req.ClientInstanceID, telemetryClient(r))
	if resp.ErrorCode, _ = a.failure(err); err == nil {
		resp.ClientInstanceID, resp.SubscriptionID, resp.PushIntervalMs = sub.InstanceID, sub.ID, sub.IntervalMs
		resp.TelemetryMaxBytes, resp.DeltaTemporality, resp.RequestedMetrics = telemetry.MaxPushBytes, true, sub.Metrics
		resp.AcceptedCompressionTypes = []int8{int8(batch.Zstd), int8(batch.LZ4), int8(batch.Gzip), int8(batch.Snappy)}
	}
	reply(r, &resp)
	return nil
}

// telemetryClient is who a request comes from.
func telemetryClient(r *server.Request) telemetry.Client {
	said := peerOf(r.Conn).software
	c := telemetry.Client{ID: r.Header.ClientID, SoftwareName: said.name, SoftwareVersion: said.version}
	c.Host, c.Port, _ = net.SplitHostPort(r.Conn.RemoteAddr().String())
	return c
}
