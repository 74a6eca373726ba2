package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/lethe-dev/lethe/events"
)

// haystack is all that a system shows, by where it shows it.
type haystack struct {
	mu     sync.Mutex
	places map[string]*bytes.Buffer
}

func (h *haystack) add(place string, text []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.places == nil {
		h.places = map[string]*bytes.Buffer{}
	}
	if h.places[place] == nil {
		h.places[place] = &bytes.Buffer{}
	}
	h.places[place].Write(text)
}

// find names the places that show a secret, in any of the ways that text is written.
func (h *haystack) find(secret string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []string
	for place, text := range h.places {
		for _, written := range spellings(secret) {
			if strings.Contains(strings.ToLower(text.String()), strings.ToLower(written)) {
				found = append(found, place)
				break
			}
		}
	}
	return found
}

// spellings are the ways in which an API may echo what it got.
func spellings(secret string) []string {
	inJSON, err := json.Marshal(secret)
	if err != nil {
		panic(err) // a string is always JSON
	}
	var percents, escapes string
	for _, c := range []byte(secret) {
		percents += fmt.Sprintf("%%%02x", c)
		escapes += fmt.Sprintf(`\u%04x`, c)
	}
	return []string{secret, url.QueryEscape(secret), url.PathEscape(secret), strings.Trim(string(inJSON), `"`), html.EscapeString(secret), percents, escapes}
}

