package deleter

import (
	"crypto/tls"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

func TestACallThatComesTooLateIsNotMade(t *testing.T) {
	for name, secured := range map[string]bool{"in the clear": false, "over TLS": true} {
		for name2, used := range map[string]bool{"on a new connection": false, "on a kept one": true} {
			t.Run(name+" "+name2, func(t *testing.T) {
				var requests atomic.Int32
				handler := func(w http.ResponseWriter, r *http.Request) {
					requests.Add(1)
					if r.ProtoMajor != 1 {
						t.Errorf("spoke %s", r.Proto)
					}
				}
				var client *Client
				if secured {
					client, _ = secure(t, handler)
					client.pool.ForceAttemptHTTP2 = false
					client.pool.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
				} else {
					client = newTestClient(t, serve(t, handler))
				}
				var before int32
				if used {
					before = 1
					if got := call(t, client); got.Verdict != Deleted {
						t.Fatalf("%+v", got)
					}
				}

				got := callBy(t, client, time.Now().Add(-time.Second))
				if got.Verdict != Retry || got.MayHaveDeleted || got.Message != errTooLate.Error() || requests.Load() != before {
					t.Errorf("too late: %+v, %d requests", got, requests.Load())
				}
				if got := callBy(t, client, time.Now().Add(time.Hour)); got.Verdict != Deleted || requests.Load() != before+1 {
					t.Errorf("in time: %+v, %d requests", got, requests.Load())
				}
			})
		}
	}
}

// Its frames may be on their way already, so nothing is claimed.
func TestACallThatComesTooLateOnHTTP2IsBrokenOff(t *testing.T) {
	client, _ := secure(t, func(http.ResponseWriter, *http.Request) {})
	if got := call(t, client); got.Verdict != Deleted {
		t.Fatalf("%+v", got)
	}
	if got := callBy(t, client, time.Now().Add(-time.Second)); got.Verdict != Retry || !got.MayHaveDeleted {
		t.Errorf("%+v", got)
	}
}

// The limit is for the beginning: what was begun in time may take longer.
func TestACallThatBeganInTimeIsNotCut(t *testing.T) {
	arrived, last := make(chan struct{}), time.Now().Add(50*time.Millisecond)
	client := newTestClient(t, serve(t, func(http.ResponseWriter, *http.Request) {
		close(arrived)
		time.Sleep(time.Until(last) + 10*time.Millisecond)
	}))
	got := callBy(t, client, last)
	select {
	case <-arrived:
		if got.Verdict != Deleted {
			t.Errorf("%+v", got)
		}
	default: // a machine that slow proves nothing
		t.Skipf("the call did not begin in time: %+v", got)
	}
}

func callBy(t *testing.T, c *Client, at time.Time) Answer {
	t.Helper()
	return c.Call(StartBy(t.Context(), at), http.MethodDelete, "/thing", nil, []byte("{}"), func(Response) Answer { return Answer{Verdict: Deleted} })
}
