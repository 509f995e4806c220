package security

import (
	"encoding/hex"
	"testing"

	"github.com/varve-io/varve/broker/config"
)

// The name of a certificate is what Java makes of it; what looks like a part inside a value is escaped.
func TestDistinguishedNameIsJavas(t *testing.T) {
	der, err := hex.DecodeString("3081c231183009060355040613024445300b060355040c1304626f7373310b300906035504070c02c3bc310b3009060355040913027374310a30080603550408130173310a3008060355040513013531123010060a0992268993f22c640119160264633111300f060a0992268993f22c6401011301753114301206092a864886f70d01090116057840792e7a310e300c060355040a1305206c656164310b3009060355040b0c022378311a301806035504030c11612c622b633d64236520227822203b3c3e")
	if err != nil {
		t.Fatal(err)
	}
	want := `CN=a\,b\+c\=d\#e \"x\" \;\<\>,OU=\#x,O=\ lead,1.2.840.113549.1.9.1=#16057840792e7a,UID=u,DC=dc,2.5.4.5=#130135,ST=s,STREET=st,L=ü,C=DE+2.5.4.12=#1304626f7373`
	if got, err := distinguishedName(der); got != want || err != nil {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	if _, err := distinguishedName(der[:40]); err == nil {
		t.Error("half a name was read")
	}
}

func TestMappingRules(t *testing.T) {
	for _, c := range []struct{ rules, name, want string }{
		{"DEFAULT", "CN=kafka,O=x", "CN=kafka,O=x"},
		{"RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/", "CN=svc,OU=ServiceUsers,O=Org", "svc"},
		{"RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/,RULE:^CN=(.*?),OU=(.*?),O=(.*?)$/$1@$2/L,DEFAULT", "CN=Adm,OU=Admins,O=Org", "adm@admins"},
		{"RULE:^CN=(.*)$/$1/U", "CN=a/b", "A/B"},
		{`RULE:^CN=(.*)\/b$/$1\/c/`, "CN=a/b", "a/c"},
		{"RULE:CN=alice/root/", "O=x,CN=alice", ""}, // a part is no match
		{"RULE:CN=alice/root/", "CN=alice", "root"},
		{"RULE:CN=(.*)/$1x/,DEFAULT", `CN=a\,OU=Admins`, `a\,OU=Adminsx`},
	} {
		n, _, err := config.Load(config.Sources{YAML: []byte("ssl.principal.mapping.rules: '" + c.rules + "'")})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := mapName(n.Security.MappingRules, c.name); got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s of %s: %q, %v; want %q", c.rules, c.name, got, err, c.want)
		}
	}
}
