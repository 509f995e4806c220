package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

const (
	// bundleLimit bounds what is taken of one page or file.
	bundleLimit = 32 << 20
	// logTail is how much of the end of a log goes into a bundle.
	logTail = 4 << 20
)

func debugCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "debug", Short: "Gather what helps to find out what is wrong"}
	cmd.AddCommand(debugBundleCommand())
	return cmd
}

// bundle is an archive that is being written. What cannot be had is noted in it, and is no failure.
type bundle struct {
	w       *tar.Writer
	now     time.Time
	notes   []string
	chatter io.Writer
}

// add writes one file of the archive.
func (b *bundle) add(name string, data []byte, err error) error {
	if err != nil {
		b.notes = append(b.notes, fmt.Sprintf("%s: %v", name, err))
		fmt.Fprintf(b.chatter, "%-24s left out: %v\n", name, err)
		return nil
	}
	fmt.Fprintf(b.chatter, "%-24s %d bytes\n", name, len(data))
	if err := b.w.WriteHeader(&tar.Header{Name: "varve-bundle/" + name, Mode: 0o600, Size: int64(len(data)), ModTime: b.now}); err != nil {
		return err
	}
	_, err = b.w.Write(data)
	return err
}

// json writes a value as a file.
func (b *bundle) json(name string, v any, err error) error {
	if err != nil {
		return b.add(name, nil, err)
	}
	data, err := json.MarshalIndent(v, "", "  ")
	return b.add(name, data, err)
}

func debugBundleCommand() *cobra.Command {
	var cf clientFlags
	var admin adminFlags
	var to, log string
	cmd := &cobra.Command{
		Use: "bundle", Short: "Write an archive of settings, metrics, metadata and the end of the log, without secrets", Args: exactArgs(0, "no arguments"),
		Long: "Write an archive (tar.gz) of what helps to find out what is wrong: the settings as the brokers tell them, which leaves\n" +
			"out the value of every secret; the metrics and the stacks of the admin listener; a summary of topics, groups and the\n" +
			"quorum; the end of a log file. It holds no record and no password. What cannot be had is in notes.txt.",
		Example: "  varve debug bundle --file bundle.tar.gz\n  varve debug bundle --admin localhost:9644 --log /var/log/varve.json\n" +
			"  varve debug bundle --admin https://broker-1:9644 --admin-user ops --admin-password-file admin-password --tls-ca ca.pem",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if to == "" {
				to = "varve-bundle-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
			}
			f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return fmt.Errorf("the archive: %w", err)
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			z := gzip.NewWriter(f)
			b := &bundle{w: tar.NewWriter(z), now: time.Now(), chatter: cmd.ErrOrStderr()}
			if err := errors.Join(b.gather(cmd.Context(), &cf, &admin, log), b.w.Close(), z.Close()); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), to)
			return nil
		},
	}
	cf.add(cmd)
	cmd.Flags().StringVar(&to, "file", "", "the archive to write, `FILE`; default: varve-bundle-TIME.tar.gz")
	admin.add(cmd)
	cmd.Flags().StringVar(&log, "log", "", "log `FILE` of the broker, whose end is taken")
	return cmd
}

func (b *bundle) gather(ctx context.Context, cf *clientFlags, admin *adminFlags, log string) error {
	pages, err := admin.pages(&cf.tls)
	if err != nil {
		return err
	}
	steps := []error{b.json("version.json", build(), nil)}
	for _, p := range []struct{ name, path string }{{"metrics.txt", "/metrics"}, {"ready.txt", "/readyz?verbose"}, {"goroutines.txt", "/debug/pprof/goroutine?debug=2"}} {
		data, err := pages(ctx, p.path)
		steps = append(steps, b.add(p.name, data, err))
	}
	adm, end, err := cf.admin(ctx)
	if err != nil {
		steps = append(steps, b.add("cluster.json", nil, err))
	} else {
		steps = append(steps, b.cluster(ctx, adm))
		end()
	}
	if log != "" {
		data, err := tailOf(log)
		steps = append(steps, b.add("log.txt", scrub(data), err))
	}
	steps = append(steps, b.add("notes.txt", []byte(strings.Join(append(b.notes, ""), "\n")), nil))
	return errors.Join(steps...)
}

// cluster writes what the brokers tell over Kafka's protocol.
func (b *bundle) cluster(ctx context.Context, adm *kadm.Client) error {
	m, err := adm.Metadata(ctx)
	steps := []error{b.json("metadata.json", m, err)}
	if err == nil {
		steps = append(steps, b.json("health.json", health(&m), nil))
		var ids []int32
		for _, broker := range m.Brokers {
			ids = append(ids, broker.NodeID)
		}
		settings := map[string][]settingRow{}
		res, err := adm.DescribeBrokerConfigs(ctx, ids...)
		for _, r := range res {
			for _, c := range r.Configs {
				row := settingRow{c.Key, c.Value, c.Source.String(), c.Sensitive}
				if row.Sensitive {
					row.Value = nil // the broker tells none; nothing here depends on it
				}
				settings["broker "+r.Name] = append(settings["broker "+r.Name], row)
			}
		}
		steps = append(steps, b.json("settings.json", settings, err))
	}
	lags, err := lagRows(ctx, adm, nil)
	return errors.Join(append(steps, b.json("lag.json", lags, err))...)
}

// adminFlags say where the admin listener is and as whom to log in there.
type adminFlags struct{ address, user, passwordFile string }

func (f *adminFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.address, "admin", "127.0.0.1:9644", "admin listener, `HOST:PORT`, or https://HOST:PORT where it speaks TLS")
	cmd.Flags().StringVar(&f.user, "admin-user", "", "log in there as `NAME`; stacks need a login")
	cmd.Flags().StringVar(&f.passwordFile, "admin-password-file", "", "`FILE` that holds its password")
}

// pages answers what reads a page of the admin listener.
func (f *adminFlags) pages(t *tlsFlags) (func(ctx context.Context, path string) ([]byte, error), error) {
	config, err := t.config()
	if err != nil {
		return nil, err
	}
	password := ""
	if f.user != "" {
		if password, err = readPassword(f.passwordFile, adminPasswordVariable); err != nil {
			return nil, err
		}
	}
	at := f.address
	if !strings.Contains(at, "://") {
		at = "http://" + at
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	return func(ctx context.Context, path string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at+path, nil)
		if err != nil {
			return nil, err
		}
		if f.user != "" {
			req.SetBasicAuth(f.user, password)
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusUnauthorized {
			return nil, fmt.Errorf("the admin listener says %s", resp.Status)
		}
		return io.ReadAll(io.LimitReader(resp.Body, bundleLimit))
	}, nil
}

// tailOf reads the end of a file.
func tailOf(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	at := max(0, info.Size()-logTail)
	return io.ReadAll(io.NewSectionReader(f, at, info.Size()-at))
}

// scrub leaves out the lines of a log that speak of passwords and keys: the broker writes none, a wrapper may.
func scrub(text []byte) []byte {
	lines := strings.SplitAfter(string(text), "\n")
	for i, line := range lines {
		lower := strings.ToLower(line)
		for _, word := range []string{"password", "secret", "private key", "sasl.jaas", "authorization:", "token="} {
			if strings.Contains(lower, word) {
				lines[i] = "(a line that speaks of a secret was left out)\n"
			}
		}
	}
	return []byte(strings.Join(lines, ""))
}
