package chaos

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/lethe-dev/lethe/events"
)

// Message is an event to publish, and what its result must say.
type Message struct {
	Publication
	Body []byte
}

// workload generates events of every kind: requests for both APIs with one or more
// ids, repeated requests, new requests for a resource already requested, reused ids
// with another resource, and events that violate the contract.
type workload struct {
	random *rand.Rand
	made   []events.Request
	lastID int64 // the last used id of an entry or context
}

// Workload returns count events. The same seed returns the same events.
func Workload(seed uint64, count int) []Message {
	w := &workload{random: rand.New(rand.NewPCG(seed, 1)), lastID: 1}
	messages := make([]Message, 0, count)
	for range count {
		messages = append(messages, w.message())
	}
	return messages
}

var replicas = []uuid.UUID{
	uuid.MustParse("03db5651-cb61-4bdf-9ef0-89561f7c9c53"),
	uuid.MustParse("b1e3c6a0-5b0c-4f3c-9d5c-0d3a3a5b7a11"),
}

func (w *workload) message() Message {
	switch kind := w.random.IntN(100); {
	case kind < 6:
		return w.malformed()
	case kind < 12 && len(w.made) > 0: // the same request again
		return valid(w.earlier())
	case kind < 16 && len(w.made) > 0: // a new request for a resource already requested
		return w.request(w.earlier().Resource)
	case kind < 20 && len(w.made) > 0: // a reused id
		r := w.earlier()
		r.Resource = w.like(r.Resource)
		return valid(r)
	case kind < 60:
		return w.request(w.entry())
	default:
		return w.request(w.contexts())
	}
}

// earlier is one of the latest 50 requests. It may still be in flight.
func (w *workload) earlier() events.Request {
	return w.made[len(w.made)-1-w.random.IntN(min(len(w.made), 50))]
}

func (w *workload) entry() events.Resource {
	w.lastID++
	return events.KnowledgeBaseEntry{ReplicaUUID: replicas[w.random.IntN(len(replicas))], KnowledgeBaseID: w.lastID}
}

func (w *workload) contexts() events.Resource {
	ids := make([]int64, 1+w.random.IntN(4))
	for i := range ids {
		w.lastID++
		ids[i] = w.lastID
	}
	return events.UserContexts{IDs: ids}
}

// like is a new resource of the same type.
func (w *workload) like(res events.Resource) events.Resource {
	if res.Target() == events.KVUserContext {
		return w.contexts()
	}
	return w.entry()
}

func (w *workload) request(res events.Resource) Message {
	r := events.NewRequest("/chaos", res)
	r.ID, r.Time = w.id(), time.Time{}
	w.made = append(w.made, r)
	return valid(r)
}

func (w *workload) id() string {
	id, err := uuid.NewRandomFromReader(w)
	if err != nil {
		panic(err) // the reader has no errors
	}
	return id.String()
}

// Read fills p with random bytes that the seed decides.
func (w *workload) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(w.random.UintN(256))
	}
	return len(p), nil
}

func valid(r events.Request) Message {
	body, err := r.Encode()
	if err != nil {
		panic(fmt.Sprintf("encode a request: %v", err)) // a bug in this file
	}
	return Message{Publication{Target: r.Target(), ID: r.ID, Resource: r.Resource}, body}
}

func (w *workload) malformed() Message {
	id := w.id()
	m := Message{Publication: Publication{Target: events.KVUserContext, ID: id, Code: events.CodeInvalidResource}}
	data := map[string]any{"target": m.Target}
	switch w.random.IntN(4) {
	case 0: // unreadable
		return Message{Publication{Target: events.SensayKnowledgeBase, Code: events.CodeMalformedEvent}, []byte(`{"specversion":"1.0",` + id)}
	case 1:
		data["ids"] = []any{1, 1.5}
	case 2:
		data["ids"] = []any{"1"}
	default:
		data["target"], data["ids"], m.Code = events.SensayKnowledgeBase, []int{1}, events.CodeTargetMismatch
	}
	body, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": id, "source": "/chaos", "type": events.RequestType, "datacontenttype": "application/json", "data": data,
	})
	if err != nil {
		panic(err) // the value above is valid JSON
	}
	m.Body = body
	return m
}
