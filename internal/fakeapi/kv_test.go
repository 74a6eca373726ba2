package fakeapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/lethe-dev/lethe/internal/fakeapi"
)

func TestKVAnswersAsDocumented(t *testing.T) {
	s, base := serve(t, fakeapi.Config{})
	const done = `{"data":{},"message":"Data deleted successfully"}`
	for _, name := range []string{"contexts that exist", "contexts already deleted"} {
		t.Run(name, func(t *testing.T) {
			resp, body, err := deleteContexts(t, base, `{"ids":[10, 9223372036854775807]}`)
			want(t, "error", err, nil)
			want(t, "status", status(resp), 200)
			want(t, "content type", resp.Header.Get("Content-Type"), jsonType)
			want(t, "body", body, done)
		})
	}
	calls := s.Calls()
	both := []fakeapi.Entry{fakeapi.Context(10), fakeapi.Context(9223372036854775807)}
	want(t, "deleted by the first call", calls[0].Deleted, both)
	want(t, "deleted by the second call", calls[1].Deleted, nil)
	want(t, "named by the second call", calls[1].Entries, both)
}

func TestKVRefusesUndocumentedRequests(t *testing.T) {
	s, base := serve(t, fakeapi.Config{})
	hundredAndOne := `{"ids":[` + strings.Repeat("1,", 100) + `1]}`
	good := []string{"access-key", accessKey, "Content-Type", jsonType}
	const badKey = `{"data":{},"message":"Invalid or missing access key"}`
	detail := func(loc, msg, kind string) string {
		return `{"detail":[{"loc":[` + loc + `],"msg":"` + msg + `","type":"` + kind + `"}]}`
	}
	notInteger := detail(`"body","ids",1`, "value is not a valid integer", "type_error.integer")
	for name, tt := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
		want               string
	}{
		"another path":            {"DELETE", "/api/user_contexts/delete", `{"ids":[1]}`, good, 404, `{"detail":"Not Found"}`},
		"the root":                {"GET", "/", "", nil, 404, `{"detail":"Not Found"}`},
		"another method":          {"POST", kvDelete, `{"ids":[1]}`, good, 405, `{"detail":"Method Not Allowed"}`},
		"no access key":           {"DELETE", kvDelete, `{"ids":[1]}`, good[2:], 401, badKey},
		"a wrong access key":      {"DELETE", kvDelete, `{"ids":[1]}`, []string{"access-key", "x", "Content-Type", jsonType}, 401, badKey},
		"two access keys":         {"DELETE", kvDelete, `{"ids":[1]}`, append([]string{"access-key", "x"}, good...), 401, badKey},
		"no content type":         {"DELETE", kvDelete, `{"ids":[1]}`, good[:2], 422, detail(`"body"`, "value is not a valid dict", "type_error.dict")},
		"another content type":    {"DELETE", kvDelete, `{"ids":[1]}`, []string{"access-key", accessKey, "Content-Type", "text/plain"}, 422, detail(`"body"`, "value is not a valid dict", "type_error.dict")},
		"an empty body":           {"DELETE", kvDelete, ``, good, 422, detail(`"body"`, "field required", "value_error.missing")},
		"no ids":                  {"DELETE", kvDelete, `{}`, good, 422, detail(`"body","ids"`, "field required", "value_error.missing")},
		"ids that are not a list": {"DELETE", kvDelete, `{"ids":7}`, good, 422, detail(`"body","ids"`, "value is not a valid list", "type_error.list")},
		"ids that are null":       {"DELETE", kvDelete, `{"ids":null}`, good, 422, detail(`"body","ids"`, "none is not an allowed value", "type_error.none.not_allowed")},
		"a body that is a list":   {"DELETE", kvDelete, `[1]`, good, 422, detail(`"body"`, "value is not a valid dict", "type_error.dict")},
		"a string for an id":      {"DELETE", kvDelete, `{"ids":[1,"2"]}`, good, 422, notInteger},
		"a fraction for an id":    {"DELETE", kvDelete, `{"ids":[1,2.0]}`, good, 422, notInteger},
		"an exponent in an id":    {"DELETE", kvDelete, `{"ids":[1,1e3]}`, good, 422, notInteger},
		"a boolean for an id":     {"DELETE", kvDelete, `{"ids":[1,true]}`, good, 422, notInteger},
		"null for an id":          {"DELETE", kvDelete, `{"ids":[1,null]}`, good, 422, detail(`"body","ids",1`, "none is not an allowed value", "type_error.none.not_allowed")},
		"a second field":          {"DELETE", kvDelete, `{"ids":[1],"all":true}`, good, 422, detail(`"body","all"`, "extra fields not permitted", "value_error.extra")},
		"an id of zero":           {"DELETE", kvDelete, `{"ids":[0]}`, good, 422, `{"detail":[{"loc":["body","ids",0],"msg":"ensure this value is greater than 0","type":"value_error.number.not_gt","ctx":{"limit_value":0}}]}`},
		"an id far below zero":    {"DELETE", kvDelete, `{"ids":[-9223372036854775809]}`, good, 422, `{"detail":[{"loc":["body","ids",0],"msg":"ensure this value is greater than 0","type":"value_error.number.not_gt","ctx":{"limit_value":0}}]}`},
		"an id of 2^63":           {"DELETE", kvDelete, `{"ids":[9223372036854775808]}`, good, 422, `{"detail":[{"loc":["body","ids",0],"msg":"ensure this value is less than 9223372036854775808","type":"value_error.number.not_lt","ctx":{"limit_value":9223372036854775808}}]}`},
		"an empty list":           {"DELETE", kvDelete, `{"ids":[]}`, good, 422, `{"detail":[{"loc":["body","ids"],"msg":"ensure this value has at least 1 items","type":"value_error.list.min_items","ctx":{"limit_value":1}}]}`},
		"101 ids":                 {"DELETE", kvDelete, hundredAndOne, good, 422, `{"detail":[{"loc":["body","ids"],"msg":"ensure this value has at most 100 items","type":"value_error.list.max_items","ctx":{"limit_value":100}}]}`},
		"broken JSON":             {"DELETE", kvDelete, `{"ids":[1,x]}`, good, 422, `{"detail":[{"loc":["body",10],"msg":"Expecting value","type":"value_error.jsondecode","ctx":{"colno":11,"lineno":1,"msg":"Expecting value","pos":10}}]}`},
		"a body over 1 MiB":       {"DELETE", kvDelete, strings.Repeat(" ", 1<<20+1), good, 413, `{"detail":"Request Entity Too Large"}`},
		"a read without an id":    {"GET", "/api/user_context/get_context_data", "", good[:2], 422, detail(`"query","context_id"`, "field required", "value_error.missing")},
		"a read with a bad id":    {"GET", "/api/user_context/get_context_data?context_id=x", "", good[:2], 422, detail(`"query","context_id"`, "value is not a valid integer", "type_error.integer")},
		"a read without a key":    {"GET", "/api/user_context/get_context_data?context_id=1", "", nil, 401, badKey},
		"a read sent as DELETE":   {"DELETE", "/api/user_context/get_context_data?context_id=1", "", good[:2], 405, `{"detail":"Method Not Allowed"}`},
		"a deletion with a query": {"DELETE", kvDelete + "?ids=1", "", good, 422, detail(`"body"`, "field required", "value_error.missing")},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body, err := ask(t, tt.method, base+tt.path, tt.body, tt.headers...)
			want(t, "error", err, nil)
			want(t, "status", status(resp), tt.status)
			want(t, "body", body, tt.want)
			if tt.status == http.StatusMethodNotAllowed && resp.Header.Get("Allow") == "" {
				t.Error("405 without an Allow header")
			}
			if last(t, s).Problem == "" {
				t.Error("the call log does not contain the problem")
			}
		})
	}
	want(t, "deleted", s.Deleted(), []fakeapi.Deletion{})
}

