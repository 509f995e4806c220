package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/open"
)

// uploadsRule is the name of the one rule that Varve wants of a bucket.
const uploadsRule = "varve-abort-uploads"

func storeLifecycleCommand() *cobra.Command {
	var out output
	var days int
	var render, apply bool
	cmd := &cobra.Command{
		Use: "lifecycle URL", Short: "Show a bucket's lifecycle rules, or set the one that removes unfinished uploads",
		Long: "Without flags it shows what the bucket does to objects by itself. --render writes the rule that aborts\n" +
			"unfinished uploads as the provider's own tool takes it; --apply adds it to the bucket's rules, which stay\n" +
			"as they are otherwise. No rule that deletes objects is ever written: what a topic keeps is for its retention.",
		Example: "  varve store lifecycle 's3://bucket/prefix?region=eu-central-1'\n  varve store lifecycle gs://bucket --apply",
		Args:    exactArgs(1, "URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if render && apply {
				return fmt.Errorf("%w: --render or --apply, not both", errUsage)
			}
			b, err := open.Open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer b.Close()
			rules := []objstore.LifecycleRule{{ID: uploadsRule, Prefix: rulePrefix(args[0]), Days: days, AbortUploads: true, Enabled: true}}
			switch {
			case render:
				return renderLifecycle(cmd, b, rules)
			case apply:
				w, err := objstore.Optional[objstore.LifecycleWriter](b, "lifecycle", "")
				if err == nil {
					err = w.ApplyLifecycle(cmd.Context(), rules)
				}
				if err != nil {
					return applyAdvice(err)
				}
			}
			return showLifecycle(cmd, b, out)
		},
	}
	out.add(cmd)
	cmd.Flags().IntVar(&days, "days", 7, "days after which an unfinished upload is removed")
	cmd.Flags().BoolVar(&render, "render", false, "write the rule for the provider's own tool, and change nothing")
	cmd.Flags().BoolVar(&apply, "apply", false, "add the rule to the bucket's")
	return cmd
}

// rulePrefix is what the keys of the URL's store begin with in their bucket.
func rulePrefix(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "" // open.Open has refused it
	}
	path := strings.Trim(u.Path, "/")
	if u.Scheme == "azblob" {
		_, path, _ = strings.Cut(path, "/")
	}
	if path == "" {
		return ""
	}
	return path + "/"
}

// applyAdvice adds the next step to a failure.
func applyAdvice(err error) error {
	switch {
	case errors.Is(err, objstore.ErrAccessDenied):
		return fmt.Errorf("%w: who runs a broker need not be allowed to change the bucket: give the document of --render to whoever is", err)
	case errors.Is(err, objstore.ErrUnsupported):
		return fmt.Errorf("%w: these rules can't be set here; see docs/object-stores.md", err)
	case errors.Is(err, objstore.ErrPrecondition):
		return fmt.Errorf("%w: somebody else has changed the bucket at the same time: try again", err)
	}
	return err
}

func renderLifecycle(cmd *cobra.Command, b objstore.Bucket, rules []objstore.LifecycleRule) error {
	r, err := objstore.Optional[objstore.LifecycleRenderer](b, "lifecycle", "")
	if err != nil {
		return err
	}
	doc, command, err := r.RenderLifecycle(rules)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "These are to be all rules of the bucket: add those that it has. Then, with FILE for this document:\n  %s\n", command)
	fmt.Fprintf(cmd.OutOrStdout(), "%s\n", doc)
	return nil
}

func showLifecycle(cmd *cobra.Command, b objstore.Bucket, out output) error {
	r, err := objstore.Optional[objstore.LifecycleReader](b, "lifecycle", "")
	if err != nil {
		return err
	}
	rules, err := r.LifecycleRules(cmd.Context())
	if err != nil {
		return err
	}
	return out.print(cmd.OutOrStdout(), rules, "RULE PREFIX DAYS DOES STATE", func(w io.Writer) {
		for _, r := range rules {
			does, state := "nothing that concerns objects", "on"
			switch {
			case r.Expire:
				does = "DELETES OBJECTS"
			case r.AbortUploads:
				does = "removes unfinished uploads"
			case r.Class != "":
				does = "moves to " + string(r.Class)
			}
			if !r.Enabled {
				state = "off"
			} else if r.Narrow {
				state = "on, for some"
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", r.ID, r.Prefix, r.Days, does, state)
		}
	})
}
