package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// profileVariable names a profile where --profile does not.
const profileVariable = "VARVE_PROFILE"

// profiles are named ways to connect, in one file of the user's. It holds no password: only the path of a file that does.
type profiles struct {
	Current  string             `json:"current"`
	Previous string             `json:"previous"`
	Profiles map[string]profile `json:"profiles"`
}

// profile is the value of each client flag that it sets.
type profile map[string]string

// profileFlags are the flags that a profile sets.
func profileFlags() []string {
	return []string{"brokers", "tls", "tls-ca", "tls-cert", "tls-key", "user", "password-file", "mechanism", "token-file"}
}

func profilePath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("there is no place for profiles: %w", err)
	}
	return filepath.Join(dir, "varve", "profiles.json"), nil
}

// loadProfiles reads the user's file; without one there are none.
func loadProfiles() (*profiles, error) {
	p := &profiles{Profiles: map[string]profile{}}
	path, err := profilePath()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(b, p)
	}
	if err != nil {
		return nil, fmt.Errorf("profiles: %s: %w; mend it, or remove it", path, err)
	}
	if p.Profiles == nil {
		p.Profiles = map[string]profile{}
	}
	return p, nil
}

func (p *profiles) save() error {
	path, err := profilePath()
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// named is the profile of a name.
func (p *profiles) named(name string) (profile, error) {
	one, ok := p.Profiles[name]
	if !ok {
		return nil, fmt.Errorf("there is no profile %q; see them with 'varve profile list', make it with 'varve profile add %s --brokers HOST:PORT'", name, name)
	}
	return one, nil
}

// useProfile gives the flags of a command that the command line leaves out the values of a profile.
func useProfile(cmd *cobra.Command, name string) error {
	if name == "" {
		name = os.Getenv(profileVariable)
	}
	all, err := loadProfiles()
	if err != nil {
		return err
	}
	if name == "" {
		if name = all.Current; name == "" || cmd.Flags().Changed("brokers") { // another cluster than the profile's
			return nil
		}
	}
	one, err := all.named(name)
	if err != nil {
		return err
	}
	for _, flag := range slices.Sorted(maps.Keys(one)) {
		if f := cmd.Flags().Lookup(flag); f == nil || f.Changed {
			continue
		}
		if err := cmd.Flags().Set(flag, one[flag]); err != nil {
			return fmt.Errorf("profile %s: %s: %w", name, flag, err)
		}
	}
	return nil
}

func profileCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "profile", Short: "Name ways to connect, and choose one",
		Long: "Name ways to connect, and choose one. A verb takes the profile of --profile, of " + profileVariable + ", or the one in use;\n" +
			"its own flags win, and --brokers leaves the one in use out. Passwords stay in files of their own.",
	}
	cmd.AddCommand(profileListCommand(), profileAddCommand(), profileUseCommand(), profileRemoveCommand())
	return cmd
}

// profileRow is one profile in listings.
type profileRow struct {
	Name    string  `json:"name"`
	InUse   bool    `json:"in_use"`
	Setting profile `json:"settings"`
}

func profileListCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List profiles", Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := loadProfiles()
			if err != nil {
				return err
			}
			rows := []profileRow{}
			for _, name := range slices.Sorted(maps.Keys(all.Profiles)) {
				rows = append(rows, profileRow{name, name == all.Current, all.Profiles[name]})
			}
			return out.print(cmd.OutOrStdout(), rows, "NAME USED BROKERS USER", func(w io.Writer) {
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%t\t%s\t%s\n", r.Name, r.InUse, r.Setting["brokers"], r.Setting["user"])
				}
			})
		},
	}
	out.add(cmd)
	return cmd
}

func profileAddCommand() *cobra.Command {
	var cf clientFlags
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Make a profile of the flags given, and use it", Args: exactArgs(1, "one name"),
		Example: "  varve profile add prod --brokers kafka.example.com:9093 --tls-ca ca.pem --user ops --password-file ~/.varve-ops",
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "-" || strings.ContainsAny(args[0], " /\t\n") {
				return fmt.Errorf("%w: %q is no name for a profile", errUsage, args[0])
			}
			all, err := loadProfiles()
			if err != nil {
				return err
			}
			one := profile{}
			for _, flag := range profileFlags() {
				if f := cmd.Flags().Lookup(flag); f.Changed {
					one[flag] = strings.Trim(f.Value.String(), "[]")
				}
			}
			if len(one) == 0 {
				return fmt.Errorf("%w: say how to connect, with --brokers HOST:PORT at least", errUsage)
			}
			for _, file := range []string{"tls-ca", "tls-cert", "tls-key", "password-file"} { // whatever directory a verb is called in
				if path := one[file]; path != "" {
					if one[file], err = filepath.Abs(path); err != nil {
						return err
					}
				}
			}
			all.Profiles[args[0]] = one
			all.use(args[0])
			if err := all.save(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "profile %s is in use\n", args[0])
			return nil
		},
	}
	cf.add(cmd)
	return cmd
}

// use changes the profile in use and keeps the one before.
func (p *profiles) use(name string) {
	if name != p.Current {
		p.Previous, p.Current = p.Current, name
	}
}

func profileUseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME|-", Short: "Use a profile; - is the one before", Args: exactArgs(1, "one name, or -"),
		Example: "  varve profile use prod\n  varve profile use -",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			all, err := loadProfiles()
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			return slices.Sorted(maps.Keys(all.Profiles)), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := loadProfiles()
			if err != nil {
				return err
			}
			name := args[0]
			if name == "-" {
				name = all.Previous
			}
			if _, err := all.named(name); err != nil {
				return err
			}
			all.use(name)
			if err := all.save(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "profile %s is in use\n", name)
			return nil
		},
	}
}

func profileRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Aliases: []string{"rm"}, Short: "Forget a profile", Args: exactArgs(1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := loadProfiles()
			if err != nil {
				return err
			}
			if _, err := all.named(args[0]); err != nil {
				return err
			}
			delete(all.Profiles, args[0])
			if all.Current == args[0] {
				all.Current = ""
			}
			if err := all.save(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "profile %s is forgotten\n", args[0])
			return nil
		},
	}
}
