package azure

import (
	"context"
	"errors"

	"github.com/varve-io/varve/objstore"
)

// Settings implements objstore.Inspector. Whether versions are kept is a setting of the account
// that the data plane does not tell.
func (b *Bucket) Settings(ctx context.Context) (objstore.BucketSettings, error) {
	var s objstore.BucketSettings
	err := b.do(ctx, "settings", "", b.conf.Read, func(ctx context.Context) error {
		out, err := b.client.GetProperties(ctx, nil)
		if err != nil {
			return err
		}
		switch {
		case value(out.HasLegalHold):
			s.Locked = "a legal hold"
		case value(out.HasImmutabilityPolicy):
			s.Locked = "an immutability policy"
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	err = b.do(ctx, "settings", "", b.conf.Read, func(ctx context.Context) error {
		out, err := b.client.GetAccountInfo(ctx, nil)
		if err == nil {
			s.Hierarchical = value(out.IsHierarchicalNamespaceEnabled)
		}
		return err
	})
	if errors.Is(err, objstore.ErrUnsupported) {
		err = nil
	}
	return s, err
}
