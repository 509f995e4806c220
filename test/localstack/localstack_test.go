// Package localstack holds the compose file, its images and its settings against the program that they run
// and the script that starts the same servers without Docker. It starts no container.
package localstack

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/varve-io/varve/broker/config"
)

const dir = "../../localstack/"

// stores of the compose file, each a profile.
var stores = []string{"minio", "azurite", "fake-gcs"}

type service struct {
	Build struct{ Context, Dockerfile, Target string }
	Image string
	// Profiles start it; none is always.
	Profiles            []string
	Command, Entrypoint []string
	EnvFile             []string `yaml:"env_file"`
	Environment         map[string]string
	Volumes, Ports      []string
	Grace               string `yaml:"stop_grace_period"`
}

type compose struct {
	Name     string
	Services map[string]service
	Volumes  map[string]any
}

func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(dir + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func decode(t *testing.T, name string, into any) {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(read(t, name)))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// script runs localstack/store.
func script(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(dir+"store", args...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("store %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}

// lines of an env file.
func lines(t *testing.T, name string) (out []string) {
	t.Helper()
	for line := range strings.Lines(read(t, name)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// The broker's settings are some that it takes, and its addresses are those that the others use.
func TestBroker(t *testing.T) {
	var c compose
	decode(t, "compose.yaml", &c)
	v := c.Services["varve"]
	if !slices.Equal(v.Command, []string{"broker"}) || !slices.Equal(v.EnvFile, []string{"${STORE:-minio}.env"}) {
		t.Errorf("the broker is run with %q and %q", v.Command, v.EnvFile)
	}
	for _, store := range stores {
		env := lines(t, store+".env")
		for name, value := range v.Environment {
			env = append(env, name+"="+value)
		}
		node, warnings, err := config.Load(config.Sources{Env: env})
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, %v", store, err, warnings)
			continue
		}
		if node == nil {
			t.Errorf("%s: no settings", store)
		}
	}
	advertised := v.Environment["VARVE_ADVERTISED_LISTENERS"]
	if kcat := c.Services["client"].Entrypoint; !slices.Equal(kcat, []string{"kcat", "-b", "varve:9092"}) || !strings.Contains(advertised, "PLAINTEXT://varve:9092,") {
		t.Errorf("the client asks %q, and clients are told %s", kcat, advertised)
	}
	if !slices.Contains(v.Ports, "127.0.0.1:29092:29092") || !strings.HasSuffix(advertised, ",HOST://127.0.0.1:29092") || !strings.HasSuffix(v.Environment["VARVE_LISTENERS"], ",HOST://:29092") {
		t.Errorf("the machine's clients: %q, told %s", v.Ports, advertised)
	}
	for _, name := range []string{"VARVE_LOG_DIRS", "VARVE_METADATA_DIR", "VARVE_TIER_CACHE_DIR"} {
		if !strings.HasPrefix(v.Environment[name], "/var/lib/varve/") {
			t.Errorf("%s=%s is on no volume", name, v.Environment[name])
		}
	}
	var prometheus struct {
		Global struct {
			Every string `yaml:"scrape_interval"`
		}
		Jobs []struct {
			Name   string                       `yaml:"job_name"`
			Static []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	decode(t, "prometheus.yaml", &prometheus)
	if len(prometheus.Jobs) != 1 || prometheus.Jobs[0].Static[0].Targets[0] != "varve"+v.Environment["VARVE_ADMIN_LISTENER"] {
		t.Errorf("Prometheus asks %+v, the broker answers at %s", prometheus.Jobs, v.Environment["VARVE_ADMIN_LISTENER"])
	}
	for name, s := range c.Services {
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s is open to others than this machine: %s", name, p)
			}
		}
		for _, mount := range s.Volumes {
			from, _, _ := strings.Cut(mount, ":")
			if _, named := c.Volumes[from]; !named {
				if _, err := os.Stat(filepath.Join(dir, from)); err != nil {
					t.Errorf("%s mounts %s, which is nothing", name, mount)
				}
			}
		}
	}
}

var export = regexp.MustCompile(`[A-Z0-9_]+=('[^']*'|\S+)`)

// Each store is the version that the script starts, at its port, under the URL and with the credentials
// that the script prints.
func TestStores(t *testing.T) {
	var c compose
	decode(t, "compose.yaml", &c)
	source := read(t, "store")
	version := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + name + `_version=v?(\S+)$`).FindStringSubmatch(source)
		if m == nil {
			t.Fatalf("the script has no version of %s", name)
		}
		return m[1]
	}
	for store, says := range map[string]string{
		"minio":    "ARG MINIO_VERSION=v" + version("minio"),
		"azurite":  "image: mcr.microsoft.com/azure-storage/azurite:" + version("azurite"),
		"fake-gcs": "image: fsouza/fake-gcs-server:" + version("fakegcs"),
	} {
		if !strings.Contains(read(t, "compose.yaml")+read(t, "Dockerfile"), says+"\n") {
			t.Errorf("%s: nothing says %q", store, says)
		}
	}
	for _, store := range stores {
		s, port := c.Services[store], script(t, "port", store)
		at := "http://" + store + ":" + port
		if !slices.Equal(s.Profiles, []string{store}) || !slices.Equal(s.Ports, []string{"127.0.0.1:" + port + ":" + port}) {
			t.Errorf("%s: profiles %q, ports %q", store, s.Profiles, s.Ports)
		}
		if command := strings.Join(s.Command, " "); !strings.Contains(command, port) {
			t.Errorf("%s listens elsewhere than %s: %s", store, port, command)
		}
		want := []string{"VARVE_TIER_URL=" + script(t, "url", store, at)}
		for _, e := range export.FindAllString(script(t, "env", store), -1) {
			want = append(want, strings.ReplaceAll(e, "'", ""))
		}
		if got := lines(t, store+".env"); !slices.Equal(got, want) {
			t.Errorf("%s.env has %q, want %q", store, got, want)
		}
		b := c.Services[store+"-bucket"]
		if !slices.Equal(b.Command, []string{store, at}) || b.Build.Target != "bucket" || !slices.Equal(b.Profiles, s.Profiles) {
			t.Errorf("the bucket of %s is made by %+v", store, b)
		}
		// What the script knows of a server's flags.
		for _, flag := range s.Command {
			name, _, _ := strings.Cut(flag, "=")
			if strings.HasPrefix(name, "-") && !strings.Contains(source, name) && name != "--disableProductStyleUrl" {
				t.Errorf("%s: the script knows no %s", store, name)
			}
		}
	}
}

// Images: each stage that is asked for is there, the broker's is the last, has no shell and is not root.
func TestDockerfile(t *testing.T) {
	var c compose
	decode(t, "compose.yaml", &c)
	text := read(t, "Dockerfile")
	stages := map[string]string{}
	var last string
	for _, part := range regexp.MustCompile(`(?m)^FROM `).Split(text, -1)[1:] {
		first, _, _ := strings.Cut(part, "\n")
		base, name, ok := strings.Cut(first, " AS ")
		if !ok || !strings.Contains(base, ":") {
			t.Fatalf("FROM %s", first)
		}
		stages[name], last = part, name
	}
	for name, s := range c.Services {
		if s.Image == "" && (stages[s.Build.Target] == "" || s.Build.Context != ".." || s.Build.Dockerfile != "localstack/Dockerfile") {
			t.Errorf("%s is built from %+v", name, s.Build)
		}
		if s.Image != "" && (!regexp.MustCompile(`:v?\d`).MatchString(s.Image)) {
			t.Errorf("%s: the image %s is no version", name, s.Image)
		}
	}
	if last != "varve" || !strings.HasPrefix(stages["varve"], "gcr.io/distroless/static-") {
		t.Errorf("the last stage is %s: %s", last, stages[last])
	}
	for _, name := range []string{"varve", "minio", "bucket"} {
		if !strings.Contains(stages[name], "\nUSER 65532:65532\n") {
			t.Errorf("%s runs as root", name)
		}
	}
	if !strings.Contains(stages["build"], "RUN make build") {
		t.Error("the broker in the image is built another way than 'make build'")
	}
	gomod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	golang := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(gomod)
	if strings.Count(text, "FROM golang:"+string(golang[1])+" ") != 2 {
		t.Errorf("the images are built with another Go than %s", golang[1])
	}
}

// Without a Python that is new enough the script says so, and what to do.
func TestPythonIsLookedForByVersion(t *testing.T) {
	bin := t.TempDir()
	for _, tool := range []string{"bash", "sed", "env"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Skip(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
	old := "#!/bin/sh\nexit 1\n" // to the question whether it is new enough
	for _, name := range []string{"python3", "python3.13"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(old), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(dir+"store", "install", "localstack")
	cmd.Env = []string{"PATH=" + bin, "HOME=" + t.TempDir()}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "LocalStack needs Python 3.12 or newer") || !strings.Contains(string(out), "Install one, or take a store that needs none") {
		t.Errorf("%v: %s", err, out)
	}
}
