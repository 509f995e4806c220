package main

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/IBM/sarama"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
	xdg "github.com/xdg-go/scram"
)

// security is how to reach the broker, from the environment: plain TCP if that says nothing.
type security struct {
	CA, Cert                  string // files of authorities, and of a key and its certificate
	Mechanism, User, Password string
	Bearer                    bearer `json:"token"` // of OAUTHBEARER
}

// bearer is a token that is always the same.
type bearer string

// Token implements sarama.AccessTokenProvider.
func (b bearer) Token() (*sarama.AccessToken, error) {
	return &sarama.AccessToken{Token: string(b)}, nil
}

func readSecurity() (s security, err error) {
	if text := os.Getenv("CLIENT_SECURITY"); text != "" {
		err = json.Unmarshal([]byte(text), &s)
	}
	return s, err
}

// tls is nil without.
func (s security) tls() (*tls.Config, error) {
	if s.CA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(s.CA)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	c.RootCAs.AppendCertsFromPEM(pem)
	if s.Cert != "" {
		pair, err := tls.LoadX509KeyPair(s.Cert, s.Cert)
		if err != nil {
			return nil, err
		}
		c.Certificates = append(c.Certificates, pair)
	}
	return c, nil
}

func (s security) sarama(cfg *sarama.Config) error {
	c, err := s.tls()
	if err != nil {
		return err
	}
	cfg.Net.TLS.Enable, cfg.Net.TLS.Config = c != nil, c
	if s.Mechanism == "" {
		return nil
	}
	cfg.Net.SASL.Enable, cfg.Net.SASL.Mechanism = true, sarama.SASLMechanism(s.Mechanism)
	cfg.Net.SASL.TokenProvider = s.Bearer
	cfg.Net.SASL.User, cfg.Net.SASL.Password = s.User, s.Password
	cfg.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient {
		if s.Mechanism == sarama.SASLTypeSCRAMSHA256 {
			return &conversation{hash: sha256.New}
		}
		return &conversation{hash: sha512.New}
	}
	return nil
}

// conversation is a login by SCRAM, as sarama wants it.
type conversation struct {
	hash xdg.HashGeneratorFcn
	at   *xdg.ClientConversation
}

func (c *conversation) Begin(user, password, id string) error {
	client, err := c.hash.NewClient(user, password, id)
	if err == nil {
		c.at = client.NewConversation()
	}
	return err
}

func (c *conversation) Step(challenge string) (string, error) { return c.at.Step(challenge) }

func (c *conversation) Done() bool { return c.at.Done() }

func (s security) kafkaGo() (*kafka.Dialer, *kafka.Transport, error) {
	c, err := s.tls()
	if err != nil {
		return nil, nil, err
	}
	var by sasl.Mechanism
	switch s.Mechanism {
	case "":
	case "PLAIN":
		by = plain.Mechanism{Username: s.User, Password: s.Password}
	case "SCRAM-SHA-512":
		by, err = scram.Mechanism(scram.SHA512, s.User, s.Password)
	default:
		err = fmt.Errorf("no mechanism %s", s.Mechanism)
	}
	return &kafka.Dialer{Timeout: 10 * time.Second, DualStack: true, TLS: c, SASLMechanism: by}, &kafka.Transport{TLS: c, SASL: by}, err
}
