# Shortcuts; `make` lists them. All of it is plain Go: `make test` is `go test ./...`.

IMAGE    ?= lethe
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT   ?= $(shell git rev-parse HEAD 2>/dev/null)
FUZZTIME ?= 10s
SCALE    ?= 1
BACKLOG  ?= 10000,1000000
COMPOSE  ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

.DEFAULT_GOAL := help
.PHONY: help demo test oldest race cover chaos bench fuzz lint ci build snapshot image up down

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## see Lethe work: a server, both APIs imitated, one request of every kind
	go run ./cmd/lethe demo

test: ## run the tests
	go test ./...

oldest: ## run the tests that use NATS against the oldest server that Lethe supports
	.ci/run oldest

race: ## run the tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race ./...

cover: ## run the tests and report the coverage of each function
	go test -coverpkg ./... -coverprofile cover.out ./...
	go tool cover -func cover.out

chaos: ## kill, stop and disconnect real processes for minutes, then audit each request
	go test ./internal/e2e/chaos -run 'TestChaos|TestChaosInACluster' -count=1 -v -timeout 60m -chaos.requests 20000 -chaos.kills 300 $(CHAOS)
	go test ./consumer -run 'TestTheProtocol' -count=1 -v -timeout 60m -model.deep

bench: ## run the benchmarks, then workloads on real processes, then with a BACKLOG of growing size
	go test -bench . -benchmem -run '^$$' ./...
	go test ./internal/e2e/bench -run TestWorkloads -count=1 -v -timeout 60m -bench.scale $(SCALE)
	go test ./internal/e2e/bench -run TestFlatCost -count=1 -v -timeout 120m -bench.backlog $(BACKLOG)

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@set -e; for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

lint: ## run the linters
	.ci/run lint

ci: ## run all checks that a change must pass
	.ci/run

build: ## build ./lethe
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o lethe ./cmd/lethe

snapshot: ## build a release without publishing it, into ./dist
	go run github.com/goreleaser/goreleaser/v2@v2.17.0 release --snapshot --clean --skip=publish

image: ## build the container image
	docker build --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) --tag $(IMAGE) .

up: ## start the local stack: NATS, the sandbox, Lethe and Jaeger
	$(COMPOSE) up --build

down: ## stop the local stack; the data of NATS stays
	$(COMPOSE) down
