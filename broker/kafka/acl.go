package kafka

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ACL is one rule of access: it allows or denies a principal on a host an operation on
// resources (KIP-11, KIP-290).
type ACL struct {
	Resource ACLResource
	Name     string     // of the resource; * in a literal pattern is any
	Pattern  ACLPattern // how Name is meant

	Principal  string // User:NAME; User:* is everyone
	Host       string // an address, or * for any
	Operation  ACLOperation
	Permission ACLPermission
}

// ClusterResource is the name of the one resource of type ResourceCluster.
const ClusterResource = "kafka-cluster"

// Wildcard stands for any: name in a literal pattern, host, and name of a user.
const Wildcard = "*"

// ACLResource is a type of resource. The numbers are those of Kafka's ResourceType.
type ACLResource int8

// The types of resources; ResourceAny is for filters only.
const (
	ResourceAny             ACLResource = 1
	ResourceTopic           ACLResource = 2
	ResourceGroup           ACLResource = 3
	ResourceCluster         ACLResource = 4
	ResourceTransactionalID ACLResource = 5
	ResourceDelegationToken ACLResource = 6
	ResourceUser            ACLResource = 7
)

// ACLPattern is how the name of a resource is meant. The numbers are those of Kafka's PatternType.
type ACLPattern int8

// The patterns; PatternAny and PatternMatch are for filters only.
const (
	PatternAny      ACLPattern = 1
	PatternMatch    ACLPattern = 2 // whatever applies to the name: literal, prefixed and wildcard
	PatternLiteral  ACLPattern = 3
	PatternPrefixed ACLPattern = 4
)

// ACLOperation is what somebody wants to do. The numbers are those of Kafka's AclOperation.
type ACLOperation int8

// The operations; OpAny is for filters only, OpAll for rules only.
const (
	OpAny             ACLOperation = 1
	OpAll             ACLOperation = 2
	OpRead            ACLOperation = 3
	OpWrite           ACLOperation = 4
	OpCreate          ACLOperation = 5
	OpDelete          ACLOperation = 6
	OpAlter           ACLOperation = 7
	OpDescribe        ACLOperation = 8
	OpClusterAction   ACLOperation = 9
	OpDescribeConfigs ACLOperation = 10
	OpAlterConfigs    ACLOperation = 11
	OpIdempotentWrite ACLOperation = 12
	OpCreateTokens    ACLOperation = 13
	OpDescribeTokens  ACLOperation = 14
	OpTwoPhaseCommit  ACLOperation = 15
)

// ACLPermission says whether a rule allows or denies. The numbers are those of Kafka's AclPermissionType.
type ACLPermission int8

// The permissions; PermissionAny is for filters only.
const (
	PermissionAny ACLPermission = 1
	Deny          ACLPermission = 2
	Allow         ACLPermission = 3
)

// The names of the numbers from 1 on, as Kafka writes them.
func resourceNames() []string {
	return []string{"ANY", "TOPIC", "GROUP", "CLUSTER", "TRANSACTIONAL_ID", "DELEGATION_TOKEN", "USER"}
}

func patternNames() []string { return []string{"ANY", "MATCH", "LITERAL", "PREFIXED"} }

func operationNames() []string {
	return []string{
		"ANY", "ALL", "READ", "WRITE", "CREATE", "DELETE", "ALTER", "DESCRIBE", "CLUSTER_ACTION", "DESCRIBE_CONFIGS", "ALTER_CONFIGS",
		"IDEMPOTENT_WRITE", "CREATE_TOKENS", "DESCRIBE_TOKENS", "TWO_PHASE_COMMIT",
	}
}

func permissionNames() []string { return []string{"ANY", "DENY", "ALLOW"} }

func nameOf(names []string, n int8) string {
	if n < 1 || int(n) > len(names) {
		return fmt.Sprintf("UNKNOWN(%d)", n)
	}
	return names[n-1]
}

// numberOf finds a name, however it is spelled: TransactionalId, transactional-id and TRANSACTIONAL_ID are one.
func numberOf(what string, names []string, name string) (int8, error) {
	plain := func(s string) string {
		return strings.ToUpper(strings.NewReplacer("_", "", "-", "").Replace(s))
	}
	for i, n := range names {
		if plain(n) == plain(name) {
			return int8(i + 1), nil
		}
	}
	return 0, fmt.Errorf("%q is no %s: want one of %s", name, what, strings.ToLower(strings.Join(names, ", ")))
}

// String is Kafka's name of the type.
func (r ACLResource) String() string { return nameOf(resourceNames(), int8(r)) }

// String is Kafka's name of the pattern.
func (p ACLPattern) String() string { return nameOf(patternNames(), int8(p)) }

// String is Kafka's name of the operation.
func (o ACLOperation) String() string { return nameOf(operationNames(), int8(o)) }

