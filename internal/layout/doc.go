// Package layout holds the tests of the tree itself: which package may import which, and in which order the files
// of the consumer are read.
package layout
