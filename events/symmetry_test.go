package events

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// maybeInvalid draws a request that may violate up to two rules.
func maybeInvalid() *rapid.Generator[Request] {
	ids := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(-1, 3), rapid.Int64()), 0, 102)
	return rapid.Custom(func(t *rapid.T) Request {
		r := anyRequest().Draw(t, "request")
		for range rapid.IntRange(0, 2).Draw(t, "faults") {
			switch rapid.IntRange(0, 7).Draw(t, "fault") {
			case 0:
				r.ID = rapid.OneOf(rapid.StringN(0, 70, 70), rapid.StringMatching(`seq-[0-9a]{0,3}`)).Draw(t, "id")
			case 1:
				r.Source = rapid.OneOf(rapid.String(), rapid.StringMatching(`/[a-z% :#\[]{0,9}`), rapid.Just("/"+strings.Repeat("a", 2048))).Draw(t, "source")
			case 2:
				r.Time = time.Unix(rapid.Int64Range(-70_000_000_000, 260_000_000_000).Draw(t, "time"), 0).
					In(time.FixedZone("", rapid.IntRange(-50_000, 50_000).Draw(t, "zone")))
			case 3:
				r.Resource = UserContexts{IDs: ids.Draw(t, "ids")}
			case 4:
				entry := anyEntry().Draw(t, "entry")
				entry.KnowledgeBaseID = rapid.Int64Range(-1, 1).Draw(t, "number")
				r.Resource = entry
			case 5:
				r.Resource = KnowledgeBaseEntry{KnowledgeBaseID: 1} // without the UUID
			case 6:
				r.TraceParent, r.TraceState = rapid.String().Draw(t, "parent"), rapid.String().Draw(t, "state")
			default:
				r.Resource = nil
			}
		}
		return r
	})
}

// Encode must refuse what ReadRequest refuses. Otherwise it would write invalid requests.
func TestEncodeRefusesWhatReadRequestRefuses(t *testing.T) {
	written := 0
	rapid.Check(t, func(t *rapid.T) {
		r := maybeInvalid().Draw(t, "any request")
		text, err := r.Encode()
		if err != nil {
			wantKnownError(t, err)
			return
		}
		written++
		got, err := ReadRequest(r.Target(), map[string][]string{"content-type": {ContentType}}, text)
		if err != nil {
			t.Fatalf("Encode wrote it, ReadRequest refuses it: %v", err)
		}
		if !got.Time.Equal(r.Time) || got.ID != r.ID || got.Source != r.Source || Fingerprint(got.Resource) != Fingerprint(r.Resource) {
			t.Fatalf("written as %+v and read as %+v", r, got)
		}
		if r.Resource.Validate() != nil {
			t.Fatal("Encode wrote an invalid resource")
		}
	})
	if written == 0 {
		t.Error("nothing was written")
	}
}

// ReadRequest must refuse what Encode refuses. The request is written without Encode's checks.
func TestReadRequestRefusesWhatEncodeRefuses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := maybeInvalid().Draw(t, "any request")
		if r.Resource == nil || strings.ContainsFunc(r.ID+r.Source, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
			t.Skip()
		}
		_, err := r.Encode()
		data := fmt.Sprintf(`{"target":"kv-user-context","ids":%s}`, strings.ReplaceAll(fmt.Sprint(r.Resource.fields().IDs), " ", ","))
		if r.Target() == SensayKnowledgeBase {
			f := r.Resource.fields()
			data = fmt.Sprintf(`{"target":"sensay-knowledge-base","replica_uuid":%q,"knowledge_base_id":%d}`, f.ReplicaUUID, f.KnowledgeBaseID)
		}
		body := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":%q,"type":%q,"time":%q,"data":%s}`,
			r.ID, r.Source, RequestType, r.Time.UTC().Format(time.RFC3339Nano), data)
		if _, read := ReadRequest(r.Target(), nil, []byte(body)); (read == nil) != (err == nil) {
			t.Fatalf("%s\nEncode: %v, ReadRequest: %v", body, err, read)
		}
	})
}

func wantKnownError(t *rapid.T, err error) {
	if problem, ok := errors.AsType[*InvalidError](err); !ok || problem.Code.Outcome() != Invalid {
		t.Fatalf("%T is not an InvalidError with a known code", err)
	}
}
