package hostile

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// On a network attackers and good clients have machines of their own. Here they share the broker's processors, so the
// attackers' processes are in a control group that runs on what is left over (cpu.idle), the good clients' process goes
// before the broker's, and what good clients see under attack is held against what they see beside processes that are
// confined in the same way and just burn that time.

// group makes a control group (version 1, writable) of a controller, with files set; "" where there is none.
func group(t *testing.T, controller, name string, files map[string]string) string {
	t.Helper()
	dir := fmt.Sprintf("/sys/fs/cgroup/%s/varve-hostile-%s-%d", controller, name, os.Getpid())
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Logf("no control group of %s: %v", controller, err)
		return ""
	}
	t.Cleanup(func() { _ = os.Remove(dir) }) // once its processes have ended
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// prefer lets this process, which is the good clients, go before the broker, which goes before all others.
func prefer(t *testing.T) {
	t.Helper()
	own := group(t, "cpu", "good", map[string]string{"cpu.shares": strconv.Itoa(mostShares)})
	if own == "" {
		return
	}
	before := "/sys/fs/cgroup/cpu"
	text, _ := os.ReadFile("/proc/self/cgroup") // where there is none, it was the root
	for line := range strings.Lines(string(text)) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 && f[1] == "cpu" {
			before += f[2]
		}
	}
	self := []byte(strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(own+"/cgroup.procs", self, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(before+"/cgroup.procs", self, 0o644) }) // or the group stays behind
}

// Weights of control groups: everything else on the machine has 1024 for each process.
const (
	brokerShares = 100 * 1024
	mostShares   = 1 << 18
)

// leftOver is a control group for others, that runs when nobody else wants to.
func leftOver(t *testing.T) string {
	t.Helper()
	return group(t, "cpu", "outside", map[string]string{"cpu.idle": "1"})
}

// inGroups is a shell's words that put it into control groups.
func inGroups(groups ...string) string {
	var b strings.Builder
	for _, g := range groups {
		if g != "" {
			fmt.Fprintf(&b, "echo $$ > %s/cgroup.procs\n", g)
		}
	}
	return b.String()
}

// outside are the processes of others, confined.
type outside struct {
	t     *testing.T
	group string
	stop  context.CancelFunc
	ctx   context.Context
	wg    sync.WaitGroup
}

func newOutside(t *testing.T, group string) *outside {
	o := &outside{t: t, group: group}
	o.ctx, o.stop = context.WithCancel(t.Context())
	t.Cleanup(o.end)
	return o
}

// run runs this test's binary as something else, until end, and tells what it says.
func (o *outside) run(env string) { o.wg.Go(func() { o.child(env) }) }

func (o *outside) child(env string) {
	script := inGroups(o.group) + `exec nice -n 19 "$0" -test.timeout=0`
	cmd := exec.Command("sh", "-c", script, os.Args[0])
	cmd.Env = append(os.Environ(), env)
	in, err := cmd.StdinPipe()
	if err != nil {
		o.t.Error(err)
		return
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		o.t.Error(err)
		return
	}
	<-o.ctx.Done()
	in.Close()
	_ = cmd.Wait()
	if line, _, _ := strings.Cut(out.String(), "\n"); line != "" {
		o.t.Logf("%s: %s", env, line)
	}
}

// end ends them all.
func (o *outside) end() {
	o.stop()
	o.wg.Wait()
}

// TestMain runs the tests, or is one of the processes of others, which end with their standard input.
func TestMain(m *testing.M) {
	ctx, stop := context.WithCancel(context.Background())
	work := map[string]func(context.Context, string){"BURN": burn, "HOLD": hold, "ATTACK": attack, "GREED": greed}
	for name, f := range work {
		arg := os.Getenv("CHAOS_HOSTILE_" + name)
		if arg == "" {
			continue
		}
		go func() { _, _ = io.Copy(io.Discard, os.Stdin); stop() }()
		f(ctx, arg)
		os.Exit(0)
	}
	code := m.Run()
	stop()
	os.Exit(code)
}

// burn keeps all processors busy.
func burn(ctx context.Context, _ string) {
	for range runtime.GOMAXPROCS(0) {
		go func() {
			for x := uint64(1); ; x = x*6364136223846793005 + 1 {
				if x == 0 {
					runtime.Gosched()
				}
			}
		}()
	}
	<-ctx.Done()
}

// lengthOf is how long something takes, from a variable of the make target; the test is skipped without it.
func lengthOf(t *testing.T) time.Duration {
	t.Helper()
	seconds, _ := strconv.Atoi(os.Getenv("CHAOS_HOSTILE_SECONDS"))
	if seconds == 0 {
		t.Skip("CHAOS_HOSTILE_SECONDS says for how long: run 'make chaos-hostile'")
	}
	return time.Duration(seconds) * time.Second
}
