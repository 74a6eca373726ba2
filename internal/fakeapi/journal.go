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
// written at once and unbuffered, so it outlives a killed process, though not a lost power supply: nothing is synced.
// An auditor can therefore trust that what a caller was told is in the file. What is in the file may not have been told.
type Journal struct {
	mu       sync.Mutex
	file     *os.File
	last     uint64 // the number of its last call
	removals []Call // calls of earlier runs that removed something, until New has taken them
}

// OpenJournal opens a journal or creates it, with permissions 0600. A sandbox made with a journal of earlier runs goes on
// with their numbers, and what they deleted stays deleted. A last line that was cut short is removed: its call was never
// answered. A journal serves one sandbox, and no second process may have it open.
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
	var whole int64 // bytes of complete lines
	for n := 1; ; n++ {
		line, err := reader.ReadBytes('\n')
		if err == io.EOF {
			return j.file.Truncate(whole)
		}
		if err != nil {
			return err
		}
		whole += int64(len(line))
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

// append writes one call. Without a journal it does nothing.
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

// Close closes the file. A sandbox that still serves then cuts every call.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.Close()
}
