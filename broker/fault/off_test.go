//go:build !varvefault && !varveplanted

package fault_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/fault"
)

// TestPointsVanish asks the compiler: what it inlines from an empty body is nothing.
func TestPointsVanish(t *testing.T) {
	out, err := exec.Command("go", "build", "-gcflags=-m=2", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, want := range []string{
		"can inline Point with cost 0 as:",
		"can inline Err with cost 2 as:",
		"can inline Planted with cost 2 as:",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the compiler does not say %q:\n%s", want, out)
		}
	}
}

func TestPointsAllocateNothing(t *testing.T) {
	allocs := testing.AllocsPerRun(1000, func() {
		fault.Point("test.point")
		if err := fault.Err("test.point"); err != nil {
			t.Error(err)
		}
	})
	if allocs != 0 || fault.Enabled {
		t.Errorf("%v allocations, enabled %v", allocs, fault.Enabled)
	}
}

func BenchmarkPoint(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		fault.Point("test.point")
		_ = fault.Err("test.point")
	}
}
