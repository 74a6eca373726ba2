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

// read reads the answers that the API's documents explain, to a call for ids.
func read(r deleter.Response, ids []int64) deleter.Answer {
	switch r.Status {
	case http.StatusOK, http.StatusPartialContent, http.StatusBadRequest, http.StatusUnprocessableEntity:
	case http.StatusNotFound:
		// No 404 is documented. The framework's own means a wrong address, which can
		// be corrected.
		return deleter.Undocumented(r, "404, which k-v.ai does not document: is the base URL right?")
	default:
		return deleter.Unknown(r)
	}
	body, err := deleter.ReadObject(r)
	if err != nil {
		return deleter.Undocumented(r, fmt.Sprintf("%d, but %s", r.Status, err))
	}
	body = unwrap(body)
	if r.Status == http.StatusOK || r.Status == http.StatusPartialContent {
		return readDone(r, body, ids)
	}
	_, explained := body.Text("message")
	if !explained && !body.Has("detail") {
		return deleter.Undocumented(r, fmt.Sprintf("%d, but neither detail nor message is there", r.Status))
	}
	// Nothing was deleted. Where all ids are wrong, the sibling call lists them here too.
	listed, _, _ := refusedByName(body)
	refused := among(ids, append(listed, refusedByPosition(body, ids)...))
	return deleter.Answer{Verdict: deleter.Invalid, Message: body.Message(), Refused: refused}
}

// readDone reads a 200 or 206: all ids are deleted, or those that are not listed
// as invalid.
func readDone(r deleter.Response, body deleter.Object, ids []int64) deleter.Answer {
	listed, found, readable := refusedByName(body)
	refused := among(ids, listed)
	message, explained := body.Text("message")
	switch {
	case !readable:
		return deleter.Undocumented(r, fmt.Sprintf("%d with a list of invalid ids that cannot be read", r.Status))
	case found && len(refused) == 0:
		return deleter.Undocumented(r, fmt.Sprintf("%d with a list of invalid ids that were not asked for", r.Status))
	case found:
		return deleter.Answer{Verdict: deleter.Invalid, Message: body.Message(), Refused: refused}
	case r.Status == http.StatusOK && explained:
		return deleter.Answer{Verdict: deleter.Deleted, Message: message}
	case r.Status == http.StatusOK:
		return deleter.Undocumented(r, "200, but message is missing")
	default:
		return deleter.Undocumented(r, "206, but the list of invalid ids is missing")
	}
}

// unwrap takes the answer out of "value", in which the sibling call's reference
// shows it, unless the answer is beside it.
func unwrap(body deleter.Object) deleter.Object {
	if slices.ContainsFunc([]string{"message", "data", "detail"}, body.Has) {
		return body
	}
	if value, ok := body.Object("value"); ok {
		return value
	}
	return body
}

// refusedByName returns the ids, numbers or strings, in the lists in data whose names
// begin with "invalid_". found is true if such a list has an item, readable if all items
// were understood. A number or true instead of a list also means that ids are invalid:
// then a list must exist.
func refusedByName(body deleter.Object) (refused []int64, found, readable bool) {
	data, ok := body.Object("data")
	if !ok {
		return nil, false, true
	}
	counted := false
	for name, value := range data {
		if !strings.HasPrefix(name, "invalid_") {
			continue
		}
		switch text := strings.TrimSpace(string(value)); {
		case text == "null", text == "false", text == "0":
			continue
		case value.Kind() == '0', value.Kind() == 't':
			counted = true
			continue
		}
		var list []jsontext.Value
		if value.Kind() != '[' || json.Unmarshal(value, &list) != nil {
			return refused, true, false
		}
		for _, item := range list {
			found = true
			id, err := strconv.ParseInt(strings.Trim(string(item), `"`), 10, 64)
			if err != nil {
				return refused, true, false
			}
			refused = append(refused, id)
		}
	}
	return refused, found, found || !counted
}

// refusedByPosition gives the ids whose positions a validation error names:
// "loc":["body","ids",1]. The loc of a body that is not JSON, ["body",<offset>],
// names none.
func refusedByPosition(body deleter.Object, ids []int64) (refused []int64) {
	for _, p := range body.Problems() {
		if len(p.Loc) < 3 || string(p.Loc[0]) != `"body"` || string(p.Loc[1]) != `"ids"` {
			continue
		}
		position, err := strconv.Atoi(string(p.Loc[2]))
		if err == nil && position >= 0 && position < len(ids) {
			refused = append(refused, ids[position])
		}
	}
	return refused
}

// among gives those of ids that are in list, in their own order.
func among(ids, list []int64) (found []int64) {
	for _, id := range ids {
		if slices.Contains(list, id) {
			found = append(found, id)
		}
	}
	return found
}
