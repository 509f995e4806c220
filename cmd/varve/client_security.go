package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// passwordVariable is the environment variable with the password; there is no flag for it, which
// every user of the machine would see.
const passwordVariable = "VARVE_PASSWORD"

// adminPasswordVariable is that of the login at the admin listener.
const adminPasswordVariable = "VARVE_ADMIN_PASSWORD"

// tlsFlags say how a verb speaks TLS.
type tlsFlags struct {
	on            bool
	ca, cert, key string
}

func (f *tlsFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.on, "tls", false, "speak TLS; the other --tls flags imply it")
	cmd.Flags().StringVar(&f.ca, "tls-ca", "", "PEM `FILE` of the authorities to trust instead of the system's")
	cmd.Flags().StringVar(&f.cert, "tls-cert", "", "PEM `FILE` with a client certificate")
	cmd.Flags().StringVar(&f.key, "tls-key", "", "PEM `FILE` with its key; not needed when --tls-cert holds it too")
}

// config is nil without TLS.
func (f *tlsFlags) config() (*tls.Config, error) {
	if !f.on && f.ca == "" && f.cert == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		b, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("--tls-ca: no certificate in %s is PEM", f.ca)
		}
	}
	if f.cert != "" {
		key := f.key
		if key == "" {
			key = f.cert
		}
		cert, err := tls.LoadX509KeyPair(f.cert, key)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// loginFlags say as whom a verb logs in.
type loginFlags struct {
	user, passwordFile, mechanism string
}

func (f *loginFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.user, "user", "", "log in as `NAME`; the password is in --password-file or "+passwordVariable)
	cmd.Flags().StringVar(&f.passwordFile, "password-file", "", "`FILE` that holds the password")
	cmd.Flags().StringVar(&f.mechanism, "mechanism", "SCRAM-SHA-512", "`SCRAM-SHA-512|SCRAM-SHA-256|PLAIN`")
}

// sasl is nil without a login.
func (f *loginFlags) sasl() (sasl.Mechanism, error) {
	if f.user == "" {
		return nil, nil
	}
	password, err := readPassword(f.passwordFile, passwordVariable)
	if err != nil {
		return nil, err
	}
	switch strings.ToUpper(f.mechanism) {
	case "SCRAM-SHA-512":
		return scram.Auth{User: f.user, Pass: password}.AsSha512Mechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: f.user, Pass: password}.AsSha256Mechanism(), nil
	case "PLAIN":
		return plain.Auth{User: f.user, Pass: password}.AsMechanism(), nil
	}
	return nil, fmt.Errorf("%w: --mechanism is SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN, not %q", errUsage, f.mechanism)
}

// readPassword takes a password from a file, without the end of its line, or from the environment.
func readPassword(file, variable string) (string, error) {
	password := os.Getenv(variable)
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("password: %w", err)
		}
		password = strings.TrimRight(string(b), "\r\n")
	}
	if password == "" {
		return "", fmt.Errorf("%w: no password: name a file that holds it, or set %s", errUsage, variable)
	}
	return password, nil
}

// secure is what the flags make of a client.
func (f *clientFlags) secure() ([]kgo.Opt, error) {
	var opts []kgo.Opt
	c, err := f.tls.config()
	if err != nil {
		return nil, err
	}
	if c != nil {
		opts = append(opts, kgo.DialTLSConfig(c))
	}
	m, err := f.login.sasl()
	if err != nil {
		return nil, err
	}
	if m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	return opts, nil
}
