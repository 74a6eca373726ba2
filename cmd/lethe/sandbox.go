package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/internal/fakeapi"
)

const sandboxLong = `Imitates the deletion APIs on one address, checks requests strictly and logs
every call.

Nothing real is deleted: an entry exists from its first mention until a call
deletes it. A fault flag applies to all APIs; the same flag with --kv- or
--sensay- applies to one and overrides it. Faults, the scripts of entries and
their state can be changed while the sandbox runs, with the admin API under
/_sandbox/, which has a help page. It needs no credential, so keep the address
private.`

const sandboxExample = `  lethe sandbox --pending-share 0.2 --fault cut+after=0.05 --fault 503=0.1 --sensay-latency 200ms

  # delete something
  curl -X DELETE http://127.0.0.1:8081/api/user_context/delete \
    -H 'access-key: sandbox-access-key' -H 'Content-Type: application/json' -d '{"ids":[10,11]}'
  curl -X DELETE http://127.0.0.1:8081/v1/replicas/03db5651-cb61-4bdf-9ef0-89561f7c9c53/knowledge-base/12345 \
    -H 'X-ORGANIZATION-SECRET: sandbox-organization-secret'

  # HTTPS and HTTP/2, with 1 % of the answers closing their connection
  lethe sandbox --tls ca.pem --fault recycle=0.01
  curl --cacert ca.pem https://127.0.0.1:8081/_sandbox/

  # list what was deleted
  curl http://127.0.0.1:8081/_sandbox/deleted

  # the next two calls for one context get 503, the third is cut after the deletion
  curl -X PUT http://127.0.0.1:8081/_sandbox/scripts/kv/12 -d '[{"fault":"503","times":2},{"fault":"cut+after"}]'

  # reject Sensay's credential, then accept it again
  curl -X PUT http://127.0.0.1:8081/_sandbox/faults -d '{"sensay":{"reject":401}}'
  curl -X DELETE http://127.0.0.1:8081/_sandbox/faults

  # help page with all faults and paths
  curl http://127.0.0.1:8081/_sandbox/`

// sandboxFlags are the flags of lethe sandbox.
type sandboxFlags struct {
	addr, journal string
	tls           string
	config        fakeapi.Config
	unknown       []string
	verbose       bool
	faults        map[string]*faultFlags // by prefix: "" for all APIs, "kv-", ...
}

// faultFlags are the flags that exist once for all APIs and once for each.
type faultFlags struct {
	latency, jitter, slowFor time.Duration
	rate                     float64
	burst, reject            int
	rateHeaders              bool
	retryAfter               string
	chances                  []string
}

func newSandboxCommand() *cobra.Command {
	var flags sandboxFlags
	command := &cobra.Command{
		Use:     "sandbox",
		Short:   "Imitate the deletion APIs, with faults on demand",
		Long:    sandboxLong,
		Example: sandboxExample,
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return flags.run(command.Context(), command)
		},
	}
	flags.declare(command)
	groupFlags(command,
		flagGroup{"Server", []string{"addr", "tls", "access-key", "organization-secret", "seed", "max-calls", "verbose", "help"}},
		flagGroup{"Entries", []string{"pending-share", "pending-for", "unknown-share", "unknown", "journal", "max-entries"}},
		flagGroup{"Answers of k-v.ai", []string{"kv-pydantic-v2", "kv-wrapped"}},
		flagGroup{"Faults of all APIs (of one API: --kv-latency, --sensay-fault and so on)", []string{
			"latency", "jitter", "rate", "burst", "rate-headers", "retry-after", "reject", "fault", "slow-for",
		}},
	)
	return command
}

