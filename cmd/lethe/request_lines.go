package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/lethe-dev/lethe/events"
)

// maxLine bounds a line: an event and what JSON may spend on spaces.
const maxLine = 2 * events.MaxEventBytes

// lines reads a text line by line. A record of either format is one line, so that
// what is wrong with one, such as a quote that is never closed, ends there.
type lines struct {
	from *bufio.Reader
	n    int // the number of the line that was read last, from 1
}

func newLines(from io.Reader) *lines { return &lines{from: bufio.NewReaderSize(from, maxLine)} }

var errUTF16 = errors.New("the file is not UTF-8 but UTF-16, or it is no text; save it as UTF-8")

// next gives the next line that is not blank, without its end. It is valid until the
// next call. Its error is a *rowError for a line that cannot be one, or what ends
// the reading.
func (l *lines) next() ([]byte, error) {
	for {
		line, err := l.read()
		if err != nil {
			return nil, err
		}
		if l.n == 1 {
			if wide(line) {
				return nil, usageError("line 1: %w", errUTF16)
			}
			line = bytes.TrimPrefix(line, []byte("\ufeff")) // spreadsheets write a byte order mark
		}
		if len(bytes.Trim(line, " \t")) == 0 {
			continue
		}
		if err := checkText(line); err != nil {
			return nil, &rowError{l.n, err}
		}
		return line, nil
	}
}

func (l *lines) read() ([]byte, error) {
	line, err := l.from.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		first := l.n == 0 && wide(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = l.from.ReadSlice('\n')
		}
		l.n++
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if first {
			return nil, usageError("line 1: %w", errUTF16)
		}
		return nil, &rowError{l.n, fmt.Errorf("is over %d bytes", maxLine)}
	}
	if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
		return nil, err // a piece of a line is none: the rest of it did not come
	}
	l.n++
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), nil
}

// wide tells a text of two bytes a character by its byte order mark or its zeros.
func wide(first []byte) bool {
	return bytes.HasPrefix(first, []byte{0xff, 0xfe}) || bytes.HasPrefix(first, []byte{0xfe, 0xff}) || bytes.IndexByte(first, 0) >= 0
}

// checkText refuses what no row holds: it would be invisible in an error, and is a
// sign that the file is damaged, or no text.
func checkText(line []byte) error {
	if !utf8.Valid(line) {
		return errors.New("is not valid UTF-8; save the file as UTF-8")
	}
	for _, c := range line {
		switch {
		case c == '\r':
			return errors.New("has a carriage return in its middle; lines must end with a line feed")
		case c < ' ' && c != '\t' || c == 0x7f:
			return fmt.Errorf("has the control character %#02x", c)
		}
	}
	return nil
}
