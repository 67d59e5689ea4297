# ArcBox. `make help` lists what can be made.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-builtin-rules

VERSION     := 0.1.0
COMMIT      := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
# The commit's time, so that building twice gives the same bytes.
BUILD_TIME  := $(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null || echo unknown)
CACHE       := $(or $(ARCBOX_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/arcbox)
MANIFEST    := build/assets/manifest.json

HOST_OS     := $(shell uname -s)
SHA256SUM   := $(if $(filter Darwin,$(HOST_OS)),shasum -a 256,sha256sum)

# What the binary pins: the manifest of the asset set that was built here.
PIN_SHA256   = $(shell [ -f $(MANIFEST) ] && $(SHA256SUM) $(MANIFEST) | cut -d' ' -f1)
PIN_VERSION  = $(shell [ -f $(MANIFEST) ] && sed -n 's/.*"asset_version": *"\([^"]*\)".*/\1/p' $(MANIFEST) | head -n1)
PIN_SOURCE   = $(shell [ -f $(MANIFEST) ] && echo "file://$(CURDIR)/build/assets")
LDFLAGS      = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.buildTime=$(BUILD_TIME) \
               -X main.assetVersion=$(PIN_VERSION) -X main.assetManifest=$(PIN_SHA256) -X 'main.assetSource=$(PIN_SOURCE)'
GOBUILD      = CGO_ENABLED=0 go build -trimpath -buildvcs=false

# What signs the program on a Mac: "-" for this Mac alone, else an identity in the keychain.
SIGN_IDENTITY ?= -
# The agent of launchd, and the data directory of its daemon.
LAUNCH_LABEL  := arcbox.daemon
LAUNCH_PLIST   = $(HOME)/Library/LaunchAgents/$(LAUNCH_LABEL).plist
DATA_DIR      ?= $(HOME)/.arcbox

# Tools are built from pinned versions, outside the clone.
BUF_VERSION      := v1.75.0
GENGO_VERSION    := v1.36.12
GENGRPC_VERSION  := v1.6.2
GOLANGCI_VERSION := v2.15.0
TOOLS        := $(CACHE)/tools
BUF          := $(TOOLS)/buf-$(BUF_VERSION)/buf
GENGO        := $(TOOLS)/protoc-gen-go-$(GENGO_VERSION)/protoc-gen-go
GENGRPC      := $(TOOLS)/protoc-gen-go-grpc-$(GENGRPC_VERSION)/protoc-gen-go-grpc
GOLANGCI     := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)/golangci-lint

.PHONY: help
help: ## Print the targets.
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  %-18s %s\n", $$1, $$2}' Makefile

.PHONY: deps
deps: ## Install the distribution's packages that building, running and testing needs.
	@images/deps.sh

.PHONY: build-agent
build-agent: ## Build what runs inside the virtual machine: bin/arcbox-agent and bin/arcbox-proxy.
	@mkdir -p bin
	GOOS=linux $(GOBUILD) -ldflags "-s -w -X main.version=$(VERSION)" -o bin/arcbox-agent ./cmd/arcbox-agent
	GOOS=linux $(GOBUILD) -ldflags "-s -w" -o bin/arcbox-proxy ./cmd/arcbox-proxy

.PHONY: build
build: build-agent ## Build bin/arcbox and bin/arcbox-agent; on a Mac it is signed too.
ifeq ($(HOST_OS),Darwin)
	@$(MAKE) --no-print-directory build-macos
else
	$(GOBUILD) -ldflags "$(LDFLAGS)" -o bin/arcbox ./cmd/arcbox
endif

# The library for Virtualization.framework ends the program when it is asked for what
# the SDK that it was built with does not have: saving machines came with macOS 14.
.PHONY: build-macos
build-macos: ## On a Mac: build bin/arcbox with cgo and sign it (docs/macos.md).
	@sdk=$$(xcrun --show-sdk-version); [ "$${sdk%%.*}" -ge 14 ] || \
	  { echo "the SDK for macOS $$sdk is too old: install Xcode 15 or newer, or its command line tools" >&2; exit 1; }
	MACOSX_DEPLOYMENT_TARGET=13.0 CGO_ENABLED=1 go build -trimpath -buildvcs=false -ldflags "$(LDFLAGS)" -o bin/arcbox ./cmd/arcbox
	@$(MAKE) --no-print-directory sign-macos

.PHONY: sign-macos
sign-macos: ## On a Mac: sign bin/arcbox with what it needs to run machines; SIGN_IDENTITY names the signer.
	codesign --force --sign "$(SIGN_IDENTITY)" --identifier $(LAUNCH_LABEL) --options runtime \
	  $(if $(filter -,$(SIGN_IDENTITY)),--timestamp=none,--timestamp) --entitlements packaging/macos/entitlements.plist bin/arcbox
	codesign --verify --strict bin/arcbox
	@codesign --display --entitlements - --xml bin/arcbox 2>/dev/null | grep -q com.apple.security.virtualization || \
	  { echo "bin/arcbox has not got its entitlement" >&2; exit 1; }

