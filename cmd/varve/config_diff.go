package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// settingDiff is a setting that two resources have differently; null where one has none.
type settingDiff struct {
	Name  string  `json:"name"`
	Left  *string `json:"left"`
	Right *string `json:"right"`
}

func configDiffCommand() *cobra.Command {
	var cf clientFlags
	var out output
	cmd := &cobra.Command{
		Use: "diff RESOURCE RESOURCE", Short: "Show the settings that two topics, brokers or groups have differently", Args: exactArgs(2, "two resources"),
		Example: "  varve config diff topic/orders topic/payments\n  varve config diff broker/1 broker/2 -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			var sides [2]map[string]settingRow
			var names []string
			for i, arg := range args {
				r, err := parseResource(arg)
				if err != nil {
					return err
				}
				rows, err := settingsOf(cmd.Context(), &cf, r, func(settingRow) bool { return true })
				if err != nil {
					return explain("reading settings of "+arg, err, "")
				}
				sides[i] = map[string]settingRow{}
				for _, row := range rows {
					if _, seen := sides[0][row.Name]; i == 0 || !seen {
						names = append(names, row.Name)
					}
					sides[i][row.Name] = row
				}
			}
			rows := []settingDiff{}
			for _, name := range names {
				left, right := sides[0][name], sides[1][name]
				if left.text() != right.text() && !left.Sensitive && !right.Sensitive {
					rows = append(rows, settingDiff{name, left.Value, right.Value})
				}
			}
			return out.print(cmd.OutOrStdout(), rows, "NAME LEFT RIGHT", func(w io.Writer) {
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%s\t%s\n", r.Name, deref(r.Left), deref(r.Right))
				}
			})
		},
	}
	cf.add(cmd)
	out.add(cmd)
	return cmd
}
