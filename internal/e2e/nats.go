package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// NATS is a NATS server that runs as a separate process with its files in one folder.
type NATS struct {
	*Process
	Address string // client address
	Routes  []*Proxy
}

// URL is the URL for clients.
func (n *NATS) URL() string { return "nats://" + n.Address }

// SyncAlways is the sync_interval of a server that syncs each message to disk before
// it acknowledges it.
const SyncAlways = "always"

// NewNATS writes the configuration of one server and returns it, not started. sync is its
// sync_interval: [SyncAlways], or a duration such as "2m", the server's default.
func NewNATS(path, dir, sync string) (*NATS, error) {
	servers, err := newNATS(path, dir, sync, 1)
	if err != nil {
		return nil, err
	}
	return servers[0], nil
}

// NewCluster writes the configurations of a cluster of count servers, at least 3, and returns
// them, not started. Each server reaches the others through its own proxies, Routes, so that a
// test can isolate it. The caller closes the proxies.
func NewCluster(path, dir string, count int) ([]*NATS, error) {
	return newNATS(path, dir, SyncAlways, count)
}

func newNATS(path, dir, sync string, count int) ([]*NATS, error) {
	var servers []*NATS
	var routes []string // each server's route address
	for i := range count {
		address, err := FreeAddress()
		if err != nil {
			return nil, err
		}
		route, err := FreeAddress()
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("n%d", i+1)
		servers = append(servers, &NATS{Address: address, Process: &Process{
			Name: name, Path: path, Args: []string{"--config", filepath.Join(dir, name+".conf")}, Log: filepath.Join(dir, name+".log"),
		}})
		routes = append(routes, route)
	}
	for i, s := range servers {
		config := fmt.Sprintf(`server_name: %s
listen: %q
max_payload: 1MB
jetstream { store_dir: %q, sync_interval: %q, max_file_store: 8GB }
`, s.Name, s.Address, filepath.Join(dir, s.Name), sync)
		if count > 1 {
			// no_advertise: gossiped addresses would open routes around the proxies.
			var to []string
			for j := range count {
				if j == i {
					continue
				}
				proxy, err := NewProxy(routes[j])
				if err != nil {
					return nil, err
				}
				s.Routes = append(s.Routes, proxy)
				servers[j].Routes = append(servers[j].Routes, proxy)
				to = append(to, "nats-route://"+proxy.Address())
			}
			config += fmt.Sprintf("cluster { name: e2e, listen: %q, no_advertise: true, pool_size: -1, routes: [%s] }\n", routes[i], strings.Join(to, ", "))
		}
		if err := os.WriteFile(filepath.Join(dir, s.Name+".conf"), []byte(config), 0o600); err != nil {
			return nil, err
		}
	}
	return servers, nil
}
