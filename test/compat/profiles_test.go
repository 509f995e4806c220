package compat

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

// visitor is a client that runs against secured listeners. Its topics, groups and transactional ids
// begin with one of its prefixes.
type visitor struct {
	name     string
	prefixes []string
	// What it needs, and not more: of topics, groups and transactional ids by the prefixes, and of the cluster.
	topics, groups, txns, cluster []kadm.ACLOperation
	unsigned                      bool // it has no tokens of OAUTHBEARER but such
	// run does what the client does and checks it. With until, it may end as soon as the client has said
	// that: some try again for a minute and more.
	run func(t *testing.T, ctx context.Context, p profile, until *regexp.Regexp) (string, error)
}

// secured is a broker with an authorizer, a listener with logins over TLS and one with certificates.
type secured struct {
	t         *testing.T
	dir       string
	ca        *x509.Certificate
	key       *ecdsa.PrivateKey
	sasl, ssl string // addresses
	issuer    *kit.Issuer
}

const stranger = "stranger" // has a login and a certificate, and no rights

func startSecured(t *testing.T, users []string) *secured {
	t.Helper()
	s := &secured{t: t, dir: t.TempDir()}
	s.ca, s.key = certificate(t, s.file("ca.key"), "authority", nil, nil)
	s.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.ca.Raw})))
	other, otherKey := certificate(t, s.file("other.key"), "another authority", nil, nil)
	certificate(t, s.file("forged.pem"), "admin", other, otherKey)
	certificate(t, s.file("broker.pem"), "broker", s.ca, s.key)
	jaas := "org.apache.kafka.common.security.plain.PlainLoginModule required"
	for _, user := range users {
		certificate(t, s.file(user+".pem"), user, s.ca, s.key)
		jaas += fmt.Sprintf(" user_%s=%q", user, user+"-secret")
	}
	s.sasl, s.ssl, s.issuer = kit.FreeAddr(t), kit.FreeAddr(t), kit.NewIssuer(t)
	b := kit.New(t, s.file("node"), append(taking(s.issuer), "--set", fmt.Sprintf("listeners=SASL_SSL://%s,SSL://%s", s.sasl, s.ssl), "--set", "ssl.keystore.location="+s.file("broker.pem"),
		"--set", "ssl.truststore.location="+s.file("ca.pem"), "--set", "listener.name.ssl.ssl.client.auth=required",
		"--set", "ssl.principal.mapping.rules=RULE:^CN=(.*)$/cert-$1/,DEFAULT", "--set", "varve.users.file="+s.write("users", "admin:admin-secret\n"),
		"--set", "listener.name.sasl_ssl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER", "--set", "group.initial.rebalance.delay.ms=0",
		"--set", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "--set", "super.users=User:admin")...)
	b.Env = []string{"VARVE_LISTENER_NAME_SASL_SSL_PLAIN_SASL_JAAS_CONFIG=" + jaas + ";"}
	b.Start()
	return s
}

// taking are the arguments of a broker that takes an issuer's tokens.
func taking(by *kit.Issuer) (args []string) {
	for _, setting := range append(by.Settings(), kit.Allowed(by.JWKS)) {
		args = append(args, "--set", setting)
	}
	return args
}

func (s *secured) file(name string) string { return filepath.Join(s.dir, name) }