func (f *sandboxFlags) declare(command *cobra.Command) {
	set := command.Flags()
	set.SortFlags = false
	set.StringVar(&f.addr, "addr", "127.0.0.1:8081", "address to listen on; port 0 picks a free one")
	set.StringVar(&f.tls, "tls", "", "serve HTTPS with HTTP/2, and write a new certificate to this file for SSL_CERT_FILE")
	set.StringVar(&f.config.AccessKey, "access-key", fakeapi.DefaultAccessKey, "the accepted k-v.ai access key")
	set.StringVar(&f.config.OrganizationSecret, "organization-secret", fakeapi.DefaultOrganizationSecret, "the accepted Sensay organization secret")
	set.Float64Var(&f.config.PendingShare, "pending-share", 0, "share of Sensay entries answered 202, 0 to 1")
	set.DurationVar(&f.config.PendingFor, "pending-for", fakeapi.DefaultPendingFor, "time from a 202 to the removal")
	set.Float64Var(&f.config.UnknownShare, "unknown-share", 0, "share of Sensay entries that never existed, 0 to 1")
	set.StringArrayVar(&f.unknown, "unknown", nil, "an entry that never existed, as sensay/UUID/ID; may be repeated")
	set.BoolVar(&f.config.PydanticV2, "kv-pydantic-v2", false, "give k-v.ai's 422 in the form of pydantic v2")
	set.BoolVar(&f.config.Wrapped, "kv-wrapped", false, `wrap k-v.ai's answers in {"value":…}`)
	set.Uint64Var(&f.config.Seed, "seed", 1, "random seed; the same seed repeats the same faults")
	set.StringVar(&f.journal, "journal", "", "append every call to this file before answering; entries deleted in it stay deleted")
	set.IntVar(&f.config.MaxEntries, "max-entries", fakeapi.DefaultMaxEntries, "most entries of each API; a deletion above it gets 507")
	set.IntVar(&f.config.MaxCalls, "max-calls", fakeapi.DefaultMaxCalls, "most calls in the call log")
	set.BoolVar(&f.verbose, "verbose", false, "log every call on stderr")

	f.faults = make(map[string]*faultFlags)
	prefixes := []string{""}
	for _, api := range fakeapi.APIs() {
		prefixes = append(prefixes, string(api)+"-")
	}
	for _, prefix := range prefixes {
		of := &faultFlags{}
		f.faults[prefix] = of
		whose := ""
		if prefix != "" {
			whose = " (" + strings.TrimSuffix(prefix, "-") + " only)"
		}
		set.DurationVar(&of.latency, prefix+"latency", 0, "wait this long before a call takes effect"+whose)
		set.DurationVar(&of.jitter, prefix+"jitter", 0, "additional random wait, at most this long"+whose)
		set.Float64Var(&of.rate, prefix+"rate", 0, "limit in calls a second, calls above it get 429; 0: no limit"+whose)
		set.IntVar(&of.burst, prefix+"burst", 0, "burst of the limit in calls; 0: the calls of a second"+whose)
		set.BoolVar(&of.rateHeaders, prefix+"rate-headers", false, "add the headers RateLimit-Policy and RateLimit"+whose)
		set.StringVar(&of.retryAfter, prefix+"retry-after", "", "Retry-After of every answer outside 2xx, sent unchanged"+whose)
		set.IntVar(&of.reject, prefix+"reject", 0, "answer every call 401 or 403; 0: off"+whose)
		set.StringArrayVar(&of.chances, prefix+"fault", nil, "FAULT=SHARE of the deletion calls, such as cut+after=0.05; may be repeated"+whose)
		set.DurationVar(&of.slowFor, prefix+"slow-for", fakeapi.DefaultSlowFor, "duration of a body with the fault slow"+whose)
	}
}

// build turns the flags into a config. It does not open the journal.
func (f *sandboxFlags) build(command *cobra.Command) (fakeapi.Config, error) {
	config := f.config
	for _, text := range f.unknown {
		entry, err := fakeapi.ParseEntry(text)
		if err != nil {
			return config, usageError("--unknown: %v", err)
		}
		config.Unknown = append(config.Unknown, entry)
	}
	config.Faults = make(map[fakeapi.API]fakeapi.Faults)
	for _, api := range fakeapi.APIs() {
		faults, err := f.faultsOf(command, api)
		if err != nil {
			return config, err
		}
		config.Faults[api] = faults
	}
	if err := config.Validate(); err != nil {
		return config, usageError("%v", err)
	}
	return config, nil
}

