package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Bytes is a limit in bytes; 0 means no limit.
type Bytes int64

var byteUnits = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}}

// Decode reads an integer, optionally with the unit KiB, MiB, GiB or TiB.
// envconfig calls it.
func (b *Bytes) Decode(value string) error {
	number, unit := value, int64(1)
	for _, u := range byteUnits {
		if cut, found := strings.CutSuffix(value, u.suffix); found {
			number, unit = cut, u.bytes
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return errors.New("must be a number of bytes such as 1073741824 or 1GiB")
	}
	*b = Bytes(n * unit)
	return nil
}

// String formats the number in the largest unit that divides it.
func (b Bytes) String() string {
	for _, u := range slices.Backward(byteUnits) {
		if b != 0 && int64(b)%u.bytes == 0 {
			return fmt.Sprintf("%d%s", int64(b)/u.bytes, u.suffix)
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// atLeast also accepts 0, which means no limit.
func atLeast(name string, b, least Bytes) error {
	if b != 0 && b < least {
		return fmt.Errorf("%s: must be at least %s, not %s", name, least, b)
	}
	return nil
}
