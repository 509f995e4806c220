package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varve-io/varve/objstore"
)

// ErrBroken is a promise that a store does not keep: two brokers would overwrite each other's data.
var ErrBroken = errors.New("the store breaks a promise that Varve relies on")

// Promises is the short form of Run, for each start of a broker: six small requests below a prefix
// of its own, which try what no broker can do without, create-only writes and compare-and-swap. Its
// error is ErrBroken, with what the store did, or else what kept the trial from being made, which
// says nothing about the store: one that is out of reach heals.
func Promises(ctx context.Context, b objstore.Bucket, prefix string) error {
	keys := []string{prefix + "/create", prefix + "/swap"}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		// What stays behind is a few bytes, and the caller is told of a store that takes no deletes
		// when it matters.
		_ = b.Delete(ctx, keys...)
	}()
	put := func(key string, letter byte, o objstore.PutOpts) (objstore.Attrs, error) {
		return b.Put(ctx, key, objstore.Bytes(fill(letter, 100)), o)
	}
	if _, err := put(keys[0], 'a', objstore.PutOpts{IfAbsent: true}); err != nil {
		return err
	}
	if _, err := put(keys[0], 'b', objstore.PutOpts{IfAbsent: true}); !errors.Is(err, objstore.ErrPrecondition) {
		return broken(err, "an object that exists was created again")
	}
	first, err := put(keys[1], 'a', objstore.PutOpts{})
	if err != nil {
		return err
	}
	if _, err := put(keys[1], 'b', objstore.PutOpts{IfVersion: first.Version}); err != nil {
		return err
	}
	if _, err := put(keys[1], 'c', objstore.PutOpts{IfVersion: first.Version}); !errors.Is(err, objstore.ErrPrecondition) {
		return broken(err, "a write under an old version went through")
	}
	return nil
}

// broken is the verdict on a write that had to be refused.
func broken(err error, what string) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", ErrBroken, what)
}

// Advice is the next step after an error of Promises or of any other operation; "" is none.
func Advice(err error) string {
	if errors.Is(err, ErrBroken) {
		return "take another store, or a newer version of it; 'varve store check URL' shows all that it can do"
	}
	return advice("", err)
}
