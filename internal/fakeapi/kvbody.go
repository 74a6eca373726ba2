package fakeapi

import (
	"bytes"
	"errors"
	"io"
	"net/url"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// maxIDs is the most ids in a list; the vendor documents it for a sibling call.
const maxIDs = 100

// readIDs reads {"ids":[10,11]} more strictly than pydantic: integers must have integer form, and other fields are
// problems. It returns either ids or problems, at least one.
func readIDs(body []byte) ([]int64, []problem) {
	root := []any{"body"}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, []problem{missing(root, nil)}
	}
	if broken, bad := brokenJSON(body); bad {
		return nil, []problem{broken}
	}
	value := jsontext.Value(bytes.TrimSpace(body))
	if value.Kind() != '{' {
		return nil, []problem{notObject(root, value)}
	}

	var list jsontext.Value
	var problems []problem
	eachMember(value, func(name string, member jsontext.Value) {
		if name == "ids" {
			list = member
		} else if len(problems) < maxIDs {
			problems = append(problems, extraField([]any{"body", name}, member))
		}
	})
	var ids []int64
	at := []any{"body", "ids"}
	switch {
	case list == nil:
		problems = append(problems, missing(at, value))
	case list.Kind() == 'n':
		problems = append(problems, isNull(at))
	case list.Kind() != '[':
		problems = append(problems, notList(at, list))
	default:
		var more []problem
		ids, more = readList(list)
		problems = append(problems, more...)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return ids, nil
}

func readList(list jsontext.Value) ([]int64, []problem) {
	var ids []int64
	var problems []problem
	count := 0
	eachElement(list, func(element jsontext.Value) {
		if count < maxIDs {
			id, wrong, bad := readElement(count, element)
			if bad {
				problems = append(problems, wrong)
			}
			ids = append(ids, id)
		}
		count++
	})
	at := []any{"body", "ids"}
	switch {
	case count == 0:
		return nil, []problem{tooShort(at, list)}
	case count > maxIDs:
		return nil, []problem{tooLong(at, list, count)}
	}
	return ids, problems
}

func readElement(i int, element jsontext.Value) (int64, problem, bool) {
	at := []any{"body", "ids", i}
	if element.Kind() == 'n' {
		return 0, isNull(at), true
	}
	text := string(element)
	id, err := strconv.ParseInt(text, 10, 64)
	switch {
	case element.Kind() != '0' || !isInteger(text):
		return 0, notInteger(at, element), true
	case err != nil && text[0] != '-':
		return 0, tooLarge(at, element), true
	case id < 1:
		return 0, tooSmall(at, element), true
	}
	return id, problem{}, false
}

// isInteger reports whether a JSON number has neither fraction nor exponent.
func isInteger(number string) bool {
	for i, b := range []byte(number) {
		if (b < '0' || b > '9') && !(b == '-' && i == 0) {
			return false
		}
	}
	return true
}

// readContextID reads ?context_id=10.
func readContextID(query url.Values) ([]int64, []problem) {
	at := []any{"query", "context_id"}
	values := query["context_id"]
	if len(values) == 0 {
		return nil, []problem{missing(at, nil)}
	}
	id, err := parseID(values[len(values)-1])
	if err != nil {
		return nil, []problem{notInteger(at, mustJSON(bounded(values[len(values)-1])))}
	}
	return []int64{id}, nil
}

// brokenJSON finds the first syntax error if body is not one JSON value. Repeated keys and invalid UTF-8 are errors.
func brokenJSON(body []byte) (problem, bool) {
	decoder := jsontext.NewDecoder(bytes.NewReader(body))
	err := decoder.SkipValue()
	if err == nil {
		if _, err = decoder.ReadToken(); errors.Is(err, io.EOF) {
			return problem{}, false
		}
	}
	offset := decoder.InputOffset()
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		offset = syntax.ByteOffset
	}
	return notJSON(int(offset), body), true
}

// eachMember and eachElement iterate over a value that brokenJSON has checked.
func eachMember(object jsontext.Value, visit func(name string, member jsontext.Value)) {
	decoder := jsontext.NewDecoder(bytes.NewReader(object))
	_, _ = decoder.ReadToken()
	for decoder.PeekKind() != '}' {
		name, err := decoder.ReadToken()
		if err != nil {
			return
		}
		text := name.String()
		member, err := decoder.ReadValue()
		if err != nil {
			return
		}
		visit(text, member.Clone())
	}
}

func eachElement(list jsontext.Value, visit func(element jsontext.Value)) {
	decoder := jsontext.NewDecoder(bytes.NewReader(list))
	_, _ = decoder.ReadToken()
	for decoder.PeekKind() != ']' {
		element, err := decoder.ReadValue()
		if err != nil {
			return
		}
		visit(element.Clone())
	}
}
