# Every target is explained by 'make help'. Tools are fetched into the user's cache directory.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

INSTALL   := ./test/tools/install
GOTESTSUM  = $$($(INSTALL) gotestsum) --format pkgname --hide-summary=skipped
BIN       := bin/varve
# The demonstration and the unit tests need the embedded store only: no cloud SDK is compiled for them.
EMBEDDED  := -tags nos3,noazure,nogcs
# Google's SDK without gRPC, which is not used, and what is left of gRPC without its tracing pages: those bring templates,
# that look methods up by name, which keeps the linker from dropping any method. Together two thirds of the weight.
STORES    := -tags disable_grpc_modules,grpcnotrace
FUZZTIME  ?= 100000x

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/varve, one static binary with every object store
	CGO_ENABLED=0 go build $(STORES) -trimpath -ldflags '-s -w' -o $(BIN) ./cmd/varve

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
	go vet $(STORES) ./...
	go test -count=1 ./test/house

.PHONY: gen
gen: ## write again all that is generated: wire messages, docs/configuration.md, docs/protocol.md, docs/cli.md, docs/man/varve.1, docs/metrics.md
	go generate ./broker/wire/...
	go run ./broker/config/gendoc
	go run ./broker/api/gendoc
	VARVE_WRITE=1 go test $(EMBEDDED) -count=1 -run TestGeneratedPages ./cmd/varve
	VARVE_WRITE=1 go test $(EMBEDDED) -count=1 -run TestMetricsPage ./broker

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (100000x) each
	./test/tools/fuzz $(FUZZTIME)

.PHONY: conformance
conformance: ## one suite for every object store, on real servers: versitygw, MiniStack, Azurite, fake-gcs-server
	./localstack/store run versitygw,azurite,fake-gcs $(GOTESTSUM) -- $(STORES) -count=1 ./objstore/...
	./localstack/store run ministack $(GOTESTSUM) -- $(STORES) -count=1 -run 'Conformance|Faults' ./objstore/s3

.PHONY: conformance-all
conformance-all: conformance build ## the same on MinIO, with and without TLS, and LocalStack too, which take minutes to install (VARVE_STORM=10m: a long storm)
	@$(INSTALL) kcat >/dev/null
	for server in minio minio-tls localstack; do \
		VARVE_BIN=$(CURDIR)/$(BIN) ./localstack/store run $$server $(GOTESTSUM) -- $(STORES) -count=1 -timeout 60m -p 1 \
			-run 'TestConformance|TestFaults|TestEveryStore' ./objstore/s3 ./test/compat; done

.PHONY: weight
weight: ## build the broker, and a program of the object stores alone, and hold their sizes against the limits
	VARVE_WEIGHT=1 go test -count=1 -v -run Weight ./test/house

.PHONY: compat
compat: build ## kcat, Kafka's own tools and the clients of five languages against a real broker and a real S3 server
	@$(INSTALL) kcat kafka clients >/dev/null
	VARVE_BIN=$(CURDIR)/$(BIN) VARVE_KAFKA_JARS=$$($(INSTALL) kafka) VARVE_CLIENTS=$$($(INSTALL) clients) \
		./localstack/store run versitygw $(GOTESTSUM) -- -count=1 -timeout 20m -p 1 ./test/compat/...
	VARVE_BIN=$(CURDIR)/$(BIN) ./localstack/store run ministack,azurite,fake-gcs $(GOTESTSUM) -- -count=1 -run TestEveryStore ./test/compat

.PHONY: compat-secured
compat-secured: build ## all clients over TLS with logins, and with certificates, with and without rights; Kafka's security tools and the judge with principals against Apache Kafka
	@$(INSTALL) kcat kafka clients >/dev/null
	VARVE_COMPAT_SECURED=1 VARVE_BIN=$(CURDIR)/$(BIN) VARVE_KAFKA_JARS=$$($(INSTALL) kafka) VARVE_CLIENTS=$$($(INSTALL) clients) \
		$(GOTESTSUM) -- -count=1 -timeout 20m -p 1 -v -run 'Secur|Principals|OAuth|DelegationToken' ./test/compat/...

.PHONY: compat-apps
compat-apps: build ## Kafka Streams and Kafka Connect, with kill -9 of broker and instances (COMPAT_INPUTS=1000000: exactly-once at length)
	@$(INSTALL) kcat kafka kafka-apps >/dev/null
	VARVE_BIN=$(CURDIR)/$(BIN) VARVE_KAFKA_JARS=$$($(INSTALL) kafka) VARVE_KAFKA_APPS=$$($(INSTALL) kafka-apps) \
		$(GOTESTSUM) -- -count=1 -timeout 90m -p 1 -run 'Streams|Connect' ./test/compat

.PHONY: judge
judge: build ## compare every answer with what Apache Kafka has answered once, and plant wrong ones; no JVM ('make compat' asks Kafka itself)
	VARVE_BIN=$(CURDIR)/$(BIN) $(GOTESTSUM) -- $(EMBEDDED) -count=1 -run 'AgainstRecording|TestDifferencesAreExplained' ./test/compat/judge

