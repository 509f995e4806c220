package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/objstore/open"
)

const (
	// filesWanted is how many descriptors a broker should be allowed.
	filesWanted = 65536
	// freeWanted is the share of a disk that should be free, in percent.
	freeWanted = 15
	// storeTimeout bounds the question to the object store.
	storeTimeout = 15 * time.Second
	// certificateWarning is how long before its end a certificate is worth a warning.
	certificateWarning = 30 * 24 * time.Hour
	// maxSkew is how far clocks may be apart; the time is told in whole seconds.
	maxSkew = 3 * time.Second
)

// doctor looks at the machine and the settings of a broker.
type doctor struct {
	now  func() time.Time
	list []finding
}

func (d *doctor) say(check, verdict, detail, advice string) {
	d.list = append(d.list, finding{check, verdict, detail, advice})
}

func doctorCommand() *cobra.Command {
	var f sourceFlags
	var cf clientFlags
	var out output
	var running, noStore bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check this machine and a broker's settings before it runs, or while it does", Args: exactArgs(0, "no arguments"),
		Long: "Check this machine and a broker's settings before it runs: descriptors, disks, swap, ports, certificates, the object\n" +
			"store. With --running a broker is asked too, and its clock compared. Nothing is changed. Exit code 3: something is bad.",
		Example: "  varve doctor --config varve.yaml\n  varve doctor --config varve.yaml --running -b localhost:9092 -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &doctor{now: time.Now}
			d.machine()
			node, warnings, err := f.load()
			for _, w := range warnings {
				d.say("settings", verdictWarning, fmt.Sprint(w), "take the line out")
			}
			if err != nil {
				d.say("settings", verdictBad, err.Error(), "see them with 'varve config docs'")
			} else {
				d.say("settings", verdictOK, "they are sound", "")
				d.disks(append(append([]string{}, node.LogDirs...), node.MetadataDir))
				d.ports(node, running)
				d.certificates(node)
				if !noStore {
					d.store(cmd.Context(), node.TierURL)
				}
			}
			if running {
				d.broker(cmd.Context(), &cf)
				if err == nil {
					d.clock(cmd.Context(), node.AdminListen)
				}
			}
			return printFindings(cmd, &out, d.list)
		},
	}
	f.add(cmd)
	cf.add(cmd)
	out.add(cmd)
	cmd.Flags().BoolVar(&running, "running", false, "the broker runs: its ports are taken, and it is asked how it is")
	cmd.Flags().BoolVar(&noStore, "no-store", false, "leave the object store alone")
	return cmd
}

// machine looks at the limits of this process and at swap.
func (d *doctor) machine() {
	if files, err := fileLimit(); err != nil {
		d.say("descriptors", verdictWarning, err.Error(), "the limit is not known")
	} else if files < filesWanted {
		d.say("descriptors", verdictWarning, fmt.Sprintf("at most %d", files), fmt.Sprintf("raise it: LimitNOFILE=%d in the unit of systemd, or ulimit -n", filesWanted))
	} else {
		d.say("descriptors", verdictOK, fmt.Sprintf("at most %d", files), "")
	}
	d.say("memory maps", verdictOK, "vm.max_map_count does not matter: logs are not mapped", "")
	if b, err := os.ReadFile("/proc/swaps"); err == nil && strings.Count(strings.TrimSpace(string(b)), "\n") > 0 {
		d.say("swap", verdictWarning, "there is swap", "a broker that is swapped out misses its heartbeats: set vm.swappiness=1, or swapoff -a")
	} else if err == nil {
		d.say("swap", verdictOK, "none", "")
	}
	d.say("processors", verdictOK, fmt.Sprint(runtime.GOMAXPROCS(0)), "")
}

// disk is the file system below a directory; free space and inodes in percent.
type disk struct {
	name         string
	doubtful     bool // it is no place for a log
	readOnly     bool // for the user that asks
	free, inodes int64
}

// disks looks at the file systems of directories; those that are not there yet at the one above.
func (d *doctor) disks(dirs []string) {
	for _, dir := range dirs {
		check := "disk of " + dir
		at := dir
		for at != filepath.Dir(at) {
			if _, err := os.Stat(at); !errors.Is(err, os.ErrNotExist) {
				break
			}
			at = filepath.Dir(at)
		}
		disk, err := diskOf(at)
		if err != nil {
			d.say(check, verdictBad, err.Error(), "the broker needs the directory, or the right to make it")
			continue
		}
		if disk.readOnly {
			d.say(check, verdictBad, at+" may not be written", "give it to the user that runs the broker")
			continue
		}
		detail := fmt.Sprintf("%s, %d%% free, %d%% of inodes", disk.name, disk.free, disk.inodes)
		switch {
		case disk.doubtful:
			d.say(check, verdictWarning, detail, "a log wants a local disk with ext4 or xfs: what a sync means is not sure here")
		case disk.free < freeWanted:
			d.say(check, verdictWarning, detail, "make room, or lower local.retention.ms and let the tier have it")
		default:
			d.say(check, verdictOK, detail, "")
		}
	}
}

