package kafkacmd

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// iterationsMin and iterationsDefault are of Kafka's SCRAM credentials.
const (
	iterationsMin     = 4096
	iterationsDefault = 4096
)

// quotaPart is a kind of entity that has quotas.
type quotaPart struct{ kind, typ, text string }

func quotaParts() []quotaPart {
	return []quotaPart{{ofUsers, "user", "user-principal"}, {ofClients, "client-id", "client-id"}, {ofIPs, "ip", "ip"}}
}

func quotaType(kind string) string {
	for _, p := range quotaParts() {
		if p.kind == kind {
			return p.typ
		}
	}
	return kind
}

// quotasOf asks for the quotas that kinds and names choose; kinds without a name choose all of the kind.
func (c *call) quotasOf(adm *kadm.Client, kinds, names []string) ([]kadm.DescribedClientQuota, error) {
	var filter []kadm.DescribeClientQuotaComponent
	for i, kind := range kinds {
		part := kadm.DescribeClientQuotaComponent{Type: quotaType(kind), MatchType: 2}
		if i < len(names) && names[i] == "" {
			part.MatchType = 1
		} else if i < len(names) {
			part.MatchType, part.MatchName = 0, &names[i]
		}
		filter = append(filter, part)
	}
	return adm.DescribeClientQuotas(c.ctx, true, filter)
}

func (c *call) describeQuotas(cl *kgo.Client, kinds, names []string) error {
	adm := kadm.NewClient(cl)
	list, err := c.quotasOf(adm, kinds, names)
	if err != nil {
		return err
	}
	for _, q := range list {
		var who, what []string
		for _, p := range quotaParts() {
			for _, part := range q.Entity {
				switch {
				case part.Type != p.typ:
				case part.Name == nil:
					who = append(who, "the default "+p.text)
				default:
					who = append(who, p.text+" '"+*part.Name+"'")
				}
			}
		}
		values := map[string]float64{}
		for _, v := range q.Values {
			values[v.Key] = v.Value
		}
		for _, name := range slices.Sorted(maps.Keys(values)) {
			what = append(what, name+"="+javaDouble(values[name]))
		}
		fmt.Fprintf(c.out, "Quota configs for %s are %s\n", strings.Join(who, ", "), strings.Join(what, ", "))
	}
	if slices.Contains(kinds, ofClients) || slices.Contains(kinds, ofIPs) || slices.Contains(names, "") {
		return nil
	}
	users, err := adm.DescribeUserSCRAMs(c.ctx, names...)
	if err != nil {
		return err
	}
	for _, u := range users.Sorted() {
		var creds []string
		for _, info := range u.CredInfos {
			creds = append(creds, fmt.Sprintf("%s=iterations=%d", info.Mechanism, info.Iterations))
		}
		if u.Err == nil {
			fmt.Fprintf(c.out, "SCRAM credential configs for user-principal '%s' are %s\n", u.User, strings.Join(creds, ", "))
		}
	}
	return nil
}

// javaDouble is a number as Java prints it.
func javaDouble(f float64) string {
	if f == 0 || f >= 1e-3 && f < 1e7 {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'E', -1, 64), "E")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, err := strconv.Atoi(exponent)
	if err != nil {
		return mantissa
	}
	return mantissa + "E" + strconv.Itoa(n)
}

// isQuota says whether a setting is a quota of clients and users. Kafka's tool knows those without varve_ only.
func isQuota(name string) bool {
	return slices.Contains([]string{"producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate",
		"varve_remote_fetch_byte_rate", "varve_upload_byte_rate"}, name)
}

func isScram(name string) bool { return scramOf(name) != 0 }

func scramOf(name string) kadm.ScramMechanism {
	switch name {
	case "SCRAM-SHA-256":
		return kadm.ScramSha256
	case "SCRAM-SHA-512":
		return kadm.ScramSha512
	}
	return 0
}

// unexpected are the names that are none of a kind, as the tool lists them.
func unexpected(names []string, known ...func(string) bool) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return slices.ContainsFunc(known, func(is func(string) bool) bool { return is(n) })
	}), ", ")
}

