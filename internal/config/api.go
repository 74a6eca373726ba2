package config

import (
	"time"

	"github.com/kelseyhightower/envconfig"
)

// API contains the settings common to all APIs. An API without settings of its own reads them with [Config.LoadAPI].
type API struct {
	BaseURL        string `group:"API" split_words:"true" desc:"address of the API; none: its default"`
	Credential     Secret `desc:"credential for the API; none: its requests wait"`
	CredentialFile string `split_words:"true" desc:"file with the credential, read again when it changes"`
	Calls
	Timeout time.Duration `default:"100s" desc:"timeout of a call, 1ms to 15m"`
}

// LoadAPI reads and checks the settings of an API. With the name TOY, the variables begin with LETHE_TOY_. baseURL is
// the default of the base URL. It returns errors like [Load].
func (c *Config) LoadAPI(name, baseURL string) (API, error) {
	var api API
	variable := prefix + "_" + name
	if err := envconfig.Process(variable, &api); err != nil {
		return api, explain(err)
	}
	if api.BaseURL == "" {
		api.BaseURL = baseURL
	}
	return api, first(
		func() error { return validBaseURL(variable+"_BASE_URL", api.BaseURL, c.AllowHTTP) },
		func() error { return credential(variable+"_CREDENTIAL", api.Credential, api.CredentialFile) },
		func() error { return api.check(variable, api.Timeout) },
	)
}
