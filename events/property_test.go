package events

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func anyUserContexts() *rapid.Generator[UserContexts] {
	return rapid.Map(rapid.SliceOfNDistinct(rapid.Int64Min(1), 1, MaxIDs, rapid.ID), func(ids []int64) UserContexts {
		return UserContexts{IDs: ids}
	})
}

func anyEntry() *rapid.Generator[KnowledgeBaseEntry] {
	return rapid.Custom(func(t *rapid.T) KnowledgeBaseEntry {
		id, _ := uuid.FromBytes(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))
		id[15] |= 1 // not the nil UUID
		return KnowledgeBaseEntry{ReplicaUUID: id, KnowledgeBaseID: rapid.Int64Min(1).Draw(t, "id")}
	})
}

func anyResource() *rapid.Generator[Resource] {
	return rapid.OneOf(
		rapid.Map(anyUserContexts(), func(u UserContexts) Resource { return u }),
		rapid.Map(anyEntry(), func(k KnowledgeBaseEntry) Resource { return k }),
	)
}

func anyID() *rapid.Generator[string] {
	return rapid.StringMatching(`[A-Za-z0-9_-]{1,64}`).Filter(func(id string) bool { return !reservedID(id) })
}

func anySource() *rapid.Generator[string] {
	return rapid.StringMatching(`(https://[a-z]{1,9})?(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}){1,9}){1,3}(\?[a-z=]{0,5})?(#[a-z]{0,5})?`)
}

func anyTime() *rapid.Generator[time.Time] {
	return rapid.Map(rapid.Int64Range(-60_000_000_000, 250_000_000_000), func(seconds int64) time.Time {
		return time.Unix(seconds, seconds&0xfffffff).UTC()
	})
}

func anyRequest() *rapid.Generator[Request] {
	return rapid.Custom(func(t *rapid.T) Request {
		return Request{
			ID: anyID().Draw(t, "id"), Source: anySource().Draw(t, "source"), Time: anyTime().Draw(t, "time"),
			Resource:    anyResource().Draw(t, "resource"),
			TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			TraceState:  rapid.StringMatching(`([a-z]{1,5}=[!-+.-<>-~]{1,9})?`).Draw(t, "tracestate"),
		}
	})
}

func TestRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyRequest().Draw(t, "request")
		text, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadRequest(want.Target(), map[string][]string{"Content-Type": {ContentType}}, text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestResultRoundTripOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.Rune().Filter(func(r rune) bool { return printable(string(r), 9) == string(r) }), 0, 200, 900)
		outcome := rapid.SampledFrom(Outcomes()).Draw(t, "outcome")
		want := Result{
			EventID: anyID().Draw(t, "event"), Source: anySource().Draw(t, "source"), Time: anyTime().Draw(t, "time"),
			RequestID: anyID().Draw(t, "request"), RequestSource: anySource().Draw(t, "request source"),
			Resource: anyResource().Draw(t, "resource"),
			Outcome:  outcome, Attempts: rapid.IntRange(1, 1000).Draw(t, "attempts"),
			Evidence: &Evidence{
				Status: rapid.IntRange(100, 599).Draw(t, "status"), Message: text.Draw(t, "message"),
				APIRequestID: text.Draw(t, "api request"), ObservedAt: anyTime().Draw(t, "observed"),
				CallID: text.Draw(t, "call"), CallRequests: rapid.IntRange(0, 100).Draw(t, "requests"),
				AfterUnansweredAttempt: rapid.Bool().Draw(t, "unanswered"),
			},
		}
		want.Target = want.Resource.Target()
		if outcome == AcceptedPending {
			want.ExpectedBy = anyTime().Draw(t, "expected")
		}
		codes := slices.DeleteFunc(Codes(), func(c Code) bool { return c.Outcome() != outcome })
		if len(codes) > 0 {
			want.Error = &ResultError{Code: rapid.SampledFrom(codes).Draw(t, "code"), Message: text.Draw(t, "error")}
		}
		body, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadResult(nil, body)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestFingerprintNamesTheResource(t *testing.T) {
	t.Run("the order of ids does not matter", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			u := anyUserContexts().Draw(t, "contexts")
			given := slices.Clone(u.IDs)
			shuffled := UserContexts{IDs: rapid.Permutation(u.IDs).Draw(t, "shuffled")}
			if Fingerprint(u) != Fingerprint(shuffled) {
				t.Fatalf("%v and %v differ", u, shuffled)
			}
			if !slices.Equal(given, u.IDs) {
				t.Fatal("the ids themselves were sorted")
			}
		})
	})
	t.Run("the case of the UUID does not matter", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			written := anyEntry().Draw(t, "entry").ReplicaUUID.String()
			var prints []string
			for _, spelling := range []string{written, strings.ToUpper(written)} {
				body := in(sensayEvent, "03db5651-cb61-4bdf-9ef0-89561f7c9c53", spelling)
				r, err := ReadRequest(SensayKnowledgeBase, nil, []byte(body))
				if err != nil {
					t.Fatal(err)
				}
				prints = append(prints, Fingerprint(r.Resource))
			}
			if prints[0] != prints[1] {
				t.Fatal("they differ")
			}
		})
	})
	t.Run("different resources have different fingerprints", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			a, b := anyResource().Draw(t, "a"), anyResource().Draw(t, "b")
			if same := sorted(a) == sorted(b); same != (Fingerprint(a) == Fingerprint(b)) {
				t.Fatalf("%v and %v", a, b)
			}
		})
	})
	t.Run("a release does not change it", func(t *testing.T) {
		for res, want := range map[*Resource]string{
			&kvRequest.Resource:     "98911ccaabac0009",
			&sensayRequest.Resource: "1b2778aec6ee5aa0",
		} {
			if got := Fingerprint(*res); len(got) != 64 || !strings.HasPrefix(got, want) {
				t.Errorf("%v: got %s, want %s…", *res, got, want)
			}
		}
	})
}

func sorted(res Resource) string {
	if u, ok := res.(UserContexts); ok {
		res = UserContexts{IDs: slices.Sorted(slices.Values(u.IDs))}
	}
	return fmt.Sprintf("%T %v", res, res)
}
