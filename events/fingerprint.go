package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Fingerprint returns a hash (hex SHA-256) of a resource. It is equal for requests with
// the same resource, with the ids in any order and the UUID in any case, and does not
// change between releases.
func Fingerprint(res Resource) string {
	fields := res.fields()
	slices.Sort(fields.IDs)
	text := append(make([]byte, 0, 128), res.Target()...)
	text = append(text, " ["...)
	for i, id := range fields.IDs {
		if i > 0 {
			text = append(text, ' ')
		}
		text = strconv.AppendInt(text, id, 10)
	}
	text = append(text, "] "...)
	text = append(text, fields.ReplicaUUID...)
	text = strconv.AppendInt(append(text, ' '), fields.KnowledgeBaseID, 10)
	sum := sha256.Sum256(text)
	var digits [2 * sha256.Size]byte // hex.EncodeToString allocates it, too
	hex.Encode(digits[:], sum[:])
	return string(digits[:])
}

// RawFingerprint returns the fingerprint of a message that is not a valid request:
// "raw:" and a hash of its body and of the headers content-type and ce-*. It ignores
// other headers, which may differ between deliveries.
func RawFingerprint(header map[string][]string, body []byte) string {
	names := make(map[string]string, len(header))
	for name := range header {
		lower := strings.ToLower(name)
		if lower == headerContentType || strings.HasPrefix(lower, headerPrefix) {
			names[lower+"\x00"+name] = name
		}
	}
	h := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(names)) {
		values := header[names[key]]
		lower, _, _ := strings.Cut(key, "\x00")
		writePart(h, []byte(lower))
		writePart(h, binary.BigEndian.AppendUint64(nil, uint64(len(values))))
		for _, value := range values {
			writePart(h, []byte(value))
		}
	}
	writePart(h, body)
	return "raw:" + hex.EncodeToString(h.Sum(nil))
}

// writePart writes the length before the bytes, so that different lists of parts have different hashes.
func writePart(h hash.Hash, part []byte) {
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // a hash never fails
	_, _ = h.Write(part)
}
