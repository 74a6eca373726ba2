// Package deploy holds what runs Lethe outside of a shell, and the tests that keep it true.
//
// Its one idea: an untested file breaks unnoticed. The files here, and the Dockerfile and docker-compose.yml at
// the top, is read by a test the way the program that uses it reads it: NATS configuration by the NATS server, the
// worker's variables by Lethe's own settings.
package deploy
