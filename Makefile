# The front door. Everything here works on a machine that has only make, git and CA certificates: the first
# step of each command installs what is missing (scripts/setup.sh).

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: help setup release run test test-long mutants fuzz sim verify-ycsb bench reproduce format lint arrows install clean
.DEFAULT_GOAL := help

RELEASE   := build/release
WORKLOAD  ?= workloads/ycsb-a.yaml
WORKLOADS ?= $(sort $(wildcard workloads/*.yaml))
ARGS      ?=
PREFIX    ?= /usr/local
JOBS      ?= $(shell nproc)
BUILD     := JOBS=$(JOBS) scripts/build.sh $(RELEASE) gcc Release

help:
	@echo 'make run        build, run $(WORKLOAD), show the result table, the record and the plots'
	@echo '                  WORKLOAD=FILE another workload, ARGS="--repeats 3" further arguments'
	@echo 'make test       build and test: gcc and clang, address and thread sanitizer'
	@echo '                  STAGES="gcc-Release gcc-Asan" only those'
	@echo 'make test-long  the same with every compiler in every kind of build, and longer tests'
	@echo 'make mutants    plants bugs, one at a time, and says which test finds each and how soon'
	@echo '                  BUG="M4 N1" only those, SEEDS=500 of the simulation'
	@echo 'make fuzz       looks for inputs that no decoder survives: every target of tests/fuzz, 30 s each'
	@echo '                  TARGET="wal_file json" only those, SECONDS=60 each'
	@echo 'make sim        databases on simulated machines that crash at any moment, a different one each seed'
	@echo '                  SEEDS=500 FROM=1, ARGS="--shrink" (ARGS=--help tells all)'
	@echo 'make verify-ycsb  YCSB A to F with every value and scan verified, with each variant of each component'
	@echo 'make bench      every workload file, one after the other'
	@echo '                  WORKLOADS="FILE..." only those, ARGS as for run'
	@echo 'make reproduce  the reference runs that README.md quotes, into results/reference/: versus-rocksdb'
	@echo '                  and ycsb-a, 80 minutes; RUNS="ycsb-a" only those, ARGS as for run'
	@echo 'make lint       tidy, arrows, formatter and static analysers'
	@echo 'make arrows     which layer includes what: holds the arrows of docs/architecture.md'
	@echo 'make format     run clang-format-14 over all C files'
	@echo 'make install    libcascade, its headers, pkg-config and CMake files, the command'
	@echo '                  PREFIX=/usr/local, DESTDIR='
	@echo 'make clean      remove build/'

setup:
	@scripts/setup.sh

release: setup
	@$(BUILD)

run: setup
	@$(BUILD) cascade
	@$(RELEASE)/cascade run $(WORKLOAD) $(ARGS)

test: setup
	@scripts/test.sh $(STAGES)

test-long: setup
	@scripts/test.sh --long $(STAGES)

mutants: setup
	@JOBS=$(JOBS) SEEDS=$(or $(SEEDS),500) scripts/mutants.sh $(BUG)

# SECONDS is a variable of the shell's own: it goes by another name.
fuzz: setup
	@JOBS=$(JOBS) SECONDS_EACH=$(or $(SECONDS),30) scripts/fuzz.sh $(TARGET)

sim: setup
	@$(BUILD) cascade-sim
	@$(RELEASE)/cascade-sim --seeds $(or $(SEEDS),500) --from $(or $(FROM),1) $(ARGS)

verify-ycsb: setup
	@$(BUILD) cascade
	@scripts/verify-ycsb.sh

bench: setup
	@$(BUILD) cascade
	@$(RELEASE)/cascade run $(WORKLOADS) $(ARGS)

reproduce: setup
	@$(BUILD) cascade
	@ARGS='$(ARGS)' scripts/reference-run.sh $(RUNS)

format: setup
	@git ls-files --cached --others --exclude-standard '*.c' '*.h' | xargs clang-format-14 -i

lint: setup
	@$(BUILD) tidy_test arrows_test
	@scripts/lint.sh $(RELEASE)

arrows: setup
	@$(BUILD) arrows_test
	@$(RELEASE)/arrows_test

# The paths in cascade.pc are those of PREFIX, so a build configured for another one is configured again.
install: setup
	@$(BUILD) -DCMAKE_INSTALL_PREFIX=$(PREFIX) cascade cascade_shared cascade_static
	@DESTDIR=$(DESTDIR) cmake --install $(RELEASE)

clean:
	@rm -rf build
