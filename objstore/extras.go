package objstore

import (
	"context"
	"time"
)

// Extras passes the optional interfaces of a Bucket through a wrapper that embeds it. What the
// Bucket behind does not have is ErrUnsupported, but for SweepUploads: where nothing unfinished is
// kept there is nothing to sweep. It is as safe for concurrent use as that Bucket.
type Extras struct {
	// Behind is the Bucket that is wrapped.
	Behind Bucket
	// Around runs each call, which takes the key as Behind knows it; nil runs it as it is. The op is
	// that of errors; key is a prefix for "sweep", and "" for "settings" and "lifecycle", which are of
	// the whole bucket.
	Around func(op, key string, call func(key string) error) error
}

func (x *Extras) around(op, key string, call func(key string) error) error {
	if x.Around == nil {
		return call(key)
	}
	return x.Around(op, key, call)
}

// through runs a call on one of the optional interfaces.
func through[T any](x *Extras, op, key string, call func(t T, key string) error) error {
	t, err := Optional[T](x.Behind, op, key)
	if err != nil {
		return err
	}
	return x.around(op, key, func(key string) error { return call(t, key) })
}

// DeleteIf implements ConditionalDeleter.
func (x *Extras) DeleteIf(ctx context.Context, key string, v Version) error {
	return through(x, "delete", key, func(d ConditionalDeleter, key string) error { return d.DeleteIf(ctx, key, v) })
}

// SweepUploads implements Sweeper.
func (x *Extras) SweepUploads(ctx context.Context, prefix string, age time.Duration) (n int, err error) {
	if _, ok := x.Behind.(Sweeper); !ok {
		return 0, nil
	}
	err = through(x, "sweep", prefix, func(s Sweeper, prefix string) error {
		n, err = s.SweepUploads(ctx, prefix, age)
		return err
	})
	return n, err
}

// SetClass implements ClassSetter.
func (x *Extras) SetClass(ctx context.Context, key string, class Class) error {
	return through(x, "set class", key, func(s ClassSetter, key string) error { return s.SetClass(ctx, key, class) })
}

// Restore implements Restorer.
func (x *Extras) Restore(ctx context.Context, key string, days int) error {
	return through(x, "restore", key, func(r Restorer, key string) error { return r.Restore(ctx, key, days) })
}

// Tags implements Tagger.
func (x *Extras) Tags(ctx context.Context, key string) (tags map[string]string, err error) {
	err = through(x, "tags", key, func(t Tagger, key string) error {
		tags, err = t.Tags(ctx, key)
		return err
	})
	return tags, err
}

// SetTags implements Tagger.
func (x *Extras) SetTags(ctx context.Context, key string, tags map[string]string) error {
	return through(x, "set tags", key, func(t Tagger, key string) error { return t.SetTags(ctx, key, tags) })
}

// CustomTime implements Timer.
func (x *Extras) CustomTime(ctx context.Context, key string) (at time.Time, err error) {
	err = through(x, "custom time", key, func(t Timer, key string) error {
		at, err = t.CustomTime(ctx, key)
		return err
	})
	return at, err
}

// SetCustomTime implements Timer.
func (x *Extras) SetCustomTime(ctx context.Context, key string, at time.Time) error {
	return through(x, "set custom time", key, func(t Timer, key string) error { return t.SetCustomTime(ctx, key, at) })
}

// Settings implements Inspector.
func (x *Extras) Settings(ctx context.Context) (s BucketSettings, err error) {
	err = through(x, "settings", "", func(i Inspector, _ string) error {
		s, err = i.Settings(ctx)
		return err
	})
	return s, err
}

// LifecycleRules implements LifecycleReader. Their prefixes are of the whole bucket, whatever part of
// it the wrapper shows.
func (x *Extras) LifecycleRules(ctx context.Context) (rules []LifecycleRule, err error) {
	err = through(x, "lifecycle", "", func(l LifecycleReader, _ string) error {
		rules, err = l.LifecycleRules(ctx)
		return err
	})
	return rules, err
}

// ApplyLifecycle implements LifecycleWriter.
func (x *Extras) ApplyLifecycle(ctx context.Context, rules []LifecycleRule) error {
	return through(x, "lifecycle", "", func(l LifecycleWriter, _ string) error { return l.ApplyLifecycle(ctx, rules) })
}

// RenderLifecycle implements LifecycleRenderer.
func (x *Extras) RenderLifecycle(rules []LifecycleRule) ([]byte, string, error) {
	r, err := Optional[LifecycleRenderer](x.Behind, "lifecycle", "")
	if err != nil {
		return nil, "", err
	}
	return r.RenderLifecycle(rules)
}
