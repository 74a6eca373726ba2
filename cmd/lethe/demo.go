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

// demoPatience is how long the demo waits for what must come within seconds.
const demoPatience = 30 * time.Second

func newDemoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the main job: everything in one process, nothing to configure",
		Long: `Demo starts a NATS server, an imitation of both APIs and a worker in this process,
publishes one request of every kind and prints each result as it comes. Nothing
real is deleted, and what is written goes to a temporary directory that is
removed. It exits with 0 only if every result is as it must be.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return demo(cmd.Context(), cmd.OutOrStdout()) },
	}
}

// demo runs the demo. An interruption says nothing about its results.
func demo(ctx context.Context, out io.Writer) error {
	err := perform(ctx, out)
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

func perform(interrupted context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(interrupted, demoPatience)
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
	configs, err := newLanes(cfg, "demo", quiet)
	if err != nil {
		return err
	}
	work, stop := context.WithCancel(ctx)
	worker := make(chan error, 1)
	go func() { worker <- configs.start(js).run(work) }()
	defer func() {
		stop()
		if err := <-worker; err != nil {
			_, _ = fmt.Fprintln(out, "the worker ended with:", err)
		}
	}()

	scenes, err := demoScenes(apis)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "NATS at %s, both APIs imitated at %s, one worker. %d requests:\n\n", server.URL(), address, len(scenes))
	began := time.Now()
	for _, s := range scenes {
		if err := s.publish(ctx, js); err != nil {
			return err
		}
	}
	if err := followDemo(ctx, js, out, scenes); err != nil && ctx.Err() == nil {
		return err
	}
	if err := interrupted.Err(); err != nil {
		return err
	}
	return closeDemo(out, scenes, apis, time.Since(began))
}

// demoAPIs serves the sandbox on a port of its own.
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

// demoConfig is a worker's with waits that a person has the patience for.
func demoConfig(base string) *config.Config {
	calls := config.Calls{Concurrency: 8, Timeout: 5 * time.Second}
	return &config.Config{
		Stream: config.Stream{Replicas: 1}, ResultsMaxAge: 720 * time.Hour,
		KV:     config.KV{BaseURL: base, AccessKey: config.NewSecret(fakeapi.DefaultAccessKey), Calls: calls},
		Sensay: config.Sensay{BaseURL: base, OrganizationSecret: config.NewSecret(fakeapi.DefaultOrganizationSecret), APIVersion: "2025-03-25", Calls: calls},
		Retry: config.Retry{InitialInterval: 300 * time.Millisecond, Multiplier: 2, Randomization: 0.2,
			MaxInterval: time.Second, MaxElapsed: 2 * time.Second},
		ConfirmAfter: 1500 * time.Millisecond, ShutdownGrace: time.Second,
	}
}

// scene is one request of the demo and the outcomes that must come of it.
type scene struct {
	title   string
	request events.Request
	body    []byte
	want    []events.Outcome
	got     []events.Outcome
}

var demoReplica = uuid.MustParse("03db5651-cb61-4bdf-9ef0-89561f7c9c53")

// demoScenes are one request of every kind, with the imitated APIs prepared.
func demoScenes(apis *fakeapi.Server) ([]*scene, error) {
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

	var scenes []*scene
	add := func(title string, res events.Resource, want ...events.Outcome) {
		scenes = append(scenes, &scene{title: title, request: events.NewRequest("/demo", res), want: want})
	}
	add("user contexts", contexts(10, 11), events.Deleted)
	add("a knowledge-base entry", entry(1), events.Deleted)
	add("one that takes its time", entry(2), events.AcceptedPending, events.Deleted)
	add("one that never was", entry(3), events.NotFound)
	add("one the API refuses at first", entry(5), events.Deleted)
	add("one whose answer is lost", entry(6), events.Deleted)
	add("one the API never manages", entry(7), events.Failed)
	for _, s := range scenes {
		var err error
		if s.body, err = s.request.Encode(); err != nil {
			return nil, err
		}
	}
	wrong := &scene{title: "one that names no id", request: events.NewRequest("/demo", contexts()), want: []events.Outcome{events.Invalid}}
	wrong.body = fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/demo","type":%q,"data":{"target":"kv-user-context","ids":[]}}`,
		wrong.request.ID, events.RequestType)
	return append(scenes, wrong), nil
}

func (s *scene) publish(ctx context.Context, js jetstream.JetStream) error {
	msg := nats.NewMsg(events.RequestSubject(s.request.Target()))
	msg.Data = s.body
	msg.Header.Set("content-type", events.ContentType)
	msg.Header.Set(nats.MsgIdHdr, s.request.ID)
	if _, err := js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("publish %s: %w", s.title, err)
	}
	return nil
}

// done says whether the final result is there.
func (s *scene) done() bool { return len(s.got) > 0 && s.got[len(s.got)-1].Final() }

func (s *scene) well() bool { return fmt.Sprint(s.got) == fmt.Sprint(s.want) }

// followDemo prints results as they come, until all final ones are there.
func followDemo(ctx context.Context, js jetstream.JetStream, out io.Writer, scenes []*scene) error {
	byID := map[string]*scene{}
	for _, s := range scenes {
		byID[s.request.ID] = s
	}
	left := len(scenes)
	l := &resultReader{js: js, warn: out}
	return l.each(ctx, selection{subject: events.ResultFilter("", "", ""), follow: true}, func(r *storedResult) (bool, error) {
		s, ok := byID[r.RequestID]
		if !ok {
			return true, fmt.Errorf("a result came for %s, which nobody asked for", r.RequestID)
		}
		s.got = append(s.got, r.Outcome)
		if s.done() {
			left--
		}
		_, err := fmt.Fprintf(out, "  %-16s  %-28s  %-19s  %s\n", r.Outcome, s.title, shortResource(r.Resource), explanation(r.Result))
		return left > 0, err
	})
}

// shortResource is a resource without the replica, which is always the same here.
func shortResource(res events.Resource) string {
	if e, ok := res.(events.KnowledgeBaseEntry); ok {
		return fmt.Sprintf("entry %d", e.KnowledgeBaseID)
	}
	if res == nil {
		return "-"
	}
	return resourceText(res)
}

// closeDemo compares what came with what must come, and with what the imitated
// APIs say that they deleted.
func closeDemo(out io.Writer, scenes []*scene, apis *fakeapi.Server, took time.Duration) error {
	var deleted []string
	for _, d := range apis.Deleted() {
		deleted = append(deleted, strings.Replace(d.Entry.String(), demoReplica.String()+"/", "", 1))
	}
	calls := len(apis.Calls())
	_, _ = fmt.Fprintf(out, "\nThe APIs were called %d times and deleted %s.\n", calls, strings.Join(deleted, ", "))

	wrong := 0
	for _, s := range scenes {
		if !s.well() {
			wrong++
			_, _ = fmt.Fprintf(out, "WRONG: %s came out as %v, not as %v\n", s.title, s.got, s.want)
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d requests came out wrong", wrong, len(scenes))
	}
	_, _ = fmt.Fprintf(out, "%d requests, each with exactly one final result, all as they must be, in %s.\n", len(scenes), took.Round(10*time.Millisecond))
	return nil
}