.PHONY: launchagent
launchagent: ## On a Mac: have launchd start the daemon now and at each login, with DATA_DIR.
	@mkdir -p "$(dir $(LAUNCH_PLIST))" && (umask 077 && mkdir -p "$(DATA_DIR)/log")
	packaging/macos/launchagent.sh $(LAUNCH_LABEL) "$(CURDIR)/bin/arcbox" "$(DATA_DIR)" >"$(LAUNCH_PLIST).new"
	plutil -lint -s "$(LAUNCH_PLIST).new"
	mv "$(LAUNCH_PLIST).new" "$(LAUNCH_PLIST)"
	-launchctl bootout gui/$$(id -u)/$(LAUNCH_LABEL) 2>/dev/null
	launchctl bootstrap gui/$$(id -u) "$(LAUNCH_PLIST)"

.PHONY: launchagent-remove
launchagent-remove: ## On a Mac: stop that daemon and leave it to people to start one.
	-launchctl bootout gui/$$(id -u)/$(LAUNCH_LABEL)
	rm -f "$(LAUNCH_PLIST)"

.PHONY: guest
guest: deps build-agent ## Build the guest into build/assets and build/images, the docker client, and bin/arcbox that pins them.
	@images/build.sh
	@$(MAKE) --no-print-directory build

.PHONY: reproduce
reproduce: deps ## Build the guest a second time with empty caches and compare every output (as long as a first build).
	@images/reproduce.sh

.PHONY: quickstart
quickstart: ## From nothing to a container: packages, build, guest, daemon, demo image.
	@scripts/quickstart.sh

.PHONY: test
test: deps lint guest unit e2e ## Everything: lint, unit tests, and the end-to-end tests on a real virtual machine.

.PHONY: unit
unit: ## The tests that need no virtual machine, with the race detector.
	ARCBOX_TEST_KERNEL="$(if $(wildcard build/assets/x86_64/kernel),$(CURDIR)/build/assets/x86_64/kernel)" \
	go test -race -timeout 15m $$(go list ./... | grep -v '^arcbox/test/e2e')

.PHONY: e2e
e2e: guest ## The end-to-end tests: the real kernel, agent and dockerd under the real docker client.
	ARCBOX_TEST_BIN="$(CURDIR)/bin" go test -count=1 -timeout 60m -v ./test/e2e/... | scripts/test-summary.sh

.PHONY: soak
soak: guest ## Ten minutes of traffic and netfilter changes on a real virtual machine.
	ARCBOX_TEST_BIN="$(CURDIR)/bin" ARCBOX_TEST_SOAK=10m go test -count=1 -timeout 30m -v -run 'TestSoak$$' ./test/e2e/... | scripts/test-summary.sh

.PHONY: lint
lint: $(GOLANGCI) $(BUF) ## Check the house rules: linters, generated code, modules, licences.
	go vet ./...
	cd test/registry && go vet ./... && go mod tidy -diff
	$(GOLANGCI) run --allow-parallel-runners ./...
	cd api && $(BUF) lint
	$(BUF) breaking api --against api/baseline.binpb
	@scripts/check-generated.sh
	go mod tidy -diff
	@$(MAKE) --no-print-directory check-darwin

.PHONY: generate
generate: $(BUF) $(GENGO) $(GENGRPC) ## Generate the code of api/, the mocks of the ports and the references in docs/; refuses to break the API.
	$(BUF) breaking api --against api/baseline.binpb
	cd api && PATH="$(dir $(GENGO)):$(dir $(GENGRPC)):$$PATH" $(BUF) generate
	$(BUF) build api --exclude-path api/arcbox/agent --exclude-source-info -o api/baseline.binpb
	$(BUF) build api --exclude-path api/arcbox/agent -o - | go run ./scripts/apidoc docs/api.md
	go generate ./application/port/
	go run ./cmd/arcbox/docs

.PHONY: check-darwin
check-darwin: ## Type-check what is built for macOS.
	go test -count=1 ./test/darwin

.PHONY: bench
bench: guest ## Measure against peers in the same run; the figures are in bench/RESULTS.md.
	ARCBOX_TEST_BIN="$(CURDIR)/bin" bench/run.sh
	ARCBOX_TEST_BIN="$(CURDIR)/bin" bench/net/run.sh
	ARCBOX_TEST_BIN="$(CURDIR)/bin" bench/fs/run.sh

.PHONY: clean
clean: ## Remove what was built in this clone; caches outside it stay.
	rm -rf bin build

$(BUF):
	@echo "building buf $(BUF_VERSION)" >&2
	@GOBIN=$(@D) GOFLAGS= go install github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)
$(GENGO):
	@GOBIN=$(@D) GOFLAGS= go install google.golang.org/protobuf/cmd/protoc-gen-go@$(GENGO_VERSION)
$(GENGRPC):
	@GOBIN=$(@D) GOFLAGS= go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@$(GENGRPC_VERSION)
$(GOLANGCI):
	@echo "building golangci-lint $(GOLANGCI_VERSION)" >&2
	@GOBIN=$(@D) GOFLAGS= go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
