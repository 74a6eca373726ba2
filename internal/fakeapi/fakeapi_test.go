package fakeapi_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/lethe-dev/lethe/internal/fakeapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	kvDelete   = "/api/user_context/delete"
	replica    = "03db5651-cb61-4bdf-9ef0-89561f7c9c53"
	jsonType   = "application/json"
	accessKey  = fakeapi.DefaultAccessKey
	orgSecret  = fakeapi.DefaultOrganizationSecret
	sensayBase = "/v1/replicas/" + replica + "/knowledge-base/"
)

func sensayEntry(id int64) fakeapi.Entry {
	return fakeapi.KnowledgeBaseEntry(uuid.MustParse(replica), id)
}

// serve starts a server and returns it with its address.
func serve(t testing.TB, config fakeapi.Config) (*fakeapi.Server, string) {
	t.Helper()
	s := fakeapi.New(config)
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		_ = s.Close()
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return s, server.URL
}

// ask sends one request; headers are pairs of name and value. Reading an answer that was cut is an error.
func ask(t testing.TB, method, url, body string, headers ...string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	return resp, string(got), err
}

func deleteContexts(t testing.TB, base, body string) (*http.Response, string, error) {
	t.Helper()
	return ask(t, http.MethodDelete, base+kvDelete, body, "access-key", accessKey, "Content-Type", jsonType)
}

func deleteEntry(t testing.TB, base string, id int64) (*http.Response, string, error) {
	t.Helper()
	return ask(t, http.MethodDelete, fmt.Sprint(base, sensayBase, id), "", "X-ORGANIZATION-SECRET", orgSecret)
}

// status is the status of an answer, 0 without one.
func status(resp *http.Response) int {
	if resp == nil {
		return 0
	}
	return resp.StatusCode
}

func want[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func state(t testing.TB, s *fakeapi.Server, e fakeapi.Entry) fakeapi.State {
	t.Helper()
	got, err := s.Entry(e)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func last(t testing.TB, s *fakeapi.Server) fakeapi.Call {
	t.Helper()
	calls := s.Calls()
	if len(calls) == 0 {
		t.Fatal("no call was recorded")
	}
	return calls[len(calls)-1]
}
