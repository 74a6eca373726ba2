package main

import (
	"github.com/lethe-dev/lethe/consumer"
	"github.com/lethe-dev/lethe/deleter"
	"github.com/lethe-dev/lethe/deleter/kv"
	"github.com/lethe-dev/lethe/deleter/sensay"
	"github.com/lethe-dev/lethe/events"
	"github.com/lethe-dev/lethe/internal/config"
)

// api is an entry of the table of APIs.
type api struct {
	target  events.Target
	name    string // part of its variables' names: KV for LETHE_KV_BASE_URL
	deleter func(deleter.ClientConfig) deleter.Deleter
	// recordAttempts is true if the API can answer not-found: then only a stored attempt
	// shows that Lethe itself may have deleted the resource.
	recordAttempts bool
	batch          config.Batch // zero: one call per request

	// settings and credential (the suffix of the credential's variable) are set for an API with
	// settings of its own. Without them, config.LoadAPI reads the settings common to all APIs.
	settings   *config.API
	credential string
	baseURL    string // the default if no setting gives one
}

// apis is the table of APIs.
func apis(cfg *config.Config) []api {
	return []api{
		{
			target: events.KVUserContext, name: "KV", batch: cfg.KV.Batch, credential: "ACCESS_KEY",
			settings: &config.API{BaseURL: cfg.KV.BaseURL, Credential: cfg.KV.AccessKey, CredentialFile: cfg.KV.AccessKeyFile, Calls: cfg.KV.Calls, Timeout: cfg.KV.Timeout},
			deleter:  func(c deleter.ClientConfig) deleter.Deleter { return kv.New(c) },
		},
		{
			target: events.SensayKnowledgeBase, name: "SENSAY", recordAttempts: true, credential: "ORGANIZATION_SECRET",
			settings: &config.API{BaseURL: cfg.Sensay.BaseURL, Credential: cfg.Sensay.OrganizationSecret, CredentialFile: cfg.Sensay.OrganizationSecretFile, Calls: cfg.Sensay.Calls, Timeout: cfg.Sensay.Timeout},
			deleter:  func(c deleter.ClientConfig) deleter.Deleter { return sensay.New(c, cfg.Sensay.APIVersion) },
		},
	}
}

// commonAPIs returns the names of the APIs without settings of their own.
func commonAPIs() []string {
	var names []string
	for _, a := range apis(&config.Config{}) {
		if a.settings == nil {
			names = append(names, a.name)
		}
	}
	return names
}

// lane returns the configuration of the API's lane, based on the common configuration.
func (a api) lane(cfg *config.Config, common consumer.Config) (lane laneConfig, err error) {
	settings, ending := a.settings, a.credential
	if settings == nil {
		loaded, err := cfg.LoadAPI(a.name, a.baseURL)
		if err != nil {
			return lane, usageError("%w", err)
		}
		settings, ending = &loaded, "CREDENTIAL"
	}
	base, err := deleter.CheckBaseURL(settings.BaseURL, cfg.AllowHTTP)
	if err != nil {
		return lane, usageError("LETHE_%s_BASE_URL: %w", a.name, err)
	}
	lane.Config = common
	prefix := "LETHE_" + a.name + "_"
	lane.Variables = consumer.Variables{BaseURL: prefix + "BASE_URL", Rate: prefix + "RATE", Concurrency: prefix + "CONCURRENCY"}
	if lane.listed = cfg.Targets.Include(a.target); lane.listed {
		lane.credential, lane.Variables.Credential, err = credential(prefix+ending, settings.Credential, settings.CredentialFile)
		if err != nil {
			return lane, err
		}
	}
	lane.Target, lane.RecordAttempts = a.target, a.recordAttempts
	lane.Concurrency, lane.Rate, lane.Timeout = settings.Concurrency, settings.Rate, settings.Timeout
	lane.BatchIDs, lane.BatchLinger = a.batch.IDs, a.batch.Linger
	lane.Deleter = a.deleter(deleter.ClientConfig{
		BaseURL: base, Credential: lane.credential, Timeout: settings.Timeout, Concurrency: settings.Concurrency, Version: buildVersion(),
	})
	return lane, nil
}

// credential returns the credential from the named variable, or from the file in the variable with
// the suffix _FILE, and the name of the variable that is set. It returns nil if neither is set.
func credential(name string, value config.Secret, file string) (c *deleter.Credential, variable string, err error) {
	variable = name
	switch {
	case file != "":
		variable += "_FILE"
		c, err = deleter.CredentialFromFile(file)
	case value.Reveal() != "":
		c, err = deleter.NewCredential(value.Reveal())
	}
	if err != nil {
		return nil, variable, usageError("%s: %w", variable, err)
	}
	return c, variable, nil
}
