package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/lethe-dev/lethe/events"
)

// readRows reads the text of a file into requests and errors.
func readRows(t testing.TB, format, batch, text string) (requests []row, wrong []string) {
	t.Helper()
	next, err := readFormat(format, strings.NewReader(text), newNamer(batch, "/test"))
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

const (
	head     = "target,ids,replica_uuid,knowledge_base_id,id,source\n"
	replica  = "03db5651-cb61-4bdf-9ef0-89561f7c9c53"
	good     = "kv-user-context,1,,,,\n"
	context1 = `{"target":"kv-user-context","ids":[1]}`
)

// wideText encodes a text as UTF-16.
func wideText(text string, order func(uint16) string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(text)) {
		b.WriteString(order(unit))
	}
	return b.String()
}

func little(u uint16) string { return string([]byte{byte(u), byte(u >> 8)}) }
func big(u uint16) string    { return string([]byte{byte(u >> 8), byte(u)}) }

func TestRows(t *testing.T) {
	for _, c := range []struct {
		name, format, text string
		good               int
		wrong              []string // one part of each error
	}{
		{"several contexts", "csv", head + "kv-user-context,1;2; 3,,,,\n", 1, nil},
		{"the largest id", "csv", head + "kv-user-context,9223372036854775807,,,,\n", 1, nil},
		{"an entry", "csv", head + "sensay-knowledge-base,,03DB5651-cb61-4bdf-9ef0-89561f7c9c53,5,own-id,/crm\n", 1, nil},
		{"a byte order mark", "csv", "\ufeff" + head + good, 1, nil},
		{"a byte order mark before a quote", "csv", "\ufeff\"target\",\"ids\"\r\n\"kv-user-context\",\"101\"\r\n", 1, nil},
		{"lines that end with CRLF", "csv", strings.ReplaceAll(head+good+good, "\n", "\r\n"), 2, nil},
		{"empty lines", "csv", "\n" + head + "\n" + good + "\r\n \n\n", 1, nil},
		{"no line feed at the end", "csv", head + strings.TrimSuffix(good, "\n"), 1, nil},
		{"columns in any order", "csv", "ids,target\n1,kv-user-context\n", 1, nil},
		{"spaces around", "csv", "target, ids\nkv-user-context, 5 \n", 1, nil},
		{"a quoted cell", "csv", head + "\"kv-user-context\",\"1;2\",,,,\n", 1, nil},

		{"an id that is too large", "csv", head + "kv-user-context,9223372036854775808,,,,\n", 0, []string{"line 2: ids"}},
		{"a number with spaces", "csv", head + "kv-user-context,1 234 567,,,,\n" + good, 1, []string{`line 2: ids: "1 234 567"`}},
		{"a number with non-breaking spaces", "csv", head + "kv-user-context,1\u00a0234,,,,\n", 0, []string{"line 2: ids"}},
		{"a number with commas", "csv", head + "kv-user-context,\"1,234\",,,,\n", 0, []string{`line 2: ids: "1,234" is not an integer`}},
		{"a number with points", "csv", head + "kv-user-context,1.234,,,,\n", 0, []string{"line 2: ids"}},
		{"a number shortened by a spreadsheet", "csv", head + "kv-user-context,1.23E+15,,,,\n", 0, []string{"line 2: ids: \"1.23E+15\" is not an integer from 1 to 9223372036854775807: a spreadsheet"}},
		{"a leading zero", "csv", head + "kv-user-context,010,,,,\n", 0, []string{"line 2: ids: \"010\" is not an integer from 1 to 9223372036854775807 without leading zeros"}},
		{"a sign", "csv", head + "kv-user-context,+1,,,,\nkv-user-context,-1,,,,\n", 0, []string{"line 2: ids", "line 3: ids"}},
		{"a separator too many", "csv", head + "kv-user-context,1;,,,,\nkv-user-context,1;;2,,,,\n", 0, []string{"line 2: ids", "line 3: ids"}},
		{"digits of another script", "csv", head + "kv-user-context,١,,,,\n", 0, []string{"line 2: ids"}},
		{"no ids", "csv", head + "kv-user-context,,,,,\n", 0, []string{"line 2: ids: is missing"}},
		{"a repeated id", "csv", head + "kv-user-context,1;1,,,,\n", 0, []string{"line 2: ids[1]: repeats the id 1"}},
		{"an entry of 0", "csv", head + "sensay-knowledge-base,," + replica + ",0,,\n", 0, []string{"line 2: knowledge_base_id"}},
		{"ids over their limit", "csv", head + "kv-user-context," + strings.Repeat("1;", events.MaxIDs) + "1,,,,\n", 0, []string{"line 2: ids: must contain 1 to 100 ids"}},
		{"the nil UUID", "csv", head + "sensay-knowledge-base,,00000000-0000-0000-0000-000000000000,5,,\n", 0, []string{"line 2: replica_uuid: must not be the nil UUID"}},
		{"no UUID", "csv", head + "sensay-knowledge-base,,../../x,5,,\n", 0, []string{"line 2: replica_uuid: must be a UUID"}},
		{"a UUID in braces", "csv", head + "sensay-knowledge-base,,{" + replica + "},5,,\n", 0, []string{"line 2: replica_uuid: must be a UUID"}},
		{"a UUID as a URN", "csv", head + "sensay-knowledge-base,,urn:uuid:" + replica + ",5,,\n", 0, []string{"line 2: replica_uuid: must be a UUID"}},
		{"a UUID without hyphens", "csv", head + "sensay-knowledge-base,," + strings.ReplaceAll(replica, "-", "") + ",5,,\n", 0, []string{"line 2: replica_uuid: must be a UUID"}},
		{"fields of another target", "csv", head + "kv-user-context,1," + replica + ",5,,\nsensay-knowledge-base,7," + replica + ",5,,\n", 0,
			[]string{"line 2: replica_uuid: does not belong to a kv-user-context request", "line 3: ids: does not belong to a sensay-knowledge-base request"}},
		{"no target", "csv", head + ",1,,,,\n", 0, []string{"line 2: target"}},
		{"an id with spaces", "csv", head + "kv-user-context,1,,, a,\n", 0, []string{"line 2: id"}},
		{"a reserved id", "csv", head + "kv-user-context,1,,,seq-5,\n", 0, []string{"line 2: id"}},
		{"an id used for two resources", "csv", head + "kv-user-context,1,,,a,\nkv-user-context,2,,,a,\nkv-user-context,1,,,a,\n", 2, []string{`line 3: id: "a" is used on an earlier line`}},
		{"an id used for two targets", "csv", head + "kv-user-context,1,,,a,\nsensay-knowledge-base,," + replica + ",1,a,\n", 2, nil},
		{"an id that would be a wildcard", "csv", head + "kv-user-context,1,,,*,\n", 0, []string{"line 2: id"}},
		{"an invalid source", "csv", head + "kv-user-context,1,,,,a b\n", 0, []string{"line 2: source"}},
		{"a row with too few cells affects only itself", "csv", head + "kv-user-context,1\n" + good, 1, []string{"line 2: has 2 cells, but the header has 6"}},
		{"a row with too many cells affects only itself", "csv", head + "kv-user-context,1,,,,,2\n" + good, 1, []string{"line 2: has 7 cells"}},
		{"a quote that is never closed", "csv", head + "kv-user-context,\"1,,,,\n" + good + good, 2, []string{"line 2: a quote"}},
		{"a quote within a cell", "csv", head + "kv-user-context,1\"2,,,,\n" + good, 1, []string{"line 2: a quote"}},
		{"a formula", "csv", head + "kv-user-context,=\"1\",,,,\n", 0, []string{"line 2: a quote"}},
		{"invalid UTF-8 affects only its row", "csv", head + "kv-user-context,1,,,,/\xe9\n" + good, 1, []string{"line 2: is not valid UTF-8"}},
		{"a zero byte affects only its row", "csv", head + "kv-user-context,1,,,,\x00\n" + good, 1, []string{"line 2: contains the control character 0x00"}},
		{"lines that end with a carriage return", "csv", strings.ReplaceAll(head+good, "\n", "\r"), 0, []string{"line 1: contains a carriage return"}},
		{"a line that is too long affects only its row", "csv", head + strings.Repeat("x", 3*maxLine) + "\n" + good, 1, []string{"line 2: is over"}},

		{"an unknown column", "csv", "target,idz\n", 0, []string{`line 1: unknown column "idz"`}},
		{"a column in another case", "csv", "Target,ids\n", 0, []string{`line 1: unknown column "Target"`}},
		{"a column without a name", "csv", "target,ids,\n", 0, []string{`line 1: unknown column ""`}},
		{"a repeated column", "csv", "target,ids,ids\nkv-user-context,110,111\n", 0, []string{"line 1: the column ids occurs twice"}},
		{"a column repeated with a space", "csv", "target,ids, ids\nkv-user-context,110,111\n", 0, []string{"line 1: the column ids occurs twice"}},
		{"no column for the target", "csv", "ids\n1\n", 0, []string{"line 1: the column target is missing"}},
		{"no header", "csv", "", 0, []string{"line 1: is missing"}},
		{"semicolons", "csv", "target;ids\nkv-user-context;1\n", 0, []string{"line 1: the columns are separated by semicolons"}},
		{"semicolons between quotes", "csv", "\"target\";\"ids\"\n\"kv-user-context\";\"1\"\n", 0, []string{"line 1: the columns are separated by semicolons"}},
		{"a sep= line of a spreadsheet", "csv", "sep=;\ntarget;ids\n", 0, []string{"line 1: the columns are separated by semicolons"}},
		{"tabs", "csv", "target\tids\nkv-user-context\t1\n", 0, []string{"line 1: the columns are separated by tabs"}},
		{"UTF-16, little-endian", "csv", wideText("\ufeff"+head+good, little), 0, []string{"line 1: the file is UTF-16"}},
		{"UTF-16, big-endian", "csv", wideText("\ufeff"+head+good, big), 0, []string{"line 1: the file is UTF-16"}},
		{"UTF-16 without a mark", "csv", wideText(head+good, little), 0, []string{"line 1: the file is UTF-16"}},

		{"only the data of an event", "ndjson", context1, 1, nil},
		{"blank lines and a mark", "ndjson", "\ufeff\n\n" + context1 + "\r\n\n", 1, nil},
		{"an entry with its own id", "ndjson", `{"target":"sensay-knowledge-base","replica_uuid":"` + replica + `","knowledge_base_id":5,"id":"x"}`, 1, nil},
		{"a whole event", "ndjson", `{"specversion":"1.0","id":"e","source":"/s","type":"lethe.deletion.requested.v1","data":{"target":"kv-user-context","ids":[1]}}`, 1, nil},
		{"a whole event that breaks a rule", "ndjson", `{"specversion":"1.0","id":"e","source":"/s","type":"lethe.deletion.requested.v1","data":{"target":"kv-user-context","ids":[0]}}`, 0, []string{"line 1: data.ids[0]"}},
		{"an unknown field", "ndjson", `{"target":"kv-user-context","ids":[1],"force":true}`, 0, []string{"line 1: force"}},
		{"a field in another case", "ndjson", `{"target":"kv-user-context","ids":[1],"ID":"x"}`, 0, []string{"line 1: ID"}},
		{"fields of another target in an object", "ndjson", `{"target":"kv-user-context","ids":[122],"replica_uuid":"` + replica + `","knowledge_base_id":5}`, 0, []string{"line 1: knowledge_base_id: does not belong to a kv-user-context request"}},
		{"a repeated field", "ndjson", `{"target":"kv-user-context","ids":[1],"ids":[2]}`, 0, []string{"line 1: is not a request"}},
		{"a repeated field of an event", "ndjson", `{"specversion":"1.0","id":"e","id":"f","source":"/s","type":"lethe.deletion.requested.v1","data":{"target":"kv-user-context","ids":[1]}}`, 0, []string{"line 1: is not a request"}},
		{"two objects", "ndjson", context1 + context1, 0, []string{"line 1: is not a request: there is more than one"}},
		{"a list", "ndjson", "[" + context1 + "]", 0, []string{"line 1: is not a request: it must be one JSON object on one line"}},
		{"an object that ends in the middle", "ndjson", `{"target":"kv-user-context","ids":[1`, 0, []string{"line 1: is not a request: its JSON ends in the middle"}},
		{"not JSON", "ndjson", "hello\n" + context1, 1, []string{"line 1: is not a request"}},
		{"a line of JSON that is too long affects only its row", "ndjson", strings.Repeat("x", 3*maxLine) + "\n" + context1, 1, []string{"line 1: is over"}},
		{"an id as a fraction", "ndjson", `{"target":"kv-user-context","ids":[1.0]}`, 0, []string{"line 1: ids[0]"}},
		{"an id with an exponent", "ndjson", `{"target":"kv-user-context","ids":[1e3]}`, 0, []string{"line 1: ids[0]"}},
		{"an id as a string", "ndjson", `{"target":"kv-user-context","ids":["1"]}`, 0, []string{"line 1: ids[0]"}},
		{"an id that would be rounded", "ndjson", `{"target":"kv-user-context","ids":[9223372036854775808]}`, 0, []string{"line 1: ids[0]"}},
		{"no list", "ndjson", `{"target":"kv-user-context","ids":1}`, 0, []string{"line 1: ids"}},
		{"an id used by two objects and an event", "ndjson", `{"target":"kv-user-context","ids":[1],"id":"e"}` + "\n" + `{"target":"kv-user-context","ids":[2],"id":"e"}` + "\n" +
			`{"specversion":"1.0","id":"e","source":"/s","type":"lethe.deletion.requested.v1","data":{"target":"kv-user-context","ids":[3]}}`, 1,
			[]string{`line 2: id: "e" is used on an earlier line`, `line 3: id: "e" is used on an earlier line`}},
		{"a UUID in braces in an object", "ndjson", `{"target":"sensay-knowledge-base","replica_uuid":"{` + replica + `}","knowledge_base_id":5}`, 0, []string{"line 1: replica_uuid"}},
		{"a request id that is not a string", "ndjson", `{"target":"kv-user-context","ids":[1],"id":null}`, 0, []string{"line 1: id: must be a string"}},
		{"an empty request id", "ndjson", `{"target":"kv-user-context","ids":[1],"id":""}`, 0, []string{"line 1: id"}},
		{"no target in an object", "ndjson", `{"ids":[1]}`, 0, []string{"line 1: target: is missing"}},
		{"an unknown target", "ndjson", `{"target":"other","ids":[1]}`, 0, []string{"line 1: target"}},
		{"JSON as UTF-16", "ndjson", wideText("\ufeff"+context1+"\n", little), 0, []string{"line 1: the file is UTF-16"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			requests, wrong := readRows(t, c.format, "b", c.text)
			if len(requests) != c.good {
				t.Errorf("%d requests, want %d", len(requests), c.good)
			}
			if len(wrong) != len(c.wrong) {
				t.Fatalf("wrong: %q, want %q", wrong, c.wrong)
			}
			for i, want := range c.wrong {
				if !strings.HasPrefix(wrong[i], want) {
					t.Errorf("wrong: %q, want %q", wrong[i], want)
				}
			}
			for _, r := range requests {
				wantPublishable(t, r)
			}
		})
	}
}

