package security

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// reloadInterval is how often a handshake looks whether the files of its listener have changed.
const reloadInterval = 10 * time.Second

// maxPEMBytes bounds a file of keys or certificates.
const maxPEMBytes = 16 << 20

// TLS is the certificates of one listener.
type TLS struct {
	fs     vfs.FS
	from   *config.Security
	now    func() time.Time
	logger *slog.Logger
	failed func()

	mu struct {
		sync.Mutex
		looked time.Time
		stamps [2]stamp
		config *tls.Config
	}
}

// stamp is what changes when a file does.
type stamp struct {
	modified time.Time
	size     int64
}

// NewTLS reads the keys and certificates of a listener. failed is called whenever a changed file
// is no use: the listener then goes on with what it had.
func NewTLS(fs vfs.FS, from *config.Security, now func() time.Time, logger *slog.Logger, failed func()) (*TLS, error) {
	t := &TLS{fs: fs, from: from, now: now, logger: logger, failed: failed}
	stamps := t.stamps()
	c, err := t.load()
	if err != nil {
		return nil, err
	}
	t.mu.looked, t.mu.stamps, t.mu.config = now(), stamps, c
	return t, nil
}

// Config is what a server shakes hands by. It asks for the newest certificates each time.
func (t *TLS) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.current(), nil },
	}
}

// current is the configuration of the moment, made anew when a file has changed.
func (t *TLS) current() *tls.Config {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if since := now.Sub(t.mu.looked); since >= 0 && since < reloadInterval {
		return t.mu.config
	}
	t.mu.looked = now
	stamps := t.stamps()
	if stamps == t.mu.stamps {
		return t.mu.config
	}
	c, err := t.load()
	if err != nil { // it may be half written: it is looked at again
		t.logger.Error("changed certificates can't be used; the listener goes on with those it has", "error", err)
		t.failed()
		return t.mu.config
	}
	t.mu.stamps, t.mu.config = stamps, c
	t.logger.Info("certificates were read again", "keystore", t.from.KeystoreLocation, "truststore", t.from.TruststoreLocation)
	return c
}

// stamps are those of the two files; a file that is not set or not there has none.
func (t *TLS) stamps() (s [2]stamp) {
	for i, name := range []string{t.from.KeystoreLocation, t.from.TruststoreLocation} {
		if name == "" {
			continue
		}
		if info, err := t.fs.Stat(name); err == nil {
			s[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return s
}

// load reads the files.
func (t *TLS) load() (*tls.Config, error) {
	c := &tls.Config{
		CipherSuites: t.from.CipherSuites, MinVersion: t.from.Protocols[0], MaxVersion: t.from.Protocols[0],
		DynamicRecordSizingDisabled: true, // a broker's answers are long
	}
	for _, v := range t.from.Protocols {
		c.MinVersion, c.MaxVersion = min(c.MinVersion, v), max(c.MaxVersion, v)
	}
	cert, err := t.keyPair()
	if err != nil {
		return nil, err
	}
	c.Certificates = []tls.Certificate{cert}
	if t.from.ClientAuth == "none" {
		return c, nil
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	if t.from.ClientAuth == "requested" {
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	trusted, err := t.pem("ssl.truststore.location", t.from.TruststoreLocation, t.from.TruststoreCertificates)
	if err != nil {
		return nil, err
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(trusted) {
		return nil, errors.New("ssl.truststore: no certificate in it is PEM")
	}
	return c, nil
}

// keyPair is the broker's key with its certificates. Errors tell nothing of the key.
func (t *TLS) keyPair() (tls.Certificate, error) {
	chain, key := []byte(t.from.CertificateChain), []byte(t.from.Key)
	if t.from.KeystoreLocation != "" {
		b, err := t.pem("ssl.keystore.location", t.from.KeystoreLocation, "")
		if err != nil {
			return tls.Certificate{}, err
		}
		chain, key = b, b
	}
	for rest := key; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return tls.Certificate{}, errors.New("ssl.keystore: the private key is encrypted, which is not supported: decrypt it (openssl pkey) and protect the file by its owner and mode")
		}
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return cert, fmt.Errorf("ssl.keystore: want a private key and its certificates in PEM: %w", err)
	}
	return cert, nil
}

// pem is the content of a file, or what is given in its place.
func (t *TLS) pem(setting, name, given string) ([]byte, error) {
	if name == "" {
		return []byte(given), nil
	}
	info, err := t.fs.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	if info.Size() > maxPEMBytes {
		return nil, fmt.Errorf("%s: %s has %d bytes, too many for certificates", setting, name, info.Size())
	}
	b, err := vfs.ReadFile(t.fs, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	return b, nil
}

// Identify names the peer of a handshake: by its certificate, or kafka.Anonymous without one.
func (t *TLS) Identify(s tls.ConnectionState) (kafka.Principal, error) {
	if len(s.VerifiedChains) == 0 {
		return kafka.Anonymous(), nil
	}
	name, err := distinguishedName(s.PeerCertificates[0].RawSubject)
	if err != nil {
		return kafka.Principal{}, err
	}
	if name, err = mapName(t.from.MappingRules, name); err != nil {
		return kafka.Principal{}, err
	}
	return kafka.User(name), nil
}
