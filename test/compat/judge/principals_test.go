package judge

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varve-io/varve/test/kit"
)

// superUser may do everything.
const superUser = "admin"

// securedScripts run on brokers with an authorizer, and logins.
func securedScripts(by *kit.Issuer) []script {
	return []script{
		{"matrix", matrixScript},
		{"everyversion", everyVersionScript},
		{"rules", rulesScript},
		{"credentials", credentialsScript},
		{"logins", loginsScript},
		{"tokens", tokensScript},
		{"bearers", func(s *side) { bearersScript(s, by) }},
	}
}

// expectedSecured are the differences of a broker with an authorizer, beside expected.
var expectedSecured = []row{
	{"*ErrorMessage", `""`, "a text", "Errors carry a message"},

	// who may do what
	{"* / *: describe users / Results", "list", "null", "that is not allowed names no users"},
	{"* / *: configs of log levels / *.Value", "WARN", "INFO", "The log has one logger"},

	// rules of access
	{"rules / * * 0 / *", "*", "*", "a part that is 0 is refused with INVALID_REQUEST"},
	{"rules / * describe: * / ErrorCode", "0", "42 INVALID_REQUEST", "number that nobody knows, which in Kafka finds nothing"},
	{"rules / * create: any * / Results[*].ErrorCode", "-1 UNKNOWN_SERVER_ERROR", "*", "what Kafka has an internal error for"},
	{"rules / * create: any * / Results[*].ErrorMessage", "*", "*", "what Kafka has an internal error for"},
	{"rules / * create: pattern match / Results[*].ErrorCode", "-1 UNKNOWN_SERVER_ERROR", "*", "what Kafka has an internal error for"},
	{"rules / * create: pattern match / Results[*].ErrorMessage", "*", "*", "what Kafka has an internal error for"},
	{"rules / * no host / *", "*", "*", "A rule has to have a host, and a principal a type."},
	{"rules / * no type / *", "*", "*", "A rule has to have a host, and a principal a type."},

	// logins
	{"logins / * 256, PLAIN's user: *", "*", "*", "A user that does not exist fails at the end of a login by SCRAM"},
	{"logins / * 512 by a token: *", "*", "*", "A user that does not exist fails at the end of a login by SCRAM"},
	{"tokens / * unknown: *", "*", "*", "A user that does not exist fails at the end of a login by SCRAM"},
	{"tokens / * not marked: *", "*", "*", "A user that does not exist fails at the end of a login by SCRAM"},
	{"tokens / * for one without a type / *", "*", "*", "The owner of a delegation token without a type is a user"},
	{"bearers / * message good, another scheme: *", "*", "*", "OAUTHBEARER answers another scheme than Bearer"},
	{"logins / * bad: SCRAM, y: *", "*", "*", "SCRAM takes the flag `y`"},
	{"logins / * bad: SCRAM, mandatory extension: *", "*", "*", "refuses a mandatory extension"},
	{"logins / * after a handshake: request 2 / *", "*", "*", "In the middle of a login any other request closes the connection"},
	{"logins / a handshake twice: request 2 / *", "*", "*", "In the middle of a login any other request closes the connection"},
	{"logins / versions twice: request 2 / *", "*", "*", "ApiVersions may be asked more than once before it"},
}

// blindSecured are those of securedScripts.
var blindSecured = []blindness{
	{"* order", "most lists come in the order of a hash table in Kafka: those with names are compared as sets"},
	{"*ErrorMessage field", "the wording of messages is each broker's own; that there is one counts"},
	{"*ProducerID field", "the ids of producers are each broker's own; that there is one counts"},
	{"ApiVersions: ApiKeys missing", "Kafka has keys that Varve lacks, by rows of expected: TestC5AdvertisedVersions counts them"},
	{"DescribeLogDirs: *", "here only that there are directories counts, by who asks: the script logdirs compares the rest"},
	{"DescribeQuorum: *", "here only errors count, by who asks: the script quorum compares the rest"},
	{"Fetch: Topics twice", "both may name a topic twice, with some of its partitions each time"},
	{"Produce: Topics twice", "both may name a topic twice, with some of its partitions each time"},
}