// wantPublishable checks that a worker reads the same request from the row's event.
func wantPublishable(t *testing.T, r row) {
	t.Helper()
	read, err := events.ReadRequest(r.Target(), map[string][]string{"content-type": {events.ContentType}}, r.event)
	if err != nil {
		t.Fatalf("%s cannot be published: %v", r.event, err)
	}
	if read.ID != r.ID || read.Source != r.Source || events.Fingerprint(read.Resource) != events.Fingerprint(r.Resource) {
		t.Errorf("the event is %+v, the row %+v", read, r.Request)
	}
}

func TestAnEventIsPublishedUnchanged(t *testing.T) {
	const event = `{ "specversion":"1.0","id":"e","source":"/s","subject":"s","note":"n","type":"lethe.deletion.requested.v1","data":{"target":"sensay-knowledge-base","replica_uuid":"` + replica + `","knowledge_base_id":5}}`
	requests, _ := readRows(t, "ndjson", "", event+"\n")
	if len(requests) != 1 || string(requests[0].event) != event {
		t.Errorf("got %+v", requests)
	}
}

func TestADerivedID(t *testing.T) {
	derived := func(batch, format, text string) []string {
		requests, wrong := readRows(t, format, batch, text)
		if len(wrong) > 0 {
			t.Fatal(wrong)
		}
		var ids []string
		for _, r := range requests {
			ids = append(ids, r.ID)
		}
		return ids
	}
	const text = "target,ids,id,source\nkv-user-context,1;2,,\nkv-user-context,2;1,,/other\nkv-user-context,3,,\nkv-user-context,3,own,\n"
	first := derived("monday", "csv", text)
	if again := derived("monday", "csv", text); fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("the same batch: %q and %q", first, again)
	}
	seen := map[string]bool{}
	for _, id := range append(first, derived("tuesday", "csv", "target,ids\nkv-user-context,1;2\nkv-user-context,1;2\nkv-user-context,3\n")...) {
		if seen[id] {
			t.Errorf("%s names two requests", id)
		}
		seen[id] = true
	}
	if !seen["own"] {
		t.Error("a row's own id was replaced")
	}
	if again := derived("monday", "ndjson", `{"target":"kv-user-context","ids":[2,1],"source":"/new"}`); again[0] != first[0] {
		t.Errorf("the format and the source change the id: %s and %s", first[0], again[0])
	}
	// Ids must not change between releases: after an upgrade, publishing a file again
	// would request everything twice.
	if want := "f437dc2b-024d-58e3-b33f-3b2f57ddaf30"; first[0] != want {
		t.Errorf("the id of the batch monday is %s, want %s", first[0], want)
	}
}

