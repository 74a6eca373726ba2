package events_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"log"

	"github.com/lethe-dev/lethe/events"
)

// NewResource makes the resource of any target from its fields, and names the field that is invalid.
func ExampleNewResource() {
	for _, fields := range []events.ResourceFields{
		{ReplicaUUID: "03DB5651-CB61-4BDF-9EF0-89561F7C9C53", KnowledgeBaseID: 12345},
		{ReplicaUUID: "03db5651", KnowledgeBaseID: 12345},
		{IDs: []int64{10}},
	} {
		resource, err := events.NewResource(events.SensayKnowledgeBase, fields)
		fmt.Println(resource, err)
	}
	// Output:
	// replica 03db5651-cb61-4bdf-9ef0-89561f7c9c53 entry 12345 <nil>
	// <nil> data.replica_uuid: must be a UUID of 36 characters, not "03db5651"
	// <nil> data.ids: does not belong to a sensay-knowledge-base request
}

// Fingerprint compares resources: the order of ids and the case of a UUID do not matter.
func ExampleFingerprint() {
	a, b := events.UserContexts{IDs: []int64{10, 11}}, events.UserContexts{IDs: []int64{11, 10}}
	fmt.Println(events.Fingerprint(a) == events.Fingerprint(b))
	// Output: true
}

// ReadResult returns codes of newer versions. The outcome says how to treat them.
func ExampleReadResult() {
	body := []byte(`{"specversion":"1.0","id":"r-1","source":"/lethe/a","type":"lethe.deletion.failed.v1","subject":"erase-7",
		"time":"2026-11-23T12:00:00Z","datacontenttype":"application/json","data":{"request_id":"erase-7","target":"kv-user-context",
		"ids":[10],"outcome":"failed","final":true,"attempts":3,"error":{"code":"code-of-a-newer-version","message":"gave up"}}}`)
	result, err := events.ReadResult(map[string][]string{"content-type": {events.ContentType}}, body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.RequestID, result.Outcome, result.Outcome.Final())
	if result.Error.Code.Outcome() == "" {
		fmt.Println("unknown code:", result.Error.Code)
	}
	// Output:
	// erase-7 failed true
	// unknown code: code-of-a-newer-version
}

// Schemas are files, for example for a schema registry.
func ExampleSchemas() {
	text, err := fs.ReadFile(events.Schemas(), "request.json")
	if err != nil {
		log.Fatal(err)
	}
	var schema struct {
		Title string `json:"title"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		log.Fatal(err)
	}
	fmt.Println(schema.Title)
	// Output: Deletion request
}