const (
	opAll, opRead, opWrite, opCreate, opDelete, opAlter, opDescribe int8 = 2, 3, 4, 5, 6, 7, 8
	ofTopic, ofGroup, ofCluster, ofTxn                              int8 = 2, 3, 4, 5
)

// operations are what there is to allow, of each type of resource.
func operations() map[int8]map[string]int8 {
	return map[int8]map[string]int8{
		ofTopic: {"all": 2, "read": 3, "write": 4, "create": 5, "delete": 6, "alter": 7, "describe": 8, "describeconfigs": 10, "alterconfigs": 11},
		ofGroup: {"all": 2, "read": 3, "delete": 6, "describe": 8, "describeconfigs": 10, "alterconfigs": 11},
		ofCluster: {"all": 2, "create": 5, "alter": 7, "describe": 8, "clusteraction": 9, "describeconfigs": 10, "alterconfigs": 11,
			"idempotentwrite": 12},
		ofTxn: {"all": 2, "write": 4, "describe": 8, "twophasecommit": 15},
	}
}

// users are everybody who logs in, by name, with the rules for each: of a script's names.
func (m *matrix) users() map[string][]rule {
	names := map[int8][]string{ofTopic: {m.t, m.none}, ofGroup: {m.g, m.gone}, ofCluster: {"kafka-cluster"}, ofTxn: {m.x}}
	on := func(user string, op, kind int8) (rules []rule) {
		for _, name := range names[kind] {
			rules = append(rules, ruleOf(user, op, kind, name))
		}
		return rules
	}
	users := map[string][]rule{superUser: nil, "nobody": nil, "": {ruleOf("ANONYMOUS", opRead, ofTopic, m.t)}}
	for kind, ops := range operations() {
		for op, n := range ops {
			user := fmt.Sprintf("%s-%s", map[int8]string{ofTopic: "topic", ofGroup: "group", ofCluster: "cluster", ofTxn: "txn"}[kind], op)
			users[user] = on(user, n, kind)
		}
	}
	// A client has what a transactional producer that consumes needs.
	client := func(user string) []rule {
		return slices.Concat(on(user, opRead, ofTopic), on(user, opWrite, ofTopic), on(user, opRead, ofGroup), on(user, opWrite, ofTxn))
	}
	all := func(user string, name string, pattern int8) (rules []rule) {
		for _, kind := range []int8{ofTopic, ofGroup, ofTxn} {
			r := ruleOf(user, opAll, kind, name)
			r.pattern = pattern
			rules = append(rules, r)
		}
		return append(rules, ruleOf(user, opAll, ofCluster, "kafka-cluster"))
	}
	denied := func(r rule) rule { r.permission = 2; return r }
	on2 := func(rules []rule, change func(*rule)) []rule {
		for i := range rules {
			change(&rules[i])
		}
		return rules
	}
	users["client"] = client("client")
	users["reader"] = slices.Concat(on("reader", opRead, ofTopic), on("reader", opRead, ofGroup))
	users["reader-of-all"] = []rule{ruleOf("reader-of-all", opRead, ofTopic, "*"), ruleOf("reader-of-all", opRead, ofGroup, "*")}
	users["writer"] = slices.Concat(on("writer", opWrite, ofTopic), on("writer", opWrite, ofTxn), on("writer", opRead, ofGroup))
	users["creator"] = slices.Concat(on("creator", opCreate, ofTopic), on("creator", opDescribe, ofTopic), on("creator", 10, ofTopic))
	users["denied"] = append(client("denied"), denied(ruleOf("denied", opWrite, ofTopic, m.t)), denied(ruleOf("denied", opRead, ofGroup, m.g)),
		denied(ruleOf("denied", opWrite, ofTxn, m.x)))
	users["denied-to-describe"] = append(all("denied-to-describe", "*", 3), denied(ruleOf("denied-to-describe", opDescribe, ofTopic, m.t)),
		denied(ruleOf("denied-to-describe", opDescribe, ofGroup, m.g)), denied(ruleOf("denied-to-describe", opDescribe, ofTxn, m.x)),
		denied(ruleOf("denied-to-describe", opDescribe, ofCluster, "kafka-cluster")))
	users["denied-all"] = append(all("denied-all", "*", 3), on2(all("denied-all", "*", 3), func(r *rule) { r.permission = 2 })[:3]...)
	users["prefixed"] = all("prefixed", m.s.topic(""), 4)
	users["wrong-prefix"] = all("wrong-prefix", m.s.topic("u"), 4)
	users["any"] = all("any", "*", 3)
	users["far"] = on2(all("far", "*", 3), func(r *rule) { r.host = "10.9.8.7" })
	users["near"] = on2(client("near"), func(r *rule) { r.host = "127.0.0.1" })
	users["denied-far"] = append(client("denied-far"), on2(client("denied-far"), func(r *rule) { r.host, r.permission = "10.9.8.7", 2 })...)
	users["denied-near"] = append(client("denied-near"), on2(client("denied-near"), func(r *rule) { r.host, r.permission = "127.0.0.1", 2 })...)
	users["Client"] = nil // a name is not another one in other letters
	return users
}

