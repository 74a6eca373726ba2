package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/lethe-dev/lethe/events"
)

func ndjsonRows(from io.Reader, names *namer) func() (row, error) {
	text := newLines(from)
	return func() (row, error) {
		line, err := text.next()
		if err != nil {
			return row{}, err
		}
		request, event, err := ndjsonRequest(line)
		if err != nil {
			return row{}, &rowError{text.n, err}
		}
		return names.complete(text.n, request, event)
	}
}

// ndjsonRequest reads a line with an event, or with only the data of one and optionally
// id and source. An event is published unchanged.
func ndjsonRequest(line []byte) (events.Request, []byte, error) {
	fields, err := members(line)
	if err != nil {
		return events.Request{}, nil, fmt.Errorf("is not a request: %w", err)
	}
	if _, whole := fields["specversion"]; whole {
		request, err := readEvent(line)
		return request, bytes.Clone(bytes.TrimSpace(line)), err
	}
	// The row becomes an event and is read as one, so that both are equally strict.
	var event strings.Builder
	event.WriteString(`{"specversion":"1.0","type":"` + events.RequestType + `"`)
	given := map[string]bool{}
	for _, name := range []string{"id", "source"} {
		value, there := fields[name]
		if there && value.Kind() != '"' {
			return events.Request{}, nil, fmt.Errorf("%s: must be a string", name)
		}
		if given[name] = there; !there {
			value = jsontext.Value(`"none"`)
		}
		_, _ = fmt.Fprintf(&event, `,%q:%s`, name, value) // a builder never fails
		delete(fields, name)
	}
	event.WriteString(`,"data":{`)
	separator := ""
	for _, name := range slices.Sorted(maps.Keys(fields)) { // sorted, so that errors are deterministic
		quoted, err := jsontext.AppendQuote(nil, name)
		if err != nil {
			return events.Request{}, nil, fmt.Errorf("is not a request: %w", err)
		}
		_, _ = fmt.Fprintf(&event, `%s%s:%s`, separator, quoted, fields[name])
		separator = ","
	}
	event.WriteString(`}}`)
	request, err := readEvent([]byte(event.String()))
	if err != nil {
		return events.Request{}, nil, rowFieldError(err)
	}
	if !given["id"] {
		request.ID = ""
	}
	if !given["source"] {
		request.Source = ""
	}
	return request, nil, nil
}

// readEvent reads an event of any target.
func readEvent(event []byte) (request events.Request, err error) {
	for _, target := range events.Targets() {
		request, err = events.ReadRequest(target, map[string][]string{"content-type": {events.ContentType}}, event)
		var invalid *events.InvalidError
		if !errors.As(err, &invalid) || invalid.Code != events.CodeTargetMismatch {
			break
		}
	}
	return request, err
}

// members returns the fields of a JSON object without duplicate names.
func members(line []byte) (map[string]jsontext.Value, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(line))
	if dec.PeekKind() != '{' {
		return nil, errors.New("it must be one JSON object on one line")
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	fields := map[string]jsontext.Value{}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, unfinished(err)
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return nil, unfinished(err)
		}
		fields[key] = value.Clone()
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, unfinished(err)
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one JSON object on the line")
	}
	return fields, nil
}

func unfinished(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("its JSON ends in the middle")
	}
	return err
}
