package controller

import (
	"errors"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// TestA4FeatureLevels: which changes of a feature's level are allowed.
func TestA4FeatureLevels(t *testing.T) {
	supported := []metadata.Feature{{Name: "some.version", Min: 1, Max: 3}}
	for _, tt := range []struct {
		name  string
		now   int16
		level int16
		kind  Upgrade
		ok    bool
	}{
		{"some.version", 0, 1, UpgradeOnly, true}, {"some.version", 1, 3, UpgradeOnly, true}, {"some.version", 1, 1, UpgradeOnly, true}, {"some.version", 1, 4, UpgradeOnly, false},
		{"some.version", 3, 2, UpgradeOnly, false}, {"some.version", 3, 2, SafeDowngrade, true}, {"some.version", 3, 0, UnsafeDowngrade, true}, {"some.version", 1, 2, SafeDowngrade, false},
		{"some.version", 1, -1, SafeDowngrade, false}, {"some.version", 1, 2, 0, false}, {"some.version", 1, 2, 4, false}, {"other.version", 0, 1, UpgradeOnly, false}, {"other.version", 0, 0, SafeDowngrade, false},
	} {
		err := judgeFeature(supported, tt.now, FeatureUpdate{Name: tt.name, Level: tt.level, Upgrade: tt.kind})
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, kafka.InvalidUpdateVersion) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}
