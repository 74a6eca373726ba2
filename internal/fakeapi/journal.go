package fakeapi

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Journal is a file to which every call is appended before it is answered, as one line of JSON ([Call]). Each line is
// written unbuffered, so it survives SIGKILL, but not a power failure because nothing is synced. Every answer that a
// client received is therefore in the file. The answer to a call in the file may be lost.
type Journal struct {
	mu       sync.Mutex
	file     *os.File
	last     uint64 // number of its last call
	removals []Call // removing calls of earlier runs, for New
}

// OpenJournal opens or creates a journal, with permissions 0600. A server with a journal of earlier runs continues
// their call numbers and keeps what they deleted. An incomplete last line is removed, because its call was not
// answered. Only one server and one process may have a journal open.
func OpenJournal(path string) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	j := &Journal{file: file}
	if err := j.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("journal %s: %w", path, err), file.Close())
	}
	return j, nil
}

func (j *Journal) load() error {
	reader := bufio.NewReader(j.file)
	var complete int64 // bytes of complete lines
	for n := 1; ; n++ {
		line, err := reader.ReadBytes('\n')
		if err == io.EOF {
			return j.file.Truncate(complete)
		}
		if err != nil {
			return err
		}
		complete += int64(len(line))
		var call Call
		if err := json.Unmarshal(line, &call); err != nil {
			return fmt.Errorf("line %d is not a call", n)
		}
		if !call.API.known() || call.Number <= j.last {
			return fmt.Errorf("line %d is not the next call", n)
		}
		j.last = call.Number
		if len(call.Deleted)+len(call.Pending) > 0 {
			j.removals = append(j.removals, call)
		}
	}
}

// append writes one call. It does nothing if j is nil.
func (j *Journal) append(call *Call) error {
	if j == nil {
		return nil
	}
	line, err := json.Marshal(call)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err = j.file.Write(append(line, '\n'))
	return err
}

// Close closes the file. A server that still runs then cuts every call.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.Close()
}
