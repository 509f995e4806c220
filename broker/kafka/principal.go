package kafka

import (
	"fmt"
	"strings"
)

// UserPrincipal is the one type of principal that logins give (KafkaPrincipal.USER_TYPE).
const UserPrincipal = "User"

// Principal is who a connection speaks for. The zero Principal is nobody: a connection whose
// login is not complete.
type Principal struct{ Type, Name string }

// Anonymous is who connects without saying who it is (KafkaPrincipal.ANONYMOUS).
func Anonymous() Principal { return Principal{UserPrincipal, "ANONYMOUS"} }

// User is the principal of a user's name.
func User(name string) Principal { return Principal{UserPrincipal, name} }

// String is Kafka's form, "User:alice".
func (p Principal) String() string { return p.Type + ":" + p.Name }

// ParsePrincipals reads principals such as User:alice, separated by semicolons, because the
// names in certificates have commas.
func ParsePrincipals(list string) ([]Principal, error) {
	var out []Principal
	for item := range strings.SplitSeq(list, ";") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		kind, name, ok := strings.Cut(item, ":")
		if !ok || kind == "" || name == "" {
			return nil, fmt.Errorf("%q is no principal: write User:NAME, and separate several by semicolons", item)
		}
		out = append(out, Principal{Type: kind, Name: name})
	}
	return out, nil
}
