package acl

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

const home = "10.0.0.1"

func ann() Client { return Client{kafka.User("ann"), home} }

// rule reads "allow READ topic literal name User:ann *".
func rule(t testing.TB, text string) kafka.ACL {
	t.Helper()
	f := strings.Fields(text)
	op, err1 := kafka.ParseACLOperation(f[1])
	resource, err2 := kafka.ParseACLResource(f[2])
	pattern, err3 := kafka.ParseACLPattern(f[3])
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	a := kafka.ACL{Resource: resource, Name: f[4], Pattern: pattern, Principal: f[5], Host: f[6], Operation: op, Permission: kafka.Allow}
	if f[0] == "deny" {
		a.Permission = kafka.Deny
	}
	return a
}

// withRules is an authorizer that knows rules.
func withRules(t testing.TB, o Options, list ...kafka.ACL) *Authorizer {
	t.Helper()
	var records []metadata.Record
	for _, a := range list {
		records = append(records, metadata.ACLRecord{ACL: a})
	}
	img, _, err := new(metadata.Image).Apply(1, records)
	if err != nil {
		t.Fatal(err)
	}
	a := New(o)
	a.Apply(img)
	return a
}

// TestA7Verdicts: what each rule, alone or beside others, lets ann do with the topic logs.app.
func TestA7Verdicts(t *testing.T) {
	for _, c := range []struct {
		rules string // separated by commas
		op    kafka.ACLOperation
		want  bool
	}{
		{"", kafka.OpRead, false},
		{"allow READ topic literal logs.app User:ann *", kafka.OpRead, true},
		{"allow READ topic literal logs.app User:ann *", kafka.OpWrite, false},
		{"allow READ topic literal logs.app User:ann *", kafka.OpDescribe, true},
		{"allow WRITE topic literal logs.app User:ann *", kafka.OpDescribe, true},
		{"allow DELETE topic literal logs.app User:ann *", kafka.OpDescribe, true},
		{"allow ALTER topic literal logs.app User:ann *", kafka.OpDescribe, true},
		{"allow CREATE topic literal logs.app User:ann *", kafka.OpDescribe, false},
		{"allow ALTER_CONFIGS topic literal logs.app User:ann *", kafka.OpDescribeConfigs, true},
		{"allow ALTER_CONFIGS topic literal logs.app User:ann *", kafka.OpDescribe, false},
		{"allow DESCRIBE topic literal logs.app User:ann *", kafka.OpRead, false},
		{"allow ALL topic literal logs.app User:ann *", kafka.OpAlterConfigs, true},
		{"allow READ topic literal logs User:ann *", kafka.OpRead, false},
		{"allow READ topic literal logs.app2 User:ann *", kafka.OpRead, false},
		{"allow READ topic prefixed logs. User:ann *", kafka.OpRead, true},
		{"allow READ topic prefixed logs.app User:ann *", kafka.OpRead, true},
		{"allow READ topic prefixed logs.app2 User:ann *", kafka.OpRead, false},
		{"allow READ topic prefixed * User:ann *", kafka.OpRead, false},
		{"allow READ topic literal * User:ann *", kafka.OpRead, true},
		{"allow READ topic literal * User:* *", kafka.OpRead, true},
		{"allow READ topic literal * User:bob *", kafka.OpRead, false},
		{"allow READ topic literal * Group:ann *", kafka.OpRead, false},
		{"allow READ group literal logs.app User:ann *", kafka.OpRead, false},
		{"allow READ topic literal logs.app User:ann 10.0.0.1", kafka.OpRead, true},
		{"allow READ topic literal logs.app User:* 10.0.0.1", kafka.OpRead, true},
		{"allow READ topic literal logs.app User:ann 10.0.0.2", kafka.OpRead, false},
		{"allow READ topic literal logs.app User:ann *,deny READ topic prefixed l User:* *", kafka.OpRead, false},
		{"allow READ topic literal logs.app User:ann *,deny READ topic literal * User:ann 10.0.0.1", kafka.OpRead, false},
		{"allow ALL topic literal logs.app User:ann *,deny WRITE topic literal logs.app User:ann *", kafka.OpRead, true},
		{"allow READ topic literal logs.app User:ann *,deny ALL topic literal logs.app User:bob *", kafka.OpRead, true},
		{"allow READ topic literal logs.app User:ann *,deny ALL topic literal logs.app User:ann *", kafka.OpDescribe, false},
		{"allow WRITE topic literal logs.app User:ann *,deny READ topic literal logs.app User:ann *", kafka.OpDescribe, true},
		{"allow READ topic prefixed log User:ann *,allow READ topic prefixed logs.b User:bob *", kafka.OpRead, true},
	} {
		var list []kafka.ACL
		for text := range strings.SplitSeq(c.rules, ",") {
			if text != "" {
				list = append(list, rule(t, text))
			}
		}
		a := withRules(t, Options{}, list...)
		if got := a.Allowed(ann(), c.op, kafka.ResourceTopic, "logs.app"); got != c.want {
			t.Errorf("%s: %s is %v, want %v", c.rules, c.op, got, c.want)
		}
		if got := a.Operations(ann(), kafka.ResourceTopic, "logs.app")&(1<<c.op) != 0; got != c.want {
			t.Errorf("%s: %s in the bits is %v, want %v", c.rules, c.op, got, c.want)
		}
	}
}

