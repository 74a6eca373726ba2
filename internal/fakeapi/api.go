package fakeapi

import (
	"cmp"
	"slices"
	"strings"
)

// API names one of the imitated APIs.
type API string

// definition describes an API to the server. The file of each API registers its own.
type definition struct {
	api API
	// pathPrefix is where its paths begin. The API with none gets all paths that belong to no other API.
	pathPrefix string
	protocol   func(*Config) protocol
	// credential is the only one accepted; variable is the worker's setting for it.
	credential func(*Config) string
	variable   string

	hasReplica bool    // an entry is REPLICA/ID rather than ID
	batches    bool    // one call can name several entries
	notFound   bool    // it answers 404 for an unknown entry
	faults     []Fault // of those that not every API has
}

var definitions []definition

// register adds an API.
func register(d definition) {
	definitions = append(definitions, d)
	slices.SortFunc(definitions, func(a, b definition) int { return cmp.Compare(a.api, b.api) })
}

// APIs returns all APIs, sorted by name.
func APIs() []API {
	apis := make([]API, 0, len(definitions))
	for _, d := range definitions {
		apis = append(apis, d.api)
	}
	return apis
}

func (a API) known() bool { return a.definition().protocol != nil }

// definition returns the zero value for an unknown API.
func (a API) definition() definition {
	for _, d := range definitions {
		if d.api == a {
			return d
		}
	}
	return definition{}
}

// apiOfPath returns the API that a path belongs to.
func apiOfPath(path string) (owner API) {
	longest := -1
	for _, d := range definitions {
		if len(d.pathPrefix) > longest && (d.pathPrefix == "" || path == d.pathPrefix || strings.HasPrefix(path, d.pathPrefix+"/")) {
			owner, longest = d.api, len(d.pathPrefix)
		}
	}
	return owner
}

// Settings connect a worker to one API: its base URL and credential, with the names of their environment variables.
type Settings struct{ BaseURLName, BaseURL, CredentialName, Credential string }

// Settings returns the settings for workers of all APIs at a base URL.
func (c Config) Settings(base string) []Settings {
	c = c.withDefaults()
	var settings []Settings
	for _, d := range definitions {
		settings = append(settings, Settings{"LETHE_" + strings.ToUpper(string(d.api)) + "_BASE_URL", base, d.variable, d.credential(&c)})
	}
	return settings
}
