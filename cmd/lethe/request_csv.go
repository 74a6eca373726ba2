package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/lethe-dev/lethe/events"
)

var csvColumns = []string{"target", "ids", "replica_uuid", "knowledge_base_id", "id", "source"}

// csvReader reads one line as one record.
type csvReader struct {
	line   bytes.Reader
	buffer *bufio.Reader
}

var errQuote = errors.New(`a quote is not closed on its line, or has text next to it; write a cell with a quote or comma "like ""this"", quoted"`)

func (c *csvReader) record(line []byte) ([]string, error) {
	c.line.Reset(line)
	if c.buffer == nil {
		c.buffer = bufio.NewReader(&c.line)
	}
	c.buffer.Reset(&c.line)
	cells, err := csv.NewReader(c.buffer).Read() // reuses the buffer
	if errors.Is(err, csv.ErrBareQuote) || errors.Is(err, csv.ErrQuote) {
		return nil, errQuote
	}
	return cells, err
}

// csvRows reads the header and returns a function that reads the next row.
func csvRows(from io.Reader, names *namer) (func() (row, error), error) {
	text, reader := newLines(from), &csvReader{}
	line, err := text.next()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("line 1: is missing; it must name the columns")
	}
	if err != nil {
		return nil, err
	}
	var columns []string
	if err = checkSeparator(line); err == nil {
		columns, err = reader.record(line)
	}
	if err == nil {
		err = checkColumns(columns, line)
	}
	if err == nil && names.batch == "" && !slices.Contains(columns, "id") {
		err = errNoID
	}
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", text.n, err)
	}
	return func() (row, error) {
		line, err := text.next()
		if err != nil {
			return row{}, err
		}
		cells, err := reader.record(line)
		if err != nil {
			return row{}, &rowError{text.n, err}
		}
		request, err := csvRequest(columns, cells)
		if err != nil {
			return row{}, &rowError{text.n, err}
		}
		return names.complete(text.n, request, nil)
	}, nil
}

// checkSeparator detects files with other separators, which no column name contains.
func checkSeparator(header []byte) error {
	for separator, name := range map[byte]string{';': "semicolons", '\t': "tabs", '|': "bars"} {
		if bytes.IndexByte(header, separator) >= 0 {
			return fmt.Errorf("the columns are separated by %s; save the file with commas", name)
		}
	}
	return nil
}

// checkColumns trims and checks the names of the columns. A column that is unknown or
// repeated could contain ids that should be deleted.
func checkColumns(columns []string, line []byte) error {
	const known = "target, ids, replica_uuid, knowledge_base_id, id and source"
	for i, column := range columns {
		columns[i] = strings.Trim(column, " ")
		switch {
		case !slices.Contains(csvColumns, columns[i]):
			return fmt.Errorf("unknown column %s; the columns are %s", shown(column), known)
		case slices.Contains(columns[:i], columns[i]):
			return fmt.Errorf("the column %s occurs twice", columns[i])
		}
	}
	if !slices.Contains(columns, "target") {
		return fmt.Errorf("the column target is missing in %s", shown(string(line)))
	}
	return nil
}

// resourceColumns are the columns that name a resource.
var resourceColumns = []string{"ids", "replica_uuid", "knowledge_base_id"}

func csvRequest(columns, cells []string) (events.Request, error) {
	if len(cells) != len(columns) {
		return events.Request{}, fmt.Errorf("has %d cells, but the header has %d columns", len(cells), len(columns))
	}
	fields := make(map[string]string, len(cells))
	for i, cell := range cells {
		if columns[i] != "id" && columns[i] != "source" { // these are used unchanged
			cell = strings.Trim(cell, " ")
		}
		fields[columns[i]] = cell
	}
	r := events.Request{ID: fields["id"], Source: fields["source"]}
	target := events.Target(fields["target"])
	if !target.Known() {
		return r, fmt.Errorf("target: must be one of %s, not %s", strings.Join(targetNames(), ", "), shown(string(target)))
	}
	own := target.Fields()
	for _, name := range resourceColumns {
		takes := slices.Contains(own, name)
		if !takes && fields[name] != "" {
			return r, fmt.Errorf("%s: does not belong to a %s request; leave the cell empty", name, target)
		}
		if takes && fields[name] == "" {
			return r, fmt.Errorf("%s: is missing", name)
		}
	}
	named, err := csvFields(own, fields)
	if err != nil {
		return r, err
	}
	if r.Resource, err = events.NewResource(target, named); err != nil {
		return r, rowFieldError(err)
	}
	return r, nil
}

// csvFields reads the cells that name a resource.
func csvFields(names []string, cells map[string]string) (fields events.ResourceFields, err error) {
	for _, name := range names {
		switch name {
		case "ids":
			// Numbers contain this separator in no locale.
			for text := range strings.SplitSeq(cells[name], ";") {
				id, err := parseID(strings.Trim(text, " "))
				if err != nil {
					return fields, fmt.Errorf("ids: %w; separate several ids with ;", err)
				}
				fields.IDs = append(fields.IDs, id)
			}
		case "replica_uuid":
			fields.ReplicaUUID = cells[name]
		case "knowledge_base_id":
			if fields.KnowledgeBaseID, err = parseID(cells[name]); err != nil {
				return fields, fmt.Errorf("knowledge_base_id: %w", err)
			}
		}
	}
	return fields, nil
}
