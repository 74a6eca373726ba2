package deleter

import (
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"golang.org/x/net/http2"
)

// RFC 9113, sections 6.8 and 8.7: only these prove that the server did nothing.
func TestARefusedStreamIsRepeatedImmediately(t *testing.T) {
	errClose := errors.New("close the connection")
	for name, c := range map[string]struct {
		first  int32 // the request that is refused first
		refuse func(framed) error
	}{
		"a refused stream":                           {1, func(f framed) error { return f.WriteRSTStream(f.stream, http2.ErrCodeRefusedStream) }},
		"a refused stream on a used connection":      {2, func(f framed) error { return f.WriteRSTStream(f.stream, http2.ErrCodeRefusedStream) }},
		"a goodbye to the first stream":              {1, func(f framed) error { return f.WriteGoAway(0, http2.ErrCodeNo, nil) }},
		"a goodbye with an error, and an end":        {1, func(f framed) error { _ = f.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, nil); return errClose }},
		"a goodbye with an error":                    {1, func(f framed) error { return f.WriteGoAway(0, http2.ErrCodeInternal, []byte("x")) }},
		"a goodbye with an unknown error":            {1, func(f framed) error { return f.WriteGoAway(0, 77, nil) }},
		"a goodbye to a later stream":                {2, func(f framed) error { return f.WriteGoAway(f.stream-2, http2.ErrCodeNo, nil) }},
		"a goodbye to a later stream, with an error": {2, func(f framed) error { return f.WriteGoAway(f.stream-2, http2.ErrCodeInternal, nil) }},
		"a goodbye in two steps": {2, func(f framed) error {
			return errors.Join(f.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil), f.WriteGoAway(f.stream-2, http2.ErrCodeNo, nil))
		}},
	} {
		for _, times := range []int32{1, 3, 4} {
			for _, body := range []string{"", `{"ids":[1]}`} {
				var requests, refused atomic.Int32
				client := newHTTP2Client(t, serveFrames(t, &requests, func(f framed) error {
					if f.stream > 1 && c.first > 1 || f.nth >= c.first && c.first == 1 {
						if refused.Add(1) <= times {
							return c.refuse(f)
						}
					}
					return f.headers("404", true)
				}))
				notFound := func(Response) Answer { return Answer{Verdict: NotFound} }
				ask := func() Answer {
					return client.Call(t.Context(), http.MethodDelete, "/thing", nil, []byte(body), notFound)
				}
				if c.first > 1 {
					ask()
				}
				got := ask()
				switch {
				case got.MayHaveDeleted:
					t.Errorf("%s, %d times: may have deleted: %+v", name, times, got)
				case c.first == 1 && times > 3 && (got.Verdict != Retry || got.Message != errRefused.Error() || requests.Load() != 4):
					t.Errorf("%s, %d times: %+v after %d requests", name, times, got, requests.Load())
				case c.first == 1 && times <= 3 && (got.Verdict != NotFound || requests.Load() != times+1):
					t.Errorf("%s, %d times: %+v after %d requests", name, times, got, requests.Load())
				case c.first > 1 && times == 1 && got.Verdict != NotFound:
					t.Errorf("%s: %+v after %d requests", name, got, requests.Load())
				}
			}
		}
	}
}

// The start deadline may pass while a server refuses.
func TestARefusedStreamIsNotRepeatedAfterTheStartDeadline(t *testing.T) {
	var requests atomic.Int32
	var by time.Time
	client := newHTTP2Client(t, serveFrames(t, &requests, func(f framed) error {
		time.Sleep(time.Until(by) + time.Millisecond)
		return f.WriteRSTStream(f.stream, http2.ErrCodeRefusedStream)
	}))
	by = time.Now().Add(100 * time.Millisecond)
	if got := callBy(t, client, by); got.Verdict != Retry || got.MayHaveDeleted || requests.Load() > 1 {
		t.Errorf("%+v after %d requests", got, requests.Load())
	}
}

// A server that recycles its connections sends GOAWAY while calls are in flight. Each call
// arrives once, and no answer says that the call may have deleted.
func TestAServerThatRecyclesItsConnectionsAnswersEachCallOnce(t *testing.T) {
	const calls, callers = 600, 40
	var requests atomic.Int32
	client, _ := secure(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1)%50 == 0 {
			w.Header().Set("Connection", "close")
		}
		w.WriteHeader(http.StatusNotFound)
	})
	client.Timeout = time.Minute
	var working sync.WaitGroup
	var unanswered atomic.Int32
	for range callers {
		working.Go(func() {
			for range calls / callers {
				got := client.Call(t.Context(), http.MethodDelete, "/thing", nil, nil, func(Response) Answer { return Answer{Verdict: NotFound} })
				switch {
				case got.MayHaveDeleted:
					t.Errorf("%+v", got)
				case got.Verdict != NotFound: // refused too often
					unanswered.Add(1)
				}
			}
		})
	}
	working.Wait()
	if n := requests.Load() + unanswered.Load(); n != calls {
		t.Errorf("%d requests arrived and %d did not, of %d calls", requests.Load(), unanswered.Load(), calls)
	}
}

func TestTheSpanOfACallSaysWhereAndWhetherItWasSentBefore(t *testing.T) {
	spans := traced(t)
	var requests atomic.Int32
	client := newHTTP2Client(t, serveFrames(t, &requests, func(f framed) error {
		if f.nth < 3 {
			return f.WriteRSTStream(f.stream, http2.ErrCodeRefusedStream)
		}
		return f.headers("404", true)
	}))
	client.Call(t.Context(), http.MethodDelete, "/thing", nil, nil, func(Response) Answer { return Answer{Verdict: NotFound} })
	var resends []int64
	for _, span := range spans.GetSpans() {
		of := attribute.NewSet(span.Attributes...)
		count, _ := of.Value("http.request.resend_count")
		resends = append(resends, count.AsInt64())
		address, _ := of.Value("server.address")
		if _, port := of.Value("server.port"); address.AsString() != client.BaseURL.Hostname() || !port {
			t.Errorf("the span's attributes are %v", span.Attributes)
		}
	}
	if want := []int64{0, 1, 2}; !slices.Equal(resends, want) {
		t.Errorf("the spans count %v resends, want %v", resends, want)
	}
}
