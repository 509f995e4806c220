package compat

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/varve-io/varve/test/kit"
)

// profile is how a client comes to a listener. It is the one place that knows what each family of
// clients calls that; another way in, another mechanism say, is to be added here.
type profile struct {
	addr           string
	ca             string // the file of authorities in PEM; "" for a listener without TLS
	cert           string // the file of a key and its certificate in PEM; "" for none
	mechanism      string // "" for a listener without logins
	user, password string
	issuer         *kit.Issuer // of the tokens of OAUTHBEARER: user's, and what is wrong with it is in password
}

const oauthBearer = "OAUTHBEARER"

// token is what the profile logs in by, "" where that is not a token.
func (p profile) token() string {
	if p.mechanism != oauthBearer {
		return ""
	}
	return p.issuer.Token(p.user, p.password)
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
	switch p.mechanism {
	case "":
	case oauthBearer:
		out["sasl.mechanism"], out["sasl.oauthbearer.method"], out["sasl.oauthbearer.token.endpoint.url"] = p.mechanism, "oidc", p.issuer.URL
		out["sasl.oauthbearer.client.id"], out["sasl.oauthbearer.client.secret"] = p.user, p.password
	default:
		out["sasl.mechanism"], out["sasl.username"], out["sasl.password"] = p.mechanism, p.user, p.password
	}
	return out
}

// kcat are the arguments of kcat. Debian's has no way to get a token that is signed.
func (p profile) kcat(args ...string) []string {
	out := []string{"-b", p.addr}
	properties := p.librdkafka()
	if p.mechanism == oauthBearer {
		maps.DeleteFunc(properties, func(name, _ string) bool { return strings.HasPrefix(name, "sasl.oauthbearer.") })
		properties["enable.sasl.oauthbearer.unsecure.jwt"], properties["sasl.oauthbearer.config"] = "true", "principal="+p.user
	}
	for name, value := range properties {
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
	switch p.mechanism {
	case "":
	case oauthBearer:
		text += fmt.Sprintf("sasl.mechanism=%s\nsasl.oauthbearer.token.endpoint.url=%s\n"+
			"sasl.login.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler\n"+
			"sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientId=\"%s\" clientSecret=\"%s\";\n",
			p.mechanism, p.issuer.URL, p.user, p.password)
	default:
		module := "scram.ScramLoginModule"
		if p.mechanism == "PLAIN" {
			module = "plain.PlainLoginModule"
		}
		text += fmt.Sprintf("sasl.mechanism=%s\nsasl.jaas.config=org.apache.kafka.common.security.%s required username=\"%s\" password=\"%s\";\n",
			p.mechanism, module, p.user, p.password)
	}
	return text
}

// javaEnvironment allows Kafka's own client to fetch its token.
func (p profile) javaEnvironment() []string {
	if p.mechanism != oauthBearer {
		return nil
	}
	return []string{"JAVA_TOOL_OPTIONS=-D" + kit.Allowed(p.issuer.URL)}
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
	switch p.mechanism {
	case "":
	case oauthBearer:
		out["sasl_mechanism"], out["token"] = p.mechanism, p.token() // which the program makes a provider of
	default:
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
	switch p.mechanism {
	case "":
	case oauthBearer:
		out["token"] = p.token() // which the program makes a provider of
	default:
		out["sasl"] = map[string]string{"mechanism": strings.ToLower(p.mechanism), "username": p.user, "password": p.password}
	}
	return out
}

// golang is what the program of sarama and kafka-go reads.
func (p profile) golang() map[string]string {
	return map[string]string{"ca": p.ca, "cert": p.cert, "mechanism": p.mechanism, "user": p.user, "password": p.password, "token": p.token()}
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
	case oauthBearer:
		return oauth.Auth{Token: p.token()}.AsMechanism()
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
