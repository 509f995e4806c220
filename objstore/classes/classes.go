// Package classes gives the storage classes of a Bucket names of one's own, so that a policy can say
// "warm" of several stores and each knows what that is there.
//
// It owns the map from those names to the provider's and its syntax in a URL, and nothing else: what
// the store tells of an object keeps the provider's own name. It is as safe for concurrent use as the
// Bucket behind it.
package classes

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/varve-io/varve/objstore"
)

// Bucket is another one with names for its classes, and with its optional interfaces.
type Bucket struct {
	objstore.Bucket
	*objstore.Extras
	names map[objstore.Class]objstore.Class
}

// name is what a class may be called: no provider's own names look so.
var name = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// Parse reads "warm:STANDARD_IA,cold:GLACIER_IR".
func Parse(s string) (map[objstore.Class]objstore.Class, error) {
	names := make(map[objstore.Class]objstore.Class)
	for pair := range strings.SplitSeq(s, ",") {
		own, class, ok := strings.Cut(pair, ":")
		switch {
		case !ok || class == "":
			return nil, fmt.Errorf("classes are written name:CLASS,name:CLASS, not %q", pair)
		case !name.MatchString(own):
			return nil, fmt.Errorf("a class is called by small letters, digits and '-', not %q", own)
		case names[objstore.Class(own)] != "":
			return nil, fmt.Errorf("class %q is given twice", own)
		}
		names[objstore.Class(own)] = objstore.Class(class)
	}
	return names, nil
}

// Wrap is b with these names, each for a class that b has, online or offline; another class is an error.
func Wrap(b objstore.Bucket, names map[objstore.Class]objstore.Class) (*Bucket, error) {
	caps := b.Capabilities()
	for _, own := range slices.Sorted(maps.Keys(names)) {
		if caps.CheckClass("open", "", names[own]) != nil {
			return nil, fmt.Errorf("classes: %q is to be %s, and the store has %v, and to be restored first %v", own, names[own], caps.Classes, caps.Offline)
		}
	}
	return &Bucket{Bucket: b, Extras: &objstore.Extras{Behind: b}, names: names}, nil
}

// class is the provider's own name.
func (b *Bucket) class(c objstore.Class) objstore.Class {
	if own, ok := b.names[c]; ok {
		return own
	}
	return c
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	o.Class = b.class(o.Class)
	return b.Bucket.Put(ctx, key, src, o)
}

// SetClass implements objstore.ClassSetter.
func (b *Bucket) SetClass(ctx context.Context, key string, class objstore.Class) error {
	return b.Extras.SetClass(ctx, key, b.class(class))
}

func (b *Bucket) rules(rules []objstore.LifecycleRule) []objstore.LifecycleRule {
	rules = slices.Clone(rules)
	for i := range rules {
		rules[i].Class = b.class(rules[i].Class)
	}
	return rules
}

// ApplyLifecycle implements objstore.LifecycleWriter.
func (b *Bucket) ApplyLifecycle(ctx context.Context, rules []objstore.LifecycleRule) error {
	return b.Extras.ApplyLifecycle(ctx, b.rules(rules))
}

// RenderLifecycle implements objstore.LifecycleRenderer.
func (b *Bucket) RenderLifecycle(rules []objstore.LifecycleRule) ([]byte, string, error) {
	return b.Extras.RenderLifecycle(b.rules(rules))
}

// Capabilities implements objstore.Bucket.
func (b *Bucket) Capabilities() objstore.Capabilities {
	caps := b.Bucket.Capabilities()
	caps.ClassNames = maps.Clone(b.names)
	return caps
}
