package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// newPasswordVariable is the environment variable with the password that a user is given.
const newPasswordVariable = "VARVE_NEW_PASSWORD"

func userCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "List, create and delete users that log in by SCRAM"}
	cmd.AddCommand(userListCommand(), userSetCommand(), userDeleteCommand())
	return cmd
}

// userRow is one credential in listings.
type userRow struct {
	Name       string `json:"name"`
	Mechanism  string `json:"mechanism"`
	Iterations int32  `json:"iterations"`
}

func userListCommand() *cobra.Command {
	var cf clientFlags
	var out output
	cmd := &cobra.Command{
		Use: "list", Short: "List users with their mechanisms", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			described, err := adm.DescribeUserSCRAMs(cmd.Context())
			if err != nil {
				return explain("listing users", err, "")
			}
			rows := []userRow{}
			for _, u := range described.Sorted() {
				for _, c := range u.CredInfos {
					rows = append(rows, userRow{u.User, c.Mechanism.String(), c.Iterations})
				}
			}
			return out.print(cmd.OutOrStdout(), rows, "NAME MECHANISM ITERATIONS", func(w io.Writer) {
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%s\t%d\n", r.Name, r.Mechanism, r.Iterations)
				}
			})
		},
	}
	cf.add(cmd)
	out.add(cmd)
	return cmd
}

// scramIterations is how often the command line hashes a password: what Kafka's tools do.
const scramIterations = 4096

func userSetCommand() *cobra.Command {
	var cf clientFlags
	var file string
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Create a user, or change its password", Args: exactArgs(1, "one name"),
		Long:    "Create a user, or change its password, for SCRAM-SHA-256 and SCRAM-SHA-512. The password is in\n--new-password-file or " + newPasswordVariable + "; only a salted hash of it is sent.",
		Example: "  varve user set alice --new-password-file alice.secret",
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := readPassword(file, newPasswordVariable)
			if err != nil {
				return err
			}
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			// A request may change a user once, so there are two.
			for _, m := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} {
				res, err := adm.AlterUserSCRAMs(cmd.Context(), nil, []kadm.UpsertSCRAM{{User: args[0], Mechanism: m, Iterations: scramIterations, Password: password}})
				if err := alteredUser(res, err, args[0]); err != nil {
					return explain("setting the password of "+args[0], err, "")
				}
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "user %s may log in by SCRAM-SHA-256 and SCRAM-SHA-512\n", args[0])
			return nil
		},
	}
	cf.add(cmd)
	cmd.Flags().StringVar(&file, "new-password-file", "", "`FILE` that holds the password of the user")
	return cmd
}

func userDeleteCommand() *cobra.Command {
	var cf clientFlags
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use: "delete NAME --yes", Short: "Delete a user; connections that are logged in stay until their login ends", Args: exactArgs(1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !dryRun {
				return fmt.Errorf("%w: %s cannot log in again once it is deleted; add --yes to do it, or --dry-run to see what it has", errUsage, args[0])
			}
			adm, end, err := cf.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer end()
			described, err := adm.DescribeUserSCRAMs(cmd.Context(), args[0])
			if err == nil {
				err = described[args[0]].Err
			}
			if err != nil {
				return explain("deleting user "+args[0], err, "")
			}
			credentials := described[args[0]].CredInfos
			for _, c := range credentials {
				if dryRun {
					break
				}
				res, err := adm.AlterUserSCRAMs(cmd.Context(), []kadm.DeleteSCRAM{{User: args[0], Mechanism: c.Mechanism}}, nil)
				if err := alteredUser(res, err, args[0]); err != nil {
					return explain("deleting user "+args[0], err, "")
				}
			}
			fmt.Fprintln(cmd.ErrOrStderr(), done(dryRun, fmt.Sprintf("deleted user %s with %d credential(s)", args[0], len(credentials))))
			return nil
		},
	}
	cf.add(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "really delete")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be deleted, and change nothing")
	return cmd
}

// alteredUser is what became of one user.
func alteredUser(res kadm.AlteredUserSCRAMs, err error, user string) error {
	if err != nil {
		return err
	}
	out, ok := res[user]
	if !ok {
		return kerr.UnknownServerError
	}
	return out.Err
}
