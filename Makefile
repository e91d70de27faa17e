# nlnctl: novelty detection by nearest latent neighbours.
# "make help" lists what can be made, "make demo" is the place to begin.

include versions.mk

# Settings, as in "make PREFIX=/opt/nlnctl install". hack/core.mk has those of
# the native core: LIBTORCH, FAISS, CXX, CXXFLAGS. GO names a Go command to prefer.
PREFIX ?= /usr/local
DESTDIR ?=
JOBS   ?= $(shell nproc)

# Build tags. Google's library for object stores leaves gRPC out by this one, a
# quarter of the program; nos3, nogs and noazblob leave out a driver.
TAGS ?= disable_grpc_modules
export GOFLAGS += -tags=$(TAGS)

# One version for the program: the tag or commit in a clone, else "development".
VERSION := $(shell test -e .git && git describe --tags --always --dirty 2>/dev/null || echo development)

GOCMD   := hack/go.sh
GOBUILD := $(GOCMD) build -buildvcs=false
GOTEST  := hack/gotest.sh
CORE_MK = $(MAKE) --no-print-directory -f hack/core.mk $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS))

# The packages that reach no C code; found when asked for.
PURE = $$($(GOCMD) list -f '{{.ImportPath}}{{range .Deps}} {{.}}{{end}}' ./... | awk '!/\/nlnctl\/cgo\// { print $$1 }')

# Targets here run one after the other; hack/core.mk compiles in parallel, and
# gets its share of -j through the recipes that begin with +.
.NOTPARALLEL:

.PHONY: all
all: core binary ## builds the native core and the program (the default)

.PHONY: demo
demo: deps all ## installs what is missing, builds, and shows the program at work (DATA=DIR: on MNIST in DIR)
	@NLNCTL=build/bin/nlnctl DATA='$(DATA)' hack/demo.sh

.PHONY: deps
deps: ## installs what the build needs and the machine lacks
	@hack/deps.sh

.PHONY: core
core: ## builds the native core, build/lib/libnlncore.so; needs no Go
	@hack/deps.sh --check --core >/dev/null
	@+$(CORE_MK) core

.PHONY: binary
binary: ## builds the program alone, build/bin/nlnctl; needs no libtorch
	@$(GOBUILD) -ldflags '-X main.version=$(VERSION)' -o build/bin/nlnctl ./cmd/nlnctl

.PHONY: test
test: deps core ## runs all tests (NLN_DATA=DIR: those on real data as well)
	@$(GOTEST) tests ./...

.PHONY: test-nocgo
test-nocgo: ## tests what is pure Go without a C compiler
	@CGO_ENABLED=0 $(GOTEST) nocgo $(PURE)

# Not on real data, which takes minutes there and starts no further goroutines.
.PHONY: test-race
test-race: ## tests what is pure Go under the race detector
	@NLN_DATA= $(GOTEST) race -race $(PURE)

.PHONY: test-asan
test-asan: ## tests cgo/ under the address sanitizer, in Go and in C++
	@+hack/asan.sh

.PHONY: lint
lint: ## checks the code: vet, staticcheck and the rules of internal/lint
	@$(GOCMD) vet ./...
	@$(GOCMD) tool staticcheck ./...
	@$(GOCMD) test ./internal/lint

.PHONY: bench
bench: core ## runs Go's benchmarks, as benchstat reads them (BENCH=REGEXP: only these)
	@$(GOCMD) test -run '^$$' -bench '$(or $(BENCH),.)' -count $(or $(COUNT),1) ./nln ./nln/metrics ./dataset/... ./models ./engine ./faissindex ./bundle ./cgo/...

.PHONY: bench-programs
bench-programs: all
	@$(GOBUILD) -o build/bin/ ./bench/...

.PHONY: bench-peers
bench-peers: bench-programs ## compares with PyTorch, FAISS and scikit-learn, and writes docs/benchmarks.md (BENCH=-quick: a part)
	@hack/deps.sh --peers
	@build/bin/compare $(BENCH)

.PHONY: bench-growth
bench-growth: bench-programs ## measures how cost grows, for the same page (BENCH=-quick: a part)
	@build/bin/growth $(BENCH)

.PHONY: bench-check
bench-check: bench-programs ## fails where a ratio is 15 % worse than the one kept in bench/ratios.json
	@hack/deps.sh --peers
	@build/bin/compare -check $(BENCH)

.PHONY: gpu-bundle
gpu-bundle: deps ## makes build/gpu-bundle, to test and measure on a machine that has a GPU and no Go
	@hack/gpu-bundle.sh

.PHONY: ci
ci: deps ## everything that must hold before a change is taken
	@+hack/ci.sh

.PHONY: install
install: all share ## installs program, core, header, manual, completions and licences under PREFIX
	@$(INSTALL) '$(DESTDIR)$(PREFIX)' build/bin/nlnctl

# install.sh PREFIX PROGRAM
INSTALL = VERSION='$(VERSION)' hack/install.sh

.PHONY: share
share:
	@$(GOBUILD) -o build/bin/pack ./hack/pack
	@build/bin/pack share '$(VERSION)' $(EPOCH) build/share

# The time that archives and pages bear: of the commit, so that all who make them get
# the same bytes.
EPOCH = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || echo 0))
DIST  = build/dist/nlnctl-$(VERSION)-linux-$(shell $(GOCMD) env GOARCH)

.PHONY: dist
dist: core share ## makes build/dist/nlnctl-VERSION-linux-ARCH.tar.gz, which runs from any folder
	@$(GOBUILD) -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o build/dist/nlnctl ./cmd/nlnctl
	@rm -rf '$(DIST)'
	@$(INSTALL) '$(DIST)' build/dist/nlnctl
	@strip --strip-unneeded '$(DIST)/lib/libnlncore.so'
	@cp README.md CHANGELOG.md LICENSE '$(DIST)'
	@hack/runtime-packages.sh build/lib/libnlncore.so > '$(DIST)/PACKAGES'
	@build/bin/pack tar $(EPOCH) '$(DIST)' '$(DIST).tar.gz'
	@rm -rf '$(DIST)'
	@echo '$(DIST).tar.gz'

.PHONY: dist-test
dist-test: ## makes it twice, and tries it in folders of other names
	@+hack/dist-test.sh

.PHONY: image
image: ## builds the image of the program, with docker or buildah (BASE=debootstrap: without a registry)
	@hack/image.sh cpu

.PHONY: image-cuda
image-cuda: ## the same for NVIDIA's GPUs (CUDNN=none: without cuDNN)
	@hack/image.sh cuda

.PHONY: image-test
image-test: ## runs all tests and the demo in containers
	@hack/image.sh test

.PHONY: clean
clean: ## removes all that was built or fetched
	rm -rf build

.PHONY: help
help: ## prints this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
