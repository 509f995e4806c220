package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "token", Short: "Create, list, renew and end delegation tokens",
		Long: "Create, list, renew and end delegation tokens, by which others log in as their owner for a while: by SCRAM, with\n" +
			"the token's id as the user, its secret as the password, and tokenauth=true. The broker has them where\n" +
			"delegation.token.secret.key is set, for users that have logged in otherwise than by a token.",
	}
	cmd.AddCommand(tokenCreateCommand(), tokenListCommand(), tokenRenewCommand(), tokenExpireCommand())
	return cmd
}

// tokenRow is one delegation token. Only the one that was just created has its secret.
type tokenRow struct {
	ID        string   `json:"id"`
	Owner     string   `json:"owner"`
	Requester string   `json:"requester"`
	Renewers  []string `json:"renewers"`
	IssuedMs  int64    `json:"issued_ms"`
	ExpiresMs int64    `json:"expires_ms"` // unless it is renewed
	EndsMs    int64    `json:"ends_ms"`    // whatever is done
	Secret    string   `json:"secret,omitempty"`
}

const tokenHeader = "ID OWNER RENEWERS EXPIRES ENDS"

func tokenRowOf(t kadm.DelegationToken) tokenRow {
	name := func(p kadm.Principal) string { return p.Type + ":" + p.Name }
	row := tokenRow{ID: t.TokenID, Owner: name(t.Owner), Requester: name(t.TokenRequesterPrincipal), Renewers: []string{},
		IssuedMs: t.IssueTimestamp.UnixMilli(), ExpiresMs: t.ExpiryTimestamp.UnixMilli(), EndsMs: t.MaxTimestamp.UnixMilli()}
	for _, p := range t.Renewers {
		row.Renewers = append(row.Renewers, name(p))
	}
	return row
}

func (r tokenRow) print(w io.Writer) {
	renewers := "-"
	if len(r.Renewers) > 0 {
		renewers = strings.Join(r.Renewers, ",")
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.ID, r.Owner, renewers, moment(r.ExpiresMs), moment(r.EndsMs))
}

// moment is a time in Unix milliseconds as people read it.
func moment(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// parsePrincipal takes User:NAME, the one kind that can own a token and renew it.
func parsePrincipal(s string) (kadm.Principal, error) {
	name, ok := strings.CutPrefix(s, "User:")
	if !ok || name == "" {
		return kadm.Principal{}, fmt.Errorf("%w: %q is no user: want User:NAME", errUsage, s)
	}
	return kadm.Principal{Type: "User", Name: name}, nil
}

func parsePrincipals(all []string) ([]kadm.Principal, error) {
	var out []kadm.Principal
	for _, s := range all {
		p, err := parsePrincipal(s)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// orDefault is a time as the requests about tokens have it: that of the broker's settings, if none was given.
func orDefault(d time.Duration) time.Duration {
	if d <= 0 {
		return -time.Millisecond
	}
	return d
}

func tokenCreateCommand() *cobra.Command {
	var cf clientFlags
	var out output
	var owner, file string
	var renewers []string
	var lifetime time.Duration
	cmd := &cobra.Command{
		Use: "create", Short: "Create a delegation token", Args: exactArgs(0, "no arguments"),
		Long:    "Create a delegation token. Its secret is printed, this once, or written to --secret-file, which must not be there yet\nand only you can read.",
		Example: "  varve token create --user ann --password-file ann.secret --renewer User:ops --secret-file job.secret",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if out == formName && file == "" {
				return fmt.Errorf("%w: -o name does not show the secret: add --secret-file", errUsage)
			}
			want := kadm.CreateDelegationToken{MaxLifetime: orDefault(lifetime)}
			if want.Renewers, err = parsePrincipals(renewers); err != nil {
				return err
			}
			if owner != "" {
				p, err := parsePrincipal(owner)
				if err != nil {
					return err
				}
				want.Owner = &p
			}
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			keep := func(string) error { return nil }
			if file != "" { // first of all: a secret that can't be kept is lost
				if keep, err = newSecretFile(file); err != nil {
					return err
				}
			}
			made, err := adm.CreateDelegationToken(cmd.Context(), want)
			if err != nil {
				return errors.Join(explain("creating a token", err, ""), keep(""))
			}
			row, secret := tokenRowOf(made), base64.StdEncoding.EncodeToString(made.HMAC)
			if file == "" {
				row.Secret = secret
			} else if err := keep(secret); err != nil {
				return fmt.Errorf("token %s was made, and its secret is lost: %w", made.TokenID, err)
			}
			return out.print(cmd.OutOrStdout(), row, tokenHeader, func(w io.Writer) {
				row.print(w)
				if row.Secret != "" {
					fmt.Fprintf(w, "\nsecret, which is not shown again: %s\n", row.Secret)
				}
			})
		},
	}
	cf.add(cmd)
	out.add(cmd)
	cmd.Flags().StringVar(&owner, "owner", "", "`User:NAME` that it lets log in, if that is not you")
	cmd.Flags().StringSliceVar(&renewers, "renewer", nil, "`User:NAME`,… that may renew and end it, beside its owner")
	cmd.Flags().DurationVar(&lifetime, "lifetime", 0, "how long it can be renewed for, at most delegation.token.max.lifetime.ms, which is the default")
	cmd.Flags().StringVar(&file, "secret-file", "", "write the secret to `FILE` instead of showing it")
	return cmd
}

// newSecretFile makes a file for a secret that only its owner can read. keep writes the secret and closes
// it; without one it takes the file away again.
func newSecretFile(path string) (keep func(secret string) error, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--secret-file: %w", err)
	}
	return func(secret string) error {
		if secret == "" {
			return errors.Join(f.Close(), os.Remove(path))
		}
		_, err := f.WriteString(secret + "\n")
		return errors.Join(err, f.Sync(), f.Close())
	}, nil
}

func tokenListCommand() *cobra.Command {
	var cf clientFlags
	var out output
	cmd := &cobra.Command{
		Use: "list [User:NAME...]", Short: "List delegation tokens: yours, those that you may renew or see, or those of users",
		RunE: func(cmd *cobra.Command, args []string) error {
			owners, err := parsePrincipals(args)
			if err != nil {
				return err
			}
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			tokens, err := adm.DescribeDelegationTokens(cmd.Context(), owners...)
			if err != nil {
				return explain("listing tokens", err, "")
			}
			rows := []tokenRow{}
			for _, t := range tokens {
				rows = append(rows, tokenRowOf(t))
			}
			slices.SortFunc(rows, func(a, b tokenRow) int {
				return cmp.Or(cmp.Compare(a.IssuedMs, b.IssuedMs), cmp.Compare(a.ID, b.ID))
			})
			return out.print(cmd.OutOrStdout(), rows, tokenHeader, func(w io.Writer) {
				for _, r := range rows {
					r.print(w)
				}
			})
		},
	}
	cf.add(cmd)
	out.add(cmd)
	return cmd
}

// tokenChoice is the token that a command is about.
type tokenChoice struct{ file string }

func (c *tokenChoice) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.file, "secret-file", "", "the token whose secret is in `FILE`, in place of an id")
}

