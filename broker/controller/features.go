package controller

import (
	"context"
	"fmt"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// Upgrade is the kind of a change of a feature's level; the numbers are Kafka's (KIP-778).
type Upgrade int8

// The kinds.
const (
	UpgradeOnly     Upgrade = 1
	SafeDowngrade   Upgrade = 2
	UnsafeDowngrade Upgrade = 3
)

// FeatureUpdate asks for another level of a feature.
type FeatureUpdate struct {
	Name    string
	Level   int16 // 0 switches it off
	Upgrade Upgrade
}

// UpdateFeatures changes the levels of features, all or none; with validateOnly it writes
// nothing. It answers the update that is refused, -1 for none of them alone, and why:
// kafka.InvalidUpdateVersion for a level that cannot be.
// Source: Kafka's FeatureControlManager.
func (c *Controller) UpdateFeatures(ctx context.Context, updates []FeatureUpdate, validateOnly bool) (refused int, err error) {
	refused = -1
	_, err = c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		var records []metadata.Record
		for i, u := range updates {
			if err := judgeFeature(metadata.SupportedFeatures(), img.Feature(u.Name), u); err != nil {
				refused = i
				return nil, err
			}
			if u.Level != img.Feature(u.Name) {
				records = append(records, metadata.FeatureRecord{Name: u.Name, Level: u.Level})
			}
		}
		if validateOnly {
			return nil, nil
		}
		return records, nil
	})
	return refused, err
}

// judgeFeature says why a feature that stands at level now cannot be updated.
func judgeFeature(supported []metadata.Feature, now int16, u FeatureUpdate) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("level %d of feature %s: "+format+": %w", append(append([]any{u.Level, u.Name}, args...), kafka.InvalidUpdateVersion)...)
	}
	if u.Upgrade < UpgradeOnly || u.Upgrade > UnsafeDowngrade {
		return refuse("change of kind %d: want 1 to upgrade, 2 or 3 to downgrade", u.Upgrade)
	}
	i := slices.IndexFunc(supported, func(f metadata.Feature) bool { return f.Name == u.Name })
	switch {
	case u.Level < 0:
		return refuse("a level is at least 0")
	case i < 0:
		return refuse("this cluster does not know the feature")
	case u.Level != 0 && (u.Level < supported[i].Min || u.Level > supported[i].Max):
		return refuse("the brokers know levels %d to %d", supported[i].Min, supported[i].Max)
	case u.Level < now && u.Upgrade == UpgradeOnly:
		return refuse("it is at level %d, and a downgrade has to be asked for as one", now)
	case u.Level > now && u.Upgrade != UpgradeOnly:
		return refuse("it is at level %d, so this is no downgrade", now)
	}
	return nil
}
