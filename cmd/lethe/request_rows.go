package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"io"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/schollz/progressbar/v3"

	"github.com/lethe-dev/lethe/events"
)

// row is one request with its event.
type row struct {
	events.Request
	event []byte
	isNew bool // the id was just generated, so that it cannot have a result
}

// rows are the requests from a file, or the one from the command line.
type rows struct {
	// next returns the next request, a *rowError for an invalid row, or io.EOF.
	next func() (row, error)
	// target is the target of all rows, "" if they may differ.
	target events.Target
	// batch is the name from which ids are derived; "" if each row must have an id.
	batch string
	file  io.ReadCloser // nil for the request from the command line
	size  int64         // of the file, -1 if unknown
	read  *counter
}

// rowError is the error of one row. The rows after it can be read.
type rowError struct {
	line int
	err  error
}

func (e *rowError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *rowError) Unwrap() error { return e.err }

func oneRow(r events.Request, event []byte, isNew bool) *rows {
	done := false
	return &rows{size: -1, target: r.Target(), next: func() (row, error) {
		if done {
			return row{}, io.EOF
		}
		done = true
		return row{r, event, isNew}, nil
	}}
}

func (r *rows) close() {
	if r.file != nil {
		_ = r.file.Close() // it was only read
	}
}

// openRows opens the file that the flags name. Its memory is bounded by the longest
// line plus a few bytes for each different row. It reads a file twice if the SHA-256
// is the batch. Reading standard input or a pipe ends with ctx.
func openRows(ctx context.Context, f requestFlags, stdin io.Reader) (*rows, error) {
	format := f.format
	if format == "" {
		format = map[string]string{".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}[strings.ToLower(filepath.Ext(f.file))]
	}
	if format != "csv" && format != "ndjson" {
		return nil, usageError("--format: must be csv or ndjson, because the file has no such extension")
	}
	input, err := openInput(ctx, f.file, stdin)
	if err != nil {
		return nil, err
	}
	r := &rows{file: input.file, size: input.size, batch: f.batch, read: &counter{from: input.file}}
	if f.batch == "" && input.regular {
		if err := r.nameByContent(ctx); err != nil {
			r.close()
			return nil, usageError("--file %s: %w", f.file, err)
		}
	}
	names := newNamer(r.batch, f.source)
	r.next, err = readFormat(format, r.read, names)
	if err != nil {
		r.close()
		if ctx.Err() != nil {
			return nil, errInterrupted
		}
		return nil, usageError("--file %s: %w", f.file, err)
	}
	return r, nil
}

func readFormat(format string, from io.Reader, names *namer) (func() (row, error), error) {
	if format == "csv" {
		return csvRows(from, names)
	}
	return ndjsonRows(from, names), nil
}

// nameByContent sets the batch to the SHA-256 of the file and rewinds it. If the file
// changes after that, the ids of the rows are wrong and reading ends with an error.
func (r *rows) nameByContent(ctx context.Context) error {
	file, ok := r.file.(io.ReadSeeker)
	if !ok {
		return errors.New("cannot be read twice; set --batch")
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, contextReader{ctx, file}); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r.batch = hex.EncodeToString(sum.Sum(nil))
	r.read.from = &unchanged{from: file, sum: sha256.New(), want: r.batch}
	return nil
}

// unchanged reads a file, and fails at its end if the content has another SHA-256.
type unchanged struct {
	from io.Reader
	sum  hash.Hash
	want string
}

func (u *unchanged) Read(p []byte) (int, error) {
	n, err := u.from.Read(p)
	_, _ = u.sum.Write(p[:n]) // a hash never fails
	if errors.Is(err, io.EOF) && hex.EncodeToString(u.sum.Sum(nil)) != u.want {
		return n, errors.New("the file changed while it was read")
	}
	return n, err
}

// contextReader stops reading when its context ends.
type contextReader struct {
	ctx  context.Context
	from io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}

// namer completes rows. It derives an id for a row without one; reading the same batch
// again gives the same id.
type namer struct {
	batch, source string
	seen          map[[16]byte]int
	// named maps the hash of each id in the file to the hash of its resource.
	named map[uint64]uint64
	seed  maphash.Seed
}

func newNamer(batch, source string) *namer {
	return &namer{batch: batch, source: source, seen: map[[16]byte]int{}, named: map[uint64]uint64{}, seed: maphash.MakeSeed()}
}

// namespace is the namespace of the derived UUIDs (RFC 9562, section 5.5).
var namespace = uuid.MustParse("6b1c4d9e-3f0a-5e57-9a43-6f1f0c2f7d11")

// errNoID ends reading: without a batch, the row cannot be distinguished from one of an earlier file.
var errNoID = usageError("a row has no id, and standard input has no name to derive one from; " +
	"give every row an id, or set --batch")

// complete adds the source and the id if they are missing, and encodes the event if
// it is nil.
func (n *namer) complete(line int, r events.Request, event []byte) (row, error) {
	if r.Source == "" {
		r.Source = n.source
	}
	derived := r.ID == ""
	if derived && n.batch == "" {
		return row{}, fmt.Errorf("line %d: %w", line, errNoID)
	}
	var key [16]byte
	if derived {
		fingerprint := events.Fingerprint(r.Resource)
		_, _ = hex.Decode(key[:], []byte(fingerprint)[:2*len(key)]) // it is hex
		r.ID = uuid.NewSHA1(namespace, fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d", n.batch, r.Target(), fingerprint, n.seen[key])).String()
	}
	if event == nil {
		var err error
		if event, err = r.Encode(); err != nil {
			return row{}, &rowError{line, err}
		}
	}
	if derived {
		n.seen[key]++
	} else if err := n.checkReuse(r); err != nil {
		return row{}, &rowError{line, err}
	}
	return row{Request: r, event: event}, nil
}

// rowFieldError names a field as a row does: a row has the fields of data beside the id and the source.
func rowFieldError(err error) error {
	if invalid, ok := errors.AsType[*events.InvalidError](err); ok {
		return fmt.Errorf("%s: %s", strings.TrimPrefix(invalid.Field, "data."), invalid.Reason)
	}
	return err
}

// checkReuse refuses an id that an earlier row uses for another resource. The worker
// would answer whichever it reads second with invalid.
func (n *namer) checkReuse(r events.Request) error {
	id := maphash.String(n.seed, string(r.Target())+" "+r.ID)
	resource := maphash.String(n.seed, events.Fingerprint(r.Resource))
	if earlier, there := n.named[id]; there && earlier != resource {
		return fmt.Errorf("id: %s is used on an earlier line for another resource", shown(r.ID))
	}
	n.named[id] = resource
	return nil
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
		_ = c.bar.Set64(c.n) // a broken progress bar must not stop the command
	}
	return n, err
}

// progress shows a progress bar for a file on a terminal. end removes it.
func (r *rows) progress(w io.Writer) (end func()) {
	if r.file == nil || !isTerminal(w) {
		return func() {}
	}
	r.read.bar = progressbar.NewOptions64(r.size, progressbar.OptionSetWriter(w), progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription("publishing"), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100_000_000))
	return func() { _ = r.read.bar.Finish() }
}
