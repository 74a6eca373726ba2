package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/schollz/progressbar/v3"

	"github.com/lethe-dev/lethe/events"
)

// rows are requests from a file, or the one of the command line.
type rows struct {
	// next gives the next request, or why a row is none (*rowError), or io.EOF.
	next func() (events.Request, error)
	// target is that of all rows, "" where they may differ.
	target events.Target
	file   io.ReadCloser // nil for the command line's
	size   int64         // of the file, -1 if unknown
	read   *counter
}

// rowError is what is wrong with one row. The rows after it can be read.
type rowError struct {
	line int
	err  error
}

func (e *rowError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }

func oneRow(r events.Request) *rows {
	done := false
	return &rows{size: -1, target: r.Target(), next: func() (events.Request, error) {
		if done {
			return events.Request{}, io.EOF
		}
		done = true
		return r, nil
	}}
}

func (r *rows) close() {
	if r.file != nil {
		_ = r.file.Close() // it was only read
	}
}

// openRows opens the file that the flags name. Reading it takes no more memory
// for more rows, but for some bytes for each different row without an id.
func openRows(f requestFlags, stdin io.Reader) (*rows, error) {
	format := f.format
	if format == "" {
		format = map[string]string{".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}[strings.ToLower(filepath.Ext(f.file))]
	}
	if format != "csv" && format != "ndjson" {
		return nil, usageError("--format: must be csv or ndjson; the file's name does not tell")
	}
	file, size, err := openInput(f.file, stdin)
	if err != nil {
		return nil, err
	}
	r := &rows{file: file, size: size, read: &counter{from: file}}
	names := namer{source: f.source, seen: map[[16]byte]int{}}
	if format == "csv" {
		r.next, err = csvRows(r.read, names)
	} else {
		r.next = ndjsonRows(r.read, names)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// namer gives a row without an id one that it will have again when the file is
// read again.
type namer struct {
	source string
	seen   map[[16]byte]int
}

// namespace is that of the UUIDs which namer makes (RFC 9562, section 5.5).
var namespace = uuid.MustParse("6b1c4d9e-3f0a-5e57-9a43-6f1f0c2f7d11")

func (n namer) name(r *events.Request) {
	if r.Source == "" {
		r.Source = n.source
	}
	if r.ID != "" || r.Resource == nil {
		return
	}
	content := r.Source + "\x00" + events.Fingerprint(r.Resource)
	sum := sha256.Sum256([]byte(content))
	key := [16]byte(sum[:16])
	r.ID = uuid.NewSHA1(namespace, fmt.Appendf(nil, "%s\x00%d", content, n.seen[key])).String()
	n.seen[key]++
}

var csvColumns = []string{"target", "ids", "replica_uuid", "knowledge_base_id", "id", "source"}

func csvRows(from io.Reader, names namer) (func() (events.Request, error), error) {
	reader := csv.NewReader(from)
	reader.ReuseRecord = true
	header, err := reader.Read()
	if err != nil {
		return nil, usageError("--file: no CSV header: %w", err)
	}
	columns := slices.Clone(header)
	for i, column := range columns {
		columns[i] = strings.TrimSpace(strings.TrimPrefix(column, "\ufeff")) // spreadsheets write a byte order mark
		if !slices.Contains(csvColumns, columns[i]) {
			return nil, usageError("--file: unknown CSV column %q; known are %s", column, strings.Join(csvColumns, ", "))
		}
	}
	return func() (events.Request, error) {
		record, err := reader.Read()
		var parse *csv.ParseError
		if errors.As(err, &parse) {
			return events.Request{}, &rowError{parse.Line, parse.Err}
		}
		if err != nil {
			return events.Request{}, err
		}
		line, _ := reader.FieldPos(0)
		fields := map[string]string{}
		for i, value := range record {
			fields[columns[i]] = strings.TrimSpace(value)
		}
		request, err := csvRequest(fields)
		if err != nil {
			return events.Request{}, &rowError{line, err}
		}
		names.name(&request)
		return request, nil
	}, nil
}

func csvRequest(fields map[string]string) (events.Request, error) {
	r := events.Request{ID: fields["id"], Source: fields["source"]}
	switch target := events.Target(fields["target"]); target {
	case events.KVUserContext:
		var contexts events.UserContexts
		for _, text := range strings.FieldsFunc(fields["ids"], func(c rune) bool { return c == ' ' || c == ';' }) {
			id, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return r, fmt.Errorf("ids: %q is no integer up to 2^63-1", text)
			}
			contexts.IDs = append(contexts.IDs, id)
		}
		r.Resource = contexts
	case events.SensayKnowledgeBase:
		replica, err := uuid.Parse(fields["replica_uuid"])
		if err != nil {
			return r, fmt.Errorf("replica_uuid: %q is no UUID", fields["replica_uuid"])
		}
		id, err := strconv.ParseInt(fields["knowledge_base_id"], 10, 64)
		if err != nil {
			return r, fmt.Errorf("knowledge_base_id: %q is no integer up to 2^63-1", fields["knowledge_base_id"])
		}
		r.Resource = events.KnowledgeBaseEntry{ReplicaUUID: replica, KnowledgeBaseID: id}
	default:
		return r, fmt.Errorf("target: %q is none of %s", target, strings.Join(targetNames(), ", "))
	}
	return r, r.Resource.Validate()
}

// maxLine bounds a line of NDJSON: an event and what JSON may spend on spaces.
const maxLine = 2 * events.MaxEventBytes

func ndjsonRows(from io.Reader, names namer) func() (events.Request, error) {
	reader := bufio.NewReaderSize(from, maxLine)
	line := 0
	return func() (events.Request, error) {
		for {
			text, err := reader.ReadSlice('\n')
			line++
			if errors.Is(err, bufio.ErrBufferFull) {
				for errors.Is(err, bufio.ErrBufferFull) {
					_, err = reader.ReadSlice('\n')
				}
				return events.Request{}, &rowError{line, fmt.Errorf("is over %d bytes", maxLine)}
			}
			if err != nil && (!errors.Is(err, io.EOF) || len(text) == 0) {
				return events.Request{}, err
			}
			if len(strings.TrimSpace(string(text))) == 0 {
				continue
			}
			request, err := ndjsonRequest(text)
			if err != nil {
				return events.Request{}, &rowError{line, err}
			}
			names.name(&request)
			return request, nil
		}
	}
}

// ndjsonRequest reads a line that holds an event or, without an envelope, what
// would be its data, with an id and a source if they are wanted.
func ndjsonRequest(text []byte) (events.Request, error) {
	var row struct {
		SpecVersion     string        `json:"specversion"`
		Target          events.Target `json:"target"`
		ID              string        `json:"id"`
		Source          string        `json:"source"`
		IDs             []int64       `json:"ids"`
		ReplicaUUID     string        `json:"replica_uuid"`
		KnowledgeBaseID int64         `json:"knowledge_base_id"`
		Data            struct {
			Target events.Target `json:"target"`
		} `json:"data"`
	}
	probe := json.Unmarshal(text, &row)
	if probe == nil && row.SpecVersion != "" {
		return events.ReadRequest(row.Data.Target, map[string][]string{"content-type": {events.ContentType}}, text)
	}
	if err := json.Unmarshal(text, &row, json.RejectUnknownMembers(true)); err != nil {
		return events.Request{}, fmt.Errorf("is no request: %w", err)
	}
	r := events.Request{ID: row.ID, Source: row.Source}
	switch row.Target {
	case events.KVUserContext:
		r.Resource = events.UserContexts{IDs: row.IDs}
	case events.SensayKnowledgeBase:
		replica, err := uuid.Parse(row.ReplicaUUID)
		if err != nil {
			return r, fmt.Errorf("replica_uuid: %q is no UUID", row.ReplicaUUID)
		}
		r.Resource = events.KnowledgeBaseEntry{ReplicaUUID: replica, KnowledgeBaseID: row.KnowledgeBaseID}
	default:
		return r, fmt.Errorf("target: %q is none of %s", row.Target, strings.Join(targetNames(), ", "))
	}
	return r, r.Resource.Validate()
}

// counter counts the bytes that were read.
type counter struct {
	from io.Reader
	n    int64
	bar  *progressbar.ProgressBar
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	if c.bar != nil {
		_ = c.bar.Set64(c.n) // a bar that cannot be drawn stops nothing
	}
	return n, err
}

// progress shows a bar on a terminal, for a file, and returns how to end it.
func (r *rows) progress(w io.Writer) (end func()) {
	if r.file == nil || !isTerminal(w) {
		return func() {}
	}
	r.read.bar = progressbar.NewOptions64(r.size, progressbar.OptionSetWriter(w), progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription("publishing"), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100_000_000))
	return func() { _ = r.read.bar.Finish() }
}
