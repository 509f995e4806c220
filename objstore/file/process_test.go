package file_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/file"
)

// The test binary runs itself as another process when this variable names what to do; the
// second one names the directory.
const (
	roleVar = "VARVE_FILE_TEST_ROLE"
	dirVar  = "VARVE_FILE_TEST_DIR"
	idVar   = "VARVE_FILE_TEST_ID"
)

func TestMain(m *testing.M) {
	role := map[string]func(context.Context, *file.Bucket) error{"race": raceRole, "write": writeRole}[os.Getenv(roleVar)]
	if role == nil {
		os.Exit(m.Run())
	}
	b, err := file.Open(os.Getenv(dirVar))
	if err == nil {
		io.Copy(io.Discard, os.Stdin) // the starter's gun: the pipe is closed for all at once
		err = role(context.Background(), b)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

const (
	processes = 16
	rounds    = 20
)

// raceRole tries to create one object per round, and adds to one counter as often.
func raceRole(ctx context.Context, b *file.Bucket) error {
	for round := range rounds {
		_, err := b.Put(ctx, fmt.Sprintf("r/%d/x", round), objstore.Bytes([]byte(os.Getenv(idVar))), objstore.PutOpts{IfAbsent: true})
		switch {
		case err == nil:
			fmt.Println("won", round)
		case !errors.Is(err, objstore.ErrPrecondition):
			return err
		}
		if err := increment(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func increment(ctx context.Context, b *file.Bucket) error {
	for {
		v, a, err := objstore.Get(ctx, b, "counter", 1<<20)
		if err != nil {
			return err
		}
		_, err = b.Put(ctx, "counter", objstore.Bytes(append(v, '+')), objstore.PutOpts{IfVersion: a.Version})
		if err == nil || !errors.Is(err, objstore.ErrPrecondition) {
			return err
		}
	}
}

// writeRole writes until it is killed and says what was acknowledged.
func writeRole(ctx context.Context, b *file.Bucket) error {
	for i := 0; ; i++ {
		key := fmt.Sprintf("w/%s/%d", os.Getenv(idVar), i)
		body := strings.Repeat(key, 20_000)
		if _, err := b.Put(ctx, key, objstore.Bytes([]byte(body)), objstore.PutOpts{IfAbsent: i%2 == 0}); err != nil {
			return err
		}
		fmt.Println(key)
	}
}

// start runs n processes in a role, ready to go when the returned file is closed.
func start(t *testing.T, dir, role string, n int) (gun *os.File, cmds []*exec.Cmd, outs []io.Reader) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range n {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), roleVar+"="+role, dirVar+"="+dir, fmt.Sprintf("%s=%d", idVar, i))
		cmd.Stdin, cmd.Stderr = r, os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		cmds, outs = append(cmds, cmd), append(outs, out)
	}
	return w, cmds, outs
}

func TestProcessesRace(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	if _, err := b.Put(t.Context(), "counter", objstore.Bytes(nil), objstore.PutOpts{}); err != nil {
		t.Fatal(err)
	}
	gun, cmds, outs := start(t, dir, "race", processes)
	gun.Close()
	winner := make(map[string]int)
	for i, cmd := range cmds {
		lines := bufio.NewScanner(outs[i])
		for lines.Scan() {
			round := strings.TrimPrefix(lines.Text(), "won ")
			if w, taken := winner[round]; taken {
				t.Errorf("processes %d and %d both won round %s", w, i, round)
			}
			winner[round] = i
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("process %d: %v", i, err)
		}
	}
	if len(winner) != rounds {
		t.Errorf("%d of %d rounds have a winner", len(winner), rounds)
	}
	for round, i := range winner {
		v, _, err := objstore.Get(t.Context(), b, "r/"+round+"/x", 100)
		if err != nil || string(v) != fmt.Sprint(i) {
			t.Errorf("round %s was won by %d and holds %q, %v", round, i, v, err)
		}
	}
	v, _, err := objstore.Get(t.Context(), b, "counter", 1<<20)
	if err != nil || len(v) != processes*rounds {
		t.Errorf("%d increments are left of %d, %v", len(v), processes*rounds, err)
	}
}

func TestKilledWriters(t *testing.T) {
	dir := t.TempDir()
	gun, cmds, outs := start(t, dir, "write", 4)
	gun.Close()
	var acked []string
	for i, cmd := range cmds {
		lines := bufio.NewScanner(outs[i])
		for n := 0; n <= 3*i && lines.Scan(); n++ {
			acked = append(acked, lines.Text())
		}
		cmd.Process.Kill()
		for lines.Scan() {
			acked = append(acked, lines.Text())
		}
		cmd.Wait()
	}
	b := open(t, dir)
	left, err := os.ReadDir(filepath.Join(dir, "~tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("%d temporary files are left after a restart, %v", len(left), err)
	}
	for _, key := range acked {
		if _, err := b.Head(t.Context(), key); err != nil {
			t.Errorf("an acknowledged object: %v", err)
		}
	}
	seen := 0
	for a, err := range objstore.All(t.Context(), b, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		seen++
		v, a, err := objstore.Get(t.Context(), b, a.Key, 1<<20)
		if err != nil || string(v) != strings.Repeat(a.Key, 20_000) || crc32.Checksum(v, objstore.Castagnoli) != a.CRC32C {
			t.Errorf("%s is not whole: %v", a.Key, err)
		}
	}
	if len(acked) == 0 || seen < len(acked) {
		t.Errorf("%d acknowledged, %d listed", len(acked), seen)
	}
}

// A sweep takes dead writers' files and leaves those of the living.
func TestSweepSparesLivingWriters(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	dead := filepath.Join(dir, "~tmp", "dead")
	if err := os.WriteFile(dead, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	// The source is read while the temporary file is there.
	src := objstore.Bytes([]byte("living"))
	src.R = readerAtFunc(func(p []byte, off int64) (int, error) {
		if n, err := open(t, dir).SweepUploads(t.Context(), "", 0); err != nil || n != 0 {
			t.Errorf("the sweep after the sweep of Open removed %d files, %v", n, err)
		}
		return copy(p, "living"[off:]), nil
	})
	if _, err := b.Put(t.Context(), "k", src, objstore.PutOpts{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dead writer's file is still there: %v", err)
	}
}

type readerAtFunc func(p []byte, off int64) (int, error)

func (f readerAtFunc) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }
