package config

import (
	"crypto/tls"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Security is what TLS and logins of a listener go by.
type Security struct {
	// PEM files, or the PEM blocks themselves; "" where not set.
	KeystoreLocation, CertificateChain, Key    string
	TruststoreLocation, TruststoreCertificates string

	ClientAuth   string   // none, requested, required
	Protocols    []uint16 // versions of TLS, as crypto/tls numbers them
	CipherSuites []uint16 // of TLS 1.2; nil for the usual ones
	MappingRules []MappingRule

	Mechanisms  []string          // of SASL
	PlainUsers  map[string]string // passwords of the users of PLAIN
	MaxReauthMs int64             // 0: a login holds for ever
	FailDelayMs int64
	OAuth       OAuth // of the mechanism OAUTHBEARER
}

// MappingRule turns the name in a certificate into the name of a user.
type MappingRule struct {
	Pattern     *regexp.Regexp // must match the whole name; nil: the name stays as it is
	Replacement string         // in the form of regexp.Expand
	Case        byte           // 'L' or 'U', 0 for neither
}

// listenerPrefix is what precedes a setting that is for one listener alone.
const listenerPrefix = "listener.name."

// listenerSetting finds the row behind a name that is for one listener alone:
// listener.name.internal.ssl.client.auth, or listener.name.internal.plain.sasl.jaas.config.
func listenerSetting(name string) (s Setting, ok bool) {
	rest, ok := strings.CutPrefix(name, listenerPrefix)
	if !ok {
		return Setting{}, false
	}
	for i := range rest {
		if rest[i] != '.' || i == 0 {
			continue
		}
		base := rest[i+1:]
		if s, ok = Lookup(base); !ok {
			s, ok = mechanismSetting(base)
		}
		if ok && s.PerListener {
			s.Name = name
			return s, true
		}
	}
	return Setting{}, false
}

// mechanismSetting knows the settings that are for one mechanism of a listener.
func mechanismSetting(name string) (Setting, bool) {
	mechanism, base, _ := strings.Cut(name, ".")
	if mechanism+"." == inMechanism(base) {
		return Lookup(base)
	}
	return Setting{}, false
}

// inMechanism is what may stand between a listener and a setting of one mechanism, "" for all others.
func inMechanism(setting string) string {
	switch {
	case setting == "sasl.jaas.config":
		return "plain."
	case strings.HasPrefix(setting, "sasl.oauthbearer."):
		return "oauthbearer."
	}
	return ""
}

// nodeSetting finds a setting of a broker, also one for a listener alone.
func nodeSetting(name string) (Setting, bool) {
	if s, ok := listenerSetting(name); ok {
		return s, true
	}
	s, ok := Lookup(name)
	return s, ok && s.Scope&NodeScope != 0
}

// listenerEnv is the name of the setting for one listener alone behind an environment variable
// such as VARVE_LISTENER_NAME_INTERNAL_SSL_CLIENT_AUTH.
func listenerEnv(variable string) (string, bool) {
	rest, ok := strings.CutPrefix(variable, envPrefix+"LISTENER_NAME_")
	if !ok {
		return "", false
	}
	for _, s := range table {
		suffix := "_" + strings.ToUpper(strings.ReplaceAll(s.Name, ".", "_"))
		listener, found := strings.CutSuffix(rest, suffix)
		if !s.PerListener || !found || listener == "" {
			continue
		}
		base := s.Name
		in := inMechanism(base)
		if l, found := strings.CutSuffix(listener, "_"+strings.ToUpper(strings.TrimSuffix(in, "."))); found && in != "" && l != "" {
			listener, base = l, in+base
		}
		return listenerPrefix + strings.ToLower(listener) + "." + base, true
	}
	return "", false
}

// security resolves the settings of a listener; "" is for those that no listener sets by itself.
func (l layers) security(listener string) *Security {
	get := func(name string) string {
		for _, in := range []string{inMechanism(name), ""} {
			if v, ok := l.static[listenerPrefix+strings.ToLower(listener)+"."+in+name]; ok && listener != "" {
				return v
			}
		}
		return l.text(name)
	}
	s := &Security{
		KeystoreLocation: get("ssl.keystore.location"), CertificateChain: get("ssl.keystore.certificate.chain"), Key: get("ssl.keystore.key"),
		TruststoreLocation: get("ssl.truststore.location"), TruststoreCertificates: get("ssl.truststore.certificates"),
		ClientAuth: get("ssl.client.auth"), Mechanisms: splitList(get("sasl.enabled.mechanisms")),
		MaxReauthMs: integer(get("connections.max.reauth.ms")), FailDelayMs: integer(get("connection.failed.authentication.delay.ms")),
	}
	for _, v := range splitList(get("ssl.enabled.protocols")) {
		s.Protocols = append(s.Protocols, tlsVersion(v))
	}
	for _, v := range splitList(get("ssl.cipher.suites")) {
		s.CipherSuites = append(s.CipherSuites, suite(v))
	}
	s.MappingRules, _ = parseMappingRules(get("ssl.principal.mapping.rules")) // both canonical
	s.PlainUsers, _ = parseJAAS(get("sasl.jaas.config"))
	s.OAuth = newOAuth(get)
	return s
}

// check says what a listener of a protocol lacks.
func (s *Security) check(l Listener) error {
	prefix := listenerPrefix + strings.ToLower(l.Name) + "."
	key := s.KeystoreLocation != "" || s.CertificateChain != "" && s.Key != ""
	switch {
	case strings.HasSuffix(l.Protocol, "SSL") && !key:
		return refuse("ssl.keystore.location", "Listener %s is %s and has no key: set ssl.keystore.location, or %sssl.keystore.location, to a PEM file with the key and its certificates",
			l.Name, l.Protocol, prefix)
	case strings.HasSuffix(l.Protocol, "SSL") && s.ClientAuth != "none" && s.TruststoreLocation == "" && s.TruststoreCertificates == "":
		return refuse("ssl.truststore.location", "Listener %s asks for certificates of clients and trusts nobody: set ssl.truststore.location to a PEM file of authorities", l.Name)
	case strings.HasPrefix(l.Protocol, "SASL") && slices.Contains(s.Mechanisms, "PLAIN") && len(s.PlainUsers) == 0:
		return refuse("sasl.jaas.config", "Listener %s has the mechanism PLAIN and no users for it: set %splain.sasl.jaas.config", l.Name, prefix)
	}
	if strings.HasPrefix(l.Protocol, "SASL") && slices.Contains(s.Mechanisms, "OAUTHBEARER") {
		return s.OAuth.check(l)
	}
	return nil
}

var (
	tlsVersions = Validator{"TLSv1.2, TLSv1.3 or both", func(v string) string {
		if v == "" {
			return "At least one value is needed"
		}
		for _, item := range splitList(v) {
			if tlsVersion(item) == 0 {
				return "The versions are TLSv1.2 and TLSv1.3"
			}
		}
		return ""
	}}

	cipherSuites = Validator{"names such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", func(v string) string {
		for _, item := range splitList(v) {
			if suite(item) == 0 {
				return "There is no such cipher suite, or it is not safe"
			}
		}
		return ""
	}}

	saslMechanisms = listOf("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")

	mappingRules = Validator{"DEFAULT, or RULE:PATTERN/REPLACEMENT/[L|U]", func(v string) string {
		_, problem := parseMappingRules(v)
		return problem
	}}

	jaasConfig = Validator{"PlainLoginModule with its users", func(v string) string {
		_, problem := parseJAAS(v)
		return problem
	}}
)

func tlsVersion(name string) uint16 {
	return map[string]uint16{"TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}[name]
}

// suite is the number of a cipher suite that is safe, 0 for any other.
func suite(name string) uint16 {
	for _, s := range tls.CipherSuites() {
		if s.Name == name {
			return s.ID
		}
	}
	return 0
}

// parseMappingRules reads the rules. A slash in a pattern or a replacement is written \/.
// Source: Kafka's SslPrincipalMapper, with the patterns of RE2 in place of Java's.
func parseMappingRules(v string) (rules []MappingRule, problem string) {
	one := regexp.MustCompile(`^\s*(?:(DEFAULT)|RULE:((?:\\.|[^/\\])*)/((?:\\.|[^/\\])*)/([LU]?))\s*(?:,|$)`)
	for rest := v; strings.TrimSpace(rest) != ""; {
		m := one.FindStringSubmatch(rest)
		if m == nil {
			return nil, fmt.Sprintf("Invalid rule: `%s`; expected DEFAULT or RULE:PATTERN/REPLACEMENT/[L|U]", rest)
		}
		rest = rest[len(m[0]):]
		if m[1] != "" {
			rules = append(rules, MappingRule{})
			continue
		}
		re, err := regexp.Compile(`\A(?:` + strings.ReplaceAll(m[2], `\/`, `/`) + `)\z`)
		if err != nil {
			return nil, fmt.Sprintf("Invalid pattern `%s`: it is no regular expression of RE2", m[2])
		}
		r := MappingRule{Pattern: re, Replacement: expandable(strings.ReplaceAll(m[3], `\/`, `/`))}
		if m[4] != "" {
			r.Case = m[4][0]
		}
		rules = append(rules, r)
	}
	return rules, ""
}

// expandable is a Java replacement ($1) in the form of regexp.Expand (${1}).
func expandable(replacement string) string {
	return regexp.MustCompile(`\$(\d)`).ReplaceAllString(replacement, "$${$1}")
}

// parseJAAS reads the users of a PlainLoginModule. Problems never hold a value.
func parseJAAS(v string) (users map[string]string, problem string) {
	if v == "" {
		return nil, ""
	}
	head := regexp.MustCompile(`^\s*org\.apache\.kafka\.common\.security\.plain\.PlainLoginModule\s+(?:required|requisite|sufficient|optional)\b`)
	option := regexp.MustCompile(`^\s*([A-Za-z0-9_.@-]+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^\s";]+))`)
	at := head.FindString(v)
	if at == "" {
		return nil, "Expected org.apache.kafka.common.security.plain.PlainLoginModule required and its options"
	}
	users = map[string]string{}
	rest := v[len(at):]
	for {
		m := option.FindStringSubmatch(rest)
		if m == nil {
			break
		}
		rest = rest[len(m[0]):]
		if name, ok := strings.CutPrefix(m[1], "user_"); ok {
			users[name] = regexp.MustCompile(`\\(.)`).ReplaceAllString(m[2], "$1") + m[3]
		}
	}
	if strings.TrimSpace(rest) != ";" {
		return nil, "Expected options NAME=\"VALUE\" and a semicolon at the end"
	}
	return users, ""
}

// describeListeners lists the settings that are set for one listener alone, by name.
func (n *Node) describeListeners() (list []Entry) {
	for _, name := range slices.Sorted(maps.Keys(n.layers.static)) {
		s, ok := listenerSetting(name)
		if !ok {
			continue
		}
		e := newEntry(s)
		e.Value, e.Source, e.ReadOnly = e.shown(n.layers.static[name]), StaticBroker, true
		e.Synonyms = []Synonym{{name, e.Value, StaticBroker}}
		list = append(list, e)
	}
	return list
}
