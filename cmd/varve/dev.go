package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/varve-io/varve/broker"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/objstore/open"
)

// stopLimit bounds a graceful stop; what is acknowledged is safe long before.
const stopLimit = 30 * time.Second

// devSettings are the flags of a node for a laptop.
type devSettings struct {
	dir, kafka, admin, tier string
	set                     []string
}

func devCommand() *cobra.Command {
	var s devSettings
	var logFormat string
	cmd := &cobra.Command{
		Use: "dev", Short: "Run one node for a laptop: no configuration, the tier on", Args: exactArgs(0, "no arguments"),
		Example: "  varve dev\n  varve dev --dir ./data --tier 's3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1&pathStyle=true'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.dir == "" {
				dir, err := os.MkdirTemp("", "varve-dev-")
				if err != nil {
					return err
				}
				defer os.RemoveAll(dir)
				s.dir = dir
				fmt.Fprintf(cmd.ErrOrStderr(), "data lives in %s until this process ends; keep it with --dir\n", dir)
			}
			logger, err := newLogger(cmd.ErrOrStderr(), logFormat)
			if err != nil {
				return err
			}
			node, err := s.start(cmd.Context(), logger)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Kafka protocol on %s, admin on http://%s, object store %s\n", node.KafkaAddr(), node.AdminAddr(), s.tierURL())
			return serve(cmd.Context(), node)
		},
	}
	cmd.Flags().StringVar(&s.dir, "dir", "", "data directory; default: a temporary one, removed at the end")
	cmd.Flags().StringVar(&s.kafka, "kafka", "127.0.0.1:9092", "Kafka listener, `HOST:PORT`")
	cmd.Flags().StringVar(&s.admin, "admin", "127.0.0.1:9644", "health and metrics listener, `HOST:PORT`")
	cmd.Flags().StringVar(&s.tier, "tier", "", "object store `URL`; default: file://DIR/store")
	cmd.Flags().StringArrayVar(&s.set, "set", nil, "broker setting `NAME=VALUE`, repeatable")
	cmd.Flags().StringVar(&logFormat, "log-format", "text", "`text|json`")
	return cmd
}

func (s *devSettings) tierURL() string {
	if s.tier != "" {
		return s.tier
	}
	dir, err := filepath.Abs(filepath.Join(s.dir, "store"))
	if err != nil {
		return "file://" + filepath.Join(s.dir, "store")
	}
	return "file://" + dir
}

// start runs a node with these settings; those of --set come last and win.
func (s *devSettings) start(ctx context.Context, logger *slog.Logger) (*broker.Node, error) {
	set := append([]string{
		"node.id=1",
		"listeners=PLAINTEXT://" + s.kafka,
		"varve.admin.listener=" + s.admin,
		"log.dirs=" + filepath.Join(s.dir, "logs"),
		"varve.metadata.dir=" + filepath.Join(s.dir, "metadata"),
		"varve.tier.url=" + s.tierURL(),
		"varve.tier.cache.dir=" + filepath.Join(s.dir, "cache"),
	}, s.set...)
	node, warnings, err := config.Load(config.Sources{Env: os.Environ(), Set: set})
	if err != nil {
		return nil, err
	}
	warn(logger, warnings)
	return broker.Start(ctx, broker.Options{Config: node, OpenStore: open.Open, Logger: logger, Version: config.Version})
}

// serve runs until the command is interrupted or the node fails, then stops it in order.
func serve(ctx context.Context, node *broker.Node) error {
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-node.Failed():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	if err := node.Stop(stop); err != nil {
		return err
	}
	return failed
}

func newLogger(w io.Writer, format string) (*slog.Logger, error) {
	all := slog.HandlerOptions{Level: slog.Level(math.MinInt)} // the broker has a level of its own, which clients may change
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, &all)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &all)), nil
	}
	return nil, fmt.Errorf("%w: --log-format takes text or json, not %q", errUsage, format)
}

func warn(logger *slog.Logger, warnings []config.Warning) {
	for _, w := range warnings {
		logger.Warn("setting ignored", "what", fmt.Sprint(w))
	}
}
