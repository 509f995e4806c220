package file_test

import (
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
	"github.com/varve-io/varve/objstore/file"
)

func open(t *testing.T, dir string) *file.Bucket {
	t.Helper()
	b, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Named(t, "file"), func(t *testing.T) objstore.Bucket { return open(t, t.TempDir()) },
		objstore.Capabilities{IfAbsent: true, IfVersion: true, DeleteIf: true, Checksum: true, Shared: true, Durable: true})
}
