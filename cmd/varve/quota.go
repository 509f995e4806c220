package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func quotaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "quota", Short: "Show and change what clients may use",
		Long: "Show and change what clients may use. An entity is user/NAME, client/NAME, both, or ip/ADDRESS;\n" +
			"the name * is everyone who has no quota of their own. Quotas of users and clients:\n" +
			"producer_byte_rate, consumer_byte_rate (bytes per second), request_percentage (100 is one processor),\n" +
			"controller_mutation_rate (partitions created or deleted per second), varve_remote_fetch_byte_rate\n" +
			"(bytes per second that the object store sends for fetches), varve_upload_byte_rate (bytes per second\n" +
			"produced to tiered topics, which are uploaded later); of addresses:\n" +
			"connection_creation_rate (new connections per second).",
	}
	cmd.AddCommand(quotaListCommand(), quotaSetCommand())
	return cmd
}

// quotaKinds are the parts of an entity: as the command line names them, and the protocol.
var quotaKinds = [][2]string{{"user", "user"}, {"client", "client-id"}, {"ip", "ip"}}

// parseEntity reads user/NAME, client/NAME and ip/ADDRESS.
func parseEntity(args []string) (kadm.ClientQuotaEntity, error) {
	var e kadm.ClientQuotaEntity
	for _, arg := range args {
		kind, name, _ := strings.Cut(arg, "/")
		part := kadm.ClientQuotaEntityComponent{}
		for _, k := range quotaKinds {
			if k[0] == kind {
				part.Type = k[1]
			}
		}
		if part.Type == "" || name == "" {
			return nil, fmt.Errorf("%w: %q is nobody who has a quota: want user/NAME, client/NAME or ip/ADDRESS, with * for all others", errUsage, arg)
		}
		if name != "*" {
			part.Name = &name
		}
		e = append(e, part)
	}
	return e, nil
}

// entityText is the inverse of parseEntity.
func entityText(e kadm.ClientQuotaEntity) string {
	var words []string
	for _, k := range quotaKinds {
		for _, part := range e {
			if part.Type != k[1] {
				continue
			}
			name := "*"
			if part.Name != nil {
				name = *part.Name
			}
			words = append(words, k[0]+"/"+name)
		}
	}
	return strings.Join(words, " ")
}

// quotaRow is the quotas of one entity.
type quotaRow struct {
	Entity string             `json:"entity"`
	Quotas map[string]float64 `json:"quotas"`
}

func quotaListCommand() *cobra.Command {
	var cf clientFlags
	var out output
	cmd := &cobra.Command{
		Use: "list [ENTITY...]", Short: "List quotas, all or those of an entity",
		Example: "  varve quota list\n  varve quota list user/ann -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			entity, err := parseEntity(args)
			if err != nil {
				return err
			}
			var filter []kadm.DescribeClientQuotaComponent
			for _, part := range entity {
				c := kadm.DescribeClientQuotaComponent{Type: part.Type, MatchName: part.Name}
				if part.Name == nil {
					c.MatchType = 1
				}
				filter = append(filter, c)
			}
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			found, err := adm.DescribeClientQuotas(cmd.Context(), false, filter)
			if err != nil {
				return explain("listing quotas", err, "")
			}
			rows := []quotaRow{}
			for _, q := range found {
				row := quotaRow{entityText(q.Entity), map[string]float64{}}
				for _, v := range q.Values {
					row.Quotas[v.Key] = v.Value
				}
				rows = append(rows, row)
			}
			sort.Slice(rows, func(i, j int) bool { return rows[i].Entity < rows[j].Entity })
			return out.print(cmd.OutOrStdout(), rows, "ENTITY QUOTA BOUND", func(w io.Writer) {
				for _, row := range rows {
					for _, name := range slices.Sorted(maps.Keys(row.Quotas)) {
						fmt.Fprintf(w, "%s\t%s\t%s\n", row.Entity, name, strconv.FormatFloat(row.Quotas[name], 'f', -1, 64))
					}
				}
			})
		},
	}
	cf.add(cmd)
	out.add(cmd)
	return cmd
}

func quotaSetCommand() *cobra.Command {
	var cf clientFlags
	var set, unset []string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "set ENTITY...", Short: "Set and delete quotas of an entity, at once",
		Example: "  varve quota set user/ann --set producer_byte_rate=1048576\n  varve quota set user/ann 'client/*' --delete request_percentage --dry-run",
		RunE: func(cmd *cobra.Command, args []string) error {
			entity, err := parseEntity(args)
			if err != nil {
				return err
			}
			ops, err := quotaOps(set, unset)
			if err == nil && len(entity) == 0 {
				err = fmt.Errorf("%w: name who the quota is for: user/NAME, client/NAME, both, or ip/ADDRESS", errUsage)
			}
			if err != nil {
				return err
			}
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			alter := adm.AlterClientQuotas
			if dryRun {
				alter = adm.ValidateAlterClientQuotas
			}
			res, err := alter(cmd.Context(), []kadm.AlterClientQuotaEntry{{Entity: entity, Ops: ops}})
			message := ""
			if err == nil && len(res) == 1 {
				err, message = res[0].Err, res[0].ErrMessage
			}
			if err != nil {
				return explain("changing quotas of "+entityText(entity), err, message)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), done(dryRun, fmt.Sprintf("changed %d quota(s) of %s", len(ops), entityText(entity))))
			return nil
		},
	}
	cf.add(cmd)
	cmd.Flags().StringArrayVar(&set, "set", nil, "set `NAME=BOUND`, repeatable")
	cmd.Flags().StringArrayVar(&unset, "delete", nil, "end the quota `NAME`, repeatable")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "have it checked, and change nothing")
	return cmd
}

// quotaOps are the changes as the protocol has them.
func quotaOps(set, unset []string) ([]kadm.AlterClientQuotaOp, error) {
	kv, err := keyValues(set)
	if err != nil {
		return nil, err
	}
	var ops []kadm.AlterClientQuotaOp
	for name, value := range kv {
		bound, err := strconv.ParseFloat(*value, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: the bound of %s is %q, want a number", errUsage, name, *value)
		}
		ops = append(ops, kadm.AlterClientQuotaOp{Key: name, Value: bound})
	}
	for _, name := range unset {
		ops = append(ops, kadm.AlterClientQuotaOp{Key: name, Remove: true})
	}
	if len(ops) == 0 {
		return nil, fmt.Errorf("%w: say what to change with --set NAME=BOUND or --delete NAME", errUsage)
	}
	sort.Slice(ops, func(i, j int) bool { return ops[i].Key < ops[j].Key })
	return ops, nil
}
