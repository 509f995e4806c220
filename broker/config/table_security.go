package config

// securitySettings are the settings of TLS and logins. Each may be set for one listener alone:
// listener.name.NAME. in front, with NAME in lower case.
var securitySettings = []Setting{
	{
		Name: "ssl.keystore.type", Type: String, Default: "PEM", Valid: oneOf("PEM"), Scope: NodeScope, PerListener: true,
		Importance: Medium, Since: "Kafka 0.9 (PEM: KIP-651)",
		Doc: "The form of the key and the certificates. PEM is the one that is read.",
	}, {
		Name: "ssl.keystore.location", Type: String, Scope: NodeScope, PerListener: true, Importance: Medium, Since: "Kafka 0.9",
		Doc: "The file with the broker's private key and its certificate chain, the broker's own certificate first. A changed file is read again within ten seconds; connections stay.",
	}, {
		Name: "ssl.keystore.certificate.chain", Type: Password, Scope: NodeScope, PerListener: true, Sensitive: true, Importance: Medium,
		Since: "Kafka 2.7 (KIP-651)",
		Doc:   "The certificate chain itself, instead of a file.",
	}, {
		Name: "ssl.keystore.key", Type: Password, Scope: NodeScope, PerListener: true, Sensitive: true, Importance: Medium,
		Since: "Kafka 2.7 (KIP-651)",
		Doc:   "The private key itself, not encrypted, instead of a file.",
	}, {
		Name: "ssl.truststore.type", Type: String, Default: "PEM", Valid: oneOf("PEM"), Scope: NodeScope, PerListener: true,
		Importance: Medium, Since: "Kafka 0.9 (PEM: KIP-651)",
		Doc: "The form of the certificates that are trusted. PEM is the one that is read.",
	}, {
		Name: "ssl.truststore.location", Type: String, Scope: NodeScope, PerListener: true, Importance: Medium, Since: "Kafka 0.9",
		Doc: "The file with the certificates of the authorities that sign clients' certificates. A changed file is read again within ten seconds.",
	}, {
		Name: "ssl.truststore.certificates", Type: Password, Scope: NodeScope, PerListener: true, Sensitive: true, Importance: Medium,
		Since: "Kafka 2.7 (KIP-651)",
		Doc:   "Those certificates themselves, instead of a file.",
	}, {
		Name: "ssl.client.auth", Type: String, Default: "none", Valid: oneOf("required", "requested", "none"), Scope: NodeScope,
		PerListener: true, Importance: Medium, Since: "Kafka 0.9",
		Doc: "Whether clients show a certificate. On an SSL listener it names them, see `ssl.principal.mapping.rules`; on a SASL_SSL listener the login does.",
	}, {
		Name: "ssl.enabled.protocols", Type: List, Default: "TLSv1.2,TLSv1.3", Valid: tlsVersions, Scope: NodeScope, PerListener: true,
		Importance: Medium, Since: "Kafka 0.9",
		Doc: "The versions of TLS that are spoken.",
	}, {
		Name: "ssl.cipher.suites", Type: List, Valid: cipherSuites, Scope: NodeScope, PerListener: true, Importance: Medium, Since: "Kafka 0.9",
		Doc: "The cipher suites of TLS 1.2. Not set: those that are safe. The suites of TLS 1.3 are always its own.",
	}, {
		Name: "ssl.principal.mapping.rules", Type: String, Default: "DEFAULT", Valid: mappingRules, Scope: NodeScope, PerListener: true,
		Importance: Low, Since: "Kafka 2.2 (KIP-371)",
		Doc: "How the name in a client's certificate becomes the name of a user: RULE:PATTERN/REPLACEMENT/ and then L, U or nothing, separated by commas, the first one counts whose pattern matches the whole name (RFC 2253). DEFAULT is the name as it is. Patterns are those of RE2.",
	}, {
		Name: "sasl.enabled.mechanisms", Type: List, Default: "SCRAM-SHA-256,SCRAM-SHA-512", Valid: saslMechanisms, Scope: NodeScope,
		PerListener: true, Importance: Medium, Since: "Kafka 0.10 (KIP-43)",
		Doc: "The mechanisms by which clients log in on SASL listeners.",
	}, {
		Name: "sasl.jaas.config", Type: Password, Valid: jaasConfig, Scope: NodeScope, PerListener: true, Sensitive: true, Importance: Medium,
		Since: "Kafka 0.10.2 (KIP-85)",
		Doc:   "The users of the mechanism PLAIN, as Kafka writes them: `org.apache.kafka.common.security.plain.PlainLoginModule required user_NAME=\"PASSWORD\" …;`. For one listener: `listener.name.NAME.plain.sasl.jaas.config`. Other mechanisms have their users in the cluster's metadata.",
	}, {
		Name: "connections.max.reauth.ms", Type: Long, Unit: Milliseconds, Default: "0", Valid: atLeast(0), Scope: NodeScope, PerListener: true,
		Importance: Medium, Since: "Kafka 2.2 (KIP-368)",
		Doc: "How long a login holds. A connection that goes on after that without another login is closed. 0: for ever.",
	}, {
		Name: "connection.failed.authentication.delay.ms", Type: Int, Unit: Milliseconds, Default: "100", Valid: between(0, 10000), Scope: NodeScope,
		PerListener: true, Importance: Low, Since: "Kafka 2.1 (KIP-306)",
		Doc: "How long the answer to a login that failed is held back before the connection is closed.",
	}, {
		Name: "varve.users.file", Type: String, Scope: NodeScope, Importance: Medium, Since: sinceVarve,
		Doc: "A file with the first users, a line NAME:PASSWORD for each. They get credentials for SCRAM-SHA-256 and SCRAM-SHA-512 at a start that finds no user in the cluster's metadata; at any other start the file is not read.",
	},
}
