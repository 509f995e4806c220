package conformance

import (
	"os"
	"strings"
	"testing"
)

// TestMatrixPage holds docs/object-stores.md against the table of servers. VARVE_WRITE=1 writes it.
func TestMatrixPage(t *testing.T) {
	const page, begin, end = "../../docs/object-stores.md", "<!-- matrix -->\n", "<!-- end of matrix -->"
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(raw), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q … %q", page, begin, end)
	}
	if got == Matrix() {
		return
	}
	if os.Getenv("VARVE_WRITE") == "" {
		t.Fatalf("%s is not what objstore/conformance/servers.go says; write it with VARVE_WRITE=1 go test ./objstore/conformance", page)
	}
	if err := os.WriteFile(page, []byte(before+begin+Matrix()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestTableNames holds the names of gaps against the lines there are.
func TestTableNames(t *testing.T) {
	known := make(map[string]bool)
	for _, r := range (Target{Checked: true}).faultRows() {
		known[faultName+r.name] = true
	}
	for _, l := range lines {
		known[l.name] = true
	}
	for _, s := range Servers() {
		for name := range s.Gaps {
			if !known[name] {
				t.Errorf("%s has a gap in %q, which is no line", s.Name, name)
			}
		}
		for _, name := range s.Absent {
			if !known[name] {
				t.Errorf("%s has no %q, which is no line", s.Name, name)
			}
		}
	}
}

// A line that is listed with a gap fails the run when it passes, and only then.
func TestGapsMustFail(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(testing.TB)
		want bool // that it counts as failed
	}{
		{"passes", func(testing.TB) {}, false},
		{"skips", func(t testing.TB) { t.Skip("no such thing") }, false},
		{"errors", func(t testing.TB) { t.Errorf("no") }, true},
		{"fails at once", func(t testing.TB) { t.Fatal("no") }, true},
		{"fails below", func(t testing.TB) { sub(t, "x", func(t testing.TB) { t.Fatalf("%d", 1) }) }, true},
	} {
		if err := mustFail(t, tt.run); (err == nil) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// The judge of a storm finds what it is there to find.
func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name, final string
		history     []attempt
		want        bool
	}{
		{"all is well", "0.0\n0.1\n", []attempt{{line: "0.0\n", acked: true}, {line: "0.1\n", seen: 4, acked: true}, {line: "0.2\n", seen: 8}}, false},
		{"lost", "0.1\n", []attempt{{line: "0.0\n", acked: true}}, true},
		{"twice", "0.0\n0.0\n", []attempt{{line: "0.0\n", acked: true}}, true},
		{"failed and there", "0.0\n", []attempt{{line: "0.0\n"}}, true},
		{"unknown and there", "0.0\n", []attempt{{line: "0.0\n", maybe: true}}, false},
		{"undone", "0.1\n", []attempt{{line: "0.1\n", seen: 4, acked: true}}, true},
	} {
		r := &recorder{TB: t}
		judge(r, tt.final, [][]attempt{tt.history})
		if found := len(r.mu.failures) > 0; found != tt.want {
			t.Errorf("%s: found %v, want %v", tt.name, r.mu.failures, tt.want)
		}
	}
}
