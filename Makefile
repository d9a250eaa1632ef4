# The workshop. "make" lists what there is.
#
# Variables: TARGET and ARGS for run; FUZZTIME (per target) for fuzz; RUNS, SCENARIOS and WRITE (a file) for bench; BASE, COUNT and BENCH for bench-compare;
# PREFIX and DESTDIR for install; DIR for install-links; VERSION for build; GO where it is not found by itself.

GO        ?= $(firstword $(shell command -v go) $(wildcard /usr/local/go/bin/go) go)
VERSION   ?= $(or $(shell git describe --tags --dirty 2>/dev/null),devel)
COMMIT    := $(shell git describe --always --abbrev=7 --exclude='*' --dirty 2>/dev/null)
LDFLAGS   := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
SOURCES   := $(wildcard cmd internal probe rawsock report scripts)
SYSTEMS   := linux darwin freebsd openbsd netbsd windows
PROGRAMS  := gtrace gping
TESTTIME  := 20m
FUZZTIME  ?= 30s
RUNS      ?= 21
BASE      ?= HEAD
COUNT     ?= 6
BENCH     ?= .
PREFIX    ?= /usr/local
BINDIR    := $(DESTDIR)$(PREFIX)/bin
SHARE     := $(DESTDIR)$(PREFIX)/share

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
# The last nfpm without modules for MSIX (docs/dependencies.md).
NFPM        := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
BENCHSTAT   := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
CYCLONEDX   := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

# What is released: Linux on these. The time that files in packages get is the commit's.
RELEASES  := amd64 arm64
SOURCE_DATE_EPOCH := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),0)
export SOURCE_DATE_EPOCH

# A build without cgo drops privilege in every thread, and never runs libc's resolver.
BUILD  := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false
GOTEST := $(GO) run ./scripts/gotest -timeout=$(TESTTIME)

# Side by side with other tools runs alone, as both must have the machine's attention, and once, as it
# builds the programs as they ship whatever the tests themselves are built with.
BESIDE := ./internal/interop
OTHERS  = $$($(GO) list ./... | grep -v -e '/internal/interop$$' -e '/scripts/shipped$$')

# So do the tests that run the programs, or scripts, from outside: -race and a build without cgo would be of the tests alone.
UNITS   = $$($(GO) list ./... | grep -v -e '/internal/interop$$' -e '/internal/e2e$$' -e '/scripts/shipped$$' -e '/scripts/privilege$$')

.DEFAULT_GOAL := help
.PHONY: help run build test check fmt vet staticcheck vuln test-race test-nocgo fuzz fuzz-keep fuzz-short lab lab-shell bench bench-compare docs install install-links uninstall-links release packages test-packages clean go interop golden

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

go:
	@command -v $(GO) >/dev/null || { \
		echo "make: Go is missing: install Go 1.26 or newer (https://go.dev/dl/), or say where it is: make GO=/path/to/go" >&2; exit 1; }
	@$(GO) list -m >/dev/null || { \
		echo "make: $(GO) cannot be used here (see above): Go 1.26 or newer is needed; say where another is: make GO=/path/to/go" >&2; exit 1; }

run: build ## print the path to TARGET (ARGS="-T -p 443": options)
	@test -n '$(TARGET)' || { echo "make: TARGET is missing: make run TARGET=HOST" >&2; exit 2; }
	bin/gtrace $(ARGS) $(TARGET)

build: go ## build bin/gtrace and bin/gping
	@$(BUILD) -ldflags '$(LDFLAGS)' -o bin/ $(PROGRAMS:%=./cmd/%)

test: go ## run the tests (as root: those on kernel routers too)
	@$(GOTEST) $(OTHERS)
	@$(GOTEST) $(BESIDE)

check: go fmt vet staticcheck vuln test-race test-nocgo fuzz-short ## all that must hold before a change is taken

fmt: go ## gofmt finds nothing to do
	@echo "== gofmt"
	@bad=$$("$$($(GO) env GOROOT)/bin/gofmt" -l $(SOURCES) 2>&1); test -z "$$bad" || { echo "gofmt would change:" >&2; echo "$$bad" >&2; exit 1; }

vet: go ## go vet for every system the module builds on
	@for os in $(SYSTEMS); do \
		echo "== go vet, $$os"; \
		CGO_ENABLED=0 GOOS=$$os $(GO) vet ./... || exit 1; \
	done

staticcheck: go ## what go vet does not find
	@echo "== $(STATICCHECK)"
	@$(GO) run $(STATICCHECK) ./...

vuln: go ## known vulnerabilities in what the programs link
	@echo "== $(GOVULNCHECK)"
	@GO='$(GO)' scripts/vuln.sh $(GOVULNCHECK) $(PROGRAMS:%=./cmd/%)

test-race: go ## the tests with the race detector, in random order
	@echo "== tests with -race -shuffle=on"
	@command -v $${CC:-gcc} >/dev/null || { echo "make: the race detector needs a C compiler: install gcc" >&2; exit 1; }
	@CGO_ENABLED=1 $(GOTEST) -race -short -shuffle=on $(UNITS)