.PHONY: dev-up dev-down
dev-up: build ## start a real object store without Docker and say how to use it (STORE=versitygw|minio|ministack|localstack|azurite|fake-gcs)
	@./localstack/store up $(or $(STORE),versitygw)
dev-down: ## stop what dev-up has started
	@./localstack/store down

.PHONY: chaos
chaos: ## kill -9, power cuts and lies of the store (CHAOS_KILLS=10, CHAOS_HISTORIES=60, CHAOS_SEED to repeat)
	CGO_ENABLED=0 go build $(EMBEDDED),varvefault -o bin/varve-fault ./cmd/varve
	VARVE_BIN=$(CURDIR)/bin/varve-fault CHAOS_HISTORIES=$${CHAOS_HISTORIES:-60} \
		$(GOTESTSUM) -- $(EMBEDDED) -count=1 -timeout 20m ./test/chaos
	CHAOS_LOG_SECONDS=$${CHAOS_LOG_SECONDS:-20} $(GOTESTSUM) -- $(EMBEDDED) -count=1 ./test/chaos/logs

.PHONY: chaos-log
chaos-log: ## the log engine against a flat list: random histories, crashes at every call, failing disks (CHAOS_LOG_SECONDS=120, CHAOS_SEED to repeat)
	@seed=$${CHAOS_SEED:-$$(date +%s)}; echo "CHAOS_SEED=$$seed"; \
	CHAOS_LOG_STEP=1 CHAOS_SEED=$$seed CHAOS_LOG_SECONDS=$${CHAOS_LOG_SECONDS:-120} $(GOTESTSUM) -- $(EMBEDDED) -count=1 -timeout 60m ./test/chaos/logs
	VARVE_WAL_HISTORIES=$${VARVE_WAL_HISTORIES:-200} $(GOTESTSUM) -- $(EMBEDDED) -count=1 -timeout 20m \
		-run 'Crash|Model|Histories|Flipped|Damage|Storage|Survives|Cut|Fault' ./broker/commitlog/...

.PHONY: chaos-planted
chaos-planted: ## plant 28 bugs in the log engine, one at a time, and want a test that sees each (PLANTED=bug,bug; PLANTED_ALL=1 asks every suite)
	go test -tags nos3,noazure,nogcs,varveplanted -count=1 -timeout 60m -v -run TestPlantedBugs ./test/planted

.PHONY: chaos-hostile
chaos-hostile: ## good clients beside fuzz, slow ones, storms, 18,000 connections, TLS handshakes, wrong passwords and bombs, in 256 MiB (CHAOS_HOSTILE_SECONDS=60, CHAOS_HOSTILE_RUN='Mix|Squeezed|Kinds|Greedy', CHAOS_HOSTILE_PROFILES=DIR)
	CGO_ENABLED=0 go build $(EMBEDDED) -o bin/varve-hostile ./cmd/varve
	VARVE_BIN=$(CURDIR)/bin/varve-hostile CHAOS_HOSTILE_SECONDS=$${CHAOS_HOSTILE_SECONDS:-60} \
		go test $(EMBEDDED) -count=1 -timeout 90m -v -run "$${CHAOS_HOSTILE_RUN:-Mix}" ./test/chaos/hostile

.PHONY: chaos-clients
chaos-clients: build ## kill -9 every 2 s under the idempotent producers of Java, librdkafka and franz-go (CHAOS_CLIENT_SECONDS=60)
	@$(INSTALL) kafka clients >/dev/null
	VARVE_BIN=$(CURDIR)/$(BIN) VARVE_KAFKA_JARS=$$($(INSTALL) kafka) VARVE_CLIENTS=$$($(INSTALL) clients) \
		CHAOS_CLIENT_SECONDS=$${CHAOS_CLIENT_SECONDS:-60} \
		$(GOTESTSUM) -- -count=1 -timeout 60m -v -run TestKilledUnderClients ./test/compat

.PHONY: powercut
powercut: build ## power cuts of real file systems (root, loop devices; POWERCUT_CUTS=20, POWERCUT_FS=ext4, POWERCUT_DIR for the image)
	VARVE_BIN=$(CURDIR)/$(BIN) $(GOTESTSUM) -- $(EMBEDDED),powercut -count=1 -timeout 60m ./test/powercut

BENCH_RUN = CGO_ENABLED=0 go build -o bin/bench ./test/bench && bin/bench run -varve $(BIN) -jars $$($(INSTALL) kafka)

.PHONY: bench
bench: build ## Varve, Apache Kafka and a floor program in one run, interleaved; goes on where it was stopped (FRESH=1: anew; BENCH="-rows P1,F1")
	@if [ -n "$(FRESH)" ]; then rm -f bin/bench.json; fi
	$(BENCH_RUN) -results bin/bench.json -pairs 8 -seconds 8 $(BENCH)

.PHONY: bench-quick
bench-quick: build ## the rows that say most, in under ten minutes: P1, P2 at 16 KB, F1, L1 at 1,000/s, C1, M1
	$(BENCH_RUN) -rows quick -pairs 2 -gib 0.5 -starts 3 -seconds 8 $(BENCH)
