package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/config"
	"github.com/lethe-dev/lethe/internal/fakeapi"
	"github.com/lethe-dev/lethe/internal/natsconn"
	"github.com/lethe-dev/lethe/internal/streams"
)

// demoTimeout limits the demo, which takes a few seconds.
const demoTimeout = 30 * time.Second

func newDemoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show how Lethe works, in one process and without configuration",
		Long: `Demo starts a NATS server, both APIs imitated and a worker in this process,
publishes one request of every kind and prints each result as it arrives.
Nothing real is deleted, and all files are in a temporary directory that is
removed. It exits with 0 only if every result is as expected.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return demo(cmd.Context(), cmd.OutOrStdout()) },
	}
}

// demo runs the demo. If it is interrupted, its results are not judged.
func demo(ctx context.Context, out io.Writer) error {
	err := runDemo(ctx, out)
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

func runDemo(interrupted context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(interrupted, demoTimeout)
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)

	dir, err := os.MkdirTemp("", "lethe-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	server, err := natsconn.Embed(natsconn.EmbedConfig{Dir: dir, Addr: "127.0.0.1:0", Log: quiet})
	if err != nil {
		return err
	}
	defer server.Close()
	nc, err := nats.Connect(server.URL())
	if err != nil {
		return fmt.Errorf("connect to the demo's server: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	apis, address, stopAPIs, err := demoAPIs()
	if err != nil {
		return err
	}
	defer stopAPIs()

	cfg := demoConfig("http://" + address)
	if err := streams.Setup(ctx, js, streamSettings(cfg)); err != nil {
		return err
	}
	configs, err := newLaneConfigs(cfg, "demo", quiet)
	if err != nil {
		return err
	}
	work, stop := context.WithCancel(ctx)
	worker := make(chan error, 1)
	go func() { worker <- configs.lanes(js).run(work) }()
	defer func() {
		stop()
		if err := <-worker; err != nil {
			_, _ = fmt.Fprintln(out, "worker stopped with an error:", err)
		}
	}()

	cases, err := demoCases(apis)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "NATS at %s, both APIs imitated at %s, one worker. %d requests:\n\n", server.URL(), address, len(cases))
	began := time.Now()
	for _, s := range cases {
		if err := s.publish(ctx, js); err != nil {
			return err
		}
	}
	if err := followDemo(ctx, js, out, cases); err != nil && ctx.Err() == nil {
		return err
	}
	if err := interrupted.Err(); err != nil {
		return err
	}
	return closeDemo(out, cases, apis, time.Since(began))
}

// demoAPIs serves the imitated APIs on a free port.
func demoAPIs() (apis *fakeapi.Server, address string, stop func(), err error) {
	apis = fakeapi.New(fakeapi.Config{PendingFor: 500 * time.Millisecond})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", nil, err
	}
	server := &http.Server{Handler: apis, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go func() { _ = server.Serve(listener) }() // ends with Close
	return apis, listener.Addr().String(), func() { _ = apis.Close(); _ = server.Close() }, nil
}

// demoConfig is a worker's configuration with short waits.
func demoConfig(base string) *config.Config {
	const timeout = 5 * time.Second
	calls := config.Calls{Concurrency: 8}
	return &config.Config{
		Stream: config.Stream{Replicas: 1}, ResultsMaxAge: 720 * time.Hour,
		KV:     config.KV{BaseURL: base, AccessKey: config.NewSecret(fakeapi.DefaultAccessKey), Calls: calls, Timeout: timeout},
		Sensay: config.Sensay{BaseURL: base, OrganizationSecret: config.NewSecret(fakeapi.DefaultOrganizationSecret), APIVersion: "2025-03-25", Calls: calls, Timeout: timeout},
		Retry: config.Retry{InitialInterval: 300 * time.Millisecond, Multiplier: 2, Randomization: 0.2,
			MaxInterval: time.Second, MaxElapsed: 2 * time.Second},
		ConfirmAfter: 1500 * time.Millisecond, ShutdownGrace: time.Second,
	}
}

// demoCase is one request of the demo and its expected outcomes.
type demoCase struct {
	title   string
	request events.Request
	body    []byte
	want    []events.Outcome
	got     []events.Outcome
}

var demoReplica = uuid.MustParse("03db5651-cb61-4bdf-9ef0-89561f7c9c53")

// demoCases returns one request of every kind and prepares the imitated APIs for them.
func demoCases(apis *fakeapi.Server) ([]*demoCase, error) {
	contexts := func(ids ...int64) events.Resource { return events.UserContexts{IDs: ids} }
	entry := func(id int64) events.Resource {
		return events.KnowledgeBaseEntry{ReplicaUUID: demoReplica, KnowledgeBaseID: id}
	}
	script := func(id int64, steps ...fakeapi.Step) error {
		return apis.Script(fakeapi.KnowledgeBaseEntry(demoReplica, id), steps...)
	}
	if err := errors.Join(
		script(2, fakeapi.Step{Fault: fakeapi.AcceptPending}),
		apis.SetEntry(fakeapi.KnowledgeBaseEntry(demoReplica, 3), fakeapi.StateUnknown),
		script(5, fakeapi.Step{Fault: "503", Times: 2}),
		script(6, fakeapi.Step{Fault: fakeapi.CutAfter}),
		script(7, fakeapi.Step{Fault: "503", Times: -1}),
	); err != nil {
		return nil, err
	}

	var cases []*demoCase
	add := func(title string, res events.Resource, want ...events.Outcome) {
		cases = append(cases, &demoCase{title: title, request: events.NewRequest("/demo", res), want: want})
	}
	add("user contexts", contexts(10, 11), events.Deleted)
	add("a knowledge-base entry", entry(1), events.Deleted)
	add("a delayed deletion", entry(2), events.AcceptedPending, events.Deleted)
	add("an unknown entry", entry(3), events.NotFound)
	add("two 503 answers", entry(5), events.Deleted)
	add("a lost answer", entry(6), events.Deleted)
	add("503 answers only", entry(7), events.Failed)
	for _, s := range cases {
		var err error
		if s.body, err = s.request.Encode(); err != nil {
			return nil, err
		}
	}
	wrong := &demoCase{title: "a request without ids", request: events.NewRequest("/demo", contexts()), want: []events.Outcome{events.Invalid}}
	wrong.body = fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/demo","type":%q,"data":{"target":"kv-user-context","ids":[]}}`,
		wrong.request.ID, events.RequestType)
	return append(cases, wrong), nil
}

