package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func logCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "log", Short: "See the brokers' log directories; read, check and mend the files in them"}
	cmd.AddCommand(logDirsCommand(), logDumpCommand(), logVerifyCommand(), logRepairCommand(), logImportCommand(), logDropCommand())
	return cmd
}

// logDirRow is one log directory of one broker. Sizes are bytes, -1 where they are not known.
type logDirRow struct {
	Broker     int32          `json:"broker"`
	Dir        string         `json:"dir"`
	Partitions int            `json:"partitions"`
	Size       int64          `json:"size_bytes"`
	Usable     int64          `json:"usable_bytes"`
	Total      int64          `json:"total_bytes"`
	Error      string         `json:"error"`
	Logs       []logDirDetail `json:"logs"`
}

// logDirDetail is one partition in a directory.
type logDirDetail struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Size      int64  `json:"size_bytes"`
	Lag       int64  `json:"lag"`
	Future    bool   `json:"future"`
}

func logDirsCommand() *cobra.Command {
	var cf clientFlags
	var out output
	cmd := &cobra.Command{
		Use: "dirs", Short: "Show the log directories of every broker, what lies in them and how much room is left",
		Long: "Show the log directories of every broker, what lies in them and how much room is left.\n" +
			"Sizes are of local segments; 'varve tier status' shows what lies in the object store. With -o json each partition is listed.",
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, done, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			dirs, err := adm.DescribeAllLogDirs(cmd.Context(), nil)
			if err != nil {
				return explain("describing log directories", err, "")
			}
			rows := []logDirRow{}
			for _, d := range dirs.Sorted() {
				rows = append(rows, logDir(d))
			}
			return out.print(cmd.OutOrStdout(), rows, "BROKER DIR PARTITIONS SIZE USABLE TOTAL STATE", func(w io.Writer) {
				for _, r := range rows {
					fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d\t%d\t%s\n", r.Broker, r.Dir, r.Partitions, r.Size, r.Usable, r.Total, r.state())
				}
			})
		},
	}
	cf.add(cmd)
	out.add(cmd)
	return cmd
}

func (r logDirRow) state() string {
	if r.Error != "" {
		return r.Error
	}
	return "online"
}

func logDir(d kadm.DescribedLogDir) logDirRow {
	r := logDirRow{Broker: d.Broker, Dir: d.Dir, Size: d.Size(), Usable: d.UsableBytes, Total: d.TotalBytes, Logs: []logDirDetail{}}
	if d.Err != nil {
		r.Error = d.Err.Error()
	}
	for _, p := range d.Topics.Sorted() {
		r.Logs = append(r.Logs, logDirDetail{p.Topic, p.Partition, p.Size, p.OffsetLag, p.IsFuture})
	}
	r.Partitions = len(r.Logs)
	return r
}
