package classes

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/mem"
)

// three is a store with two online classes and an offline one, which notes what it is told.
type three struct {
	objstore.Bucket
	told []objstore.Class
}

func (s *three) Capabilities() objstore.Capabilities {
	caps := s.Bucket.Capabilities()
	caps.Classes, caps.Offline = []objstore.Class{"STANDARD", "COOL"}, []objstore.Class{"DEEP"}
	return caps
}

func (s *three) Put(_ context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	s.told = append(s.told, o.Class)
	return objstore.Attrs{}, objstore.CheckPut(key, src, o, s.Capabilities())
}

func (s *three) SetClass(_ context.Context, key string, class objstore.Class) error {
	s.told = append(s.told, class)
	return s.Capabilities().CheckClass("set class", key, class)
}

func (s *three) ApplyLifecycle(_ context.Context, rules []objstore.LifecycleRule) error {
	s.told = append(s.told, rules[0].Class)
	return nil
}

func (s *three) RenderLifecycle(rules []objstore.LifecycleRule) ([]byte, string, error) {
	s.told = append(s.told, rules[0].Class)
	return nil, "", nil
}

func TestNames(t *testing.T) {
	names, err := Parse("warm:COOL,frozen:DEEP")
	if err != nil {
		t.Fatal(err)
	}
	s := &three{Bucket: mem.New()}
	b, err := Wrap(s, names)
	if err != nil {
		t.Fatal(err)
	}
	src, rules := objstore.Bytes([]byte("x")), []objstore.LifecycleRule{{Class: "frozen"}}
	for _, class := range []objstore.Class{"warm", "COOL", ""} {
		if _, err := b.Put(t.Context(), "k", src, objstore.PutOpts{Class: class}); err != nil {
			t.Error(err)
		}
	}
	// What is offline can't be written to at once, by no name; what is unknown stays so.
	for _, class := range []objstore.Class{"frozen", "hot"} {
		if _, err := b.Put(t.Context(), "k", src, objstore.PutOpts{Class: class}); !errors.Is(err, objstore.ErrUnsupported) {
			t.Errorf("put in %s: %v", class, err)
		}
	}
	_, _, rerr := b.RenderLifecycle(rules)
	if err := errors.Join(b.SetClass(t.Context(), "k", "frozen"), b.ApplyLifecycle(t.Context(), rules), rerr); err != nil {
		t.Error(err)
	}
	want := []objstore.Class{"COOL", "COOL", "", "DEEP", "hot", "DEEP", "DEEP", "DEEP"}
	if len(s.told) != len(want) {
		t.Fatalf("the store was told %q", s.told)
	}
	for i := range want {
		if s.told[i] != want[i] {
			t.Errorf("the store was told %q, want %q", s.told[i], want[i])
		}
	}
	if rules[0].Class != "frozen" {
		t.Error("the caller's rules were changed")
	}
	caps := b.Capabilities()
	if caps.ClassNames["warm"] != "COOL" || !caps.Supports("warm") || caps.Supports("frozen") || caps.Supports("hot") || caps.CheckClass("c", "k", "frozen") != nil {
		t.Errorf("capabilities %+v", caps)
	}
}

func TestBadNames(t *testing.T) {
	for s, says := range map[string]string{
		"warm": "name:CLASS", "warm:": "name:CLASS", "Warm:COOL": "small letters", ":COOL": "small letters", "": "name:CLASS", "a:COOL,a:COOL": "twice",
	} {
		if _, err := Parse(s); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if _, err := Wrap(&three{Bucket: mem.New()}, map[objstore.Class]objstore.Class{"warm": "COOOL"}); err == nil || !strings.Contains(err.Error(), "[STANDARD COOL]") || !strings.Contains(err.Error(), "[DEEP]") {
		t.Errorf("an unknown class: %v", err)
	}
}
