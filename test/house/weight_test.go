package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// golist runs 'go list' in the root of the module and returns its lines.
func golist(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", strings.Join(args, " "), err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// stores are the build tags of the released binary, as in the Makefile.
const stores = "disable_grpc_modules,grpcnotrace"

// linked are the packages of other people that a package brings along, for Linux.
func linked(t *testing.T, pkg string) []string {
	t.Helper()
	t.Setenv("GOOS", "linux")
	t.Setenv("GOARCH", "amd64")
	t.Setenv("CGO_ENABLED", "0")
	var out []string
	for _, p := range golist(t, "-deps", "-tags", stores, "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", pkg) {
		if p != "" && !strings.HasPrefix(p, module+"/") {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// TestLinkedPackages holds what the broker and the object stores alone link against the lists that
// were agreed to: a package that comes along unseen is weight, and a risk, in every broker.
// VARVE_WRITE=1 writes the lists.
func TestLinkedPackages(t *testing.T) {
	for _, tt := range []struct{ pkg, golden string }{
		{"./cmd/varve", "testdata/linked-varve.txt"},
		{"./objstore/open", "testdata/linked-objstore.txt"},
	} {
		got := linked(t, tt.pkg)
		if os.Getenv("VARVE_WRITE") != "" {
			if err := os.WriteFile(tt.golden, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		raw, err := os.ReadFile(tt.golden)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Fields(string(raw))
		for _, p := range got {
			if !slices.Contains(want, p) {
				t.Errorf("%s links %s, which it did not: is it worth its weight? If so, VARVE_WRITE=1 go test -run LinkedPackages ./test/house", tt.pkg, p)
			}
		}
		for _, p := range want {
			if !slices.Contains(got, p) {
				t.Errorf("%s no longer links %s: VARVE_WRITE=1 go test -run LinkedPackages ./test/house takes it off the list", tt.pkg, p)
			}
		}
	}
}

// sdks are what takes minutes to compile and to link.
var sdks = []string{"github.com/aws/aws-sdk-go-v2", "github.com/Azure/azure-sdk-for-go", "cloud.google.com/go/storage"}

// TestSDKsStayInObjstore: no test binary outside objstore links a cloud SDK, but that of the command
// line, which is the whole program; and that one does without them under the tags of 'make test'.
func TestSDKsStayInObjstore(t *testing.T) {
	for _, tt := range []struct{ tags, rooms string }{
		{stores, "./broker/... ./tiered/... ./lifecycle/... ./test/..."},
		{"nos3,noazure,nogcs", "./cmd/..."},
	} {
		args := append([]string{"-test", "-tags", tt.tags, "-f", "{{.ImportPath}}:{{range .Deps}} {{.}}{{end}}"}, strings.Fields(tt.rooms)...)
		binaries := 0
		for _, line := range golist(t, args...) {
			name, deps, _ := strings.Cut(line, ":")
			if !strings.HasSuffix(name, ".test") {
				continue
			}
			binaries++
			for _, sdk := range sdks {
				if strings.Contains(deps, " "+sdk) {
					t.Errorf("%s links %s with the tags %s: tests outside objstore use mem, file, or a binary that is built already", name, sdk, tt.tags)
				}
			}
		}
		if binaries == 0 {
			t.Errorf("no test binary below %s", tt.rooms)
		}
	}
}

// TestWeight builds a program of nothing but the object stores, and the broker, as they are released.
func TestWeight(t *testing.T) {
	if os.Getenv("VARVE_WEIGHT") == "" {
		t.Skip("builds the whole broker: run 'make weight'")
	}
	hello := filepath.Join(t.TempDir(), "hello")
	if err := os.MkdirAll(hello, 0o755); err != nil {
		t.Fatal(err)
	}
	source := "package main\n\nimport (\n\t\"context\"\n\n\t\"" + module + "/objstore/open\"\n)\n\nfunc main() {\n\tb, err := open.Open(context.Background(), \"mem://x\")\n\tprintln(b, err)\n}\n"
	main := filepath.Join(hello, "main.go")
	if err := os.WriteFile(main, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what, of string
		maxMB    float64
	}{{"hello on objstore/open", main, 25}, {"varve", "./cmd/varve", 45}} { // 36 and 60 are promised; a lookup of methods by name would be seen here
		out := filepath.Join(t.TempDir(), "bin")
		cmd := exec.Command("go", "build", "-tags", stores, "-trimpath", "-ldflags", "-s -w", "-o", out, tt.of)
		cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
		if raw, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		info, err := os.Stat(out)
		if err != nil {
			t.Fatal(err)
		}
		mb := float64(info.Size()) / 1e6
		t.Logf("%s: %.1f MB", tt.what, mb)
		if mb > tt.maxMB {
			t.Errorf("%s has %.1f MB, and %.0f are allowed", tt.what, mb, tt.maxMB)
		}
	}
}
