# SPDX-License-Identifier: Apache-2.0

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME ?= 60s
TESTFLAGS ?=
BINARIES := assayd assay-node assay-gate assay
COMMANDS := $(addprefix ./cmd/,$(BINARIES))
STAMP    := -buildid= -X main.version=$(VERSION)
TOOLS    := bin/tools
PACKAGES ?= bin/packages

.DEFAULT_GOAL := help
.PHONY: help build build-fips build-boring image image-twice vm check test race fuzz peers bench lint generate demo run clean tools registry sigstore mutation

help: ## print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the binaries into bin/ (Go's own cryptography)
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w $(STAMP)' -o bin/ $(COMMANDS)

build-fips: ## build into bin/fips with the Go FIPS module v1.0.0
	GOFIPS140=v1.0.0 CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w $(STAMP)' -o bin/fips/ $(COMMANDS)

build-boring: ## build into bin/boring with BoringCrypto (needs a C compiler)
	GOEXPERIMENT=boringcrypto CGO_ENABLED=1 $(GO) build -trimpath -buildvcs=false -ldflags '$(STAMP)' -o bin/boring/ $(COMMANDS)
	ci/boring-symbols.sh $(addprefix bin/boring/,$(BINARIES))

image: ## build bin/assay.efi, the machine image of assayd (needs apt and dpkg)
	@$(MAKE) build BINARIES=assayd
	$(GO) run ./ci/image -version '$(VERSION)' -packages '$(PACKAGES)'

image-twice: ## build the image at two paths and compare
	$(GO) run ./ci/image -twice -packages '$(PACKAGES)'

vm: build ## boot the image in QEMU with a TPM, appraise it, and see what is changed refused
	ci/install.sh vm
	@$(MAKE) image
	$(GO) run ./ci/vm

check: lint ## vet, lint and the quick tests, for before a commit
	$(GO) test -short ./...

test: ## all tests; installs the Debian packages that they need, or says how
	ci/install.sh
	$(GO) test $(TESTFLAGS) ./...

race: ## all tests with the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race $(TESTFLAGS) ./...

fuzz: ## fuzz every target, FUZZTIME (60s) in all
	ci/fuzz.sh $(FUZZTIME)

peers: ## compare with verifiers of other projects, which are a module of their own
	cd ci/peers && $(GO) vet ./... && $(GO) test $(TESTFLAGS) ./...

bench: ## measure against the budgets; nothing fails on them
	$(GO) run ./ci/bench

lint: tools ## vet, golangci-lint, buf lint, formatting, generated code
	ci/lint.sh

generate: tools ## generate the code of the proto
	PATH="$(CURDIR)/$(TOOLS):$$PATH" $(TOOLS)/buf generate

demo: build ## the whole chain on this machine, as one table
	$(GO) run ./ci/demo

run: build ## assayd in development mode
	ci/run.sh

clean: ## remove what was built
	rm -rf bin

# The tools' versions are in ci/tools/go.mod, but for protoc-gen-go: it is of the
# product's own protobuf module, so that code and runtime are one version.
tools: $(TOOLS)/golangci-lint
$(TOOLS)/golangci-lint: ci/tools/go.mod go.mod
	cd ci/tools && $(GO) build -o ../../$(TOOLS)/ tool
	$(GO) build -o $(TOOLS)/ google.golang.org/protobuf/cmd/protoc-gen-go
	@touch $@

# A registry of others, without the referrers API, for the verifier's tests.
registry: $(TOOLS)/registry
$(TOOLS)/registry: ci/registry/go.mod
	cd ci/registry && $(GO) build -o ../../$(TOOLS)/ tool
	@touch $@

mutation: registry ## take each check of signatures, evidence and gates away, and see a test fail
	$(GO) run ./ci/mutation

# A job of its own, since the services take some minutes to build.
sigstore: ## sign and verify with sigstore's own services, built from their modules
	cd ci/sigstore && $(GO) build -o ../../$(TOOLS)/sigstore/ tool && $(GO) vet .
	$(GO) build -o $(TOOLS)/sigstore/ ./cmd/assay
	cd ci/sigstore && $(GO) test -count=1 $(TESTFLAGS) .