func (c *tokenChoice) args(cmd *cobra.Command, args []string) error {
	if (c.file != "") == (len(args) == 1) || len(args) > 1 {
		return fmt.Errorf("%w: %s takes a token's id or --secret-file", errUsage, cmd.CommandPath())
	}
	return nil
}

// find is the token, from those that the user may see.
func (c *tokenChoice) find(ctx context.Context, adm *kadm.Client, args []string) (kadm.DelegationToken, error) {
	is := func(t kadm.DelegationToken) bool { return len(args) == 1 && t.TokenID == args[0] }
	if c.file != "" {
		b, err := os.ReadFile(c.file)
		if err != nil {
			return kadm.DelegationToken{}, fmt.Errorf("--secret-file: %w", err)
		}
		secret := strings.TrimSpace(string(b))
		is = func(t kadm.DelegationToken) bool { return base64.StdEncoding.EncodeToString(t.HMAC) == secret }
	}
	tokens, err := adm.DescribeDelegationTokens(ctx)
	if err != nil {
		return kadm.DelegationToken{}, err
	}
	if i := slices.IndexFunc(tokens, is); i >= 0 {
		return tokens[i], nil
	}
	return kadm.DelegationToken{}, kerr.DelegationTokenNotFound
}

func tokenRenewCommand() *cobra.Command {
	var cf clientFlags
	var out output
	var of tokenChoice
	var period time.Duration
	cmd := &cobra.Command{
		Use: "renew [ID]", Short: "Let a delegation token end later", Args: of.args,
		Example: "  varve token renew --user ops --password-file ops.secret --secret-file job.secret",
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			t, err := of.find(cmd.Context(), adm, args)
			if err == nil {
				t.ExpiryTimestamp, err = adm.RenewDelegationToken(cmd.Context(), t.HMAC, orDefault(period))
			}
			if err != nil {
				return explain("renewing a token", err, "")
			}
			row := tokenRowOf(t)
			return out.print(cmd.OutOrStdout(), row, tokenHeader, row.print)
		},
	}
	cf.add(cmd)
	out.add(cmd)
	of.add(cmd)
	cmd.Flags().DurationVar(&period, "for", 0, "how long from now it is to live, at most delegation.token.expiry.time.ms, which is the default")
	return cmd
}

func tokenExpireCommand() *cobra.Command {
	var cf clientFlags
	var of tokenChoice
	var in time.Duration
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use: "expire [ID] --yes", Short: "End a delegation token, now or after a while, and the logins by it", Args: of.args,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !dryRun {
				return fmt.Errorf("%w: who has logged in by the token is shut out; add --yes to do it, or --dry-run to see which one it is", errUsage)
			}
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			period, when := -time.Millisecond, "now"
			if in > 0 {
				period, when = in, "in "+in.String()
			}
			t, err := of.find(cmd.Context(), adm, args)
			if err == nil && !dryRun {
				_, err = adm.ExpireDelegationToken(cmd.Context(), t.HMAC, period)
			}
			if err != nil {
				return explain("ending a token", err, "")
			}
			fmt.Fprintln(cmd.ErrOrStderr(), done(dryRun, fmt.Sprintf("ended token %s of %s:%s, %s", t.TokenID, t.Owner.Type, t.Owner.Name, when)))
			return nil
		},
	}
	cf.add(cmd)
	of.add(cmd)
	cmd.Flags().DurationVar(&in, "in", 0, "end it after this time instead of now")
	cmd.Flags().BoolVar(&yes, "yes", false, "really end it")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say which token would end, and change nothing")
	return cmd
}
