package chaos

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/test/kit"
)

// TestRefusals starts the binary on what it must not touch: each time it says what is wrong
// and what to do, ends with exit code 1, and leaves every file as it was.
func TestRefusals(t *testing.T) {
	kit.Binary(t)
	root := t.TempDir()
	at := func(names ...string) string { return filepath.Join(append([]string{root}, names...)...) }
	store := "file://" + at("store")
	for _, name := range []string{"one", "two"} {
		b := kit.Start(t, at(name), "--tier", store)
		b.Varve("topic", "create", "t", "--partitions", "1")
		b.Stop()
	}
	running := kit.Start(t, at("running"), "--tier", store)
	if err := os.MkdirAll(at("photos"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("photos", "cat.jpg"), []byte("meow"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().String()

	for _, c := range []struct {
		name string
		args []string
		says []string
	}{
		{"directory in use", []string{"--dir", at("running")}, []string{"in use by another process", at("running")}},
		{"log dir in use, metadata elsewhere", []string{"--dir", at("new"), "--set", "log.dirs=" + filepath.Join(running.Dir, "logs")}, []string{"varve.metadata.dir", at("running", "logs")}},
		{"log dir of another cluster", []string{"--dir", at("one"), "--set", "log.dirs=" + at("two", "logs")}, []string{"belongs to cluster", at("two", "logs"), "name"}},
		{"metadata of another cluster", []string{"--dir", at("one"), "--set", "varve.metadata.dir=" + at("two", "metadata")}, []string{"belongs to cluster", at("two", "metadata"), "name"}},
		{"another node", []string{"--dir", at("one"), "--set", "node.id=7"}, []string{"belongs to node 1", "node.id=1"}},
		{"another cluster's id", []string{"--dir", at("one"), "--set", "varve.cluster.id=AAAAAAAAAAAAAAAAAAAAAA"}, []string{"AAAAAAAAAAAAAAAAAAAAAA", "remove the setting"}},
		{"a directory of other files", []string{"--dir", at("new"), "--set", "log.dirs=" + at("photos")}, []string{"cat.jpg", "name an empty directory"}},
		{"Kafka port in use", []string{"--dir", at("one"), "--kafka", port}, []string{port, "in use", "choose another port"}},
		{"admin port in use", []string{"--dir", at("one"), "--admin", port}, []string{port, "in use", "choose another port"}},
		{"a setting that does not exist", []string{"--dir", at("one"), "--set", "num.partition=3"}, []string{"num.partition", "num.partitions"}},
		{"a setting out of range", []string{"--dir", at("one"), "--set", "num.partitions=none"}, []string{"num.partitions", "none"}},
		{"a listener that is none", []string{"--dir", at("one"), "--set", "listeners=here"}, []string{"listeners", "here"}},
		{"a store of no kind", []string{"--dir", at("one"), "--tier", "ftp://x"}, []string{"varve.tier.url", "ftp", "file://"}},
		{"a store that is a file", []string{"--dir", at("one"), "--tier", "file://" + at("photos", "cat.jpg")}, []string{"varve.tier.url", "cat.jpg"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := listing(t, root)
			args := append([]string{"dev", "--kafka", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--tier", store}, c.args...)
			code, said := runVarve(t, args)
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			for _, want := range c.says {
				if !strings.Contains(said, want) {
					t.Errorf("the message does not say %q", want)
				}
			}
			if after := listing(t, root); !maps.Equal(before, after) {
				t.Errorf("touched: %v", difference(before, after))
			}
			if t.Failed() {
				t.Logf("it said: %s", said)
			}
		})
	}
}

// runVarve runs the binary until it ends, at most ten seconds.
func runVarve(t *testing.T, args []string) (code int, said string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	cmd := exec.CommandContext(ctx, kit.Binary(t), args...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), errOut.String()
}

// entry is what must not change of one.
type entry struct {
	size     int64
	modified time.Time
}

// listing is every file and directory below root.
func listing(t *testing.T, root string) map[string]entry {
	t.Helper()
	out := map[string]entry{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		out[path] = entry{info.Size(), info.ModTime()}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// difference names what is not in both.
func difference(before, after map[string]entry) []string {
	var out []string
	for path, was := range before {
		if is, ok := after[path]; !ok {
			out = append(out, path+" is gone")
		} else if is != was {
			out = append(out, path+" has changed")
		}
	}
	for path := range after {
		if _, ok := before[path]; !ok {
			out = append(out, path+" is new")
		}
	}
	return out
}