// ports tries to listen, unless the broker does.
func (d *doctor) ports(node *config.Node, running bool) {
	addrs := map[string]string{}
	for _, l := range node.Listeners {
		addrs[net.JoinHostPort(l.Host, strconv.Itoa(l.Port))] = "listener " + l.Name
	}
	if node.AdminListen != "" {
		addrs[node.AdminListen] = "admin listener"
	}
	if running {
		return
	}
	for _, addr := range slices.Sorted(maps.Keys(addrs)) {
		what := addrs[addr]
		l, err := net.Listen("tcp", addr)
		if err != nil {
			d.say(what, verdictBad, err.Error(), "end what listens there, or choose another port")
			continue
		}
		if err := l.Close(); err != nil {
			d.say(what, verdictWarning, err.Error(), "")
			continue
		}
		d.say(what, verdictOK, addr+" is free", "")
	}
}

// certificate judges the end of a certificate.
func (d *doctor) certificate(check string, cert *x509.Certificate) {
	left := cert.NotAfter.Sub(d.now())
	detail := "until " + cert.NotAfter.UTC().Format(time.RFC3339)
	switch {
	case left <= 0:
		d.say(check, verdictBad, "ended, "+detail, "replace it; a broker that runs takes the new files without a restart")
	case left < certificateWarning:
		d.say(check, verdictWarning, detail, "replace it soon")
	default:
		d.say(check, verdictOK, detail, "")
	}
}

// store asks the object store for one page of a list.
func (d *doctor) store(ctx context.Context, url string) {
	if url == "" {
		d.say("object store", verdictOK, "none: everything stays on local disks", "")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	b, err := open.Open(ctx, url)
	if err == nil {
		_, err = b.List(ctx, "varve-doctor/", "", 1)
		err = errors.Join(err, b.Close())
	}
	if err != nil {
		d.say("object store", verdictBad, err.Error(), "check the URL and the credentials, then 'varve store check URL'")
		return
	}
	d.say("object store", verdictOK, "it answers", "")
}

// clock compares this machine's clock with that of the broker, which its admin listener tells to the second.
func (d *doctor) clock(ctx context.Context, admin string) {
	const check = "clock"
	host, port, err := net.SplitHostPort(admin)
	if err != nil {
		d.say(check, verdictWarning, "the broker has no admin listener to ask", "")
		return
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/livez", nil)
	if err != nil {
		d.say(check, verdictWarning, err.Error(), "")
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.say(check, verdictWarning, err.Error(), "is the admin listener where the settings say?")
		return
	}
	defer resp.Body.Close()
	theirs, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		d.say(check, verdictWarning, "the admin listener tells no time", "")
		return
	}
	if skew := d.now().Sub(theirs).Abs(); skew > maxSkew {
		d.say(check, verdictWarning, fmt.Sprintf("%v off the broker's", skew.Round(time.Second)), "records keep the clients' times, and retention goes by them: run chrony or ntpd on both")
		return
	}
	d.say(check, verdictOK, "as the broker's", "")
}

// broker asks a broker that runs.
func (d *doctor) broker(ctx context.Context, cf *clientFlags) {
	adm, end, err := cf.admin(ctx)
	if err != nil {
		d.say("broker", verdictBad, err.Error(), "")
		return
	}
	defer end()
	m, err := adm.Metadata(ctx)
	if err != nil {
		d.say("broker", verdictBad, err.Error(), "")
		return
	}
	d.list = append(d.list, health(&m)...)
	if c, err := cf.tls.config(); err == nil && c != nil {
		conn, err := (&tls.Dialer{Config: c}).DialContext(ctx, "tcp", withPort(cf.brokers[0]))
		if err != nil {
			d.say("certificate of the broker", verdictBad, err.Error(), "")
			return
		}
		defer conn.Close()
		d.certificate("certificate of the broker", conn.(*tls.Conn).ConnectionState().PeerCertificates[0])
	}
}

// certificates judges the certificate of each listener.
func (d *doctor) certificates(node *config.Node) {
	for _, l := range node.Listeners {
		if l.Security == nil || l.Security.KeystoreLocation == "" && l.Security.CertificateChain == "" {
			continue
		}
		check := "certificate of listener " + l.Name
		text := []byte(l.Security.CertificateChain)
		if len(text) == 0 {
			b, err := os.ReadFile(l.Security.KeystoreLocation)
			if err != nil {
				d.say(check, verdictBad, err.Error(), "name a PEM file that the broker may read")
				continue
			}
			text = b
		}
		cert := firstCertificate(text)
		if cert == nil {
			d.say(check, verdictBad, "there is no certificate in it", "the keystore is PEM: the key and the chain of certificates")
			continue
		}
		d.certificate(check, cert)
	}
}

// firstCertificate is the first certificate of a PEM text, nil without one.
func firstCertificate(text []byte) *x509.Certificate {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			return cert
		}
	}
	return nil
}
