package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varve-io/varve/broker"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/objstore/open"
)

// sourceFlags say where a broker's settings come from.
type sourceFlags struct {
	file, properties string
	set              []string
}

func (f *sourceFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "config", "", "settings `FILE`, a flat YAML map of names")
	cmd.Flags().StringVar(&f.properties, "properties", "", "Kafka's server.properties `FILE`; ignored lines are reported")
	cmd.Flags().StringArrayVar(&f.set, "set", nil, "setting `NAME=VALUE`, repeatable; wins over file and environment")
}

func (f *sourceFlags) load() (*config.Node, []config.Warning, error) {
	src := config.Sources{Env: os.Environ(), Set: f.set}
	for _, in := range []struct {
		path string
		to   *[]byte
	}{{f.file, &src.YAML}, {f.properties, &src.Properties}} {
		if in.path == "" {
			continue
		}
		b, err := os.ReadFile(in.path)
		if err != nil {
			return nil, nil, fmt.Errorf("settings: %w", err)
		}
		*in.to = b
	}
	return config.Load(src)
}

func brokerCommand() *cobra.Command {
	var f sourceFlags
	var logFormat string
	cmd := &cobra.Command{
		Use: "broker", Short: "Run a broker from a settings file", Args: exactArgs(0, "no arguments"),
		Example: "  varve broker --config varve.yaml\n  varve broker --properties server.properties --set varve.tier.url=s3://bucket/prefix",
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := newLogger(cmd.ErrOrStderr(), logFormat)
			if err != nil {
				return err
			}
			node, warnings, err := f.load()
			if err != nil {
				return err
			}
			warn(logger, warnings)
			n, err := broker.Start(cmd.Context(), broker.Options{Config: node, OpenStore: open.Open, Logger: logger, Version: config.Version})
			if err != nil {
				return err
			}
			return serve(cmd.Context(), n)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&logFormat, "log-format", "json", "`text|json`")
	return cmd
}

func configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Read and change settings of a cluster, check those of a broker"}
	cmd.AddCommand(configGetCommand(), configSetCommand(), configListCommand(), configDiffCommand(), configCheckCommand(), configDocsCommand())
	return cmd
}

// settingDoc is one setting in the JSON form of the documentation.
type settingDoc struct {
	Name      string   `json:"name"`
	Type      string   `json:"type"`
	Unit      string   `json:"unit"`
	Default   string   `json:"default"`
	Synonyms  []string `json:"synonyms"`
	Sensitive bool     `json:"sensitive"`
	Since     string   `json:"since"`
	Doc       string   `json:"doc"`
}

func configDocsCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "docs [WORD]", Short: "Print every setting, or those with a word in their names, with type, default, unit and meaning",
		Example: "  varve config docs local.retention\n  varve config docs -o json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("%w: %s takes at most one word", errUsage, cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if out.isTable() && len(args) == 0 {
				_, err := cmd.OutOrStdout().Write(config.Markdown())
				return err
			}
			var rows []settingDoc
			for _, s := range config.Table() {
				if len(args) == 0 || strings.Contains(s.Name, strings.ToLower(args[0])) {
					rows = append(rows, settingDoc{s.Name, fmt.Sprint(s.Type), fmt.Sprint(s.Unit), s.Default, append([]string{}, s.Synonyms...), s.Sensitive, s.Since, s.Doc})
				}
			}
			if len(rows) == 0 {
				return fmt.Errorf("no setting has %q in its name; see all of them with 'varve config docs -o name'", args[0])
			}
			return out.print(cmd.OutOrStdout(), rows, "NAME TYPE UNIT DEFAULT MEANING", func(w io.Writer) {
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.Type, firstNonEmpty(r.Unit, "-"), firstNonEmpty(r.Default, "-"), r.Doc)
				}
			})
		},
	}
	out.add(cmd)
	cmd.Flags().Lookup("output").Usage = "output form, `table|wide|json|yaml|name`; the table of all is Markdown"
	return cmd
}

func configCheckCommand() *cobra.Command {
	var f sourceFlags
	cmd := &cobra.Command{
		Use: "check", Short: "Say whether a broker would accept these settings", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, warnings, err := f.load()
			for _, w := range warnings {
				fmt.Fprintf(cmd.ErrOrStderr(), "ignored: %v\n", w)
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "the settings are sound")
			return nil
		},
	}
	f.add(cmd)
	return cmd
}
