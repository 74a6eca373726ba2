package kv

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/lethe-dev/lethe/deleter"
)

// body is what the documented answers have, of all of them together.
type body struct {
	Message *string                   `json:"message"`
	Data    map[string]jsontext.Value `json:"data"`
	// Detail is a list in FastAPI's validation error and a text in its others.
	Detail jsontext.Value `json:"detail"`
}

// read reads the answers that the API's documents explain, to a call for ids.
func read(r deleter.Response, ids []int64) deleter.Answer {
	switch r.Status {
	case http.StatusOK, http.StatusPartialContent, http.StatusBadRequest, http.StatusUnprocessableEntity:
	case http.StatusNotFound:
		// No 404 is documented. The framework's own means an address that is
		// wrong, which can be put right.
		return deleter.Undocumented(r, "404, which k-v.ai does not document: is the base URL right?")
	default:
		return deleter.Unknown(r)
	}
	b, err := readBody(r)
	if err != nil {
		return deleter.Undocumented(r, fmt.Sprintf("%d, but %s", r.Status, err))
	}
	if r.Status == http.StatusOK || r.Status == http.StatusPartialContent {
		return readDone(r, b, ids)
	}
	if b.Message == nil && len(b.Detail) == 0 {
		return deleter.Undocumented(r, fmt.Sprintf("%d, but neither detail nor message is there", r.Status))
	}
	return deleter.Answer{Verdict: deleter.Invalid, Message: b.words(), Refused: b.refusedByPosition(ids)}
}

// readDone reads a 200 or 206: all ids are deleted, or those that are not listed
// as invalid.
func readDone(r deleter.Response, b body, ids []int64) deleter.Answer {
	listed, refused, readable := b.refusedByName(ids)
	switch {
	case !readable:
		return deleter.Undocumented(r, fmt.Sprintf("%d with a list of invalid ids that cannot be read", r.Status))
	case listed && len(refused) == 0:
		return deleter.Undocumented(r, fmt.Sprintf("%d with a list of invalid ids that were not asked for", r.Status))
	case listed:
		return deleter.Answer{Verdict: deleter.Invalid, Message: b.words(), Refused: refused}
	case r.Status == http.StatusOK && b.Message != nil:
		return deleter.Answer{Verdict: deleter.Deleted, Message: *b.Message}
	case r.Status == http.StatusOK:
		return deleter.Undocumented(r, "200, but no message is there")
	default:
		return deleter.Undocumented(r, "206, but no list of invalid ids is there")
	}
}

// readBody reads the answer's object, also where it is wrapped in "value" as the
// sibling call's reference shows.
func readBody(r deleter.Response) (body, error) {
	var wrapped struct {
		Value jsontext.Value `json:"value"`
	}
	if err := deleter.ReadJSON(r, &wrapped); err != nil {
		return body{}, err
	}
	if len(wrapped.Value) > 0 && wrapped.Value.Kind() == '{' {
		r.Body = wrapped.Value
	}
	var b body
	err := deleter.ReadJSON(r, &b)
	return b, err
}

// words is what the API says for people.
func (b body) words() string {
	if b.Message != nil {
		return *b.Message
	}
	return deleter.Text(b.Detail)
}

// refusedByName gives those of ids that a list in data whose name begins with
// "invalid_" holds, as numbers or as texts. listed says that there is such a
// list with something in it, readable that all of it was understood.
func (b body) refusedByName(ids []int64) (listed bool, refused []int64, readable bool) {
	for name, value := range b.Data {
		if !strings.HasPrefix(name, "invalid_") {
			continue
		}
		var list []jsontext.Value
		if json.Unmarshal(value, &list) != nil {
			return true, nil, false
		}
		for _, item := range list {
			listed = true
			id, err := strconv.ParseInt(strings.Trim(string(item), `"`), 10, 64)
			if err != nil {
				return true, nil, false
			}
			if slices.Contains(ids, id) && !slices.Contains(refused, id) {
				refused = append(refused, id)
			}
		}
	}
	return listed, refused, true
}

// refusedByPosition gives the ids whose positions a validation error names:
// "loc":["body","ids",1]. pydantic's versions 1 and 2 agree on that. The loc of
// a body that is not JSON, ["body",<offset>], names none.
func (b body) refusedByPosition(ids []int64) []int64 {
	var problems []struct {
		Loc []jsontext.Value `json:"loc"`
	}
	if json.Unmarshal(b.Detail, &problems) != nil {
		return nil
	}
	var refused []int64
	for _, p := range problems {
		if len(p.Loc) < 3 || string(p.Loc[0]) != `"body"` || string(p.Loc[1]) != `"ids"` {
			continue
		}
		position, err := strconv.Atoi(string(p.Loc[2]))
		if err == nil && position >= 0 && position < len(ids) && !slices.Contains(refused, ids[position]) {
			refused = append(refused, ids[position])
		}
	}
	return refused
}