// String is Kafka's name of the permission.
func (p ACLPermission) String() string { return nameOf(permissionNames(), int8(p)) }

// String is the rule in words: ALLOW User:ann READ TOPIC LITERAL:t from *.
func (a ACL) String() string {
	return fmt.Sprintf("%v %s %v %v %v:%s from %s", a.Permission, a.Principal, a.Operation, a.Resource, a.Pattern, a.Name, a.Host)
}

// ParseACLResource reads a type of resource, in any case, with or without underscores.
func ParseACLResource(s string) (ACLResource, error) {
	n, err := numberOf("type of resource", resourceNames(), s)
	return ACLResource(n), err
}

// ParseACLPattern reads a pattern as ParseACLResource does.
func ParseACLPattern(s string) (ACLPattern, error) {
	n, err := numberOf("pattern", patternNames(), s)
	return ACLPattern(n), err
}

// ParseACLOperation reads an operation as ParseACLResource does.
func ParseACLOperation(s string) (ACLOperation, error) {
	n, err := numberOf("operation", operationNames(), s)
	return ACLOperation(n), err
}

// Valid says whether the rule is one that can be kept, as InvalidRequest. Source: Kafka's
// AclControlManager and AclApis.
func (a ACL) Valid() error {
	kind, _, typed := strings.Cut(a.Principal, ":")
	switch {
	case a.Resource <= ResourceAny || a.Resource > ResourceUser:
		return fmt.Errorf("Invalid resourceType %s: %w", a.Resource, InvalidRequest)
	case a.Pattern != PatternLiteral && a.Pattern != PatternPrefixed:
		return fmt.Errorf("Invalid patternType %s: %w", a.Pattern, InvalidRequest)
	case a.Operation <= OpAny || a.Operation > OpTwoPhaseCommit:
		return fmt.Errorf("Invalid operation %s: %w", a.Operation, InvalidRequest)
	case a.Permission != Deny && a.Permission != Allow:
		return fmt.Errorf("Invalid permissionType %s: %w", a.Permission, InvalidRequest)
	case a.Resource == ResourceCluster && a.Name != ClusterResource:
		return fmt.Errorf("The only valid name for the CLUSTER resource is %s: %w", ClusterResource, InvalidRequest)
	case a.Name == "":
		return fmt.Errorf("Invalid empty resource name: %w", InvalidRequest)
	case !typed || kind == "":
		return fmt.Errorf("Could not parse principal from `%s` (no colon is present separating the principal type from the principal name): %w", a.Principal, InvalidRequest)
	case a.Host == "":
		return fmt.Errorf("the rule has no host: * is any: %w", InvalidRequest)
	}
	return nil
}

// Compare orders rules by resource, then by everything else.
func (a ACL) Compare(b ACL) int {
	return cmp.Or(
		cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Pattern, b.Pattern),
		cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Permission, b.Permission),
	)
}

// ACLFilter finds rules; nil texts, and the Any of each type, match whatever there is.
type ACLFilter struct {
	Resource        ACLResource
	Name            *string
	Pattern         ACLPattern
	Principal, Host *string
	Operation       ACLOperation
	Permission      ACLPermission
}

// Valid says whether every part of the filter is known, as InvalidRequest.
func (f ACLFilter) Valid() error {
	switch {
	case f.Resource < ResourceAny || f.Resource > ResourceUser, f.Pattern < PatternAny || f.Pattern > PatternPrefixed:
		return fmt.Errorf("Unknown patternFilter: %w", InvalidRequest)
	case f.Operation < OpAny || f.Operation > OpTwoPhaseCommit, f.Permission < PermissionAny || f.Permission > Allow:
		return fmt.Errorf("Unknown entryFilter: %w", InvalidRequest)
	}
	return nil
}

// Matches says whether the filter finds a rule. Source: Kafka's ResourcePatternFilter and
// AccessControlEntryFilter.
func (f ACLFilter) Matches(a ACL) bool {
	text := func(want *string, got string) bool { return want == nil || *want == got }
	return (f.Resource == ResourceAny || f.Resource == a.Resource) && f.matchesName(a) &&
		text(f.Principal, a.Principal) && text(f.Host, a.Host) &&
		(f.Operation == OpAny || f.Operation == a.Operation) && (f.Permission == PermissionAny || f.Permission == a.Permission)
}

func (f ACLFilter) matchesName(a ACL) bool {
	switch {
	case !slices.Contains([]ACLPattern{PatternAny, PatternMatch, a.Pattern}, f.Pattern):
		return false
	case f.Name == nil:
		return true
	case f.Pattern != PatternMatch:
		return *f.Name == a.Name
	case a.Pattern == PatternPrefixed:
		return strings.HasPrefix(*f.Name, a.Name)
	}
	return *f.Name == a.Name || a.Name == Wildcard
}
