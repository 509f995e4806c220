package compat

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/varve-io/varve/test/kit"
)

// canary is in every secret of the test, and has to be in nothing that anybody reads.
const canary = "cAnArY7f3a"

// canaries remembers all that was read.
type canaries struct {
	t       *testing.T
	b       *kit.Broker
	secrets []string
}

// look searches what came from somewhere, and says what of it is wrong without its beginning and end.
func (c *canaries) look(where, text string) {
	c.t.Helper()
	for _, s := range c.secrets {
		if at := strings.Index(text, s); at >= 0 {
			c.t.Errorf("%s holds a secret: …%s…", where, text[max(0, at-100):min(len(text), at+40)])
		}
	}
}

// TestR50CanarySecrets plants a secret in every place that takes one, has each used well and badly, and
// looks for it in logs of every level, errors, settings, metrics, arguments and the dump of a crash.
func TestR50CanarySecrets(t *testing.T) {
	dir := t.TempDir()
	c := &canaries{t: t, secrets: []string{canary}}
	for before := range 3 { // what base64 makes of it depends on what stands in front
		coded := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("x", before) + canary))
		c.secrets = append(c.secrets, coded[before+(before+1)/2:][:11])
	}
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca, key := certificate(t, filepath.Join(dir, "ca.key"), "authority", nil, nil)
	certificate(t, filepath.Join(dir, "broker.pem"), "broker", ca, key)
	broker, err := os.ReadFile(filepath.Join(dir, "broker.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(broker)
	private := string(pem.EncodeToMemory(block))
	c.secrets = append(c.secrets, strings.Split(private, "\n")[1]) // a line of the private key
	plainPort, saslPort, tlsPort := port(t), port(t), port(t)
	jwks := fmt.Sprintf("http://127.0.0.1:%d/keys?code=%s", port(t), canary)
	b := kit.New(t, filepath.Join(dir, "node"), "--set", fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d,SASL_PLAINTEXT://127.0.0.1:%d,SSL://127.0.0.1:%d", plainPort, saslPort, tlsPort),
		"--set", "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER", "--set", "varve.users.file="+file("users", "ann:"+canary+"-ann\n"),
		"--set", "connection.failed.authentication.delay.ms=10")
	jaas := `org.apache.kafka.common.security.plain.PlainLoginModule required user_bob="` + canary + `-bob";`
	b.Env = []string{
		"VARVE_DELEGATION_TOKEN_SECRET_KEY=" + canary + "-key", "VARVE_SSL_KEYSTORE_KEY=" + private, "VARVE_SSL_KEYSTORE_CERTIFICATE_CHAIN=" + string(rest),
		"VARVE_SSL_TRUSTSTORE_CERTIFICATES=" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})),
		"VARVE_LISTENER_NAME_SASL_PLAINTEXT_PLAIN_SASL_JAAS_CONFIG=" + jaas, "VARVE_SASL_OAUTHBEARER_JWKS_ENDPOINT_URL=" + jwks,
		"VARVE_ORG_APACHE_KAFKA_SASL_OAUTHBEARER_ALLOWED_URLS=" + jwks,
		"VARVE_SSL_KEYSTORE_PASSWORD=" + canary, "VARVE_SSL_KEY_PASSWORD=" + canary, "VARVE_NOBODY_KNOWS_ME=" + canary, // which no setting is
	}
	b.Start()
	c.b = b
	logins := fmt.Sprintf("127.0.0.1:%d", saslPort)
	raw, _ := c.client(fmt.Sprintf("127.0.0.1:%d", plainPort), nil)
	level := kmsg.NewPtrIncrementalAlterConfigsRequest()
	level.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBrokerLogger, ResourceName: "1",
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "root", Value: kadm.StringPtr("DEBUG")}}}}
	c.request(raw, level)
	c.use(logins)
	c.change(raw)
	c.tools(logins, file)
	if nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", tlsPort)); err == nil { // no TLS
		_, _ = nc.Write([]byte("GET /?password=" + canary + " HTTP/1.1\r\n\r\n"))
		_, _ = io.Copy(io.Discard, nc)
		nc.Close()
	}
	settings := kmsg.NewPtrDescribeConfigsRequest()
	settings.IncludeSynonyms, settings.IncludeDocumentation = true, true
	settings.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1"}, {ResourceType: kmsg.ConfigResourceTypeBrokerLogger, ResourceName: "1"}}
	c.request(raw, settings)
	for _, page := range []string{"/metrics", "/readyz", "/livez"} {
		res, err := http.Get("http://" + b.Admin + page)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		c.look(page, string(text))
	}
	if argv, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", b.Pid())); err == nil { // where there is one
		c.look("the command line", string(argv))
	}
	b.Quit()
	log := b.Log()
	c.look("the log with the dump of a crash", log)
	for _, want := range []string{"goroutine ", "login failed", "CreateDelegationToken", "NOBODY_KNOWS_ME", "/keys"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not have %q, so nothing was proved", want)
		}
	}
	c.starts(dir, file)
}

