package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func aclCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "acl", Short: "List, create and delete rules of who may do what",
		Long: "List, create and delete rules of who may do what. A resource is topic/NAME, group/NAME, txn/ID, token/ID,\n" +
			"user/NAME or cluster; NAME* is every name that begins so, * is any. They hold where authorizer.class.name is set.",
	}
	cmd.AddCommand(aclListCommand(), aclCreateCommand(), aclDeleteCommand())
	return cmd
}

// aclKinds are the types of resources: as the command line names them, and the protocol.
var aclKinds = []struct {
	name string
	kind kmsg.ACLResourceType
}{
	{"topic", kmsg.ACLResourceTypeTopic}, {"group", kmsg.ACLResourceTypeGroup}, {"txn", kmsg.ACLResourceTypeTransactionalId},
	{"token", kmsg.ACLResourceTypeDelegationToken}, {"user", kmsg.ACLResourceTypeUser},
}

// clusterName is the name of the one resource that is the cluster.
const clusterName = "kafka-cluster"

// aclTarget is what a rule is about.
type aclTarget struct {
	kind    kmsg.ACLResourceType
	name    string
	pattern kmsg.ACLResourcePatternType
}

func parseTarget(s string) (aclTarget, error) {
	if s == "cluster" {
		return aclTarget{kmsg.ACLResourceTypeCluster, clusterName, kmsg.ACLResourcePatternTypeLiteral}, nil
	}
	kind, name, _ := strings.Cut(s, "/")
	for _, k := range aclKinds {
		if k.name != kind || name == "" {
			continue
		}
		t := aclTarget{k.kind, name, kmsg.ACLResourcePatternTypeLiteral}
		if prefix, ok := strings.CutSuffix(name, "*"); ok && prefix != "" {
			t.name, t.pattern = prefix, kmsg.ACLResourcePatternTypePrefixed
		}
		return t, nil
	}
	return aclTarget{}, fmt.Errorf("%w: %q is no resource: want topic/NAME, group/NAME, txn/ID, token/ID, user/NAME or cluster", errUsage, s)
}

// String is the inverse of parseTarget.
func (t aclTarget) String() string {
	if t.kind == kmsg.ACLResourceTypeCluster {
		return "cluster"
	}
	name := t.name
	if t.pattern == kmsg.ACLResourcePatternTypePrefixed {
		name += "*"
	}
	for _, k := range aclKinds {
		if k.kind == t.kind {
			return k.name + "/" + name
		}
	}
	return fmt.Sprintf("%d/%s", t.kind, name)
}

// aclRow is one rule.
type aclRow struct {
	Resource   string `json:"resource"`
	Principal  string `json:"principal"`
	Host       string `json:"host"`
	Permission string `json:"permission"`
	Operation  string `json:"operation"`
}

func (r aclRow) text() string {
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", r.Resource, r.Principal, r.Host, r.Permission, r.Operation)
}

// aclHeads are the columns of listings.
const aclHeads = "RESOURCE PRINCIPAL HOST PERMISSION OPERATION"

func printRules(cmd *cobra.Command, out *output, rows []aclRow) error {
	return out.print(cmd.OutOrStdout(), rows, aclHeads, func(w io.Writer) {
		for _, r := range rows {
			fmt.Fprintln(w, r.text())
		}
	})
}

// lower is a constant of the protocol as the command line writes it.
func lower(s fmt.Stringer) string { return strings.ToLower(strings.ReplaceAll(s.String(), "_", "-")) }

// operationOf reads the name of an operation.
func operationOf(s string) (kmsg.ACLOperation, error) {
	op, err := kmsg.ParseACLOperation(strings.ReplaceAll(s, "-", "_"))
	if err != nil || op == kmsg.ACLOperationUnknown || op == kmsg.ACLOperationAny {
		return 0, fmt.Errorf("%w: %q is no operation: want all, read, write, create, delete, alter, describe, cluster-action, "+
			"describe-configs, alter-configs, idempotent-write, create-tokens or describe-tokens", errUsage, s)
	}
	return op, nil
}

// aclFilter are the flags that choose rules.
type aclFilter struct{ principal, host, operation string }

func (f *aclFilter) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.principal, "principal", "", "rules of `TYPE:NAME` alone, such as User:ann")
	cmd.Flags().StringVar(&f.host, "host", "", "rules for `ADDRESS` alone")
	cmd.Flags().StringVar(&f.operation, "operation", "", "rules about `OPERATION` alone")
}

// request is the filter as the protocol has it; args is a resource or nothing.
func (f *aclFilter) request(args []string) (*kmsg.DescribeACLsRequest, error) {
	req := kmsg.NewPtrDescribeACLsRequest()
	req.ResourceType, req.ResourcePatternType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny
	req.Operation, req.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	if len(args) > 0 {
		t, err := parseTarget(args[0])
		if err != nil {
			return nil, err
		}
		req.ResourceType, req.ResourceName, req.ResourcePatternType = t.kind, &t.name, t.pattern
	}
	if f.operation != "" {
		op, err := operationOf(f.operation)
		if err != nil {
			return nil, err
		}
		req.Operation = op
	}
	if f.principal != "" {
		req.Principal = &f.principal
	}
	if f.host != "" {
		req.Host = &f.host
	}
	return req, nil
}

