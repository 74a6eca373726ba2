package events

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The SDK is an independent reader and writer of CloudEvents. Only tests import it.

func TestTheCloudEventsSDKReadsWhatIsWritten(t *testing.T) {
	t.Run("requests", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			r := requestForSDK(t)
			text, err := r.Encode()
			if err != nil {
				t.Fatal(err)
			}
			e := readWithSDK(t, text)
			want := attributes{ID: r.ID, Source: r.Source, Type: RequestType, Time: r.Time, TraceParent: r.TraceParent}
			if diff := cmp.Diff(want, attributesOf(e)); diff != "" {
				t.Fatal(diff)
			}
		})
	})
	for name, r := range everyResult() {
		t.Run("a result: "+name, func(t *testing.T) {
			text, err := r.Encode()
			if err != nil {
				t.Fatal(err)
			}
			e := readWithSDK(t, text)
			want := attributes{ID: r.EventID, Source: r.Source, Type: r.Outcome.EventType(), Subject: r.RequestID, Time: r.Time}
			if diff := cmp.Diff(want, attributesOf(e)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEventsOfTheCloudEventsSDKAreRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := requestForSDK(t)
		e := event.New()
		e.SetID(want.ID)
		e.SetSource(want.Source)
		e.SetType(RequestType)
		e.SetTime(want.Time)
		e.SetExtension("traceparent", want.TraceParent)
		if want.TraceState != "" {
			e.SetExtension("tracestate", want.TraceState)
		}
		if err := e.SetData(event.ApplicationJSON, &requestData{want.Target(), want.Resource.fields()}); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadRequest(want.Target(), map[string][]string{"content-type": {event.ApplicationCloudEventsJSON}}, text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// requestForSDK draws a request whose source the SDK keeps: it drops an empty fragment.
func requestForSDK(t *rapid.T) Request {
	r := anyRequest().Draw(t, "request")
	r.Source = strings.TrimSuffix(r.Source, "#")
	return r
}

// attributes are those that Lethe writes.
type attributes struct {
	ID, Source, Type, Subject, TraceParent string
	Time                                   time.Time
}

func attributesOf(e event.Event) attributes {
	parent, _ := e.Extensions()["traceparent"].(string)
	return attributes{e.ID(), e.Source(), e.Type(), e.Subject(), parent, e.Time()}
}

func readWithSDK(t rapid.TB, text []byte) event.Event {
	t.Helper()
	var e event.Event
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	if e.SpecVersion() != event.CloudEventsVersionV1 || e.DataContentType() != event.ApplicationJSON || !json.Valid(e.Data()) {
		t.Fatalf("version %s, data of type %s: %s", e.SpecVersion(), e.DataContentType(), e.Data())
	}
	return e
}
