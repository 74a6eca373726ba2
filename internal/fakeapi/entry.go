package fakeapi

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// Entry names one thing that can be deleted. Its text form, in JSON, flags and admin paths, is "kv/10" or
// "sensay/03db5651-cb61-4bdf-9ef0-89561f7c9c53/12345".
type Entry struct {
	API     API
	Replica uuid.UUID // zero except for Sensay
	ID      int64     // 1 to 2^63-1
}

// key identifies an entry of one API. It contains no pointers, so the garbage collector does not scan a million of them.
type key struct {
	replica uuid.UUID
	id      int64
}

func (e Entry) key() key { return key{e.Replica, e.ID} }

func (k key) entry(api API) Entry { return Entry{api, k.replica, k.id} }

// Context names a k-v.ai user context. Its id is at least 1.
func Context(id int64) Entry { return Entry{API: KV, ID: id} }

// KnowledgeBaseEntry names an entry of a Sensay replica's knowledge base. Its id is at least 1.
func KnowledgeBaseEntry(replica uuid.UUID, id int64) Entry { return Entry{Sensay, replica, id} }

// ParseEntry reads the text form of an entry.
func ParseEntry(text string) (Entry, error) {
	name, rest, _ := strings.Cut(text, "/")
	e := Entry{API: API(name)}
	if !e.API.known() {
		return Entry{}, fmt.Errorf("an entry is %s", strings.Join(entryForms(), " or "))
	}
	var err error
	if e.API.definition().hasReplica {
		var replica string
		replica, rest, _ = strings.Cut(rest, "/")
		if e.Replica, err = parseUUID(replica); err != nil {
			return Entry{}, err
		}
	}
	e.ID, err = parseID(rest)
	return e, err
}

// entryForms describes the text form of each API's entries.
func entryForms() []string {
	var forms []string
	for _, d := range definitions {
		form := string(d.api) + "/ID"
		if d.hasReplica {
			form = string(d.api) + "/UUID/ID"
		}
		forms = append(forms, form)
	}
	return forms
}

// String returns the text form.
func (e Entry) String() string {
	id := strconv.FormatInt(e.ID, 10)
	if e.API.definition().hasReplica {
		id = e.Replica.String() + "/" + id
	}
	return string(e.API) + "/" + id
}

// MarshalText returns the text form.
func (e Entry) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads the text form.
func (e *Entry) UnmarshalText(text []byte) (err error) {
	*e, err = ParseEntry(string(text))
	return err
}

func (e Entry) validate() error {
	if !e.API.known() || e.ID < 1 || !e.API.definition().hasReplica && e.Replica != uuid.Nil {
		return fmt.Errorf("%q is not an entry: use Context, KnowledgeBaseEntry or ParseEntry", e)
	}
	return nil
}

// parseID reads 1 to 2^63-1 in canonical form, without sign or leading zeros.
func parseID(s string) (int64, error) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil || id < 1 || strconv.FormatInt(id, 10) != s {
		return 0, errors.New("an id is an integer from 1 to 9223372036854775807")
	}
	return id, nil
}

// parseUUID accepts the 36-character form only; uuid.Parse accepts others too.
func parseUUID(s string) (uuid.UUID, error) {
	u, err := uuid.Parse(s)
	if err != nil || len(s) != 36 {
		return uuid.UUID{}, errors.New("a replica is a UUID of 36 characters")
	}
	return u, nil
}
