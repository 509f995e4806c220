package check

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varve-io/varve/objstore"
)

// deleteRace deletes and overwrites one version at the same time, with the delete a little later
// each round, over the time that a put takes: one of the two at most may succeed. It finds the
// store that ignores the condition of a delete, which a provider that looks first would hide.
func (r *run) deleteRace(d objstore.ConditionalDeleter) error {
	const rounds = 24
	var lasts time.Duration
	for i := range rounds {
		key := r.key("deleterace")
		begun := time.Now()
		first, err := r.put(key, fill('a', 10), objstore.PutOpts{})
		if err != nil {
			return err
		}
		lasts = max(lasts, time.Since(begun))
		var deleted, swapped error
		var wg sync.WaitGroup
		wg.Go(func() { _, swapped = r.put(key, fill('b', 10), objstore.PutOpts{IfVersion: first.Version}) })
		wg.Go(func() {
			pause := time.NewTimer(lasts * time.Duration(i) / rounds)
			defer pause.Stop()
			<-pause.C
			deleted = d.DeleteIf(r.ctx, key, first.Version)
		})
		wg.Wait()
		if deleted == nil && swapped == nil {
			return errSetting{"a delete and an overwrite of the same version have both succeeded", "the store does not keep the condition of a delete; Varve itself deletes only what nobody writes again"}
		}
	}
	return nil
}

// swapRace has writers replace one version, in parts.
func (r *run) swapRace() (string, error) {
	const writers, size = 4, 2*partSize + 1
	key := r.key("swaprace")
	first, err := r.put(key, fill('z', size), objstore.PutOpts{})
	if err != nil {
		return "", err
	}
	var won atomic.Int64
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			_, err := r.put(key, fill(byte('a'+i), size), objstore.PutOpts{IfVersion: first.Version})
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, objstore.ErrPrecondition):
				errs[i] = err
			}
		})
	}
	wg.Wait()
	if won.Load() > 1 {
		return "", errNot(fmt.Sprintf("%d of %d writers replaced the same version", won.Load(), writers))
	}
	return "", errors.Join(errs...)
}