func (s *secured) write(name, text string) string {
	if err := os.WriteFile(s.file(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.file(name)
}

// login is a profile of the listener with logins.
func (s *secured) login(mechanism, user, password string) profile {
	return profile{addr: s.sasl, ca: s.file("ca.pem"), mechanism: mechanism, user: user, password: password, issuer: s.issuer}
}

// shown is a profile of the listener with certificates.
func (s *secured) shown(cert string) profile {
	return profile{addr: s.ssl, ca: s.file("ca.pem"), cert: s.file(cert + ".pem")}
}

// admit gives users credentials and rules: User:NAME by a login, User:cert-NAME by a certificate.
func (s *secured) admit(visitors []visitor) {
	s.t.Helper()
	cl, err := kgo.NewClient(s.login("SCRAM-SHA-512", "admin", "admin-secret").franz(s.t)...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	var scrams []kadm.UpsertSCRAM
	for _, name := range append(namesOf(visitors), stranger) {
		scrams = append(scrams, kadm.UpsertSCRAM{User: name, Mechanism: kadm.ScramSha512, Iterations: 4096, Password: name + "-secret"})
	}
	if altered, err := adm.AlterUserSCRAMs(s.t.Context(), nil, scrams); err != nil || altered.Error() != nil {
		s.t.Fatal(err, altered.Error())
	}
	allow := func(v visitor, ops []kadm.ACLOperation) *kadm.ACLBuilder {
		return kadm.NewACLs().Allow("User:"+v.name, "User:cert-"+v.name).AllowHosts("127.0.0.1").Operations(ops...)
	}
	for _, v := range visitors {
		builders := []*kadm.ACLBuilder{allow(v, v.topics).Topics(v.prefixes...).ResourcePatternType(kadm.ACLPatternPrefixed)}
		if len(v.groups) > 0 {
			builders = append(builders, allow(v, v.groups).Groups(v.prefixes...).ResourcePatternType(kadm.ACLPatternPrefixed))
		}
		if len(v.txns) > 0 {
			builders = append(builders, allow(v, v.txns).TransactionalIDs(v.prefixes...).ResourcePatternType(kadm.ACLPatternPrefixed))
		}
		if len(v.cluster) > 0 {
			builders = append(builders, allow(v, v.cluster).Clusters())
		}
		for _, b := range builders {
			results, err := adm.CreateACLs(s.t.Context(), b)
			if err != nil {
				s.t.Fatal(err)
			}
			for _, r := range results {
				if r.Err != nil {
					s.t.Fatalf("%s: %v", v.name, r.Err)
				}
			}
		}
	}
}

func namesOf(visitors []visitor) (names []string) {
	for _, v := range visitors {
		names = append(names, v.name)
	}
	return names
}

// TestSecuredProfiles runs clients over TLS with logins and with certificates, each as a user with
// exactly the rights that it needs, as one without any, and with a login that is wrong. VARVE_COMPAT_SECURED
// makes it run all clients and profiles: 'make compat-secured'.
func TestSecuredProfiles(t *testing.T) {
	kit.Binary(t)
	visitors, all := quickVisitors(), os.Getenv("VARVE_COMPAT_SECURED") != ""
	if all {
		visitors = append(visitors, slowVisitors(t)...)
	}
	s := startSecured(t, append(namesOf(visitors), stranger))
	s.admit(visitors)
	profiles := map[string]func(user, password string) profile{
		"SASL_SSL, SCRAM-SHA-512": func(user, password string) profile { return s.login("SCRAM-SHA-512", user, password) },
	}
	const certificates, tokens = "SSL, certificate", "SASL_SSL, OAUTHBEARER"
	if all {
		profiles["SASL_SSL, PLAIN"] = func(user, password string) profile { return s.login("PLAIN", user, password) }
		profiles[tokens] = func(user, password string) profile { return s.login(oauthBearer, user, password) }
	}
	profiles[certificates] = func(user, password string) profile {
		if password == "wrong" {
			user = "forged"
		}
		return s.shown(user)
	}
	const authentication = `(?i)\w*authenticat\w*|\w*credentials`
	denied, refused := regexp.MustCompile(`(?i)\w*authoriz\w*`), regexp.MustCompile(authentication)
	// After a bar stands what clients say that do not tell why the broker turned them away: aiokafka; franz-go and kafkajs.
	byCertificate := regexp.MustCompile(`(?i)unknown (ca|authority)|\w*handshake\w*|\w*certificate\w*|\w*authenticat\w*|connection at \S+ closed`)
	byToken := regexp.MustCompile(authentication + `|invalid_token|unexpired token|connection at \S+ closed|unexpected data in oauth response|closed connection`)
	table := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(profiles)) {
		for _, v := range visitors {
			row := func(scenario, user, password string, want *regexp.Regexp) {
				t.Run(name+"/"+v.name+"/"+scenario, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
					defer cancel()
					start := time.Now()
					said, err := v.run(t, ctx, profiles[name](user, password), want)
					outcome := "ok"
					switch {
					case want == nil && err != nil:
						outcome = "FAILED"
						t.Errorf("%v\n%s", err, said)
					case want != nil && err == nil:
						outcome = "WENT THROUGH"
						t.Errorf("it went through:\n%s", said)
					case want != nil:
						if outcome = want.FindString(fmt.Sprint(said, err)); outcome == "" || ctx.Err() != nil {
							outcome = "WRONG ERROR"
							t.Errorf("after %v: %v\n%s", time.Since(start), err, said)
						}
					}
					table[name] = append(table[name], fmt.Sprintf("%-16s %-15s %-32s %4.1f s", v.name, scenario, outcome, time.Since(start).Seconds()))
				})
			}
			if name == tokens && v.unsigned {
				row("token: unsigned", "admin", "", byToken)
				continue
			}
			row("with rights", v.name, v.name+"-secret", nil)
			row("without rights", stranger, stranger+"-secret", denied)
			switch name {
			case tokens:
				for _, fault := range []string{kit.TokenForged, kit.TokenExpired, kit.TokenMisdirected} {
					row("token: "+fault, v.name, fault, byToken)
				}
			case certificates:
				row("wrong login", v.name, "wrong", byCertificate)
			default:
				row("wrong login", v.name, "wrong", refused)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		t.Logf("%s\n  %s", name, strings.Join(table[name], "\n  "))
	}
}

// command runs a program to its end, or until it has printed something, and returns what it has printed.
type command struct {
	until *regexp.Regexp // nil: to its end
	stdin io.Reader
	dir   string
	env   []string // beside the test's own
}

// errSaid ends a program that has said what it was to say.
var errSaid = errors.New("it was ended, for it has said so")

func (c command) run(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := &heard{until: c.until, stop: func() { cancel(errSaid) }}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.dir, append(os.Environ(), c.env...), c.stdin, out, out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if errors.Is(context.Cause(ctx), errSaid) {
		err = errSaid
	}
	return out.text.String(), err
}

// heard keeps what a program prints, and stops it. One goroutine of exec writes to it, as stdout and stderr are the same.
type heard struct {
	text  strings.Builder
	until *regexp.Regexp
	stop  func()
}

func (h *heard) Write(b []byte) (int, error) {
	h.text.Write(b)
	if h.until != nil && h.until.MatchString(h.text.String()) {
		h.stop()
	}
	return len(b), nil
}

// quickVisitors need nothing but kcat.
func quickVisitors() []visitor {
	return []visitor{
		{name: "kcat", prefixes: []string{"kcat-"}, topics: []kadm.ACLOperation{kadm.OpCreate, kadm.OpWrite, kadm.OpRead}, groups: []kadm.ACLOperation{kadm.OpRead}, run: runKcat, unsigned: true},
		{name: "franz-go", prefixes: []string{"franz-"}, topics: []kadm.ACLOperation{kadm.OpCreate, kadm.OpWrite, kadm.OpRead}, groups: []kadm.ACLOperation{kadm.OpRead},
			txns: []kadm.ACLOperation{kadm.OpWrite}, run: runFranz},
	}
}

func runKcat(_ *testing.T, ctx context.Context, p profile, until *regexp.Regexp) (string, error) {
	topic := "kcat-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	big := bytes.Repeat([]byte("0123456789abcdef\n"), 50_000)
	if out, err := (command{stdin: bytes.NewReader(big), until: until}).run(ctx, "kcat", p.kcat("-P", "-t", topic, "-z", "snappy", "-X", "message.timeout.ms=8000")...); err != nil || strings.Contains(out, "ERROR") {
		return out, errors.Join(errors.New("kcat -P"), err)
	}
	out, err := command{}.run(ctx, "kcat", p.kcat("-G", topic, "-q", "-o", "beginning", "-c", "50000", topic)...)
	if err == nil && out != string(big) {
		return out[:min(len(out), 200)], fmt.Errorf("%d bytes came back of %d", len(out), len(big))
	}
	return "", err
}

func runFranz(t *testing.T, ctx context.Context, p profile, _ *regexp.Regexp) (string, error) {
	topic := "franz-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	session, err := kgo.NewGroupTransactSession(append(p.franz(t), kgo.TransactionalID(topic), kgo.ConsumerGroup(topic), kgo.DefaultProduceTopic(topic), kgo.AllowAutoTopicCreation(),
		kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RecordDeliveryTimeout(8*time.Second), kgo.UnknownTopicRetries(20), kgo.RetryTimeout(3*time.Second))...)
	if err != nil {
		return "", err
	}
	defer session.Close()
	for _, commit := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := session.Begin(); err != nil {
			return "", err
		}
		var failed error
		for i := range 100 {
			session.Produce(ctx, kgo.StringRecord(strconv.Itoa(i)), func(_ *kgo.Record, err error) { failed = errors.Join(failed, err) })
		}
		if err := session.Client().Flush(ctx); err != nil || failed != nil {
			return "", errors.Join(err, failed)
		}
		if _, err := session.End(ctx, commit); err != nil {
			return "", err
		}
	}
	for n := 0; n < 200; {
		f := session.PollFetches(ctx)
		if err := f.Err(); err != nil {
			return "", err
		}
		n += f.NumRecords()
	}
	return "", nil
}
