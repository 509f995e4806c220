package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	defaultBroker = "127.0.0.1:9092"
	// dialTimeout bounds one connection attempt; answerTimeout how long a verb waits for a cluster that does not answer.
	dialTimeout   = 5 * time.Second
	answerTimeout = 20 * time.Second
)

// clientFlags are the flags of every verb that talks to a cluster.
type clientFlags struct {
	brokers []string
	tls     tlsFlags
	login   loginFlags
	profile string
	cmd     *cobra.Command // that has the flags
}

func (f *clientFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringSliceVarP(&f.brokers, "brokers", "b", []string{defaultBroker}, "broker addresses, `HOST:PORT`[,…]")
	f.tls.add(cmd)
	f.login.add(cmd)
	cmd.Flags().StringVar(&f.profile, "profile", "", "connect as the profile `NAME` says; see 'varve profile'")
	f.cmd = cmd
	cmd.ValidArgsFunction = f.complete
}

// client connects and asks one broker a first question, so that a wrong address fails here, with advice.
func (f *clientFlags) client(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	if err := useProfile(f.cmd, f.profile); err != nil {
		return nil, err
	}
	base := []kgo.Opt{
		kgo.SeedBrokers(f.brokers...), kgo.ClientID("varve-cli"),
		kgo.DialTimeout(dialTimeout), kgo.RetryTimeout(answerTimeout),
	}
	secure, err := f.secure()
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(append(base, secure...), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if err := f.reach(ctx); err != nil {
		cl.Close()
		return nil, err
	}
	return cl, nil
}

// reach dials the brokers once: a refused connection is told at once instead of being retried for long.
func (f *clientFlags) reach(ctx context.Context) error {
	var last error
	for _, addr := range f.brokers {
		d := net.Dialer{Timeout: dialTimeout}
		conn, err := d.DialContext(ctx, "tcp", withPort(addr))
		if err == nil {
			return conn.Close()
		}
		last = err
	}
	return fmt.Errorf("no broker answers at %s: %w\nIs one running? Start one with 'varve dev', or name another with --brokers HOST:PORT", strings.Join(f.brokers, ", "), last)
}

func withPort(addr string) string {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return net.JoinHostPort(addr, "9092")
	}
	return addr
}

// admin is client for administrative questions.
func (f *clientFlags) admin(ctx context.Context) (*kadm.Client, func(), error) {
	cl, err := f.client(ctx)
	if err != nil {
		return nil, nil, err
	}
	adm := kadm.NewClient(cl)
	adm.SetTimeoutMillis(int32(answerTimeout / time.Millisecond))
	return adm, adm.Close, nil
}

// explain turns a cluster's error code into a cause and a next step.
func explain(what string, err error, message string) error {
	if err == nil {
		return nil
	}
	message = strings.TrimSuffix(message, ": "+err.Error()) // some brokers say it twice
	if message != "" {
		err = fmt.Errorf("%w (%s)", err, message)
	}
	next := ""
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		next = "list the topics with 'varve topic list'"
	case errors.Is(err, kerr.TopicAlreadyExists):
		next = "see it with 'varve topic describe'"
	case errors.Is(err, kerr.InvalidConfig):
		next = "see the settings with 'varve config docs'"
	case errors.Is(err, kerr.OffsetOutOfRange):
		next = "see the offsets of its partitions with 'varve topic describe'"
	case errors.Is(err, kerr.InvalidPartitions):
		next = "see its partitions with 'varve topic describe'"
	case errors.Is(err, kerr.GroupIDNotFound):
		next = "list the groups with 'varve group list'"
	case errors.Is(err, kerr.NonEmptyGroup), errors.Is(err, kerr.UnknownMemberID), errors.Is(err, kerr.RebalanceInProgress):
		next = "it has members: stop its consumers first, see them with 'varve group describe'"
	case errors.Is(err, kerr.PolicyViolation) && message == "":
		next = "its cleanup.policy has no delete"
	case errors.Is(err, kerr.TransactionalIDNotFound):
		next = "list the transactional ids with 'varve txn list'"
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		next = "check --user and the password in --password-file or VARVE_PASSWORD"
	case errors.Is(err, kerr.ResourceNotFound):
		next = "list the users with 'varve user list'"
	case errors.Is(err, kerr.DelegationTokenRequestNotAllowed):
		next = "log in with --user, not by a token: nobody else can deal with them"
	case errors.Is(err, kerr.DelegationTokenAuthDisabled):
		next = "the broker has no delegation.token.secret.key"
	case errors.Is(err, kerr.DelegationTokenAuthorizationFailed):
		next = "it takes the right: varve acl create user/User:NAME --principal … --allow create-tokens"
	case errors.Is(err, kerr.DelegationTokenNotFound):
		next = "list the tokens with 'varve token list'"
	case errors.Is(err, kerr.DelegationTokenOwnerMismatch):
		next = "only its owner and its renewers may"
	case errors.Is(err, kerr.SecurityDisabled):
		next = "rules need authorizer.class.name and super.users in the brokers' settings: 'varve config docs authorizer'"
	case strings.HasSuffix(err.Error(), ": unknown broker"):
		next = "list the brokers with 'varve cluster info'"
	case errors.Is(err, kerr.InvalidReplicationFactor):
		next = "there are fewer brokers than replicas; use --replication-factor 1"
	}
	if next != "" {
		return fmt.Errorf("%s: %w %s", what, endless{err}, next)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// endless is an error of which more is said: a sentence's full stop becomes a semicolon.
type endless struct{ error }

// Error implements error.
func (e endless) Error() string { return strings.TrimSuffix(e.error.Error(), ".") + ";" }

// Unwrap is for errors.Is.
func (e endless) Unwrap() error { return e.error }

// exactArgs is cobra.ExactArgs with a usage exit code and words of our own.
func exactArgs(n int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("%w: %s takes %s", errUsage, cmd.CommandPath(), names)
		}
		return nil
	}
}
