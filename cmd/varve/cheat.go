package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// cheatSheet is what people look up most: a heading begins with #.
const cheatSheet = `# A node for a laptop
varve dev --dir ./data
varve doctor --config varve.yaml

# Topics
varve topic create orders --partitions 6 --config remote.storage.enable=true
varve topic describe orders
varve topic alter orders --set retention.ms=86400000 --dry-run
varve topic trim orders --partition 0 --before 120000 --yes

# Records
seq 10 | varve produce orders
varve consume orders -o start --exit-eof
varve consume orders -o @2026-01-01T00:00:00Z -n 10 --format json

# Groups
varve group lag --watch
varve group seek billing --topic orders --to 2026-01-31T00:00:00Z --dry-run
varve group export billing > billing.json
varve group import billing billing.json --dry-run

# Settings
varve config list topic/orders --all
varve config set cluster --set log.retention.ms=86400000
varve config diff topic/orders topic/payments

# Who may do what
varve user set ann --new-password-file ann.secret
varve acl create topic/orders --principal User:ann --allow read,describe
varve token create --user ann --password-file ann.secret --secret-file job.secret
varve quota set user/ann --set producer_byte_rate=1048576

# The cluster
varve cluster health
varve cluster quorum
varve tier status orders

# How fast it is
varve bench produce --rate 5000 --duration 1m --partitions 6
varve bench consume --topic orders --clients 3 --in-group
varve bench e2e --rate 500

# Connections
varve profile add prod --brokers kafka.example.com:9093 --tls-ca ca.pem --user ops --password-file ~/.varve-ops
varve profile use -

# Scripts of Kafka
varve kafka-consumer-groups --bootstrap-server localhost:9092 --describe --group billing
ln -s varve kafka-topics.sh
`

func cheatCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cheat [WORD]", Short: "Print the command lines that are looked up most", Args: cobra.MaximumNArgs(1),
		Example: "  varve cheat\n  varve cheat group",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				fmt.Fprint(cmd.OutOrStdout(), cheatSheet)
				return nil
			}
			found := false
			for part := range strings.SplitSeq(cheatSheet, "\n\n") {
				if strings.Contains(strings.ToLower(part), strings.ToLower(args[0])) {
					fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSpace(part)+"\n")
					found = true
				}
			}
			if !found {
				return fmt.Errorf("the cheat sheet says nothing about %q; see all of it with 'varve cheat'", args[0])
			}
			return nil
		},
	}
}