// matching lists the rules that a filter chooses.
func (f *aclFilter) matching(ctx context.Context, cl kmsg.Requestor, args []string) ([]aclRow, error) {
	req, err := f.request(args)
	if err != nil {
		return nil, err
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, explain("listing rules", err, "")
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, explain("listing rules", err, deref(resp.ErrorMessage))
	}
	rows := []aclRow{}
	for _, r := range resp.Resources {
		t := aclTarget{r.ResourceType, r.ResourceName, r.ResourcePatternType}
		for _, a := range r.ACLs {
			rows = append(rows, aclRow{t.String(), a.Principal, a.Host, lower(a.PermissionType), lower(a.Operation)})
		}
	}
	return rows, nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func aclListCommand() *cobra.Command {
	var cf clientFlags
	var out output
	var filter aclFilter
	cmd := &cobra.Command{
		Use: "list [RESOURCE]", Short: "List rules, all or those of a resource", Args: cobra.MaximumNArgs(1),
		Example: "  varve acl list\n  varve acl list topic/orders --principal User:ann -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := cf.client(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			rows, err := filter.matching(cmd.Context(), cl, args)
			if err != nil {
				return err
			}
			return printRules(cmd, &out, rows)
		},
	}
	cf.add(cmd)
	out.add(cmd)
	filter.add(cmd)
	return cmd
}

func aclCreateCommand() *cobra.Command {
	var cf clientFlags
	var principal, host string
	var allow, deny []string
	cmd := &cobra.Command{
		Use: "create RESOURCE", Short: "Allow or deny operations on a resource", Args: exactArgs(1, "a resource"),
		Example: "  varve acl create topic/orders --principal User:ann --allow read,describe\n  varve acl create 'topic/tmp-*' --principal 'User:*' --deny delete --host 10.0.0.7",
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			req := kmsg.NewPtrCreateACLsRequest()
			for _, part := range []struct {
				permission kmsg.ACLPermissionType
				names      []string
			}{{kmsg.ACLPermissionTypeAllow, allow}, {kmsg.ACLPermissionTypeDeny, deny}} {
				for _, name := range part.names {
					op, err := operationOf(name)
					if err != nil {
						return err
					}
					req.Creations = append(req.Creations, kmsg.CreateACLsRequestCreation{
						ResourceType: t.kind, ResourceName: t.name, ResourcePatternType: t.pattern,
						Principal: principal, Host: host, Operation: op, PermissionType: part.permission,
					})
				}
			}
			if len(req.Creations) == 0 || principal == "" {
				return fmt.Errorf("%w: say who with --principal TYPE:NAME, and what with --allow or --deny OPERATION,…", errUsage)
			}
			cl, err := cf.client(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			resp, err := req.RequestWith(cmd.Context(), cl)
			if err != nil {
				return explain("creating rules", err, "")
			}
			for i, r := range resp.Results {
				if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
					return explain(fmt.Sprintf("creating the rule about %s of %s", lower(req.Creations[i].Operation), t), err, deref(r.ErrorMessage))
				}
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "created %d rule(s) of %s for %s\n", len(req.Creations), t, principal)
			return nil
		},
	}
	cf.add(cmd)
	cmd.Flags().StringVar(&principal, "principal", "", "who, `TYPE:NAME`, such as User:ann or User:*")
	cmd.Flags().StringVar(&host, "host", "*", "from this `ADDRESS`; * for any")
	cmd.Flags().StringSliceVar(&allow, "allow", nil, "operations that are allowed, `OPERATION`,…")
	cmd.Flags().StringSliceVar(&deny, "deny", nil, "operations that are denied, `OPERATION`,…")
	return cmd
}

func aclDeleteCommand() *cobra.Command {
	var cf clientFlags
	var filter aclFilter
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use: "delete [RESOURCE]", Short: "Delete the rules that match", Args: cobra.MaximumNArgs(1),
		Example: "  varve acl delete topic/orders --principal User:ann --dry-run\n  varve acl delete --principal User:ann --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !dryRun {
				return fmt.Errorf("%w: look at what would go with --dry-run, then say --yes", errUsage)
			}
			if len(args) == 0 && filter == (aclFilter{}) {
				return fmt.Errorf("%w: name a resource, or choose rules with --principal, --host or --operation", errUsage)
			}
			cl, err := cf.client(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			rows, err := filter.matching(cmd.Context(), cl, args)
			if err != nil {
				return err
			}
			if !dryRun {
				if err := filter.delete(cmd.Context(), cl, args); err != nil {
					return err
				}
			}
			for _, r := range rows {
				fmt.Fprintln(cmd.ErrOrStderr(), done(dryRun, "deleted "+strings.ReplaceAll(r.text(), "\t", " ")))
			}
			return nil
		},
	}
	cf.add(cmd)
	filter.add(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "delete without asking")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "list what would be deleted, and delete nothing")
	return cmd
}

// delete deletes the rules that the filter chooses.
func (f *aclFilter) delete(ctx context.Context, cl kmsg.Requestor, args []string) error {
	chosen, err := f.request(args)
	if err != nil {
		return err
	}
	req := kmsg.NewPtrDeleteACLsRequest()
	req.Filters = append(req.Filters, kmsg.DeleteACLsRequestFilter{
		ResourceType: chosen.ResourceType, ResourceName: chosen.ResourceName, ResourcePatternType: chosen.ResourcePatternType,
		Principal: chosen.Principal, Host: chosen.Host, Operation: chosen.Operation, PermissionType: chosen.PermissionType,
	})
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return explain("deleting rules", err, "")
	}
	for _, r := range resp.Results {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return explain("deleting rules", err, deref(r.ErrorMessage))
		}
	}
	return nil
}
