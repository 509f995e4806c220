package metered_test

import (
	"io"
	"math"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/conformance"
	"github.com/varve-io/varve/objstore/mem"
	"github.com/varve-io/varve/objstore/metered"
)

func open(t *testing.T, scheme string) (*metered.Bucket, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	b, err := metered.Wrap(mem.Open(objstore.NewToken()), scheme, reg)
	if err != nil {
		t.Fatal(err)
	}
	return b, reg
}

// Nothing that passes through is changed.
func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Named(t, "mem"), func(t *testing.T) objstore.Bucket { b, _ := open(t, "mem"); return b }, mem.Open("caps").Capabilities())
}

func TestWhatIsCounted(t *testing.T) {
	b, reg := open(t, "s3")
	ctx := t.Context()
	content := make([]byte, 3000)
	if _, err := b.Put(ctx, "k", objstore.Bytes(content), objstore.PutOpts{PartSize: 1000}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.GetRange(ctx, "k", 0, make([]byte, 100), ""); err != nil {
		t.Fatal(err)
	}
	r, _, err := b.Open(ctx, "k", 0, 50, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := b.Head(ctx, "missing"); err == nil {
		t.Fatal("a missing object was found")
	}
	want := map[string]float64{
		`varve_objstore_requests_total{op="put",outcome="ok"}`:         1,
		`varve_objstore_requests_total{op="head",outcome="not_found"}`: 1,
		`varve_objstore_bytes_total{direction="written"}`:              3000,
		`varve_objstore_bytes_total{direction="read"}`:                 150,
		`varve_objstore_cost_dollars_total{op="put"}`:                  5 * 0.005 / 1000,
		`varve_objstore_cost_dollars_total{op="get"}`:                  0.0004 / 1000,
	}
	got := map[string]float64{}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetCounter() == nil {
				continue
			}
			name := f.GetName() + "{"
			for i, l := range m.GetLabel() {
				if i > 0 {
					name += ","
				}
				name += l.GetName() + `="` + l.GetValue() + `"`
			}
			got[name+"}"] = m.GetCounter().GetValue()
		}
	}
	for name, v := range want {
		if math.Abs(got[name]-v) > 1e-12 {
			t.Errorf("%s is %v, want %v", name, got[name], v)
		}
	}
	if n := testutil.CollectAndCount(reg, "varve_objstore_request_seconds"); n != 4 {
		t.Errorf("%d operations are timed, want 4", n)
	}
}