// echoes are answers with the secret wherever an answer has room for it. Those of
// one API come in turn; all end a request sooner or later.
func echoes(secret string) []string {
	var all []string
	add := func(status, contentType, header, body string) {
		all = append(all, fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: %s\r\n%sConnection: close\r\nContent-Length: %d\r\n\r\n%s", status, contentType, header, len(body), body))
	}
	for _, s := range spellings(secret) {
		body := fmt.Sprintf(`{"success":false,"message":"%s","error":"no %s here","request_id":"%s","detail":[{"loc":["%s"],"msg":"%s"}]}`, s, s, s, s, s)
		add("422 Unprocessable Entity", "application/json", "", body)
		add("400 Bad Request", "application/json", "", body)
		add("503 "+secret, "text/html", "Retry-After: "+secret+"\r\n", "<h1>"+s+"</h1>")
	}
	add("401 "+secret, "application/json", "WWW-Authenticate: Bearer "+secret+"\r\n", `{"error":"`+secret+` is wrong"}`)
	add("429 Slow "+secret, "text/plain", "", secret)
	add("302 Found", "text/html", "Location: http://"+secret+"/\r\nSet-Cookie: a="+secret+"\r\n", secret)
	add("200 OK", "application/json", "X-Request-Id: "+secret+"\r\n", `{"success":true,"message":"`+secret+`"}`)
	add("200 OK", secret+"/"+secret, "", secret)
	all = append(all,
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"message\":\""+secret, // and no more
		"HTTP/1.1 200 OK\r\n"+secret+"\r\n\r\n",
		secret+"\r\n\r\n",
	)
	return all
}

// The API sends the credential back in every way, and all that Lethe shows
// anywhere is searched for it.
func TestTheCredentialsAreSeenNowhere(t *testing.T) {
	b := newBench(t)
	var shown haystack
	var mu sync.Mutex
	sent := map[string]int{} // each secret
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secret := r.Header.Get("access-key") + r.Header.Get("X-ORGANIZATION-SECRET")
		answers := echoes(secret)
		mu.Lock()
		answer := answers[sent[secret]%len(answers)]
		sent[secret]++
		mu.Unlock()
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, answer)
		_ = conn.Close()
	}))
	t.Cleanup(api.Close)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		shown.add("exported to "+r.URL.Path, body)
	}))
	t.Cleanup(collector.Close)

	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	if err := os.WriteFile(file, []byte(testSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := b.start("KV_BASE_URL="+api.URL, "SENSAY_BASE_URL="+api.URL, "SENSAY_ORGANIZATION_SECRET=", "SENSAY_ORGANIZATION_SECRET_FILE="+file,
		"OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_METRIC_EXPORT_INTERVAL=200",
		"RETRY_INITIAL_INTERVAL=5ms", "RETRY_MAX_INTERVAL=20ms", "RETRY_MAX_ELAPSED=3s")
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", w.Process.Pid))
	if err == nil { // Linux
		shown.add("the process's arguments", cmdline)
	}
	var requests []events.Request
	b.until("answers of every kind have come from both", func() bool {
		next := int64(len(requests) + 1)
		requests = append(requests, b.publish(entryOf(next)), b.publish(events.UserContexts{IDs: []int64{next}}))
		mu.Lock()
		defer mu.Unlock()
		return min(sent[testSecret], sent[testKey]) >= len(echoes(testSecret))
	})
	for _, r := range requests {
		b.final(r)
	}

	const changed = "another-secret-that-nobody-may-see"
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	b.until("the changed secret is used", func() bool {
		b.publish(entryOf(1))
		mu.Lock()
		defer mu.Unlock()
		return sent[changed] > 0
	})

	for _, page := range []string{"/metrics", "/readyz", "/healthz"} {
		response, err := http.Get(w.admin + page)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		shown.add(page, text)
	}
	for _, args := range [][]string{
		{"status"}, {"status", "--output", "json"}, {"results"}, {"results", "--output", "json"}, {"failed", "list"}, {"failed", "list", "--output", "json"},
		{"--help"}, {"run", "--help"}, {"setup", "--help"}, {"request", "--help"}, {"results", "--help"}, {"sandbox", "--help"},
	} {
		command := exec.Command("lethe", args...)
		command.Env = w.Env
		out, _ := command.CombinedOutput() // that a lane is held is not well, and not at issue
		shown.add("lethe "+strings.Join(args, " "), out)
	}
	for variable, value := range map[string]string{
		"LETHE_KV_ACCESS_KEY": testKey + "\nmore", "LETHE_KV_RATE": testKey, "LETHE_KV_BASE_URL": "https://" + testKey + ":" + testKey + "@api.example/",
		"LETHE_NATS_URL": "nats://" + testKey + "@127.0.0.1:1", "LETHE_KV_ACCESS_KEY_FILE": testKey,
	} {
		command := exec.Command("lethe", "status")
		command.Env = append(os.Environ(), variable+"="+value)
		out, err := command.CombinedOutput()
		if err == nil {
			t.Errorf("%s of the test is taken", variable)
		}
		if variable != "LETHE_KV_RATE" { // no place for a secret: what stands there is named
			shown.add("the error of "+variable, out)
		}
	}
	for _, name := range []string{events.StreamRequests, events.StreamResults, events.StreamLater} {
		stream, err := b.js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
			msg, err := stream.GetMsg(t.Context(), seq)
			if err != nil {
				continue // answered
			}
			header, err := json.Marshal(msg.Header)
			if err != nil {
				t.Fatal(err)
			}
			shown.add("the stream "+name, header)
			shown.add("the stream "+name, msg.Data)
		}
	}
	b.until("spans and metrics are exported", func() bool {
		shown.mu.Lock()
		defer shown.mu.Unlock()
		return shown.places["exported to /v1/traces"] != nil && shown.places["exported to /v1/metrics"] != nil
	})
	// The dump of all goroutines, which a panic prints too.
	if err := w.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	_ = w.Wait()
	shown.add("what the process writes", []byte(w.output()))

	if !strings.Contains(shown.places["what the process writes"].String(), "goroutine ") {
		t.Error("there is no dump")
	}
	if results := shown.places["the stream "+events.StreamResults].String(); !strings.Contains(results, "[redacted]") {
		t.Error("the echo did not arrive, so that nothing was tested")
	}
	for _, secret := range []string{testKey, testSecret, changed} {
		if sent[secret] == 0 {
			t.Errorf("%s was never sent", secret)
		}
		if where := shown.find(secret); len(where) > 0 {
			t.Errorf("%s is seen in %q", secret, where)
		}
	}
	// The search itself finds each way of writing.
	for _, written := range spellings(`s"ecr&t /that`) {
		var h haystack
		h.add("here", []byte("x"+written+"y"))
		if len(h.find(`s"ecr&t /that`)) != 1 {
			t.Errorf("%s is not found", written)
		}
	}
}
