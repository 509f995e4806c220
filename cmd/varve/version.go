package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/varve-io/varve/broker/config"
)

// buildInfo says what this binary is.
type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func build() buildInfo {
	b := buildInfo{Version: config.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Revision = s.Value
			}
		}
	}
	return b
}

func versionCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version of this binary", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := build()
			return out.print(cmd.OutOrStdout(), b, "", func(w io.Writer) {
				fmt.Fprintf(w, "varve\t%s\nrevision\t%s\ngo\t%s\nplatform\t%s\n", b.Version, b.Revision, b.Go, b.Platform)
			})
		},
	}
	out.add(cmd)
	return cmd
}
