// Package sensay deletes knowledge-base entries of Sensay:
//
//	DELETE /v1/replicas/{replicaUUID}/knowledge-base/{knowledgeBaseID}
//
// as its API reference of version 2025-03-25 describes it. The endpoint is
// marked Beta there, so its answers are read strictly: what is not in the
// reference says nothing about the entry.
package sensay

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
)

// removalWithin is how long after a 202 the API may take to remove everything
// ("within 24 hours", says its reference).
const removalWithin = 24 * time.Hour

// Deleter deletes knowledge-base entries.
type Deleter struct {
	client *deleter.Client
	header http.Header
}

// New returns a Deleter that calls as c says, with c.Credential as the organization
// secret, and apiVersion in the X-API-Version header. The API itself gives up after
// 90 s: a shorter c.Timeout leaves calls without an answer.
func New(c deleter.ClientConfig, apiVersion string) *Deleter {
	c.CredentialHeader = "X-ORGANIZATION-SECRET"
	header := http.Header{}
	header.Set("X-API-Version", apiVersion)
	return &Deleter{client: deleter.NewClient(c), header: header}
}

// Delete makes the call for an [events.KnowledgeBaseEntry].
func (d *Deleter) Delete(ctx context.Context, res events.Resource) deleter.Answer {
	entry, ok := res.(events.KnowledgeBaseEntry)
	if !ok {
		panic(fmt.Sprintf("sensay: asked to delete a %T", res)) // a mistake in the table of APIs
	}
	path := fmt.Sprintf("/v1/replicas/%s/knowledge-base/%d", entry.ReplicaUUID, entry.KnowledgeBaseID)
	return d.client.Call(ctx, http.MethodDelete, path, d.header, nil, read)
}

// CloseIdle closes the connections that no call uses.
func (d *Deleter) CloseIdle() { d.client.CloseIdle() }

// read reads the answers that the API's reference explains.
func read(r deleter.Response) deleter.Answer {
	switch r.Status {
	case http.StatusOK, http.StatusAccepted, http.StatusNotFound, http.StatusBadRequest, http.StatusUnprocessableEntity:
	default:
		return deleter.Unknown(r)
	}
	body, err := deleter.ReadObject(r)
	if err != nil {
		return deleter.Undocumented(r, fmt.Sprintf("%d, but %s", r.Status, err))
	}
	a := deleter.Answer{Message: body.Message()}
	_, explained := body.Text("error")
	var identified bool
	a.APIRequestID, identified = body.Text("request_id")
	switch {
	case r.Status == http.StatusOK && body.True("success"):
		a.Verdict = deleter.Deleted
	case r.Status == http.StatusAccepted && body.True("success"):
		a.Verdict = deleter.AcceptedPending
		a.ExpectedBy = time.Now().UTC().Add(removalWithin)
	case r.Status == http.StatusNotFound && explained && identified:
		// success is ignored: an older endpoint documents it as true here.
		a.Verdict = deleter.NotFound
	case r.Status == http.StatusBadRequest, r.Status == http.StatusUnprocessableEntity:
		a.Verdict = deleter.Invalid
	case r.Status == http.StatusNotFound:
		return deleter.Undocumented(r, "404 without error and request_id, so not the API's own: is the base URL right? "+a.Message)
	default:
		return deleter.Undocumented(r, fmt.Sprintf("%d, but success is not true: %s", r.Status, a.Message))
	}
	return a
}