test-nocgo: go ## the tests as the programs are built, in random order
	@echo "== tests with CGO_ENABLED=0 -shuffle=on"
	@CGO_ENABLED=0 $(GOTEST) -count=1 -shuffle=on $(UNITS)

fuzz: go ## fuzz every target for FUZZTIME each
	@GO='$(GO)' scripts/fuzz.sh $(FUZZTIME)

fuzz-keep: go ## make seeds of what fuzzing found that reaches new code
	@$(GO) run ./scripts/fuzzkeep

fuzz-short: go
	@echo "== every fuzz target for 3s"
	@GO='$(GO)' scripts/fuzz.sh 3s

lab: go ## trace across a network of kernel routers (needs root)
	@$(GO) run ./scripts/lab

lab-shell: go ## a shell at the client of that network (needs root)
	@$(GO) run ./scripts/lab -shell

interop: go ## our programs beside traceroute, ping, fping, mtr and their parsers (installs those, as root)
	@scripts/interop.sh
	@CI=true $(GOTEST) -count=1 ./internal/interop

golden: go ## record anew what traceroute, ping, fping and tracepath print (needs root)
	@scripts/interop.sh
	@CI=true $(GO) test -count=1 -timeout=$(TESTTIME) ./internal/interop -run='^TestGolden$$' -golden

bench: go ## benchmarks, and whole runs beside traceroute, mtr, scamper, ping and fping (installs those; needs root)
	@scripts/interop.sh scamper || echo "make: what is missing is left out" >&2
	@$(GO) test -run='^$$' -bench=. -benchmem ./...
	@$(GO) run ./scripts/bench -runs=$(RUNS) -scenarios='$(SCENARIOS)' -write='$(WRITE)'

bench-compare: go ## the Go benchmarks beside those of a commit (BASE), in turn (needs root for some)
	@GO='$(GO)' scripts/benchstat.sh $(BENCHSTAT) '$(BASE)' '$(COUNT)' '$(BENCH)'

docs: build ## the manual pages and the shells' completions, into dist/
	@mkdir -p dist/man dist/completions
	@for p in $(PROGRAMS); do \
		bin/$$p --man >dist/man/$$p.1 && \
		bin/$$p --completion bash >dist/completions/$$p.bash && \
		bin/$$p --completion zsh >dist/completions/_$$p && \
		bin/$$p --completion fish >dist/completions/$$p.fish || exit 1; \
	done

install: docs ## install the programs, manual pages and completions below PREFIX (DESTDIR in front)
	install -d '$(SHARE)/man/man1' '$(SHARE)/bash-completion/completions' \
		'$(SHARE)/zsh/site-functions' '$(SHARE)/fish/vendor_completions.d' '$(BINDIR)'
	install -m 755 $(PROGRAMS:%=bin/%) '$(BINDIR)'
	install -m 644 $(PROGRAMS:%=dist/man/%.1) '$(SHARE)/man/man1'
	for p in $(PROGRAMS); do install -m 644 dist/completions/$$p.bash '$(SHARE)/bash-completion/completions'/$$p || exit 1; done
	install -m 644 $(PROGRAMS:%=dist/completions/_%) '$(SHARE)/zsh/site-functions'
	install -m 644 $(PROGRAMS:%=dist/completions/%.fish) '$(SHARE)/fish/vendor_completions.d'
	@echo "For ordinary users' raw sockets: sudo scripts/install-privilege $(PROGRAMS:%=$(BINDIR)/%)"

install-links: ## links called ping, traceroute, fping … to the installed programs in DIR, a directory of your own
	@scripts/links.sh install '$(DIR)' '$(BINDIR)'

uninstall-links: ## remove those links from DIR
	@scripts/links.sh uninstall '$(DIR)' '$(BINDIR)'

release: go ## static programs for Linux on amd64 and arm64, and SHA256SUMS, into dist/release; the same bytes each time
	@rm -rf dist/release
	@for arch in $(RELEASES); do \
		GOOS=linux GOARCH=$$arch GOAMD64=v1 GOARM64=v8.0 $(BUILD) -ldflags '$(LDFLAGS)' -o dist/release/linux-$$arch/ $(PROGRAMS:%=./cmd/%) || exit 1; \
	done
	@cd dist/release && sha256sum $(foreach arch,$(RELEASES),$(PROGRAMS:%=linux-$(arch)/%)) >SHA256SUMS

packages: release docs ## deb, rpm and apk of those, what is in them (SBOM), and SHA256SUMS, into dist/packages
	@GO='$(GO)' $(GO) run ./scripts/packages -version='$(VERSION)' -commit='$(COMMIT)' -nfpm=$(NFPM) -cyclonedx=$(CYCLONEDX) \
		-arch='$(RELEASES)' -out=dist/packages dist/release
	@ls dist/packages

test-packages: packages ## install, use, upgrade and remove the packages, in a copy of the system; build them twice (needs root)
	@SHIPPED_VERSION='$(VERSION)' SHIPPED_COMMIT='$(COMMIT)' SHIPPED_SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(GOTEST) -count=1 ./scripts/shipped

clean: ## remove what was built
	rm -rf bin dist