func (c *call) alterQuotas(cl *kgo.Client, kinds, names []string, set []pair, unset []string) error {
	var adding []string
	for _, p := range set {
		adding = append(adding, p.name)
	}
	const wrong = "Only %s configs can be %s for '%s' using --bootstrap-server. Unexpected config names: %s"
	what, kind, known := "quota and SCRAM credential", ofUsers, []func(string) bool{isQuota, isScram}
	switch {
	case kinds[0] == ofIPs:
		what, kind, known = "connection quota", ofIPs, []func(string) bool{func(n string) bool { return n == "connection_creation_rate" }}
	case kinds[0] == ofClients || len(kinds) == 2:
		what, kind, known = "quota", ofClients, []func(string) bool{isQuota}
	}
	set2 := "Set(%s)"
	if kind == ofIPs {
		set2 = "%s"
	}
	if bad := unexpected(adding, known...); bad != "" {
		return argumentf(wrong, what, "added", kind, fmt.Sprintf(set2, bad))
	}
	if bad := unexpected(unset, known...); bad != "" {
		return argumentf(wrong, what, "deleted", kind, fmt.Sprintf(strings.ReplaceAll(set2, "Set", "List"), bad))
	}
	all := append(slices.Clone(adding), unset...)
	if !slices.ContainsFunc(all, isScram) {
		return c.alterBounds(kadm.NewClient(cl), kinds, names, set, unset)
	}
	switch {
	case slices.Contains(names, ""):
		return argumentf("The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using --bootstrap-server.")
	case slices.ContainsFunc(all, isQuota):
		return argumentf("Cannot alter both quota and SCRAM credential configs simultaneously for 'users' using --bootstrap-server.")
	}
	return c.alterCredentials(kadm.NewClient(cl), names[0], set, unset)
}

func (c *call) alterBounds(adm *kadm.Client, kinds, names []string, set []pair, unset []string) error {
	now, err := c.quotasOf(adm, kinds, names)
	if err != nil {
		return err
	}
	has := map[string]bool{}
	for _, q := range now {
		for _, v := range q.Values {
			has[v.Key] = true
		}
	}
	if bad := slices.DeleteFunc(slices.Clone(unset), func(n string) bool { return has[n] }); len(bad) > 0 {
		return argumentf("Invalid config(s): %s", strings.Join(bad, ","))
	}
	entry := kadm.AlterClientQuotaEntry{}
	for i, kind := range kinds {
		part := kadm.ClientQuotaEntityComponent{Type: quotaType(kind)}
		if names[i] != "" {
			part.Name = &names[i]
		}
		entry.Entity = append(entry.Entity, part)
	}
	for _, p := range set {
		bound, err := strconv.ParseFloat(p.value, 64)
		if err != nil {
			return argumentf("Cannot parse quota configuration value for %s: %s", p.name, p.value)
		}
		entry.Ops = append(entry.Ops, kadm.AlterClientQuotaOp{Key: p.name, Value: bound})
	}
	for _, name := range unset {
		entry.Ops = append(entry.Ops, kadm.AlterClientQuotaOp{Key: name, Remove: true})
	}
	res, err := adm.AlterClientQuotas(c.ctx, []kadm.AlterClientQuotaEntry{entry})
	if err != nil {
		return err
	}
	for _, r := range res {
		if r.Err != nil {
			return told(r.Err, &r.ErrMessage)
		}
	}
	return nil
}

func (c *call) alterCredentials(adm *kadm.Client, user string, set []pair, unset []string) error {
	var upserts []kadm.UpsertSCRAM
	var deletes []kadm.DeleteSCRAM
	for _, p := range set {
		m := regexp.MustCompile(`^(?:iterations=(-?[0-9]*),)?password=(.*)$`).FindStringSubmatch(p.value)
		if m == nil {
			return argumentf("Invalid credential property %s: want [iterations=N,password=…]", p.name) // the value may hold a password
		}
		n := iterationsDefault
		if m[1] != "" && m[1] != "-1" {
			var err error
			if n, err = strconv.Atoi(m[1]); err != nil {
				return argumentf("For input string: %q", m[1])
			}
		}
		if n < iterationsMin {
			return argumentf("Iterations %d is less than the minimum %d required for %s", n, iterationsMin, p.name)
		}
		upserts = append(upserts, kadm.UpsertSCRAM{User: user, Mechanism: scramOf(p.name), Iterations: int32(n), Password: m[2]})
	}
	for _, name := range unset {
		deletes = append(deletes, kadm.DeleteSCRAM{User: user, Mechanism: scramOf(name)})
	}
	res, err := adm.AlterUserSCRAMs(c.ctx, deletes, upserts)
	if err != nil {
		return err
	}
	for _, r := range res {
		if r.Err != nil {
			return told(r.Err, &r.ErrMessage)
		}
	}
	return nil
}
