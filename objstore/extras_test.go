package objstore_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/classes"
	"github.com/varve-io/varve/objstore/mem"
	"github.com/varve-io/varve/objstore/metered"
	"github.com/varve-io/varve/objstore/prefix"
	"github.com/varve-io/varve/objstore/ratelimit"
)

// full has every optional interface, and notes what it is asked for.
type full struct {
	objstore.Bucket
	calls []string
	err   error
}

func (f *full) note(s ...string) error {
	f.calls = append(f.calls, strings.Join(s, " "))
	return f.err
}

func (f *full) DeleteIf(_ context.Context, key string, v objstore.Version) error {
	return f.note("delete", key, string(v))
}

func (f *full) SweepUploads(_ context.Context, prefix string, age time.Duration) (int, error) {
	return 3, f.note("sweep", prefix, age.String())
}

func (f *full) SetClass(_ context.Context, key string, class objstore.Class) error {
	return f.note("class", key, string(class))
}

func (f *full) Restore(_ context.Context, key string, _ int) error { return f.note("restore", key) }

func (f *full) Tags(_ context.Context, key string) (map[string]string, error) {
	return map[string]string{"a": "b"}, f.note("tags", key)
}

func (f *full) SetTags(_ context.Context, key string, _ map[string]string) error {
	return f.note("settags", key)
}

func (f *full) CustomTime(_ context.Context, key string) (time.Time, error) {
	return time.Time{}, f.note("time", key)
}

func (f *full) SetCustomTime(_ context.Context, key string, _ time.Time) error {
	return f.note("settime", key)
}

func (f *full) Settings(context.Context) (objstore.BucketSettings, error) {
	return objstore.BucketSettings{Versioning: true}, f.note("settings")
}

func (f *full) LifecycleRules(context.Context) ([]objstore.LifecycleRule, error) {
	return []objstore.LifecycleRule{{ID: "x"}}, f.note("rules")
}

func (f *full) ApplyLifecycle(context.Context, []objstore.LifecycleRule) error {
	return f.note("apply")
}

func (f *full) RenderLifecycle([]objstore.LifecycleRule) ([]byte, string, error) {
	return []byte("{}"), "run", f.note("render")
}

// all are the optional interfaces together: what a wrapper has.
type all interface {
	objstore.Bucket
	objstore.ConditionalDeleter
	objstore.Sweeper
	objstore.ClassSetter
	objstore.Restorer
	objstore.Tagger
	objstore.Timer
	objstore.Inspector
	objstore.LifecycleReader
	objstore.LifecycleWriter
	objstore.LifecycleRenderer
}

// ask calls every optional method and returns their errors.
func ask(ctx context.Context, b all) []error {
	_, sweep := b.SweepUploads(ctx, "k", time.Hour)
	tags, terr := b.Tags(ctx, "k")
	settings, serr := b.Settings(ctx)
	rules, rerr := b.LifecycleRules(ctx)
	doc, _, derr := b.RenderLifecycle(nil)
	_, cerr := b.CustomTime(ctx, "k")
	if terr == nil && (tags["a"] != "b" || !settings.Versioning || len(rules) != 1 || string(doc) != "{}") {
		terr = errors.New("another answer than the store's")
	}
	return []error{
		b.DeleteIf(ctx, "k", "v"), sweep, b.SetClass(ctx, "k", "COLD"), b.Restore(ctx, "k", 1), terr, b.SetTags(ctx, "k", nil),
		serr, rerr, b.ApplyLifecycle(ctx, nil), derr, cerr, b.SetCustomTime(ctx, "k", time.Time{}),
	}
}

// Each wrapper passes every optional interface through, with its own keys, and says so where there is
// nothing behind it.
func TestWrappersPassOptionalInterfaces(t *testing.T) {
	wrap := map[string]func(objstore.Bucket) (all, error){
		"metered":   func(b objstore.Bucket) (all, error) { return metered.Wrap(b, "s3", prometheus.NewRegistry()) },
		"prefix":    func(b objstore.Bucket) (all, error) { return prefix.Wrap(b, "root") },
		"ratelimit": func(b objstore.Bucket) (all, error) { return ratelimit.Wrap(b, 0, 0), nil },
		"classes":   func(b objstore.Bucket) (all, error) { return classes.Wrap(b, nil) },
	}
	for name, wrap := range wrap {
		behind := &full{Bucket: mem.New()}
		w, err := wrap(behind)
		if err != nil {
			t.Fatal(err)
		}
		for i, err := range ask(t.Context(), w) {
			if err != nil {
				t.Errorf("%s, call %d: %v", name, i, err)
			}
		}
		key := "k"
		if name == "prefix" {
			key = "root/k"
		}
		want := []string{"apply", "class " + key + " COLD", "delete " + key + " v", "render", "restore " + key, "rules", "settags " + key, "settime " + key, "settings", "sweep " + key + " 1h0m0s", "tags " + key, "time " + key}
		if slices.Sort(behind.calls); !slices.Equal(behind.calls, want) {
			t.Errorf("%s: behind it %q, want %q", name, behind.calls, want)
		}
		behind.err = objstore.NewError(objstore.ErrAccessDenied, "x", "root/k", nil)
		for i, err := range ask(t.Context(), w) {
			if !errors.Is(err, objstore.ErrAccessDenied) {
				t.Errorf("%s, call %d of one that refuses: %v", name, i, err)
			}
		}
		if w, err = wrap(struct{ objstore.Bucket }{mem.New()}); err != nil {
			t.Fatal(err)
		}
		for i, err := range ask(t.Context(), w) {
			if sweep := i == 1; sweep != (err == nil) || !sweep && !errors.Is(err, objstore.ErrUnsupported) {
				t.Errorf("%s, call %d of one without: %v", name, i, err)
			}
		}
	}
}
