package e2e

import (
	"flag"
	"strconv"
)

// Parallel sets how many tests run at the same time, unless the command line has
// -parallel. It is for the TestMain of tests that mostly wait: the default, one for
// each processor, lets most of the time pass unused. It parses the command line.
func Parallel(tests int) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if !set {
		_ = flag.Set("test.parallel", strconv.Itoa(tests)) // its value is valid
	}
}
