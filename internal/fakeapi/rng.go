package fakeapi

import "encoding/binary"

// rng draws random numbers that depend only on the seed and the purpose of the draw, not on the order of concurrent
// calls.
type rng uint64

// The purposes of a draw. Draws for different purposes must not be correlated.
const (
	drawUnknown uint64 = iota + 1
	drawPending
	drawFault
	drawLatency
)

// draw returns a number in [0,1) for the n-th draw with this purpose for an entry.
func (l rng) draw(k key, purpose uint64, n uint32) float64 {
	x := mix(uint64(l) ^ purpose<<56 ^ uint64(n))
	x = mix(x ^ binary.BigEndian.Uint64(k.replica[:8]))
	x = mix(x ^ binary.BigEndian.Uint64(k.replica[8:]))
	x = mix(x ^ uint64(k.id))
	return float64(x>>11) / (1 << 53)
}

// mix is one step of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