// TestA7SuperUsersAndNoRules: who needs no rule, and what happens where there is none.
func TestA7SuperUsersAndNoRules(t *testing.T) {
	super, err := kafka.ParsePrincipals("User:root; User:CN=admin,O=x ;")
	if err != nil || len(super) != 2 || super[1].Name != "CN=admin,O=x" {
		t.Fatalf("%v, %v", super, err)
	}
	for _, bad := range []string{"root", "User:", ":x"} {
		if _, err := kafka.ParsePrincipals(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	deny := rule(t, "deny ALL topic literal a User:* *")
	a := withRules(t, Options{SuperUsers: super, AllowIfNoRule: true}, deny)
	root := Client{super[0], home}
	if !a.Allowed(root, kafka.OpWrite, kafka.ResourceTopic, "a") || a.Allowed(ann(), kafka.OpWrite, kafka.ResourceTopic, "a") {
		t.Error("a rule counts for a super user, or not for others")
	}
	if !a.Allowed(ann(), kafka.OpWrite, kafka.ResourceTopic, "b") {
		t.Error("a resource without rules is closed, though the setting opens it")
	}
	other := withRules(t, Options{AllowIfNoRule: true}, rule(t, "allow READ topic literal b User:bob *"))
	if other.Allowed(ann(), kafka.OpRead, kafka.ResourceTopic, "b") {
		t.Error("a resource with rules for somebody else is open")
	}
	if a.Operations(root, kafka.ResourceCluster, kafka.ClusterResource) != Supported(kafka.ResourceCluster) {
		t.Error("a super user may not do all there is")
	}
}

// TestA8WriteSomewhere: who may write to some topic may be an idempotent producer (KIP-679).
func TestA8WriteSomewhere(t *testing.T) {
	for _, c := range []struct {
		rules string
		want  bool
	}{
		{"", false},
		{"allow WRITE topic literal a User:ann *", true},
		{"allow ALL topic literal a User:ann *", true},
		{"allow READ topic literal a User:ann *", false},
		{"allow WRITE group literal a User:ann *", false},
		{"allow WRITE topic literal a User:bob *", false},
		{"allow WRITE topic prefixed a User:* 10.0.0.1", true},
		{"allow WRITE topic prefixed a User:* 10.0.0.2", false},
		{"allow WRITE topic literal * User:ann *", true},
		{"allow WRITE topic literal * User:ann *,deny WRITE topic literal * User:* *", false},
		{"allow WRITE topic literal a User:ann *,deny ALL topic literal * User:* *", false},
		{"allow WRITE topic literal ab User:ann *,deny WRITE topic literal ab User:ann *", false},
		{"allow WRITE topic literal ab User:ann *,deny WRITE topic prefixed a User:ann *", false},
		{"allow WRITE topic prefixed ab User:ann *,deny WRITE topic prefixed a User:ann *", false},
		{"allow WRITE topic prefixed a User:ann *,deny WRITE topic prefixed ab User:ann *", true},
		{"allow WRITE topic prefixed a User:ann *,deny WRITE topic literal a User:ann *", true},
		{"allow WRITE topic prefixed ab User:ann *,allow WRITE topic literal c User:ann *,deny WRITE topic prefixed a User:ann *", true},
	} {
		var list []kafka.ACL
		for text := range strings.SplitSeq(c.rules, ",") {
			if text != "" {
				list = append(list, rule(t, text))
			}
		}
		if got := withRules(t, Options{}, list...).AllowedSomewhere(ann(), kafka.OpWrite, kafka.ResourceTopic); got != c.want {
			t.Errorf("%s: %v, want %v", c.rules, got, c.want)
		}
	}
}

// slow decides by going through all rules, as the words of KIP-290 have it.
func slow(list []kafka.ACL, c Client, op kafka.ACLOperation, resource kafka.ACLResource, name string) bool {
	ok := false
	for _, a := range list {
		match := a.Pattern == kafka.PatternLiteral && (a.Name == name || a.Name == "*") || a.Pattern == kafka.PatternPrefixed && strings.HasPrefix(name, a.Name)
		if a.Resource != resource || !match || a.Principal != c.Principal.String() && a.Principal != "User:*" || a.Host != "*" && a.Host != c.Host {
			continue
		}
		hit := a.Operation == op || a.Operation == kafka.OpAll
		if a.Permission == kafka.Deny && hit {
			return false
		}
		implied := op == kafka.OpDescribe && (a.Operation == kafka.OpRead || a.Operation == kafka.OpWrite)
		ok = ok || a.Permission == kafka.Allow && (hit || implied)
	}
	return ok
}

// TestIndexAgreesWithAWalk: random rules over names that share prefixes.
func TestIndexAgreesWithAWalk(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	name := func() string {
		var b strings.Builder
		for range 1 + rnd.IntN(5) {
			b.WriteString(pick("a", "b", "ab", "."))
		}
		return b.String()
	}
	for range 300 {
		var list []kafka.ACL
		for range rnd.IntN(25) {
			a := rule(t, pick("allow", "allow", "allow", "deny")+" "+pick("READ", "WRITE", "DESCRIBE", "ALL")+" "+pick("topic", "group")+" "+
				pick("literal", "prefixed")+" "+pick(name(), name(), name(), "*")+" "+pick("User:ann", "User:bob", "User:*")+" "+pick("*", home, "::1"))
			list = append(list, a)
		}
		a := withRules(t, Options{}, list...)
		for range 50 {
			op, of := kafka.OpRead+kafka.ACLOperation(rnd.IntN(2)), name()
			if rnd.IntN(3) == 0 {
				op = kafka.OpDescribe
			}
			if got, want := a.Allowed(ann(), op, kafka.ResourceTopic, of), slow(list, ann(), op, kafka.ResourceTopic, of); got != want {
				t.Fatalf("%s of %q by %v: %v, want %v", op, of, list, got, want)
			}
		}
	}
}

// manyRules is 10,000 rules: of tenants, each with prefixes, and on one topic.
func manyRules(t testing.TB) *Authorizer {
	var list []kafka.ACL
	for i := range 3000 {
		list = append(list,
			rule(t, fmt.Sprintf("allow WRITE topic prefixed tenant-%d. User:u%d *", i, i)),
			rule(t, fmt.Sprintf("allow READ topic literal tenant-%d.in User:u%d *", i, i)),
			rule(t, fmt.Sprintf("deny ALL topic literal shared User:u%d *", i)))
	}
	for i := range 1000 {
		list = append(list, rule(t, "allow READ topic prefixed "+strings.Repeat("x", 1+i%200)+" User:v"+fmt.Sprint(i)+" *"))
	}
	return withRules(t, Options{}, list...)
}

// BenchmarkAllowed: a check among 10,000 rules is to take 2 µs at most.
func BenchmarkAllowed(b *testing.B) {
	a := manyRules(b)
	c := Client{kafka.User("u1500"), home}
	for _, name := range []string{"tenant-1500.in", "tenant-1500.other", "shared", "unknown", "xxxxxxxx"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a.Allowed(c, kafka.OpWrite, kafka.ResourceTopic, name)
			}
		})
	}
}

// TestA7TenThousandRules: the best of many rounds is far below the bound on any machine, and a
// walk over the rules would be far above it.
func TestA7TenThousandRules(t *testing.T) {
	a, c := manyRules(t), Client{kafka.User("u1500"), home}
	if !a.Allowed(c, kafka.OpWrite, kafka.ResourceTopic, "tenant-1500.in") || a.Allowed(c, kafka.OpWrite, kafka.ResourceTopic, "shared") {
		t.Fatal("the rules are not what the test means them to be")
	}
	best := time.Hour
	for range 50 {
		start := time.Now()
		for range 100 {
			a.Allowed(c, kafka.OpWrite, kafka.ResourceTopic, "tenant-1500.in")
		}
		best = min(best, time.Since(start)/100)
	}
	if best > 2*time.Microsecond && !raceEnabled {
		t.Errorf("a check takes %v", best)
	}
}
