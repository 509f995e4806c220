package prefix_test

import (
	"errors"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
	"github.com/varve-io/varve/objstore/mem"
	"github.com/varve-io/varve/objstore/prefix"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Server{}, func(t *testing.T) objstore.Bucket {
		b := mem.New()
		for _, key := range []string{"below/a", "below/root-1", "below/root0/x", "root/a"} {
			if _, err := b.Put(t.Context(), key, objstore.Bytes([]byte("not ours")), objstore.PutOpts{}); err != nil {
				t.Fatal(err)
			}
		}
		p, err := prefix.Wrap(b, "below/root")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}, mem.New().Capabilities())
}

func TestKeysOfErrors(t *testing.T) {
	p, err := prefix.Wrap(mem.New(), "root")
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Head(t.Context(), "k")
	var e *objstore.Error
	if !errors.As(err, &e) || e.Key != "k" {
		t.Errorf("%v names the key of the bucket behind", err)
	}
	if _, err := prefix.Wrap(mem.New(), "../x"); !errors.Is(err, objstore.ErrInvalid) {
		t.Errorf("a root that is no key: %v", err)
	}
}
