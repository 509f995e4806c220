package main

import (
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/brokertest"
)

func TestDoctorOfSoundSettings(t *testing.T) {
	t.Parallel()
	node := brokertest.Node{}.Start(t)
	dir := t.TempDir()
	args := []string{"doctor", "--set", "node.id=1", "--set", "log.dirs=" + dir + "/logs", "--set", "varve.metadata.dir=" + dir + "/meta", "--set", "varve.tier.url=file://" + dir + "/store",
		"--set", "listeners=PLAINTEXT://" + node.KafkaAddr(), "--set", "varve.admin.listener=" + node.AdminAddr()}
	for _, f := range decode[[]finding](t, append(args, "--running", "-b", node.KafkaAddr())...) {
		if f.Verdict == verdictBad || f.Check == "clock" && f.Verdict != verdictOK {
			t.Errorf("%+v", f)
		}
	}
	code, out, errOut := varve(t, "", args...)
	if code != exitUnhealthy || !strings.Contains(out, "choose another port") || !strings.Contains(errOut, "varve: not healthy: ") {
		t.Errorf("with ports that are taken: exit code %d\n%s%s", code, out, errOut)
	}
}

func TestDoctorFindsWhatIsBad(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for want, set := range map[string]string{
		"settings": "num.partitons=3", "listener PLAINTEXT": "listeners=PLAINTEXT://" + l.Addr().String(), "object store": "varve.tier.url=nosuch://bucket",
	} {
		code, out, _ := varve(t, "", "doctor", "--set", "node.id=1", "--set", "log.dirs="+t.TempDir(), "--set", "varve.admin.listener=127.0.0.1:0", "--set", set)
		if code != exitUnhealthy || !strings.Contains(out, want) {
			t.Errorf("%s: exit code %d\n%s", set, code, out)
		}
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for left, want := range map[time.Duration]string{-time.Second: verdictBad, 24 * time.Hour: verdictWarning, 90 * 24 * time.Hour: verdictOK} {
		d := &doctor{now: func() time.Time { return at }}
		if d.certificate("c", &x509.Certificate{NotAfter: at.Add(left)}); d.list[0].Verdict != want {
			t.Errorf("%v left: %+v", left, d.list[0])
		}
	}
	if firstCertificate([]byte("nothing")) != nil {
		t.Error("a certificate of nothing")
	}
}

func TestCheatSheet(t *testing.T) {
	if got := must(t, "", "cheat", "GROUP"); !strings.Contains(got, "varve group lag --watch") || strings.Contains(got, "varve user set") {
		t.Errorf("cheat GROUP:\n%s", got)
	}
	if code, _, errOut := varve(t, "", "cheat", "zeppelin"); code != exitError || !strings.Contains(errOut, "varve cheat") {
		t.Errorf("cheat zeppelin: %d, %q", code, errOut)
	}
}