func TestKVBrokenBodies(t *testing.T) {
	_, base := serve(t, fakeapi.Config{})
	for name, body := range map[string]string{
		"a repeated key":       `{"ids":[1],"ids":[2]}`,
		"bytes after the end":  `{"ids":[1]}{}`,
		"broken UTF-8":         "{\"ids\":[1],\"\xff\":1}",
		"an unfinished list":   `{"ids":[1`,
		"20,000 nested levels": strings.Repeat("[", 20000),
	} {
		t.Run(name, func(t *testing.T) {
			resp, got, err := deleteContexts(t, base, body)
			want(t, "error", err, nil)
			want(t, "status", status(resp), 422)
			if !strings.Contains(got, `"type":"value_error.jsondecode"`) {
				t.Errorf("not the error of broken JSON: %s", got)
			}
		})
	}
}

func TestKVForms(t *testing.T) {
	t.Run("pydantic v2 gives 422 as type, loc, msg and input", func(t *testing.T) {
		_, base := serve(t, fakeapi.Config{PydanticV2: true})
		for body, detail := range map[string]string{
			`{"ids":[1,"2"]}`: `{"detail":[{"type":"int_type","loc":["body","ids",1],"msg":"Input should be a valid integer","input":"2"}]}`,
			`{"x":1}`:         `{"detail":[{"type":"extra_forbidden","loc":["body","x"],"msg":"Extra inputs are not permitted","input":1},{"type":"missing","loc":["body","ids"],"msg":"Field required","input":{"x":1}}]}`,
			`{"ids"`:          `{"detail":[{"type":"json_invalid","loc":["body",6],"msg":"JSON decode error","input":{},"ctx":{"error":"Expecting value"}}]}`,
		} {
			resp, got, err := deleteContexts(t, base, body)
			want(t, "error", err, nil)
			want(t, "status", status(resp), 422)
			want(t, "body", got, detail)
		}
	})
	t.Run("wrapped answers are in value", func(t *testing.T) {
		_, base := serve(t, fakeapi.Config{Wrapped: true})
		_, got, err := deleteContexts(t, base, `{"ids":[1]}`)
		want(t, "error", err, nil)
		want(t, "body", got, `{"value":{"data":{},"message":"Data deleted successfully"}}`)
	})
	t.Run("a context can be read until it is deleted", func(t *testing.T) {
		_, base := serve(t, fakeapi.Config{})
		look := func() (int, string) {
			resp, got, err := ask(t, "GET", base+"/api/user_context/get_context_data?context_id=7", "", "access-key", accessKey)
			want(t, "error", err, nil)
			return status(resp), got
		}
		code, got := look()
		want(t, "status before", code, 200)
		want(t, "body before", got, `{"data":{"id":7,"status":"active"},"message":"Data retrieved successfully"}`)
		if _, _, err := deleteContexts(t, base, `{"ids":[7]}`); err != nil {
			t.Fatal(err)
		}
		code, got = look()
		want(t, "status after", code, 404)
		want(t, "body after", got, `{"data":{},"message":"Context not found"}`)
	})
}