// matrixScript: every API by every user, at its last version.
func matrixScript(s *side) {
	s.afloat = true
	m := newMatrix(s)
	m.play(m.users(), m.wants(), func(w want) (low, high int16) { return w.max, w.max })
}

// everyVersionScript: every API at every version, by a few users.
func everyVersionScript(s *side) {
	s.afloat = true
	m := newMatrix(s)
	few := map[string][]rule{"every-nobody": nil}
	for _, r := range m.users()["client"] {
		r.user = "every-client"
		few[r.user] = append(few[r.user], r)
	}
	few["every-describer"] = []rule{ruleOf("every-describer", opDescribe, ofTopic, m.t), ruleOf("every-describer", opDescribe, ofGroup, m.g)}
	m.play(few, append(m.wants(), m.refused()...), func(w want) (low, high int16) { return w.min, w.max })
}

// play has users make requests.
func (m *matrix) play(users map[string][]rule, all []want, versions func(want) (low, high int16)) {
	c := m.s.admin()
	defer c.close()
	var rules []rule
	for _, user := range slices.Sorted(maps.Keys(users)) {
		rules = append(rules, users[user]...)
	}
	m.s.granted(c, rules...)
	for _, user := range slices.Sorted(maps.Keys(users)) {
		who := user
		if who == "" {
			who = "anonymous"
		}
		c := m.s.as(user)
		for _, w := range all {
			for v, high := versions(w); v <= high; v++ {
				w.asks(c, who, v)
			}
		}
		c.close()
	}
}

// plainUsers is the setting of all users, who log in by PLAIN.
func plainUsers() string {
	var b strings.Builder
	b.WriteString("org.apache.kafka.common.security.plain.PlainLoginModule required")
	names := (&matrix{s: &side{}}).users()
	for _, more := range append([]string{"broker", "every-nobody", "every-client", "every-describer"}, tokenUsers...) {
		names[more] = nil
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if name != "" {
			fmt.Fprintf(&b, " user_%s=%q", name, password(name))
		}
	}
	return b.String() + ";"
}

// authorizer are the settings of access that both brokers run with.
const authorizer = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"

// startSecuredKafka runs Apache Kafka with a listener without logins and one with them; brokers
// and controllers talk by the latter kind. It returns the addresses of both.
func startSecuredKafka(t *testing.T, by *kit.Issuer) (addr, sasl string) {
	t.Setenv("JAVA_TOOL_OPTIONS", "-D"+kit.Allowed(by.JWKS))
	addr, sasl, controller := kit.FreeAddr(t), kit.FreeAddr(t), kit.FreeAddr(t)
	self := fmt.Sprintf(" required username=\"broker\" password=%q user_broker=%q;", password("broker"), password("broker"))
	users := strings.Replace(plainUsers(), " required", fmt.Sprintf(" required username=\"broker\" password=%q", password("broker")), 1)
	kit.NewKafkaAt(t, addr, append(slices.Concat(settings, by.Settings()), "delegation.token.secret.key="+tokenKey, "transaction.state.log.min.isr=1", authorizer, "super.users=User:"+superUser+";User:broker",
		fmt.Sprintf("listeners=PLAINTEXT://%s,SASL_PLAINTEXT://%s,CONTROLLER://%s", addr, sasl, controller), "controller.quorum.voters=1@"+controller,
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
		"inter.broker.listener.name=SASL_PLAINTEXT", "sasl.mechanism.inter.broker.protocol=PLAIN", "sasl.mechanism.controller.protocol=PLAIN",
		"sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
		"listener.name.sasl_plaintext.oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
		"listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;",
		"listener.name.controller.sasl.enabled.mechanisms=PLAIN",
		"listener.name.controller.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule"+self,
		"listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
		"listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
		"listener.name.sasl_plaintext.plain.sasl.jaas.config="+users)...)
	return addr, sasl
}

