// Package toy deletes notes at the toy API: DELETE /toy/{id}.
package toy

import (
	"context"
	"fmt"
	"net/http"

	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/events"
)

// Deleter deletes notes.
type Deleter struct{ client *deleter.Client }

// New returns a Deleter for c.
func New(c deleter.ClientConfig) deleter.Deleter {
	c.CredentialHeader = "X-Toy-Key"
	return &Deleter{deleter.NewClient(c)}
}

// Delete makes the call for an [events.ToyNotes] with one id.
func (d *Deleter) Delete(ctx context.Context, res events.Resource) deleter.Answer {
	notes := res.(events.ToyNotes)
	return d.client.Call(ctx, http.MethodDelete, fmt.Sprintf("/toy/%d", notes.IDs[0]), nil, nil, read)
}

func read(r deleter.Response) deleter.Answer {
	if r.Status != http.StatusOK {
		return deleter.Unknown(r)
	}
	body, err := deleter.ReadObject(r)
	if err != nil || !body.True("deleted") {
		return deleter.Undocumented(r, "200, but deleted is not true")
	}
	return deleter.Answer{Verdict: deleter.Deleted, Message: "deleted"}
}