func TestARowWithoutABatchNeedsAnID(t *testing.T) {
	for name, c := range map[string]struct {
		format, text string
		good         int
		fails        bool
	}{
		"csv without the column": {"csv", "target,ids\nkv-user-context,1\n", 0, true},
		"csv without a value":    {"csv", "target,ids,id\nkv-user-context,1,a\nkv-user-context,2,\nkv-user-context,3,c\n", 1, true},
		"ndjson":                 {"ndjson", context1, 0, true},
		"csv with ids":           {"csv", "target,ids,id\nkv-user-context,1,a\nkv-user-context,2,b\n", 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			requests, wrong := readRows(t, c.format, "", c.text)
			if len(requests) != c.good {
				t.Errorf("%d requests, want %d", len(requests), c.good)
			}
			if all := strings.Join(wrong, "\n"); c.fails != strings.Contains(all, "--batch") {
				t.Errorf("wrong: %q", all)
			}
		})
	}
	if exitStatus(fmt.Errorf("--file: line 1: %w", errNoID)) != exitUsage {
		t.Error("it must be a usage error")
	}
}

func TestTheBatchOfAFileIsItsHash(t *testing.T) {
	write := func(dir, text string) string {
		path := filepath.Join(t.TempDir(), dir+".csv")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	open := func(path, batch string) *rows {
		r, err := openRows(context.Background(), requestFlags{file: path, batch: batch, source: "/t"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.close)
		return r
	}
	monday := open(write("a", "target,ids\nkv-user-context,1\n"), "")
	same := open(write("b", "target,ids\nkv-user-context,1\n"), "")
	tuesday := open(write("c", "target,ids\nkv-user-context,1\nkv-user-context,2\n"), "")
	named := open(write("d", "target,ids\nkv-user-context,1\nkv-user-context,2\n"), monday.batch)
	if monday.batch != same.batch || monday.batch == tuesday.batch || len(monday.batch) != 64 {
		t.Errorf("batches %q, %q, %q", monday.batch, same.batch, tuesday.batch)
	}
	var ids []string
	for _, r := range []*rows{monday, same, tuesday, named} {
		first, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, first.ID)
	}
	if ids[0] != ids[1] || ids[0] == ids[2] || ids[0] != ids[3] {
		t.Errorf("ids %q", ids)
	}
}

func TestAFileThatChangesWhileItIsReadIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.csv")
	if err := os.WriteFile(path, []byte("target,ids\nkv-user-context,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &rows{read: &counter{}}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	r.file = file
	defer r.close()
	if err := r.nameByContent(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("target,ids\nkv-user-context,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r.read); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("got %v", err)
	}
}

func TestAnIncompleteLineIsAnError(t *testing.T) {
	torn := io.MultiReader(strings.NewReader("target,ids\nkv-user-context,1\nkv-user-context,2"), iotest.ErrReader(errors.New("torn")))
	next, err := csvRows(torn, newNamer("b", "/test"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := next(); err != nil {
		t.Error(err)
	}
	if r, err := next(); err == nil || err.Error() != "torn" {
		t.Errorf("got %+v, %v", r, err)
	}
}

func FuzzNDJSON(f *testing.F) {
	f.Add(context1)
	f.Add(`{"specversion":"1.0","id":"e","source":"/s","type":"lethe.deletion.requested.v1","data":{"target":"kv-user-context","ids":[1]}}`)
	f.Add("\n\x00\n{")
	f.Fuzz(func(t *testing.T, text string) { fuzzRows(t, "ndjson", text) })
}

func FuzzCSV(f *testing.F) {
	f.Add(head + "kv-user-context,1;2,,,,\n")
	f.Add(head + "sensay-knowledge-base,," + replica + ",5,x,/s\n\"")
	f.Add("\ufeff\"target\",\"ids\"\r\n\"kv-user-context\",\"101\"\r\n")
	f.Fuzz(func(t *testing.T, text string) { fuzzRows(t, "csv", text) })
}

// fuzzRows checks that each line that is not blank gives either a request that a worker
// reads unchanged, or an error with the line number.
func fuzzRows(t *testing.T, format, text string) {
	requests, wrong := readRows(t, format, "b", text)
	for _, r := range requests {
		wantPublishable(t, r)
	}
	for _, w := range wrong {
		if !strings.HasPrefix(w, "line ") {
			t.Errorf("an error without its line: %q", w)
		}
	}
	records := 0
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if i == 0 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if strings.Trim(strings.TrimSuffix(line, "\r"), " \t") != "" {
			records++
		}
	}
	read := len(requests) + len(wrong)
	if format == "csv" {
		if _, err := csvRows(strings.NewReader(text), newNamer("b", "")); err != nil {
			return // an invalid header ends reading
		}
		read++
	}
	if fatal := len(wrong) == 1 && strings.Contains(wrong[0], "UTF-16"); !fatal && read != records {
		t.Errorf("%d lines became %d requests and %d errors", records, len(requests), len(wrong))
	}
}
