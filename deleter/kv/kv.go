// Package kv deletes user contexts of k-v.ai:
//
//	DELETE /api/user_context/delete  {"ids":[10,11]}
//
// as its documentation describes it. What that leaves open (what is answered
// when an id is wrong, and how bodies are wrapped) is read as the sibling call
// /api/doc/delete documents it, and as FastAPI, the framework, does by default.
package kv

import (
	"context"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
)

// Deleter deletes user contexts.
type Deleter struct{ client *deleter.Client }

// New returns a Deleter that calls as c says, with c.Credential as the access key.
func New(c deleter.ClientConfig) *Deleter {
	c.CredentialHeader = "access-key"
	return &Deleter{deleter.NewClient(c)}
}

var header = http.Header{"Content-Type": {"application/json"}}

// Delete makes one call for all ids of an [events.UserContexts].
func (d *Deleter) Delete(ctx context.Context, res events.Resource) deleter.Answer {
	contexts, ok := res.(events.UserContexts)
	if !ok {
		panic(fmt.Sprintf("kv: asked to delete a %T", res)) // a mistake in the table of APIs
	}
	body, err := json.Marshal(contexts)
	if err != nil {
		panic(fmt.Sprintf("kv: %v", err)) // integers can always be encoded
	}
	return d.client.Call(ctx, http.MethodDelete, "/api/user_context/delete", header, body, func(r deleter.Response) deleter.Answer {
		return read(r, contexts.IDs)
	})
}

// CloseIdle closes the connections that no call uses.
func (d *Deleter) CloseIdle() { d.client.CloseIdle() }