// faultsOf takes each value from the API's own flag if given, or else from the common flag.
func (f *sandboxFlags) faultsOf(command *cobra.Command, api fakeapi.API) (fakeapi.Faults, error) {
	prefix := string(api) + "-"
	pick := func(name string) *faultFlags {
		if command.Flags().Changed(prefix + name) {
			return f.faults[prefix]
		}
		return f.faults[""]
	}
	faults := fakeapi.Faults{
		Latency:     pick("latency").latency,
		Jitter:      pick("jitter").jitter,
		Rate:        pick("rate").rate,
		Burst:       pick("burst").burst,
		RateHeaders: pick("rate-headers").rateHeaders,
		RetryAfter:  pick("retry-after").retryAfter,
		Reject:      pick("reject").reject,
		SlowFor:     pick("slow-for").slowFor,
		Chances:     make(map[fakeapi.Fault]float64),
	}
	for _, text := range pick("fault").chances {
		name, number, _ := strings.Cut(text, "=")
		chance, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return faults, usageError("--fault %q: want FAULT=SHARE, such as cut+after=0.05", text)
		}
		faults.Chances[fakeapi.Fault(name)] = chance
	}
	return faults, nil
}

func (f *sandboxFlags) run(ctx context.Context, command *cobra.Command) (err error) {
	config, err := f.build(command)
	if err != nil {
		return err
	}
	level := slog.LevelWarn
	if f.verbose {
		level = slog.LevelDebug
	}
	config.Log = slog.New(slog.NewTextHandler(command.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	if f.journal != "" {
		if config.Journal, err = fakeapi.OpenJournal(f.journal); err != nil {
			return fmt.Errorf("--journal: %w", err)
		}
		defer func() { err = cmp.Or(err, config.Journal.Close()) }()
	}
	scheme, curl, secure, err := f.secure()
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.addr)
	if err != nil {
		return usageError("--addr: %w", err)
	}
	base := scheme + "://" + listener.Addr().String()
	_, _ = fmt.Fprintf(command.OutOrStdout(), "sandbox of all APIs on %s (help: %s %[1]s/_sandbox/)\n", base, curl)
	for _, s := range config.Settings(base) {
		_, _ = fmt.Fprintf(command.OutOrStdout(), "export %s=%s %s=%s\n", s.BaseURLName, s.BaseURL, s.CredentialName, shellQuote(s.Credential))
	}
	if f.tls != "" {
		_, _ = fmt.Fprintf(command.OutOrStdout(), "export SSL_CERT_FILE=%s\n", shellQuote(f.tls))
	}
	return serveSandbox(ctx, listener, secure, fakeapi.New(config), config.Log)
}

// secure creates the certificate for --tls and writes it to the flag's file.
func (f *sandboxFlags) secure() (scheme, curl string, secure *tls.Config, err error) {
	if f.tls == "" {
		return "http", "curl", nil, nil
	}
	host, _, err := net.SplitHostPort(f.addr)
	if err != nil {
		return "", "", nil, usageError("--addr: %v", err)
	}
	certificate, text, err := fakeapi.NewCertificate(host)
	if err != nil {
		return "", "", nil, err
	}
	if err := os.WriteFile(f.tls, text, 0o644); err != nil { //nolint:gosec // a certificate is public
		return "", "", nil, fmt.Errorf("--tls: %w", err)
	}
	return "https", "curl --cacert " + shellQuote(f.tls), &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}, nil
}

// shellQuote quotes a printable word for a POSIX shell.
func shellQuote(word string) string {
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r))
	}) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// serveSandbox serves until the context ends, with TLS if secure is not nil. Then waiting calls continue at once and
// hanging calls are cut.
func serveSandbox(ctx context.Context, listener net.Listener, secure *tls.Config, handler *fakeapi.Server, log *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		TLSConfig:         secure,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		_ = handler.Close() // never fails
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopped <- cmp.Or(server.Shutdown(grace), server.Close())
	})
	serve := server.Serve
	if secure != nil {
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	err := serve(listener)
	if !errors.Is(err, http.ErrServerClosed) {
		stop()
		return err
	}
	return <-stopped
}
