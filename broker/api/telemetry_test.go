package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/kafka"
)

// TestTelemetry: a client learns what to push and pushes; what it said of itself in ApiVersions
// decides which subscriptions match.
func TestTelemetry(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	c.alter(0, alterReq(ofMetrics, "m", opSet, "metrics", "org.apache", opSet, "interval.ms", "100", opSet, "match", "client_software_name=test-client,client_id=test"))
	get := func(c *client) *kmsg.GetTelemetrySubscriptionsResponse {
		return ask[*kmsg.GetTelemetrySubscriptionsResponse](c, 0, kmsg.NewPtrGetTelemetrySubscriptionsRequest())
	}
	if sub := get(c); sub.ErrorCode != 0 || len(sub.RequestedMetrics) != 0 || sub.PushIntervalMillis != 300_000 {
		t.Errorf("a client of no name: %+v", sub)
	}
	ask[*kmsg.ApiVersionsResponse](c, 4, apiVersions("test-client", "1"))
	sub := get(c)
	if sub.ErrorCode != 0 || len(sub.RequestedMetrics) != 1 || sub.RequestedMetrics[0] != "org.apache" || sub.PushIntervalMillis != 100 || !sub.DeltaTemporality ||
		sub.TelemetryMaxBytes != 1<<20 || len(sub.AcceptedCompressionTypes) != 4 || sub.ClientInstanceID == [16]byte{} {
		t.Errorf("%+v", sub)
	}
	push := kmsg.NewPtrPushTelemetryRequest()
	push.ClientInstanceID, push.SubscriptionID = sub.ClientInstanceID, sub.SubscriptionID+1
	if resp := ask[*kmsg.PushTelemetryResponse](c, 0, push); kafka.Error(resp.ErrorCode) != kafka.UnknownSubscriptionID {
		t.Errorf("another subscription: %+v", resp)
	}
	again := kmsg.NewPtrGetTelemetrySubscriptionsRequest()
	again.ClientInstanceID = sub.ClientInstanceID
	if resp := ask[*kmsg.GetTelemetrySubscriptionsResponse](c, 0, again); resp.ErrorCode != 0 || resp.SubscriptionID != sub.SubscriptionID {
		t.Errorf("asked again after that: %+v", resp)
	}
	push.SubscriptionID = sub.SubscriptionID
	push.Metrics = []byte{0x0a, 0x00} // MetricsData with nothing in it
	if resp := ask[*kmsg.PushTelemetryResponse](c, 0, push); resp.ErrorCode != 0 {
		t.Errorf("push: %+v", resp)
	}
	if resp := ask[*kmsg.PushTelemetryResponse](c, 0, push); kafka.Error(resp.ErrorCode) != kafka.ThrottlingQuotaExceeded {
		t.Errorf("push before its time: %+v", resp)
	}
}