// client is one of franz-go; what it is told of a failure is looked at by whoever asks.
func (c *canaries) client(addr string, m sasl.Mechanism) (*kgo.Client, *kadm.Client) {
	c.t.Helper()
	opts := []kgo.Opt{kgo.SeedBrokers(addr), kgo.RequestRetries(0), kgo.RetryTimeout(time.Second)}
	if m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cl.Close)
	return cl, kadm.NewClient(cl)
}

// request asks, and looks at all of the answer.
func (c *canaries) request(cl *kgo.Client, req kmsg.Request) {
	c.t.Helper()
	resp, err := cl.Request(c.t.Context(), req)
	if err != nil {
		c.t.Fatal(err)
	}
	c.look(kmsg.NameForKey(req.Key()), string(resp.AppendTo(nil)))
}

// use logs in by every mechanism, with the right secret and with others.
func (c *canaries) use(addr string) {
	c.t.Helper()
	try := func(what string, m sasl.Mechanism, good bool) *kadm.Client {
		c.t.Helper()
		_, cl := c.client(addr, m)
		failures := func() int { return strings.Count(c.b.Log(), "login failed") }
		before := failures()
		// One failure a second is logged, and each kind of them has to be.
		kit.Eventually(c.t, 20*time.Second, what+" is in the log if it fails", func() error {
			ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
			defer cancel()
			_, err := cl.ListBrokers(ctx)
			if (err == nil) != good {
				c.t.Errorf("%s: %v", what, err)
			}
			if err != nil {
				c.look(what, err.Error())
			}
			if !good && failures() == before {
				return errors.New("it is not")
			}
			return nil
		})
		return cl
	}
	try("PLAIN", plain.Auth{User: "bob", Pass: canary + "-bob"}.AsMechanism(), true)
	try("a wrong password of PLAIN", plain.Auth{User: "bob", Pass: canary + "-eve"}.AsMechanism(), false)
	try("a password as the user of PLAIN", plain.Auth{User: canary, Pass: "x"}.AsMechanism(), false)
	ann := try("SCRAM", scram.Auth{User: "ann", Pass: canary + "-ann"}.AsSha512Mechanism(), true)
	try("a wrong password of SCRAM", scram.Auth{User: "ann", Pass: canary + "-eve"}.AsSha256Mechanism(), false)
	try("a password as the user of SCRAM", scram.Auth{User: canary, Pass: "x"}.AsSha256Mechanism(), false)
	b64 := base64.RawURLEncoding.EncodeToString
	try("a token of OAuth", oauth.Auth{Token: b64([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + b64([]byte(`{"sub":"`+canary+`"}`)) + "." + b64([]byte(canary))}.AsMechanism(), false)
	try("no token of OAuth", oauth.Auth{Token: canary}.AsMechanism(), false)
	token, err := ann.CreateDelegationToken(c.t.Context(), kadm.CreateDelegationToken{})
	if err != nil {
		c.t.Fatal(err)
	}
	secret := base64.StdEncoding.EncodeToString(token.HMAC)
	c.secrets = append(c.secrets, secret)
	try("a delegation token", scram.Auth{User: token.TokenID, Pass: secret, IsToken: true}.AsSha512Mechanism(), true)
	try("a wrong delegation token", scram.Auth{User: token.TokenID, Pass: secret + canary, IsToken: true}.AsSha512Mechanism(), false)
	if _, err := ann.ExpireDelegationToken(c.t.Context(), []byte(canary), 0); err == nil {
		c.t.Error("a secret that is made up is known")
	}
	if _, err := ann.ExpireDelegationToken(c.t.Context(), token.HMAC, -1); err != nil {
		c.t.Error(err)
	}
}

// change sets secrets over the network, where they may be set and where they may not.
func (c *canaries) change(raw *kgo.Client) {
	c.t.Helper()
	alter := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	for i, iterations := range []int32{4096, 1} {
		alter.Upsertions = append(alter.Upsertions, kmsg.AlterUserSCRAMCredentialsRequestUpsertion{
			Name: fmt.Sprint("user", i), Mechanism: 1, Iterations: iterations, Salt: []byte(canary), SaltedPassword: []byte(canary),
		})
	}
	c.request(raw, alter)
	for _, name := range []string{
		"delegation.token.secret.key", "sasl.jaas.config", "ssl.keystore.key", "ssl.truststore.certificates", "ssl.keystore.password",
		"listener.name.sasl_plaintext.plain.sasl.jaas.config", "nobody.knows.me",
	} {
		set := kmsg.NewPtrIncrementalAlterConfigsRequest()
		set.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1",
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: name, Value: kadm.StringPtr(canary)}}}}
		c.request(raw, set)
	}
}

