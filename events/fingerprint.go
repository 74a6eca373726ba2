package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"
)

// Fingerprint returns a hash (hex SHA-256) of a resource. It is equal for requests with
// the same resource, with the ids in any order and the UUID in any case, and does not
// change between releases.
func Fingerprint(res Resource) string {
	fields := res.fields()
	slices.Sort(fields.IDs)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s %d",
		res.Target(), fields.IDs, fields.ReplicaUUID, fields.KnowledgeBaseID))
	return hex.EncodeToString(sum[:])
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
