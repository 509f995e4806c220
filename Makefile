# Every target is explained by 'make help'. Tools are fetched into the user's cache directory.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

INSTALL   := ./test/tools/install
GOTESTSUM  = $$($(INSTALL) gotestsum) --format pkgname --hide-summary=skipped
BIN       := bin/varve
# The demonstration and the unit tests need the embedded store only: no cloud SDK is compiled for them.
EMBEDDED  := -tags nos3
FUZZTIME  ?= 5s

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/varve, one static binary with every object store
	CGO_ENABLED=0 go build -trimpath -o $(BIN) ./cmd/varve

.PHONY: demo
demo: ## run the broker once and show its main job: produce, tier, evict, read back
	CGO_ENABLED=0 go build $(EMBEDDED) -o bin/varve-demo ./cmd/varve
	@bin/varve-demo demo

.PHONY: test
test: ## pass the tests that need nothing but Go
	$(GOTESTSUM) -- $(EMBEDDED) ./...

.PHONY: race
race: ## the same tests under the race detector
	$(GOTESTSUM) -- $(EMBEDDED) -race ./broker/... ./tiered/... ./objstore/... ./lifecycle/...

.PHONY: lint
lint: ## gofmt, vet and the house test
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "run gofmt -w on these files"; exit 1; }
	go vet ./...
	go test -count=1 ./test/house

.PHONY: gen
gen: ## write again all that is generated: wire messages, docs/configuration.md
	go generate ./broker/wire/... ./broker/config/...

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (5s) each
	./test/tools/fuzz $(FUZZTIME)