func (s *demoCase) publish(ctx context.Context, js jetstream.JetStream) error {
	msg := nats.NewMsg(events.RequestSubject(s.request.Target()))
	msg.Data = s.body
	msg.Header.Set("content-type", events.ContentType)
	msg.Header.Set(nats.MsgIdHdr, s.request.ID)
	if _, err := js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("publish %s: %w", s.title, err)
	}
	return nil
}

// done reports whether the final result has arrived.
func (s *demoCase) done() bool { return len(s.got) > 0 && s.got[len(s.got)-1].Final() }

func (s *demoCase) ok() bool { return fmt.Sprint(s.got) == fmt.Sprint(s.want) }

// followDemo prints results as they arrive, until every request has its final one.
func followDemo(ctx context.Context, js jetstream.JetStream, out io.Writer, cases []*demoCase) error {
	byID := map[string]*demoCase{}
	for _, s := range cases {
		byID[s.request.ID] = s
	}
	left := len(cases)
	l := &resultReader{js: js, warn: out}
	return l.each(ctx, selection{subject: events.ResultFilter("", "", ""), follow: true}, func(r *storedResult) (bool, error) {
		s, ok := byID[r.RequestID]
		if !ok {
			return true, fmt.Errorf("got a result for %s, which was not requested", r.RequestID)
		}
		s.got = append(s.got, r.Outcome)
		if s.done() {
			left--
		}
		_, err := fmt.Fprintf(out, "  %-16s  %-22s  %-9s  %s\n", r.Outcome, s.title, shortResource(r.Resource), demoExplanation(r.Result))
		return left > 0, err
	})
}

// demoExplanation is short enough for a line of 100 columns. The other commands print
// the whole one.
func demoExplanation(r events.Result) string {
	var parts []string
	if r.Error != nil {
		parts = append(parts, string(r.Error.Code))
	}
	if r.Evidence != nil {
		status := strconv.Itoa(r.Evidence.Status)
		if r.Evidence.AfterUnansweredAttempt {
			status += " after an unanswered attempt"
		}
		parts = append(parts, status)
	}
	if r.Attempts > 1 {
		parts = append(parts, fmt.Sprintf("%d attempts", r.Attempts))
	}
	if !r.ExpectedBy.IsZero() {
		parts = append(parts, "complete by "+r.ExpectedBy.Local().Format(time.DateTime))
	}
	return strings.Join(parts, "; ")
}

// shortResource formats a resource without the replica, which is the same for all.
func shortResource(res events.Resource) string {
	if e, ok := res.(events.KnowledgeBaseEntry); ok {
		return fmt.Sprintf("entry %d", e.KnowledgeBaseID)
	}
	if res == nil {
		return "-"
	}
	return resourceText(res)
}

// closeDemo compares the outcomes with the expected ones and prints what the imitated
// APIs deleted.
func closeDemo(out io.Writer, cases []*demoCase, apis *fakeapi.Server, took time.Duration) error {
	var deleted []string
	for _, d := range apis.Deleted() {
		deleted = append(deleted, strings.Replace(d.Entry.String(), demoReplica.String()+"/", "", 1))
	}
	calls := len(apis.Calls())
	_, _ = fmt.Fprintf(out, "\nThe APIs were called %d times and deleted %s.\n", calls, strings.Join(deleted, ", "))

	wrong := 0
	for _, s := range cases {
		if !s.ok() {
			wrong++
			_, _ = fmt.Fprintf(out, "WRONG: %s: got %v, want %v\n", s.title, s.got, s.want)
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d requests have unexpected outcomes", wrong, len(cases))
	}
	_, _ = fmt.Fprintf(out, "%d requests, each with exactly one final result, all as expected, in %s.\n", len(cases), took.Round(10*time.Millisecond))
	_, _ = fmt.Fprint(out, "\nNext: try it with the nats tool, as README.md shows, or run a worker: lethe run --help\n")
	return nil
}
