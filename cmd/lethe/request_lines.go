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

// maxLine is the longest line in bytes: an event, and as much white space.
const maxLine = 2 * events.MaxEventBytes

// lines reads a text line by line. In both formats a record is one line, so that an
// error, such as a missing closing quote, affects only that line.
type lines struct {
	from *bufio.Reader
	n    int // the number of the last line read, from 1
}

func newLines(from io.Reader) *lines { return &lines{from: bufio.NewReaderSize(from, maxLine)} }

var errUTF16 = errors.New("the file is UTF-16 or binary; save it as UTF-8")

// next returns the next line that is not blank, without its line end. It is valid until
// the next call. A *rowError means that only this line is invalid; any other error
// ends the file.
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
		return nil, err // an incomplete line is not a record
	}
	l.n++
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), nil
}

// wide recognizes UTF-16 by its byte order mark or its zero bytes.
func wide(first []byte) bool {
	return bytes.HasPrefix(first, []byte{0xff, 0xfe}) || bytes.HasPrefix(first, []byte{0xfe, 0xff}) || bytes.IndexByte(first, 0) >= 0
}

// checkText refuses control characters and broken UTF-8. They are invisible in errors,
// and show that the file is damaged or binary.
func checkText(line []byte) error {
	if !utf8.Valid(line) {
		return errors.New("is not valid UTF-8; save the file as UTF-8")
	}
	for _, c := range line {
		switch {
		case c == '\r':
			return errors.New("contains a carriage return; lines must end with a line feed")
		case c < ' ' && c != '\t' || c == 0x7f:
			return fmt.Errorf("contains the control character %#02x", c)
		}
	}
	return nil
}
