package events

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
)

func TestAsyncAPISubjects(t *testing.T) {
	api := asyncAPIDocument(t)
	if version := at(t, api, "asyncapi"); version != "3.0.0" {
		t.Errorf("AsyncAPI is %v", version)
	}
	for channel, want := range map[string]string{
		"requests": RequestSubject("{target}"),
		"results":  ResultSubject("{target}", "{requestId}", "{outcome}"),
		"attempts": strings.TrimSuffix(AttemptSubject("{target}", "{requestId}", 1), "1") + "{n}",
		"later":    LaterSubject("{target}", "{requestId}"),
		"due":      DueSubject("{target}"),
	} {
		t.Run(channel, func(t *testing.T) {
			if got := at(t, api, "channels", channel, "address"); got != want {
				t.Errorf("got %v, want %s", got, want)
			}
		})
	}
	attempts := strings.TrimSuffix(AttemptSubject("*", "*", 1), "1") + "*"
	for stream, want := range map[string][]any{
		StreamRequests: {RequestSubject(KVUserContext), RequestSubject(SensayKnowledgeBase)},
		StreamResults:  {ResultFilter("", "", ""), attempts},
		StreamLater:    {LaterSubject("*", "*"), DueSubject("*")},
	} {
		t.Run(stream, func(t *testing.T) {
			if diff := cmp.Diff(want, at(t, api, "x-streams", stream, "subjects")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAsyncAPIReferencesResolve(t *testing.T) {
	api := asyncAPIDocument(t)
	var seen []string
	var walk func(node any)
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			if ref, ok := node["$ref"].(string); ok {
				seen = append(seen, ref)
			}
			for _, child := range node {
				walk(child)
			}
		case []any:
			for _, child := range node {
				walk(child)
			}
		}
	}
	walk(api)
	if len(seen) == 0 {
		t.Fatal("the document has no references")
	}
	slices.Sort(seen)
	for _, ref := range slices.Compact(seen) {
		t.Run(ref, func(t *testing.T) {
			if pointer, ok := strings.CutPrefix(ref, "#/"); ok {
				at(t, api, strings.Split(pointer, "/")...)
				return
			}
			name, ok := strings.CutPrefix(ref, "./schemas/")
			if _, err := fs.Stat(Schemas(), name); !ok || err != nil {
				t.Errorf("it does not resolve: %v", err)
			}
		})
	}
}

// TestAsyncAPIExamples reads the examples and validates them with the schemas. Each
// message has at least one.
func TestAsyncAPIExamples(t *testing.T) {
	api := asyncAPIDocument(t)
	request, requestData, result := schema(t, "request.json"), schema(t, "request-data.json"), schema(t, "result.json")
	for key, message := range at(t, api, "components", "messages").(map[string]any) {
		if key == "waiting" {
			continue // only workers use it
		}
		for _, example := range at(t, message, "examples").([]any) {
			t.Run(key+" "+at(t, example, "name").(string), func(t *testing.T) {
				body, err := json.Marshal(at(t, example, "payload"))
				if err != nil {
					t.Fatal(err)
				}
				header := map[string][]string{}
				if given, ok := example.(map[string]any)["headers"].(map[string]any); ok {
					for name, value := range given {
						header[name] = []string{value.(string)}
					}
				}
				against := result
				switch key {
				case "requestedStructured", "requestedBinary":
					if against = request; key == "requestedBinary" {
						against = requestData
					}
					target := KVUserContext
					if strings.Contains(string(body), string(SensayKnowledgeBase)) {
						target = SensayKnowledgeBase
					}
					var r Request
					if r, err = ReadRequest(target, header, body); err == nil {
						if id := header["Nats-Msg-Id"]; id != nil && id[0] != r.ID {
							t.Errorf("the message has the id %s, the request %s", id[0], r.ID)
						}
					}
				default:
					var r Result
					if r, err = ReadResult(header, body); err == nil && at(t, message, "name") != r.Outcome.EventType() {
						t.Errorf("the example is %s", r.Outcome)
					}
				}
				if err != nil {
					t.Errorf("the code refuses it: %v", err)
				}
				if err := fits(against, string(body)); err != nil {
					t.Errorf("the schema refuses it: %v", err)
				}
			})
		}
	}
}
