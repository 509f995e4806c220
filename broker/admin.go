package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
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
	level  *slog.LevelVar
}

// The bounds of what the admin listener may cost.
const (
	adminConnections = 64
	adminHeaderBytes = 16 << 10
	adminBodyBytes   = 1 << 10
)

// newAdmin builds what serves on lis. users is nil when nobody needs to log in, level is that of the log.
func newAdmin(lis net.Listener, registry, kafkaNames *prometheus.Registry, users *adminUsers, level *slog.LevelVar, logger *slog.Logger) *admin {
	a := &admin{lis: lis, logger: logger, level: level}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "alive") })
	mux.HandleFunc("GET /readyz", a.readyz)
	guard := func(h http.Handler) http.Handler { return h }
	if users != nil {
		guard = users.guard
		mux.Handle("PUT /loglevel", guard(http.HandlerFunc(a.setLevel)))
		mux.Handle("/debug/pprof/", guard(http.HandlerFunc(pprof.Index)))
		mux.Handle("/debug/pprof/profile", guard(http.HandlerFunc(pprof.Profile)))
		mux.Handle("/debug/pprof/trace", guard(http.HandlerFunc(pprof.Trace)))
		mux.Handle("/debug/pprof/symbol", guard(http.HandlerFunc(pprof.Symbol)))
	}
	mux.Handle("GET /loglevel", guard(http.HandlerFunc(a.getLevel)))
	mux.Handle("GET /metrics", guard(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})))
	mux.Handle("GET /metrics/kafka", guard(promhttp.HandlerFor(kafkaNames, promhttp.HandlerOpts{})))
	a.srv = &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 3 * time.Minute, IdleTimeout: time.Minute,
		MaxHeaderBytes: adminHeaderBytes, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
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

// getLevel answers the level of the log.
func (a *admin) getLevel(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, a.level.Level().String())
}

// setLevel changes the level of the log until the process ends.
func (a *admin) setLevel(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, adminBodyBytes))
	if err != nil {
		answer(w, http.StatusBadRequest, "the body is no level")
		return
	}
	var level slog.Level
	if err := level.UnmarshalText(bytes.TrimSpace(b)); err != nil {
		answer(w, http.StatusBadRequest, "want DEBUG, INFO, WARN or ERROR")
		return
	}
	a.level.Set(level)
	user, _, _ := r.BasicAuth()
	a.logger.Warn("the level of the log was changed", "level", level.String(), "user", user, "peer", r.RemoteAddr)
	answer(w, http.StatusOK, level.String())
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