// startSecured is startSecuredKafka for Varve.
func startSecured(t *testing.T, by *kit.Issuer) (addr, sasl string) {
	t.Helper()
	addr, sasl = kit.FreeAddr(t), kit.FreeAddr(t)
	args := []string{"--set", fmt.Sprintf("listeners=PLAINTEXT://%s,SASL_PLAINTEXT://%s", addr, sasl), "--set", authorizer, "--set", "super.users=User:" + superUser}
	for _, s := range append(slices.Concat(settings, by.Settings()), kit.Allowed(by.JWKS), "offsets.topic.replication.factor=1", "transaction.state.log.min.isr=1",
		"listener.name.sasl_plaintext.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER") {
		args = append(args, "--set", s)
	}
	b := kit.New(t, filepath.Join(t.TempDir(), "varve"), args...)
	b.Env = []string{"VARVE_LISTENER_NAME_SASL_PLAINTEXT_PLAIN_SASL_JAAS_CONFIG=" + plainUsers(), "VARVE_DELEGATION_TOKEN_SECRET_KEY=" + tokenKey}
	b.Start()
	return addr, sasl
}

// TestPrincipalsAgainstKafka has users with and without rights ask both brokers.
// VARVE_JUDGE_RECORD_SECURED=PATH makes it write down Kafka's answers.
func TestPrincipalsAgainstKafka(t *testing.T) {
	if os.Getenv("VARVE_COMPAT_SECURED") == "" {
		t.Skip("TestR49PrincipalsAgainstRecording is enough: 'make compat-secured' asks Kafka itself")
	}
	base := time.Now().Add(-time.Hour).Truncate(time.Minute).UnixMilli()
	var theirs []*side
	var wg sync.WaitGroup
	by := kit.NewIssuer(t)
	addr, sasl := startSecuredKafka(t, by)
	wg.Go(func() { theirs = play(t, addr, sasl, base, securedScripts(by)) })
	addr, sasl = startSecured(t, by)
	ours := play(t, addr, sasl, base, securedScripts(by))
	wg.Wait()
	k := recorded(t, theirs)
	if path := os.Getenv("VARVE_JUDGE_RECORD_SECURED"); path != "" {
		k.save(t, path)
	}
	judgeSecured(t, k, ours, theirs)
}

// TestR49PrincipalsAgainstRecording compares Varve with what Kafka has answered once.
func TestR49PrincipalsAgainstRecording(t *testing.T) {
	k := loadRecording(t, "testdata/kafka-4.3.1-secured.json.gz")
	by := kit.NewIssuer(t)
	addr, sasl := startSecured(t, by)
	judgeSecured(t, k, play(t, addr, sasl, time.Now().Add(-time.Hour).Truncate(time.Minute).UnixMilli(), securedScripts(by)), nil)
}

// judgeSecured compares, and tells what was asked.
func judgeSecured(t *testing.T, kafka recording, ours, theirs []*side) {
	e := newExpectation(slices.Concat(expectedSecured, expected))
	answers := map[int16]int{}
	for _, s := range ours {
		t.Run(s.name, func(t *testing.T) { judge(t, kafka, s, e, answers) })
	}
	for _, row := range expectedSecured {
		if e.unused[row.String()] {
			t.Errorf("expected difference is gone: delete the row of expectedSecured, and its line in docs/differences.md if it was the last:\n%s", row)
		}
	}
	if !t.Failed() {
		t.Run("planted", func(t *testing.T) { plant(t, kafka, ours, slices.Concat(expectedSecured, expected), blindSecured) })
	}
	tell(t, answers, slices.Concat(theirs, ours))
}
