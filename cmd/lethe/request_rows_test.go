package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lethe-dev/lethe/events"
)

// readRows reads a file's text as requests and errors.
func readRows(t testing.TB, format, text string) (requests []events.Request, wrong []string) {
	t.Helper()
	names := namer{source: "/test", seen: map[[16]byte]int{}}
	next, err := ndjsonRows(strings.NewReader(text), names), error(nil)
	if format == "csv" {
		next, err = csvRows(strings.NewReader(text), names)
	}
	if err != nil {
		return nil, []string{err.Error()}
	}
	for {
		r, err := next()
		var row *rowError
		switch {
		case errors.Is(err, io.EOF):
			return requests, wrong
		case errors.As(err, &row):
			wrong = append(wrong, row.Error())
		case err != nil:
			return requests, append(wrong, err.Error())
		default:
			requests = append(requests, r)
		}
	}
}

const head = "target,ids,replica_uuid,knowledge_base_id,id,source\n"

func TestRows(t *testing.T) {
	for _, c := range []struct {
		name, format, text string
		good               int
		wrong              string // in the only error, "" for none
	}{
		{"contexts with spaces or semicolons between", "csv", head + "kv-user-context,1 2;3,,,,\n", 1, ""},
		{"the largest id", "csv", head + "kv-user-context,9223372036854775807,,,,\n", 1, ""},
		{"an id that is too large", "csv", head + "kv-user-context,9223372036854775808,,,,\n", 0, "line 2: ids"},
		{"an entry", "csv", head + "sensay-knowledge-base,,03DB5651-cb61-4bdf-9ef0-89561f7c9c53,5,own-id,/crm\n", 1, ""},
		{"a byte order mark", "csv", "\ufeff" + head + "kv-user-context,1,,,,\n", 1, ""},
		{"columns in any order", "csv", "ids,target\n1,kv-user-context\n", 1, ""},
		{"a column that nobody knows", "csv", "target,idz\n", 0, `unknown CSV column "idz"`},
		{"no header", "csv", "", 0, "no CSV header"},
		{"a row with too few fields goes by", "csv", head + "kv-user-context,1\nkv-user-context,1,,,,\n", 1, "line 2"},
		{"no ids", "csv", head + "kv-user-context,,,,,\n", 0, "line 2: data.ids"},
		{"a repeated id", "csv", head + "kv-user-context,1 1,,,,\n", 0, "line 2: data.ids"},
		{"no UUID", "csv", head + "sensay-knowledge-base,,../../x,5,,\n", 0, "line 2: replica_uuid"},
		{"no target", "csv", head + ",1,,,,\n", 0, "line 2: target"},

		{"what would be the data", "ndjson", `{"target":"kv-user-context","ids":[1]}`, 1, ""},
		{"blank lines", "ndjson", "\n\n" + `{"target":"kv-user-context","ids":[1]}` + "\n\n", 1, ""},
		{"an entry with its own id", "ndjson", `{"target":"sensay-knowledge-base","replica_uuid":"03db5651-cb61-4bdf-9ef0-89561f7c9c53","knowledge_base_id":5,"id":"x"}`, 1, ""},
		{"a whole event", "ndjson", `{"specversion":"1.0","id":"e","source":"/s","type":"lethe.deletion.requested.v1","data":{"target":"kv-user-context","ids":[1]}}`, 1, ""},
		{"a whole event that breaks a rule", "ndjson", `{"specversion":"1.0","id":"e","source":"/s","type":"lethe.deletion.requested.v1","data":{"target":"kv-user-context","ids":[0]}}`, 0, "line 1: data.ids[0]"},
		{"an unknown field", "ndjson", `{"target":"kv-user-context","ids":[1],"force":true}`, 0, "line 1: is no request"},
		{"a repeated field", "ndjson", `{"target":"kv-user-context","ids":[1],"ids":[2]}`, 0, "line 1: is no request"},
		{"not JSON", "ndjson", "hello\n" + `{"target":"kv-user-context","ids":[1]}`, 1, "line 1: is no request"},
		{"a line that is too long goes by", "ndjson", strings.Repeat("x", 3*maxLine) + "\n" + `{"target":"kv-user-context","ids":[1]}`, 1, "line 1: is over"},
		{"an id as a fraction", "ndjson", `{"target":"kv-user-context","ids":[1.0]}`, 0, "line 1: is no request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			requests, wrong := readRows(t, c.format, c.text)
			if len(requests) != c.good {
				t.Errorf("%d requests, want %d", len(requests), c.good)
			}
			if all := strings.Join(wrong, "\n"); (c.wrong == "") != (all == "") || !strings.Contains(all, c.wrong) || len(wrong) > 1 {
				t.Errorf("wrong: %q, want %q", all, c.wrong)
			}
			for _, r := range requests {
				if _, err := r.Encode(); err != nil {
					t.Errorf("%+v cannot be published: %v", r, err)
				}
			}
		})
	}
}

func TestARowHasItsIDAgainWhenTheFileIsReadAgain(t *testing.T) {
	const text = head + "kv-user-context,1 2,,,,\nkv-user-context,2 1,,,,\nkv-user-context,3,,,,\nkv-user-context,3,,,own,\n"
	first, _ := readRows(t, "csv", text)
	again, _ := readRows(t, "csv", text)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("(-first +again):\n%s", diff)
	}
	seen := map[string]bool{}
	for _, r := range first {
		if seen[r.ID] {
			t.Errorf("%s names two rows", r.ID)
		}
		seen[r.ID] = true
	}
	if first[3].ID != "own" {
		t.Errorf("a row's own id became %s", first[3].ID)
	}
}

func FuzzNDJSON(f *testing.F) {
	f.Add(`{"target":"kv-user-context","ids":[1]}`)
	f.Add(`{"specversion":"1.0","id":"e","source":"/s","type":"lethe.deletion.requested.v1","data":{"target":"kv-user-context","ids":[1]}}`)
	f.Add("\n\x00\n{")
	f.Fuzz(func(t *testing.T, text string) { fuzzRows(t, "ndjson", text) })
}

func FuzzCSV(f *testing.F) {
	f.Add(head + "kv-user-context,1 2,,,,\n")
	f.Add(head + "sensay-knowledge-base,,03db5651-cb61-4bdf-9ef0-89561f7c9c53,5,x,/s\n\"")
	f.Fuzz(func(t *testing.T, text string) { fuzzRows(t, "csv", text) })
}

// fuzzRows: whatever a file holds, each row is a request with a valid resource
// or an error on one line.
func fuzzRows(t *testing.T, format, text string) {
	requests, wrong := readRows(t, format, text)
	for _, r := range requests {
		if err := r.Resource.Validate(); err != nil || r.ID == "" || r.Source == "" {
			t.Errorf("%+v: %v", r, err)
		}
	}
	for _, w := range wrong {
		if w == "" {
			t.Error("an error without words")
		}
	}
}
