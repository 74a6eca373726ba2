package deleter

import (
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Object is a JSON object that an API sent: its members, as they were written.
// Unknown members are ignored: APIs grow.
type Object map[string]jsontext.Value

// ReadObject reads a body. Its media type must be JSON, and it must be one object
// without repeated names and in valid UTF-8 (RFC 7493).
func ReadObject(r Response) (Object, error) {
	if !r.JSON {
		return nil, errors.New("the answer is not JSON")
	}
	var o Object
	if json.Unmarshal(r.Body, &o) != nil || o == nil { // nil: null is no object
		return nil, errors.New("the answer is not the documented JSON")
	}
	return o, nil
}

// Text returns the member called name, and whether it is there as a string.
func (o Object) Text(name string) (text string, ok bool) {
	return text, o[name].Kind() == '"' && json.Unmarshal(o[name], &text) == nil
}

// True reports whether the member called name is the literal true.
func (o Object) True(name string) bool { return o[name].Kind() == 't' }

// Object returns the member called name if it is an object.
func (o Object) Object(name string) (member Object, ok bool) {
	return member, o[name].Kind() == '{' && json.Unmarshal(o[name], &member) == nil
}

// Has reports whether the member called name exists and is not null.
func (o Object) Has(name string) bool {
	kind := o[name].Kind()
	return kind != 'n' && kind != jsontext.KindInvalid
}

// Message returns the API's message for people: its error, message or detail.
func (o Object) Message() string {
	for _, name := range []string{"error", "message", "detail"} {
		if text, ok := o.Text(name); ok && text != "" {
			return text
		}
	}
	var all []string
	for _, p := range o.Problems() {
		if text := p.String(); text != "" {
			all = append(all, text)
		}
	}
	if len(all) == 0 && o.Has("detail") {
		return string(o["detail"])
	}
	return strings.Join(all, "; ")
}

// Problem is one entry of the "detail" of FastAPI's validation error, in which
// pydantic's versions 1 and 2 agree on these members.
type Problem struct {
	Loc []jsontext.Value `json:"loc"` // the path: names and positions
	Msg string           `json:"msg"`
}

// Problems returns the entries of "detail"; none if it is not such a list.
func (o Object) Problems() []Problem {
	var problems []Problem
	if o["detail"].Kind() != '[' || json.Unmarshal(o["detail"], &problems) != nil {
		return nil
	}
	return problems
}

// String returns path and message: "body.ids.1: value is not a valid integer".
func (p Problem) String() string {
	var path []string
	for _, step := range p.Loc {
		text := string(step)
		if step.Kind() == '"' && json.Unmarshal(step, &text) != nil {
			continue
		}
		path = append(path, text)
	}
	return strings.TrimPrefix(strings.Join(path, ".")+": "+p.Msg, ": ")
}
