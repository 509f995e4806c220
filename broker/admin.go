package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// admin serves health and metrics over HTTP. It answers from the moment the node begins to
// start, so that a long recovery can be watched.
type admin struct {
	srv    *http.Server
	lis    net.Listener
	logger *slog.Logger
	phase  atomic.Pointer[string] // what the node is doing; nil when it is ready
	detail atomic.Pointer[func() string]
}

func newAdmin(lis net.Listener, registry, kafkaNames *prometheus.Registry, logger *slog.Logger) *admin {
	a := &admin{lis: lis, logger: logger}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "alive") })
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("GET /metrics/kafka", promhttp.HandlerFor(kafkaNames, promhttp.HandlerOpts{}))
	a.srv = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug)}
	return a
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

func (a *admin) readyz(w http.ResponseWriter, _ *http.Request) {
	if phase := a.phase.Load(); phase != nil {
		text := *phase
		if f := a.detail.Load(); f != nil {
			if more := (*f)(); more != "" {
				text += ": " + more
			}
		}
		answer(w, http.StatusServiceUnavailable, text)
		return
	}
	answer(w, http.StatusOK, "ready")
}

// doing says what the node is busy with; it is not ready meanwhile.
func (a *admin) doing(phase string) { a.phase.Store(&phase) }

// watch has f say how far that is; nil ends it. f may be called from any goroutine.
func (a *admin) watch(f func() string) {
	if f == nil {
		a.detail.Store(nil)
		return
	}
	a.detail.Store(&f)
}

// ready ends doing.
func (a *admin) ready() { a.phase.Store(nil) }

// serve runs until stop.
func (a *admin) serve() {
	if err := a.srv.Serve(a.lis); err != nil && !errors.Is(err, http.ErrServerClosed) {
		a.logger.Error("admin listener ended", "error", err)
	}
}

func (a *admin) stop(ctx context.Context) error {
	if err := a.srv.Shutdown(ctx); err != nil {
		return fmt.Errorf("admin listener: %w", err)
	}
	return nil
}
