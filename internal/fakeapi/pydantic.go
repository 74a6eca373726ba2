package fakeapi

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// problem is one element of a 422's "detail", with the messages of both versions of pydantic. The v1 form of a missing
// field is k-v.ai's example; the other messages are from pydantic's source (1.10 and 2.x).
type problem struct {
	loc      []any
	v1, v2   variant
	input    jsontext.Value // v2 only
	position int            // of broken JSON
}

type variant struct {
	kind, message string
	context       map[string]any
}

type problemV1 struct {
	Loc  []any          `json:"loc"`
	Msg  string         `json:"msg"`
	Type string         `json:"type"`
	Ctx  map[string]any `json:"ctx,omitempty"`
}

type problemV2 struct {
	Type  string          `json:"type"`
	Loc   []any           `json:"loc"`
	Msg   string          `json:"msg"`
	Input json.RawMessage `json:"input"`
	Ctx   map[string]any  `json:"ctx,omitempty"`
}

func renderProblems(problems []problem, v2 bool) []any {
	list := make([]any, 0, len(problems))
	for _, p := range problems {
		if !v2 {
			list = append(list, problemV1{p.loc, p.v1.message, p.v1.kind, p.v1.context})
			continue
		}
		loc := p.loc
		if p.v2.kind == "json_invalid" {
			loc = []any{"body", p.position}
		}
		list = append(list, problemV2{p.v2.kind, loc, p.v2.message, echo(p.input), p.v2.context})
	}
	return list
}

// maxEcho limits how many bytes of a request an answer repeats.
const maxEcho = 256

func echo(input jsontext.Value) json.RawMessage {
	if len(input) == 0 || len(input) > maxEcho {
		return json.RawMessage("null")
	}
	return json.RawMessage(input)
}

func bounded(s string) string {
	if len(s) > maxEcho {
		s = s[:maxEcho]
	}
	return strings.ToValidUTF8(s, string(utf8.RuneError))
}

func missing(loc []any, input jsontext.Value) problem {
	return problem{loc: loc, input: input,
		v1: variant{"value_error.missing", "field required", nil},
		v2: variant{"missing", "Field required", nil}}
}

func extraField(loc []any, input jsontext.Value) problem {
	loc[len(loc)-1] = bounded(loc[len(loc)-1].(string))
	return problem{loc: loc, input: input,
		v1: variant{"value_error.extra", "extra fields not permitted", nil},
		v2: variant{"extra_forbidden", "Extra inputs are not permitted", nil}}
}

func notObject(loc []any, input jsontext.Value) problem {
	return problem{loc: loc, input: input,
		v1: variant{"type_error.dict", "value is not a valid dict", nil},
		v2: variant{"model_attributes_type", "Input should be a valid dictionary or object to extract fields from", nil}}
}

func notList(loc []any, input jsontext.Value) problem {
	return problem{loc: loc, input: input,
		v1: variant{"type_error.list", "value is not a valid list", nil},
		v2: variant{"list_type", "Input should be a valid list", nil}}
}

func isNull(loc []any) problem {
	kind, expected := "int_type", "integer"
	if len(loc) == 2 {
		kind, expected = "list_type", "list"
	}
	return problem{loc: loc,
		v1: variant{"type_error.none.not_allowed", "none is not an allowed value", nil},
		v2: variant{kind, "Input should be a valid " + expected, nil}}
}

func notInteger(loc []any, input jsontext.Value) problem {
	return problem{loc: loc, input: input,
		v1: variant{"type_error.integer", "value is not a valid integer", nil},
		v2: variant{"int_type", "Input should be a valid integer", nil}}
}

func tooSmall(loc []any, input jsontext.Value) problem {
	return problem{loc: loc, input: input,
		v1: variant{"value_error.number.not_gt", "ensure this value is greater than 0", map[string]any{"limit_value": 0}},
		v2: variant{"greater_than", "Input should be greater than 0", map[string]any{"gt": 0}}}
}

func tooLarge(loc []any, input jsontext.Value) problem {
	const limit = "9223372036854775808"
	return problem{loc: loc, input: input,
		v1: variant{"value_error.number.not_lt", "ensure this value is less than " + limit,
			map[string]any{"limit_value": json.RawMessage(limit)}},
		v2: variant{"less_than", "Input should be less than " + limit, map[string]any{"lt": json.RawMessage(limit)}}}
}

func tooShort(loc []any, input jsontext.Value) problem {
	return problem{loc: loc, input: input,
		v1: variant{"value_error.list.min_items", "ensure this value has at least 1 items", map[string]any{"limit_value": 1}},
		v2: variant{"too_short", "List should have at least 1 item after validation, not 0",
			map[string]any{"field_type": "List", "min_length": 1, "actual_length": 0}}}
}

func tooLong(loc []any, input jsontext.Value, count int) problem {
	return problem{loc: loc, input: input,
		v1: variant{"value_error.list.max_items", "ensure this value has at most 100 items", map[string]any{"limit_value": maxIDs}},
		v2: variant{"too_long", "List should have at most 100 items after validation, not more",
			map[string]any{"field_type": "List", "max_length": maxIDs, "actual_length": count}}}
}

// refusedContext refuses one well-formed id.
func refusedContext(i int, id int64) problem {
	return problem{loc: []any{"body", "ids", i}, input: mustJSON(id),
		v1: variant{"value_error", "context id is not valid", nil},
		v2: variant{"value_error", "Value error, context id is not valid", nil}}
}

// notJSON reports a syntax error at a byte offset; Python counts characters, so its offset can differ. Unlike pydantic
// v1 it does not repeat the document.
func notJSON(offset int, body []byte) problem {
	before := body[:min(offset, len(body))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	const message = "Expecting value"
	return problem{loc: []any{"body", offset}, position: offset, input: jsontext.Value("{}"),
		v1: variant{"value_error.jsondecode", message, map[string]any{"msg": message, "pos": offset, "lineno": line, "colno": column}},
		v2: variant{"json_invalid", "JSON decode error", map[string]any{"error": message}}}
}
