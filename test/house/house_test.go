// Package house keeps the house rules: imports go down, each dependency has one
// door, each package says what it is for, and rooms stay small enough to read.
//
// It parses the tree and builds nothing. Each message says what to do instead.
package house

import (
	"os"
	"strings"
	"testing"
)

// sdkDoors names, for each outside module, the only rooms that may import it.
var sdkDoors = map[string][]string{
	"cloud.google.com/":             {"objstore/gcs"},
	"github.com/Azure/":             {"objstore/azure"},
	"github.com/aws/":               {"objstore/s3"},
	"github.com/golang-jwt/jwt":     {"broker/security/oauth"},
	"github.com/hashicorp/":         {"broker/controller"},
	"github.com/klauspost/compress": {"broker/batch"},
	"github.com/pierrec/lz4":        {"broker/batch"},
	"github.com/spf13/cobra":        {"cmd/varve"},
	"github.com/twmb/franz-go":      {"cmd/varve", "cmd/varve/kafkacmd", "cmd/varve/load"},
	"go.yaml.in/yaml":               {"broker/config"},
	"go.opentelemetry.io/":          {"broker/tracing"},
	"golang.org/x/oauth2":           {"objstore/gcs"},
	"google.golang.org/api":         {"objstore/gcs"},
	"github.com/prometheus/client_golang/prometheus/promhttp": {"broker"},
}

func TestFloors(t *testing.T) {
	level := readFloors(t)
	for _, p := range load(t) {
		if p.test() || p.onlyTests() {
			continue
		}
		own, ok := level[p.dir]
		if !ok {
			t.Errorf("%s stands on no floor: add it to test/house/floors.txt, below all that import it", p.dir)
			continue
		}
		for _, f := range p.files {
			if f.test {
				continue
			}
			for _, imp := range f.imports {
				dir, inside := strings.CutPrefix(imp, module+"/")
				if !inside {
					continue
				}
				below, ok := level[dir]
				if ok && below <= own {
					t.Errorf("%s imports %s, which does not lie below it: move the shared part down, or hand it in through a small interface", f.path, dir)
				}
			}
		}
	}
}

func TestDoors(t *testing.T) {
	for _, p := range load(t) {
		if p.test() {
			continue
		}
		for _, f := range p.files {
			for _, imp := range f.imports {
				for prefix, doors := range sdkDoors {
					if strings.HasPrefix(imp, prefix) && !f.test && !contains(doors, p.dir) {
						t.Errorf("%s imports %s: only %s may; use that room instead", f.path, imp, strings.Join(doors, ", "))
					}
				}
				if imp == "github.com/prometheus/client_golang/prometheus" && !f.test && !strings.HasSuffix(f.path, "metrics.go") && p.dir != "broker" && !registryOnly(f) {
					t.Errorf("%s imports prometheus: keep metrics in the room's metrics.go and take a Registerer", f.path)
				}
			}
		}
	}
}

func TestRoomsThatMustNotMeet(t *testing.T) {
	never := map[string][]string{
		"objstore":          {"broker", "tiered", "lifecycle"},
		"lifecycle":         {"tiered", "broker/commitlog", "objstore"},
		"broker/commitlog":  {"broker/wire", "tiered", "objstore"},
		"broker/wire":       {"broker/commitlog", "broker/metadata", "tiered"},
		"broker/controller": {"broker/commitlog", "broker/replica", "tiered"},
	}
	for _, p := range load(t) {
		for room, banned := range never {
			if p.dir != room && !strings.HasPrefix(p.dir, room+"/") {
				continue
			}
			for _, f := range p.files {
				if f.test {
					continue
				}
				for _, imp := range f.imports {
					dir, inside := strings.CutPrefix(imp, module+"/")
					for _, b := range banned {
						if inside && (dir == b || strings.HasPrefix(dir, b+"/")) {
							t.Errorf("%s imports %s: %s must stand without it; declare the interface it needs and let package broker adapt", f.path, dir, room)
						}
					}
				}
			}
		}
		if p.dir == "cmd/varve" || p.dir == "objstore/open" || p.test() {
			continue
		}
		for _, f := range p.files {
			for _, imp := range f.imports {
				if imp == module+"/objstore/open" {
					t.Errorf("%s imports objstore/open, which links every cloud SDK: take an objstore.Bucket or an opener function instead", f.path)
				}
				if imp == module+"/broker" && p.dir != "broker/brokertest" && p.dir != "broker" {
					t.Errorf("%s imports the wiring room: only cmd/varve and the test kit may", f.path)
				}
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range load(t) {
		n, source := 0, 0
		for _, f := range p.files {
			if f.test && !p.onlyTests() {
				continue
			}
			source++
			if f.doc {
				n++
			}
		}
		if source > 0 && n != 1 {
			t.Errorf("%s has %d package comments, want exactly one: what the room owns, what it does not, who may call it, which format page applies", p.dir, n)
		}
	}
}

func TestBans(t *testing.T) {
	for _, p := range load(t) {
		for _, f := range p.files {
			for _, b := range f.bans(p) {
				t.Error(b)
			}
		}
	}
}

func TestSizes(t *testing.T) {
	const fileLines, funcLines, typeMethods, share, shareFrom = 600, 90, 45, 15, 20_000
	total := 0
	for _, p := range load(t) {
		total += p.lines()
	}
	for _, p := range load(t) {
		for _, f := range p.files {
			if f.generated || f.test {
				continue
			}
			if f.lines > fileLines {
				t.Errorf("%s has %d lines, over %d: split it by what a reader looks for", f.path, f.lines, fileLines)
			}
			for name, n := range f.funcs {
				if n > funcLines {
					t.Errorf("%s: %s has %d lines, over %d: give its steps names", f.path, name, n, funcLines)
				}
			}
		}
		for name, n := range p.methods() {
			if n > typeMethods {
				t.Errorf("%s.%s has %d methods, over %d: it is more than one thing", p.dir, name, n, typeMethods)
			}
		}
		if total > shareFrom && 100*p.lines() > share*total {
			t.Errorf("%s holds %d of %d lines, over %d %%: it wants a room of its own for one of its jobs", p.dir, p.lines(), total, share)
		}
	}
}

func TestTopLevel(t *testing.T) {
	fixed := strings.Fields("cmd broker tiered objstore lifecycle terraform localstack test docs go.mod go.sum Makefile README.md LICENSE ARCHITECTURE.md CONTRIBUTING.md SECURITY.md Dockerfile .ci .git .github .gitignore bin")
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !contains(fixed, e.Name()) {
			t.Errorf("%s stands at the top of the house: put it into one of %s", e.Name(), strings.Join(fixed[:8], ", "))
		}
	}
}
