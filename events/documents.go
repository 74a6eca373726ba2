package events

import (
	"embed"
	"io/fs"
)

//go:embed asyncapi.yaml
var asyncAPI []byte

//go:embed schemas/*.json
var schemas embed.FS

// AsyncAPI returns the contract as an AsyncAPI 3.0 document in YAML: channels, messages,
// headers and streams. It refers to the files of [Schemas] as ./schemas/<name>.
func AsyncAPI() []byte { return append([]byte(nil), asyncAPI...) }

// Schemas returns the JSON Schemas (draft 2020-12) of the events, request.json and
// result.json, and the schemas that they refer to.
func Schemas() fs.FS {
	sub, err := fs.Sub(schemas, "schemas")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return sub
}