// tools has the command line use and change passwords, right ones and wrong ones.
func (c *canaries) tools(addr string, file func(name, text string) string) {
	c.t.Helper()
	right, wrong := file("right", canary+"-ann\n"), file("wrong", canary+"-wrong\n")
	for what, args := range map[string][]string{
		"user set":          {"user", "set", "eve", "--new-password-file", wrong, "-b", addr, "--user", "ann", "--password-file", right},
		"user list":         {"user", "list", "-b", addr, "--user", "ann", "--password-file", right},
		"a wrong password":  {"user", "list", "-b", addr, "--user", "ann", "--password-file", wrong},
		"a secret in --set": {"broker", "--set", "sasl.jaas.config=" + canary},
	} {
		ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
		out, _ := exec.CommandContext(ctx, kit.Binary(c.t), args...).CombinedOutput()
		cancel()
		if len(out) == 0 {
			c.t.Errorf("%s says nothing", what)
		}
		c.look(what, string(out))
	}
}

// starts has nodes refuse to start for secrets that are malformed.
func (c *canaries) starts(dir string, file func(name, text string) string) {
	c.t.Helper()
	users := file("bad-users", "ann:x\n"+canary+"\n")
	for what, env := range map[string][]string{
		"a file of users":   {"VARVE_USERS_FILE=" + users},
		"a JAAS setting":    {"VARVE_SASL_JAAS_CONFIG=" + canary},
		"a half JAAS":       {`VARVE_SASL_JAAS_CONFIG=org.apache.kafka.common.security.plain.PlainLoginModule required user_x="` + canary + `"`},
		"a private key":     {"VARVE_LISTENERS=SSL://127.0.0.1:0", "VARVE_SSL_KEYSTORE_KEY=" + canary, "VARVE_SSL_KEYSTORE_CERTIFICATE_CHAIN=" + canary},
		"a URL of keys":     {"VARVE_SASL_OAUTHBEARER_JWKS_ENDPOINT_URL=ftp://x/?code=" + canary},
		"a URL with a user": {"VARVE_SASL_OAUTHBEARER_JWKS_ENDPOINT_URL=https://x:" + canary + "@y/"},
		"a URL not allowed": {"VARVE_LISTENERS=SASL_PLAINTEXT://127.0.0.1:0", "VARVE_SASL_ENABLED_MECHANISMS=OAUTHBEARER", "VARVE_SASL_OAUTHBEARER_JWKS_ENDPOINT_URL=https://x/?code=" + canary},
		"a URL of a store":  {"VARVE_TIER_URL=s3://x:" + canary + "@y/"},
	} {
		ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
		cmd := exec.CommandContext(ctx, kit.Binary(c.t), "broker", "--set", "varve.admin.listener=127.0.0.1:0", "--set", "log.dirs="+filepath.Join(dir, "refused"))
		cmd.Env = append(append(os.Environ(), "VARVE_LISTENERS=PLAINTEXT://127.0.0.1:0"), env...)
		out, err := cmd.CombinedOutput()
		cancel()
		if err == nil || ctx.Err() == context.DeadlineExceeded || len(out) == 0 {
			c.t.Errorf("%s does not stop the node: %s", what, out)
		}
		c.look(what, string(out))
	}
}
