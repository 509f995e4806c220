package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// resource is what settings belong to, as the command line names it: topic/NAME, broker/ID,
// group/NAME, logger/ID, or cluster for what all brokers take.
type resource struct {
	name   string // of a topic or group
	broker int32  // of a broker or its logger
	kind   string
}

func parseResource(s string) (resource, error) {
	kind, name, named := strings.Cut(s, "/")
	switch {
	case kind == "cluster" && !named:
		return resource{kind: kind}, nil
	case (kind == "topic" || kind == "group") && name != "":
		return resource{kind: kind, name: name}, nil
	case (kind == "broker" || kind == "logger") && name != "":
		id, err := strconv.ParseInt(name, 10, 32)
		if err == nil {
			return resource{kind: kind, broker: int32(id), name: name}, nil
		}
	}
	return resource{}, fmt.Errorf("%w: %q is no resource: want topic/NAME, broker/ID, group/NAME, logger/ID or cluster", errUsage, s)
}

// describe asks for the settings of the resource.
func (r resource) describe(ctx context.Context, cl *kgo.Client) (kadm.ResourceConfig, error) {
	adm := kadm.NewClient(cl)
	var res kadm.ResourceConfigs
	var err error
	switch r.kind {
	case "topic":
		res, err = adm.DescribeTopicConfigs(ctx, r.name)
	case "group":
		return describeOther(ctx, cl, kmsg.ConfigResourceTypeGroupConfig, r.name)
	case "logger":
		return describeOther(ctx, cl.Broker(int(r.broker)), kmsg.ConfigResourceTypeBrokerLogger, r.name)
	case "broker":
		res, err = adm.DescribeBrokerConfigs(ctx, r.broker)
	default:
		res, err = adm.DescribeBrokerConfigs(ctx)
	}
	if err == nil && len(res) == 0 {
		err = kerr.UnknownServerError
	}
	if err == nil {
		err = res[0].Err
	}
	if err != nil {
		return kadm.ResourceConfig{}, err
	}
	return res[0], nil
}

// alter changes the settings of the resource, or has that checked.
func (r resource) alter(ctx context.Context, cl *kgo.Client, configs []kadm.AlterConfig, dryRun bool) (string, error) {
	adm := kadm.NewClient(cl)
	switch {
	case r.kind == "group":
		return alterOther(ctx, cl, kmsg.ConfigResourceTypeGroupConfig, r.name, configs, dryRun)
	case r.kind == "logger":
		return alterOther(ctx, cl.Broker(int(r.broker)), kmsg.ConfigResourceTypeBrokerLogger, r.name, configs, dryRun)
	case r.kind == "topic" && dryRun:
		return firstAltered(adm.ValidateAlterTopicConfigs(ctx, configs, r.name))
	case r.kind == "topic":
		return firstAltered(adm.AlterTopicConfigs(ctx, configs, r.name))
	}
	var ids []int32
	if r.kind == "broker" {
		ids = []int32{r.broker}
	}
	if dryRun {
		return firstAltered(adm.ValidateAlterBrokerConfigs(ctx, configs, ids...))
	}
	return firstAltered(adm.AlterBrokerConfigs(ctx, configs, ids...))
}

// settingRow is one setting of a resource.
type settingRow struct {
	Name      string  `json:"name"`
	Value     *string `json:"value"` // null where nothing is set, and for a secret
	Source    string  `json:"source"`
	Sensitive bool    `json:"sensitive"`
}

func configGetCommand() *cobra.Command {
	var cf clientFlags
	var out output
	cmd := &cobra.Command{
		Use: "get RESOURCE NAME", Short: "Print one setting of topic/NAME, broker/ID, group/NAME, logger/ID or cluster", Args: exactArgs(2, "a resource and the name of a setting"),
		Example: "  varve config get topic/orders retention.ms\n  varve config get broker/1 max.connections -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := parseResource(args[0])
			if err != nil {
				return err
			}
			rows, err := settingsOf(cmd.Context(), &cf, r, func(row settingRow) bool { return row.Name == args[1] })
			if err != nil {
				return explain("reading settings of "+args[0], err, "")
			}
			if len(rows) == 0 {
				return fmt.Errorf("%s has no setting %s; see what it has with 'varve config list %s'", args[0], args[1], args[0])
			}
			return out.print(cmd.OutOrStdout(), rows[0], "", func(w io.Writer) { fmt.Fprintln(w, rows[0].text()) })
		},
	}
	cf.add(cmd)
	out.add(cmd)
	return cmd
}

// text is the value for people and scripts.
func (r settingRow) text() string {
	switch {
	case r.Sensitive:
		return "(secret)"
	case r.Value == nil:
		return ""
	}
	return *r.Value
}

// settingsOf lists the settings of a resource that are wanted, by name.
func settingsOf(ctx context.Context, cf *clientFlags, r resource, want func(settingRow) bool) ([]settingRow, error) {
	cl, err := cf.client(ctx)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	res, err := r.describe(ctx, cl)
	if err != nil {
		return nil, err
	}
	rows := []settingRow{}
	for _, c := range res.Configs {
		if row := (settingRow{c.Key, c.Value, c.Source.String(), c.Sensitive}); want(row) {
			rows = append(rows, row)
		}
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].Name < rows[j].Name })
	return rows, nil
}

func configListCommand() *cobra.Command {
	var cf clientFlags
	var out output
	var all bool
	cmd := &cobra.Command{
		Use: "list RESOURCE", Short: "List what is set of topic/NAME, broker/ID, group/NAME, logger/ID or cluster", Args: exactArgs(1, "a resource"),
		Example: "  varve config list topic/orders --all\n  varve config list cluster\n  varve config list group/billing --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := parseResource(args[0])
			if err != nil {
				return err
			}
			given := []string{"STATIC_BROKER_CONFIG", "DEFAULT_CONFIG"}
			rows, err := settingsOf(cmd.Context(), &cf, r, func(row settingRow) bool { return all || !slices.Contains(given, row.Source) })
			if err != nil {
				return explain("reading settings of "+args[0], err, "")
			}
			return out.print(cmd.OutOrStdout(), rows, "NAME VALUE SOURCE", func(w io.Writer) {
				for _, row := range rows {
					fmt.Fprintf(w, "%s\t%s\t%s\n", row.Name, row.text(), row.Source)
				}
			})
		},
	}
	cf.add(cmd)
	out.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "also what comes from files and defaults")
	return cmd
}

func configSetCommand() *cobra.Command {
	var cf clientFlags
	var e edits
	cmd := &cobra.Command{
		Use: "set RESOURCE", Short: "Change settings of topic/NAME, broker/ID, group/NAME, logger/ID or cluster, at once", Args: exactArgs(1, "a resource"),
		Example: "  varve config set cluster --set log.retention.ms=86400000\n  varve config set broker/1 --delete max.connections --dry-run\n  varve config set logger/1 --set root=DEBUG",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := parseResource(args[0])
			if err != nil {
				return err
			}
			configs, err := e.configs()
			if err != nil {
				return err
			}
			cl, err := cf.client(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			if message, err := r.alter(cmd.Context(), cl, configs, e.dryRun); err != nil {
				return explain("changing settings of "+args[0], err, message)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), done(e.dryRun, fmt.Sprintf("changed %d setting(s) of %s", len(configs), args[0])))
			return nil
		},
	}
	cf.add(cmd)
	e.flags(cmd)
	return cmd
}
