package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
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
	user, passwordFile, mechanism, tokenFile string
}

func (f *loginFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.user, "user", "", "log in as `NAME`; the password is in --password-file or "+passwordVariable)
	cmd.Flags().StringVar(&f.passwordFile, "password-file", "", "`FILE` that holds the password")
	cmd.Flags().StringVar(&f.mechanism, "mechanism", "SCRAM-SHA-512", "`SCRAM-SHA-512|SCRAM-SHA-256|PLAIN`")
	cmd.Flags().StringVar(&f.tokenFile, "token-file", "", "log in by OAUTHBEARER with the token in `FILE`, which is read for each connection")
}

// sasl is nil without a login.
func (f *loginFlags) sasl() (sasl.Mechanism, error) {
	switch {
	case f.tokenFile != "" && f.user != "":
		return nil, fmt.Errorf("%w: --token-file says who you are, and so does --user: give one of them", errUsage)
	case f.tokenFile != "":
		return tokenLogin{oauth.Oauth(f.token)}, nil
	case f.user == "":
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
	return nil, fmt.Errorf("%w: --mechanism is SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN, not %q; tokens of OAUTHBEARER come from --token-file", errUsage, f.mechanism)
}

// token reads the file with the token, which whoever renews it replaces.
func (f *loginFlags) token(context.Context) (oauth.Auth, error) {
	b, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return oauth.Auth{}, fmt.Errorf("--token-file: %w", err)
	}
	return oauth.Auth{Token: strings.TrimSpace(string(b))}, nil
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

// tokenLogin is a login by OAUTHBEARER that says why it was refused.
type tokenLogin struct{ sasl.Mechanism }

// Authenticate implements sasl.Mechanism.
func (l tokenLogin) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	s, first, err := l.Mechanism.Authenticate(ctx, host)
	return tokenSession{s}, first, err
}

type tokenSession struct{ sasl.Session }

// Challenge implements sasl.Session: what a broker answers to a token that is good is empty (RFC 7628).
func (s tokenSession) Challenge(answer []byte) (done bool, more []byte, err error) {
	if len(answer) > 0 {
		return false, nil, fmt.Errorf("login: the broker refuses the token: %q; it may have expired, or be for somebody else", answer)
	}
	return s.Session.Challenge(answer)
}
