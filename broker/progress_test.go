package broker

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/logdir"
)

// TestReadyzSaysHowFarARecoveryIs: while logs are being opened, and not after.
func TestReadyzSaysHowFarARecoveryIs(t *testing.T) {
	a := &admin{}
	ask := func() (int, string) {
		w := httptest.NewRecorder()
		a.readyz(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	p := &logdir.Progress{Stats: new(commitlog.Stats)}
	a.doing("open the log directories")
	a.watch(p.String)
	if code, text := ask(); code != http.StatusServiceUnavailable || text != "open the log directories" {
		t.Errorf("before the logs are counted: %d %q", code, text)
	}
	a.watch(func() string { return "3 of 7 logs are open" })
	if _, text := ask(); text != "open the log directories: 3 of 7 logs are open" {
		t.Errorf("in between: %q", text)
	}
	a.watch(nil)
	a.ready()
	if code, text := ask(); code != http.StatusOK || text != "ready" {
		t.Errorf("afterwards: %d %q", code, text)
	}
}
