package lifecycle

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// scenario is one case of a testdata file.
type scenario struct {
	name   string
	line   int
	policy Policy
	state  State
	remote []Segment
	nowMs  int64
	want   string
}

// TestPlanScenarios plays testdata/*.txt. The words of a case line are explained by the
// cases themselves; "expect" lists every action that is planned, and no other.
func TestPlanScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenario files: %v", err)
	}
	for _, file := range files {
		for _, sc := range readScenarios(t, file) {
			t.Run(sc.name, func(t *testing.T) {
				got := describe(Plan(sc.policy, sc.state, sc.nowMs))
				if got != sc.want {
					t.Errorf("%s:%d\n got: expect %s\nwant: expect %s", file, sc.line, got, sc.want)
				}
			})
		}
	}
}

func describe(a Actions) string {
	var out []string
	flag := func(on bool, word string) {
		if on {
			out = append(out, word)
		}
	}
	flag(a.Claim, "claim")
	flag(a.RollActive, "roll")
	flag(a.NewStart > 0, fmt.Sprintf("start=%d", a.NewStart))
	flag(a.EvictLocalBelow > 0, fmt.Sprintf("evict=%d", a.EvictLocalBelow))
	flag(len(a.Reasons) > 0, "because")
	for _, r := range a.Reasons {
		out = append(out, string(r))
	}
	return strings.Join(out, " ")
}

func readScenarios(t *testing.T, file string) []scenario {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []scenario
	var sc *scenario
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		word, rest, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		switch {
		case word == "" || word[0] == '#':
			continue
		case word == "case":
			sc = &scenario{name: rest, line: n}
			sc.policy = Policy{Delete: true, RetentionMs: Unlimited, RetentionBytes: Unlimited,
				LocalRetentionMs: SameAsRetention, LocalRetentionBytes: SameAsRetention}
			continue
		case word == "expect":
			sc.want = rest
			sc.state.Remote.Segments = slices.Values(sc.remote)
			all = append(all, *sc)
			continue
		}
		if err := sc.read(word, strings.Fields(rest)); err != nil {
			t.Fatalf("%s:%d: %v", file, n, err)
		}
	}
	return all
}

func (sc *scenario) read(word string, args []string) error {
	switch word {
	case "policy":
		return sc.readPolicy(args)
	case "now":
		sc.nowMs = number(args[0])
	case "start":
		sc.state.Start = number(args[0])
	case "hw":
		sc.state.HighWatermark = number(args[0])
	case "claimed":
		sc.state.Remote.Known, sc.state.Remote.Claimed = true, true
	case "local":
		sc.state.Local = append(sc.state.Local, readSegment(args))
	case "remote":
		seg := readSegment(args)
		sc.remote = append(sc.remote, seg)
		sc.state.Remote.Known = true
		sc.state.Remote.Next = seg.Next
		sc.state.Remote.SizeBytes += seg.SizeBytes
	default:
		return fmt.Errorf("unknown line %q", word)
	}
	return nil
}

func (sc *scenario) readPolicy(args []string) error {
	p := &sc.policy
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "compact":
			p.Delete = false
		case "tiered":
			p.Tiered = true
		case "copy.disabled":
			p.CopyDisabled = true
		case "retention.ms":
			p.RetentionMs = number(value)
		case "retention.bytes":
			p.RetentionBytes = number(value)
		case "local.retention.ms":
			p.LocalRetentionMs = number(value)
		case "local.retention.bytes":
			p.LocalRetentionBytes = number(value)
		default:
			return fmt.Errorf("unknown policy %q", name)
		}
	}
	return nil
}

func readSegment(args []string) Segment {
	base, next, _ := strings.Cut(args[0], "..")
	seg := Segment{Base: number(base), Next: number(next)}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "size":
			seg.SizeBytes = number(value)
		case "ts":
			seg.MaxTimestampMs = number(value)
		case "active":
			seg.Active = true
		}
	}
	return seg
}

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}
