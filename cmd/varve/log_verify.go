package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/inspect"
	"github.com/varve-io/varve/broker/vfs"
)

func logVerifyCommand() *cobra.Command {
	var form output
	var o inspect.VerifyOptions
	cmd := &cobra.Command{
		Use: "verify DIR [TOPIC-PARTITION...]", Short: "Check the files of a log directory: every CRC, offset and index entry",
		Long: "Check the files of the partitions in a log directory, or of those that are named: the CRC of every batch, offsets\n" +
			"without gaps that nothing explains, every index entry, producer snapshots and leader epochs. Nothing is changed. While a\n" +
			"broker is running, what is said of the end of a partition's newest segment may be out of date.\n" +
			"Exit code 1 when data is damaged or missing; notes are about what a start mends, or what is known.",
		Example: "  varve log verify /var/lib/varve/log\n  varve log verify /var/lib/varve/log orders-0 -o json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("%w: name a log directory", errUsage)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dirs, err := partitionDirs(args[0], args[1:])
			if err != nil {
				return err
			}
			p := startProgress(cmd.ErrOrStderr(), "%d bytes read")
			o.Seen = func(n int64) { p.n.Add(n) }
			reports, err := verifyAll(dirs, o)
			p.end()
			if err != nil {
				return err
			}
			if err := showReports(cmd.OutOrStdout(), form, reports); err != nil {
				return err
			}
			problems := 0
			for _, r := range reports {
				problems += r.Problems()
			}
			if problems > 0 {
				return fmt.Errorf("%d problems in %s; 'varve log repair' shows what can be done", problems, args[0])
			}
			return nil
		},
	}
	form.add(cmd)
	cmd.Flags().BoolVar(&o.Compacted, "compacted", false, "the topics have cleanup.policy=compact: offsets may be missing")
	return cmd
}

// partitionDirs are the partitions' directories in a log dir, all or those that are named.
func partitionDirs(dir string, names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		if _, ok := commitlog.ParseDirName(name); !ok {
			return nil, fmt.Errorf("%w: %q is no partition: write TOPIC-PARTITION, as its directory is called", errUsage, name)
		}
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("partition %s: %w", name, err)
		}
		out = append(out, path)
	}
	if len(names) > 0 {
		return out, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".log") && !e.IsDir() {
			return []string{dir}, nil // a partition's own directory
		}
		if _, ok := commitlog.ParseDirName(e.Name()); ok && e.IsDir() {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no partition; name one of log.dirs", dir)
	}
	return out, nil
}

func verifyAll(dirs []string, o inspect.VerifyOptions) ([]*inspect.Report, error) {
	reports := []*inspect.Report{}
	for _, dir := range dirs {
		r, err := inspect.Verify(vfs.OS(), dir, o)
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("partition %s: %w", filepath.Base(dir), err)
		}
		reports = append(reports, r)
	}
	return reports, nil
}

func showReports(w io.Writer, form output, reports []*inspect.Report) error {
	err := form.print(w, reports, "PARTITION SEGMENTS BATCHES RECORDS BYTES START END PROBLEMS", func(w io.Writer) {
		for _, r := range reports {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", r.Partition, r.Segments, r.Batches, r.Records, r.Bytes, r.Start, r.End, r.Problems())
		}
	})
	if err != nil || !form.isTable() {
		return err
	}
	for _, r := range reports {
		for _, f := range r.Findings {
			fmt.Fprintf(w, "%s: %s\n", r.Partition, f)
		}
	}
	return nil
}
