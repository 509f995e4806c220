package api

import (
	"context"
	"time"

	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// UpdateFeatures, versions 0 to 2: changes the finalized levels of features (KIP-584), all of
// them or none.
//
//   - A feature or a level that the brokers do not know gets INVALID_UPDATE_VERSION.
//   - 0 and 1: a result for each feature. 1: kinds of downgrade, validate only (KIP-778).
//
// Gaps: metadata.version and kraft.version are not known; they speak of Kafka's own records.
func (a admin) updateFeatures(r *server.Request) error {
	var req wire.UpdateFeaturesRequest
	if err := read(r, &req); err != nil {
		return err
	}
	updates := make([]controller.FeatureUpdate, len(req.FeatureUpdates))
	for i, u := range req.FeatureUpdates {
		updates[i] = controller.FeatureUpdate{Name: u.Feature, Level: u.MaxVersionLevel, Upgrade: controller.Upgrade(u.UpgradeType)}
		if r.Header.Version == 0 && u.AllowDowngrade {
			updates[i].Upgrade = controller.SafeDowngrade
		}
	}
	denied := a.by(r).cluster(kafka.OpAlter)
	r.Go(func() {
		ctx, cancel := context.WithTimeout(r.Ctx, time.Duration(max(req.TimeoutMs, 0))*time.Millisecond)
		defer cancel()
		var resp wire.UpdateFeaturesResponse
		resp.Default()
		err := denied
		if err == nil {
			_, err = a.o.Cluster.UpdateFeatures(ctx, updates, req.ValidateOnly)
			for _, u := range updates {
				if !req.ValidateOnly {
					a.by(r).did(err, "feature", u.Name, "level", u.Level)
				}
			}
		}
		if resp.ErrorCode, resp.ErrorMessage = a.failure(err); err == nil {
			for i := range updates {
				resp.Results = append(resp.Results, wire.UpdateFeaturesResponseResult{Feature: updates[i].Name})
			}
		}
		reply(r, &resp)
	})
	return nil
}
