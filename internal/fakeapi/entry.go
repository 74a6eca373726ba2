package fakeapi

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// API names one of the two imitated APIs.
type API string

// The two APIs.
const (
	KV     API = "kv"     // api.k-v.ai: user contexts
	Sensay API = "sensay" // api.sensay.io: knowledge-base entries
)

// APIs returns both, in fixed order.
func APIs() []API { return []API{KV, Sensay} }

func (a API) known() bool { return a == KV || a == Sensay }

// apiOfPath decides whose call a path is. Everything that is not Sensay's is k-v.ai's, whose framework has an answer
// for unknown paths.
func apiOfPath(path string) API {
	if path == "/v1" || strings.HasPrefix(path, "/v1/") {
		return Sensay
	}
	return KV
}

// Entry names one thing that can be deleted. As text it is "kv/10" or
// "sensay/03db5651-cb61-4bdf-9ef0-89561f7c9c53/12345", in JSON, in flags and in control paths alike.
type Entry struct {
	API     API
	Replica uuid.UUID // zero for k-v.ai
	ID      int64     // 1 to 2^63-1
}

// key tells the entries of one API apart. It holds no pointers, so a million of them cost the collector nothing.
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
	api, rest, _ := strings.Cut(text, "/")
	switch API(api) {
	case KV:
		id, err := parseID(rest)
		return Context(id), err
	case Sensay:
		replica, number, _ := strings.Cut(rest, "/")
		u, err := parseUUID(replica)
		if err != nil {
			return Entry{}, err
		}
		id, err := parseID(number)
		return KnowledgeBaseEntry(u, id), err
	}
	return Entry{}, errors.New("an entry is kv/ID or sensay/UUID/ID")
}

// String returns the text form.
func (e Entry) String() string {
	id := strconv.FormatInt(e.ID, 10)
	if e.API == KV {
		return string(KV) + "/" + id
	}
	return string(Sensay) + "/" + e.Replica.String() + "/" + id
}

// MarshalText returns the text form.
func (e Entry) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads the text form.
func (e *Entry) UnmarshalText(text []byte) (err error) {
	*e, err = ParseEntry(string(text))
	return err
}

func (e Entry) validate() error {
	if !e.API.known() || e.ID < 1 || e.API == KV && e.Replica != uuid.Nil {
		return fmt.Errorf("%q is not an entry: use Context, KnowledgeBaseEntry or ParseEntry", e)
	}
	return nil
}

// parseID reads 1 to 2^63-1, written in the one canonical way.
func parseID(s string) (int64, error) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil || id < 1 || strconv.FormatInt(id, 10) != s {
		return 0, errors.New("an id is an integer from 1 to 9223372036854775807")
	}
	return id, nil
}

// parseUUID reads the 36-character form alone; uuid.Parse takes others too.
func parseUUID(s string) (uuid.UUID, error) {
	u, err := uuid.Parse(s)
	if err != nil || len(s) != 36 {
		return uuid.UUID{}, errors.New("a replica is a UUID of 36 characters")
	}
	return u, nil
}
