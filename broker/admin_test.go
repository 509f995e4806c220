package broker_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/objstore/mem"
)

func get(t *testing.T, url string) (int, []byte) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, b
}

func TestAdminSaysHowTheNodeIs(t *testing.T) {
	n := brokertest.Node{Bucket: mem.New()}.Start(t)
	base := "http://" + n.AdminAddr()
	for _, path := range []string{"/livez", "/readyz"} {
		if code, body := get(t, base+path); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, _ := get(t, base+"/nosuch"); code != http.StatusNotFound {
		t.Errorf("an unknown path answers %d", code)
	}
	_, body := get(t, base+"/metrics")
	for _, want := range []string{"varve_server_", "varve_replica_partitions", "varve_tier_uploaded_segments_total", "process_resident_memory_bytes"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("/metrics does not have %s", want)
		}
	}
	problems, err := promlint.New(bytes.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "varve_") {
			t.Errorf("metric %s: %s", p.Metric, p.Text)
		}
	}
}

func TestSecondNodeOnTheSamePortIsRefused(t *testing.T) {
	n := brokertest.Node{}.Start(t)
	dir := t.TempDir()
	_, err := brokertest.Node{Dir: dir, Set: []string{"listeners=PLAINTEXT://" + n.KafkaAddr()}}.Try(t)
	if err == nil || !strings.Contains(err.Error(), "in use") || !strings.Contains(err.Error(), n.KafkaAddr()) {
		t.Errorf("the second node says %v", err)
	}
}
