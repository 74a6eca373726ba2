package main

import (
	"context"
	"errors"
	"io"
	"os"
)

// input is an open file.
type input struct {
	file    io.ReadCloser
	size    int64 // -1 if unknown
	regular bool  // it can be read twice
}

// openInput opens a file, or standard input for "-".
func openInput(ctx context.Context, name string, stdin io.Reader) (input, error) {
	if name == "-" {
		return input{file: newPipe(ctx, stdin), size: -1}, nil
	}
	// Opening a named pipe blocks until a writer opens it.
	file, err := within(ctx, func() (*os.File, error) { return os.Open(name) })
	if ctx.Err() != nil {
		return input{}, errInterrupted
	}
	if err != nil {
		if path, ok := errors.AsType[*os.PathError](err); ok {
			err = path.Err
		}
		return input{}, usageError("--file %s: %w", name, err)
	}
	info, err := file.Stat()
	if err != nil || info.IsDir() {
		_ = file.Close()
		return input{}, usageError("--file %s: is not a file", name)
	}
	if !info.Mode().IsRegular() {
		return input{file: newPipe(ctx, file), size: -1}, nil
	}
	return input{file: file, size: info.Size(), regular: true}, nil
}

// within runs a call that cannot be interrupted, and returns when ctx ends.
func within[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := do()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// pipe reads from a source that may block, such as a terminal, until its context ends.
// A blocked read is then abandoned.
type pipe struct {
	ctx    context.Context
	from   io.Reader
	buffer []byte
	rest   []byte // of buffer, not yet returned
}

func newPipe(ctx context.Context, from io.Reader) *pipe {
	return &pipe{ctx: ctx, from: from, buffer: make([]byte, 64<<10)}
}

func (p *pipe) Read(to []byte) (int, error) {
	if len(p.rest) == 0 {
		n, err := within(p.ctx, func() (int, error) { return p.from.Read(p.buffer) })
		if n == 0 {
			return 0, err
		}
		p.rest = p.buffer[:n] // the next read returns the error again
	}
	n := copy(to, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *pipe) Close() error {
	if file, ok := p.from.(*os.File); ok && file != os.Stdin {
		return file.Close()
	}
	return nil
}
