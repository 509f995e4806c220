//go:build varvefault

package fault_test

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/broker/fault"
)

func TestErrorAtOneHit(t *testing.T) {
	disarm := fault.Arm("p", fault.Action{Kind: fault.Error, Hit: 2})
	defer disarm()
	for hit := 1; hit <= 3; hit++ {
		if err := fault.Err("p"); errors.Is(err, fault.ErrInjected) != (hit == 2) {
			t.Errorf("hit %d: %v", hit, err)
		}
	}
	if n := fault.Hits("p"); n != 3 {
		t.Errorf("%d hits, want 3", n)
	}
	if err := fault.Err("other"); err != nil {
		t.Errorf("another point fails: %v", err)
	}
}

func TestEveryHitUntilDisarmed(t *testing.T) {
	disarm := fault.Arm("p", fault.Action{Kind: fault.Drop})
	for range 2 {
		if err := fault.Err("p"); !errors.Is(err, fault.ErrDropped) {
			t.Errorf("armed: %v", err)
		}
	}
	fault.Point("p") // has nothing to answer
	disarm()
	if err := fault.Err("p"); err != nil {
		t.Errorf("disarmed: %v", err)
	}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer fault.Arm("p", fault.Action{Kind: fault.Delay, Delay: time.Minute})()
		start := time.Now()
		fault.Point("p")
		if took := time.Since(start); took != time.Minute {
			t.Errorf("waited %v, want 1m", took)
		}
	})
}

// TestKillFromEnvironment runs this test again as a child that dies at its second hit.
func TestKillFromEnvironment(t *testing.T) {
	if os.Getenv("VARVE_FAULT") != "" {
		fault.Point("child")
		_, _ = os.Stdout.WriteString("first\n")
		fault.Point("child")
		_, _ = os.Stdout.WriteString("second\n")
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestKillFromEnvironment$")
	child.Env = append(os.Environ(), "VARVE_FAULT=child=kill:2")
	out, err := child.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("child: %v, want SIGKILL", err)
	}
	if string(out) != "first\n" {
		t.Errorf("child wrote %q", out)
	}
}

func TestParse(t *testing.T) {
	got, err := fault.Parse("tier.after-put=kill; log.roll=error:3;x=delay:50ms;y=delay:1s:7;z=drop;")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]fault.Action{
		"tier.after-put": {Kind: fault.Kill},
		"log.roll":       {Kind: fault.Error, Hit: 3},
		"x":              {Kind: fault.Delay, Delay: 50 * time.Millisecond},
		"y":              {Kind: fault.Delay, Delay: time.Second, Hit: 7},
		"z":              {Kind: fault.Drop},
	}
	for name, action := range want {
		if got[name] != action {
			t.Errorf("%s: %+v, want %+v", name, got[name], action)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d points, want %d", len(got), len(want))
	}
	for _, bad := range []string{"x", "=kill", "x=explode", "x=delay", "x=delay:soon", "x=error:0", "x=kill:1:2"} {
		if _, err := fault.Parse(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
