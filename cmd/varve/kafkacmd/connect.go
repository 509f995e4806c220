package kafkacmd

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

const (
	// dialTimeout bounds an attempt to connect, answerTimeout how long a tool waits for a cluster.
	dialTimeout   = 5 * time.Second
	answerTimeout = 30 * time.Second
)

// properties are the settings of a client by Kafka's names.
type properties map[string]string

// load reads a file of settings as Java does: NAME=VALUE lines, # and ! begin a comment, a \ at the end
// goes on in the next line.
func (p properties) load(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var line string
	lines := bufio.NewScanner(strings.NewReader(string(b)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line += strings.TrimLeft(lines.Text(), " \t")
		if rest, more := strings.CutSuffix(line, `\`); more {
			line = rest
			continue
		}
		if line != "" && line[0] != '#' && line[0] != '!' {
			name, value := line, ""
			if i := strings.IndexAny(line, "=:"); i >= 0 {
				name, value = line[:i], line[i+1:]
			}
			p[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
		line = ""
	}
	return lines.Err()
}

// pairs takes NAME=VALUE words.
func (p properties) pairs(words []string) {
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		p[k] = v
	}
}

// console reads the settings of a console tool for a role, producer or consumer: how records look,
// which options of that name say (reader, formatter), and its client's. It warns of old names.
func (c *call) console(warning, role, look string) (looks, settings properties, err error) {
	c.deprecated(warning, map[string]string{"property": look + "-property", role + "-property": "command-property", role + ".config": "command-config"})
	looks, settings = properties{}, properties{"client.id": "console-" + role}
	for _, f := range []struct {
		option string
		to     properties
	}{{look + "-config", looks}, {role + ".config", settings}, {"command-config", settings}} {
		if c.o.has(f.option) {
			if err := f.to.load(c.o.last(f.option)); err != nil {
				return nil, nil, err
			}
		}
	}
	looks.pairs(append(c.o.all("property"), c.o.all(look+"-property")...))
	settings.pairs(append(c.o.all(role+"-property"), c.o.all("command-property")...))
	return looks, settings, nil
}

// deprecated warns of the old names of options.
func (c *call) deprecated(format string, names map[string]string) {
	for _, name := range c.o.order {
		if now := names[name]; now != "" {
			fmt.Fprintf(c.out, format+"\n", name, now)
			delete(names, name)
		}
	}
}

// isTrue reads a setting as Kafka's tools do.
func (p properties) isTrue(name string) bool {
	return strings.EqualFold(strings.TrimSpace(p[name]), "true")
}

// connect makes a client for --bootstrap-server with the settings of the files that the options name,
// and of more.
func (c *call) connect(files []string, more properties, opts ...kgo.Opt) (*kgo.Client, error) {
	p := properties{}
	for _, name := range files {
		if !c.o.has(name) {
			continue
		}
		if err := p.load(c.o.last(name)); err != nil {
			return nil, err
		}
	}
	for k, v := range more {
		p[k] = v
	}
	seeds := strings.Split(c.o.last("bootstrap-server"), ",")
	base := []kgo.Opt{kgo.SeedBrokers(seeds...), kgo.DialTimeout(dialTimeout), kgo.RetryTimeout(answerTimeout), kgo.ClientID("varve-kafka-tools")}
	if id := p["client.id"]; id != "" {
		base = append(base, kgo.ClientID(id))
	}
	secure, err := p.secure()
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(append(base, secure...), opts...)...)
	if err != nil {
		return nil, err
	}
	if err := c.reach(seeds); err != nil {
		cl.Close()
		return nil, err
	}
	return cl, nil
}

// reach tells at once that nobody listens, where Kafka's tools try for a minute.
func (c *call) reach(seeds []string) error {
	var last error
	for _, seed := range seeds {
		d := net.Dialer{Timeout: dialTimeout}
		conn, err := d.DialContext(c.ctx, "tcp", strings.TrimSpace(seed))
		if err == nil {
			return conn.Close()
		}
		last = err
	}
	return fmt.Errorf("no broker answers at %s: %w; is it running, and is this its listener?", strings.Join(seeds, ","), last)
}

// secure is what security.protocol, sasl.* and ssl.* make of a client.
func (p properties) secure() ([]kgo.Opt, error) {
	var opts []kgo.Opt
	protocol := strings.ToUpper(p["security.protocol"])
	if strings.HasSuffix(protocol, "SSL") {
		t, err := p.tls()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(t))
	}
	if strings.HasPrefix(protocol, "SASL_") {
		m, err := p.login()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(m))
	}
	return opts, nil
}

// login is sasl.mechanism with the user of sasl.jaas.config.
func (p properties) login() (sasl.Mechanism, error) {
	word := func(name string) string {
		m := regexp.MustCompile(`(?:^|\s)` + name + `\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s;]+))`).FindStringSubmatch(p["sasl.jaas.config"])
		if m == nil {
			return ""
		}
		return regexp.MustCompile(`\\(.)`).ReplaceAllString(m[1], "$1") + m[2] + m[3]
	}
	user, pass := word("username"), word("password")
	if user == "" {
		return nil, errors.New("sasl.jaas.config names no user: want username=\"…\" password=\"…\"")
	}
	switch m := p["sasl.mechanism"]; m {
	case "PLAIN":
		return plain.Auth{User: user, Pass: pass}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: pass}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: user, Pass: pass}.AsSha512Mechanism(), nil
	default:
		return nil, fmt.Errorf("sasl.mechanism %q is not supported here: use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", m)
	}
}

// tls reads ssl.*: certificates are PEM, in files or in the settings themselves.
func (p properties) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	pem := func(inline, file, kind string) ([]byte, error) {
		switch {
		case p[inline] != "":
			return []byte(p[inline]), nil
		case p[file] == "":
			return nil, nil
		case !strings.EqualFold(p[kind], "PEM"):
			return nil, fmt.Errorf("%s is read as PEM alone: set %s=PEM and name a PEM file", file, kind)
		}
		return os.ReadFile(p[file])
	}
	trust, err := pem("ssl.truststore.certificates", "ssl.truststore.location", "ssl.truststore.type")
	if err != nil {
		return nil, err
	}
	if trust != nil {
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(trust) {
			return nil, errors.New("ssl.truststore: no certificate in it is PEM")
		}
	}
	key, err := pem("ssl.keystore.key", "ssl.keystore.location", "ssl.keystore.type")
	if err != nil {
		return nil, err
	}
	if key != nil {
		chain := key
		if p["ssl.keystore.certificate.chain"] != "" {
			chain = []byte(p["ssl.keystore.certificate.chain"])
		}
		cert, err := tls.X509KeyPair(chain, key)
		if err != nil {
			return nil, fmt.Errorf("ssl.keystore: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	if algorithm, set := p["ssl.endpoint.identification.algorithm"]; set && algorithm == "" {
		c.InsecureSkipVerify, c.VerifyConnection = true, verifyChain(c.RootCAs)
	}
	return c, nil
}

// verifyChain checks who signed a certificate, and not the name in it.
func verifyChain(roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		between := x509.NewCertPool()
		for _, cert := range s.PeerCertificates[1:] {
			between.AddCert(cert)
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
		return err
	}
}
