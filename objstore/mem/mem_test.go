package mem_test

import (
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
	"github.com/varve-io/varve/objstore/mem"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Named(t, "mem"), func(*testing.T) objstore.Bucket { return mem.New() },
		objstore.Capabilities{IfAbsent: true, IfVersion: true, DeleteIf: true, Checksum: true})
}

func TestOpenSharesByName(t *testing.T) {
	a, b, other := mem.Open(t.Name()), mem.Open(t.Name()), mem.Open(t.Name()+"2")
	if _, err := a.Put(t.Context(), "k", objstore.Bytes([]byte("x")), objstore.PutOpts{}); err != nil {
		t.Fatal(err)
	}
	a.Close()
	if _, err := b.Head(t.Context(), "k"); err != nil {
		t.Errorf("the same name is another store: %v", err)
	}
	if _, err := other.Head(t.Context(), "k"); err == nil {
		t.Error("another name is the same store")
	}
}
