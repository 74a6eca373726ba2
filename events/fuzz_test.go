package events

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wantKnown checks that a reader's error is printable and has a known code.
func wantKnown(t *testing.T, err error) {
	t.Helper()
	problem, ok := errors.AsType[*InvalidError](err)
	if !ok {
		t.Fatalf("%T is not an InvalidError", err)
	}
	if problem.Code.Outcome() != Invalid {
		t.Errorf("the code is %q", problem.Code)
	}
	wantPrintable(t, err.Error())
}

// wantSame checks that a request is unchanged after encoding and reading.
func wantSame(t *testing.T, want Request) {
	t.Helper()
	text, err := want.Encode()
	if err != nil {
		// Only a request of nearly 64 KiB can become too large when it is encoded.
		if len(want.Source) < MaxEventBytes/2 {
			t.Fatal(err)
		}
		return
	}
	got, err := ReadRequest(want.Target(), nil, text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if Fingerprint(got.Resource) != Fingerprint(want.Resource) {
		t.Error("the fingerprint changed")
	}
}

// wantUnnamed checks that the id returned with an error is valid in a subject, or empty.
func wantUnnamed(t *testing.T, r Request) {
	t.Helper()
	if r.ID != "" && checkID("id", r.ID) != nil || r.Source != "" && checkSource("source", r.Source) != nil || r.Resource != nil {
		t.Errorf("a refused request is %+v", r)
	}
}

func FuzzReadRequestStructured(f *testing.F) {
	for _, test := range accepted {
		f.Add([]byte(test.body))
	}
	for _, test := range refused {
		if len(test.body) < 1000 {
			f.Add([]byte(test.body))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		given := slices.Clone(body)
		for _, target := range Targets() {
			r, err := ReadRequest(target, nil, body)
			if err != nil {
				wantKnown(t, err)
				wantUnnamed(t, r)
				continue
			}
			wantSame(t, r)
			if strings.Count(string(body), `"id"`) == 1 && !strings.Contains(string(body), r.ID) && !strings.Contains(string(body), `\u`) {
				t.Errorf("the id %q does not come from the body", r.ID)
			}
		}
		if !slices.Equal(given, body) {
			t.Error("the body was changed")
		}
	})
}

func FuzzReadRequestBinary(f *testing.F) {
	f.Add("req-1", "/crm", RequestType, "2026-11-23T12:00:00Z", "application/json", "ce-tenant", "a", []byte(kvBody))
	f.Add("%72eq", `"/c\rm"`, RequestType, "", "text/plain", "CE-ID", "req-2", []byte(`{"target":"kv-user-context","ids":[1,1]}`))
	f.Add("seq-1", "%zz", "x", "noon", "application/cloudevents+json", "ce-", "%C0%A0", []byte(kvEvent))
	f.Fuzz(func(t *testing.T, id, source, eventType, time, contentType, name, value string, body []byte) {
		header := map[string][]string{
			"ce-specversion": {"1.0"}, "ce-id": {id}, "ce-source": {source}, "ce-type": {eventType},
			"ce-time": {time}, "content-type": {contentType}, name: {value},
		}
		if time == "" {
			delete(header, "ce-time")
		}
		for _, target := range Targets() {
			r, err := ReadRequest(target, header, body)
			if err != nil {
				wantKnown(t, err)
				wantUnnamed(t, r)
				continue
			}
			wantSame(t, r)
		}
		if a, b := RawFingerprint(header, body), RawFingerprint(header, body); a != b {
			t.Error("the same message has two fingerprints")
		}
	})
}

func FuzzReadResult(f *testing.F) {
	for _, r := range everyResult() {
		text, err := r.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ReadResult(nil, body)
		if err != nil {
			wantKnown(t, err)
			return
		}
		text, err := r.Encode()
		if r.Error != nil && r.Error.Code.Outcome() == "" {
			wantKnown(t, err) // codes of newer versions can be read but not encoded
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		// Encode makes foreign text printable, so the test compares encoded texts.
		again, err := ReadResult(nil, text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(text), string(must(again.Encode()))); diff != "" {
			t.Error(diff)
		}
	})
}

func must(text []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return text
}
