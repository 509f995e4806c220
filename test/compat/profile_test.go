package compat

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// profile is how a client comes to a listener. It is the one place that knows what each family of
// clients calls that; another way in, another mechanism say, is to be added here.
type profile struct {
	addr           string
	ca             string // the file of authorities in PEM; "" for a listener without TLS
	cert           string // the file of a key and its certificate in PEM; "" for none
	mechanism      string // "" for a listener without logins
	user, password string
}

// protocol is Kafka's name of what the listener speaks.
func (p profile) protocol() string {
	name := "PLAINTEXT"
	if p.ca != "" {
		name = "SSL"
	}
	if p.mechanism != "" {
		return "SASL_" + name
	}
	return name
}

// librdkafka are the properties of kcat and confluent-kafka.
func (p profile) librdkafka() map[string]string {
	out := map[string]string{"security.protocol": p.protocol()}
	if p.ca != "" {
		out["ssl.ca.location"] = p.ca
	}
	if p.cert != "" {
		out["ssl.certificate.location"], out["ssl.key.location"] = p.cert, p.cert
	}
	if p.mechanism != "" {
		out["sasl.mechanism"], out["sasl.username"], out["sasl.password"] = p.mechanism, p.user, p.password
	}
	return out
}

// kcat are the arguments of kcat.
func (p profile) kcat(args ...string) []string {
	out := []string{"-b", p.addr}
	for name, value := range p.librdkafka() {
		out = append(out, "-X", name+"="+value)
	}
	return append(out, args...)
}

// java are the properties of Kafka's own client, as a file's text.
func (p profile) java() string {
	text := "security.protocol=" + p.protocol() + "\n"
	if p.ca != "" {
		text += "ssl.truststore.type=PEM\nssl.truststore.location=" + p.ca + "\n"
	}
	if p.cert != "" {
		text += "ssl.keystore.type=PEM\nssl.keystore.location=" + p.cert + "\n"
	}
	if p.mechanism != "" {
		module := "scram.ScramLoginModule"
		if p.mechanism == "PLAIN" {
			module = "plain.PlainLoginModule"
		}
		text += fmt.Sprintf("sasl.mechanism=%s\nsasl.jaas.config=org.apache.kafka.common.security.%s required username=\"%s\" password=\"%s\";\n",
			p.mechanism, module, p.user, p.password)
	}
	return text
}

// python are the arguments of kafka-python and aiokafka.
func (p profile) python() map[string]string {
	out := map[string]string{"security_protocol": p.protocol()}
	if p.ca != "" {
		out["ssl_cafile"] = p.ca
	}
	if p.cert != "" {
		out["ssl_certfile"], out["ssl_keyfile"] = p.cert, p.cert
	}
	if p.mechanism != "" {
		out["sasl_mechanism"], out["sasl_plain_username"], out["sasl_plain_password"] = p.mechanism, p.user, p.password
	}
	return out
}

// kafkajs is part of the configuration of kafkajs.
func (p profile) kafkajs(t *testing.T) map[string]any {
	out := map[string]any{}
	if p.ca != "" {
		ssl := map[string]any{"ca": []string{read(t, p.ca)}}
		if p.cert != "" {
			ssl["key"], ssl["cert"] = read(t, p.cert), read(t, p.cert)
		}
		out["ssl"] = ssl
	}
	if p.mechanism != "" {
		out["sasl"] = map[string]string{"mechanism": strings.ToLower(p.mechanism), "username": p.user, "password": p.password}
	}
	return out
}

// golang is what the program of sarama and kafka-go reads.
func (p profile) golang() map[string]string {
	return map[string]string{"ca": p.ca, "cert": p.cert, "mechanism": p.mechanism, "user": p.user, "password": p.password}
}

// franz are the options of franz-go.
func (p profile) franz(t *testing.T) []kgo.Opt {
	t.Helper()
	opts := []kgo.Opt{kgo.SeedBrokers(p.addr)}
	if p.ca != "" {
		c := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		c.RootCAs.AppendCertsFromPEM([]byte(read(t, p.ca)))
		if p.cert != "" {
			pair, err := tls.LoadX509KeyPair(p.cert, p.cert)
			if err != nil {
				t.Fatal(err)
			}
			c.Certificates = append(c.Certificates, pair)
		}
		opts = append(opts, kgo.DialTLSConfig(c))
	}
	if by := p.sasl(); by != nil {
		opts = append(opts, kgo.SASL(by))
	}
	return opts
}

func (p profile) sasl() sasl.Mechanism {
	login := scram.Auth{User: p.user, Pass: p.password}
	switch p.mechanism {
	case "PLAIN":
		return plain.Auth{User: p.user, Pass: p.password}.AsMechanism()
	case "SCRAM-SHA-256":
		return login.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return login.AsSha512Mechanism()
	}
	return nil
}

// environment is what a program of a family reads its part from.
func (p profile) environment(t *testing.T, family string) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{
		"librdkafka": p.librdkafka(), "python": p.python(), "kafkajs": p.kafkajs(t), "golang": p.golang(),
	}[family])
	if err != nil {
		t.Fatal(err)
	}
	return "CLIENT_SECURITY=" + string(b)
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
