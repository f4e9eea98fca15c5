# The front door. `make demo` and `make test` need nothing installed beforehand on Debian 12.
BUILD ?= build
NINJA  = ninja -C $(BUILD)

.DEFAULT_GOAL := build
.PHONY: build demo test unit it lint bench faults mutants inject crash chaos valgrind fuzz asan tsan format install clean setup help

help:           ## list what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup:          ## install what building and testing need (apt; idempotent)
	@tools/setup build test

build: $(BUILD)/build.ninja  ## build berth into build/
	@$(NINJA)

$(BUILD)/build.ninja:
	@tools/setup build
	@meson setup $(BUILD) >/dev/null || { cat $(BUILD)/meson-logs/meson-log.txt; exit 1; }

demo:           ## install what is missing, build, and run the main job for real
	@tools/setup build demo
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja
	@$(NINJA) src/cli/berth
	@tools/demo $(BUILD)/src/cli/berth

test:           ## install what is missing, build, and run every test
	@tools/setup build
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja
	@tools/run-tests $(BUILD)

unit: build     ## the unit tests, on the build that users get
	@meson test -C $(BUILD) --print-errorlogs

it: build       ## the integration tests only (PYTEST_ARGS='-k name')
	@tools/setup test
	@tools/run-it $(BUILD)/src/cli/berth $(PYTEST_ARGS)

lint:           ## formatting, layers, clang-tidy, cppcheck, both compilers
	@tools/setup build lint
	@tools/lint

bench:          ## time berth beside its peers; writes bench/results.md and docs/benchmarks.md
	@tools/setup build bench
	@$(MAKE) --no-print-directory build
	@bench/run $(BUILD)
	@bench/plot

faults:         ## every row of the fault table, with its tests (ROWS='F7 F13'; WRITE=1 updates docs/faults.md)
	@tools/setup build test
	@$(MAKE) --no-print-directory build
	@tools/faults $(BUILD) $(if $(WRITE),--write) $(ROWS)

mutants:        ## remove one check at a time and see its test fail
	@tools/setup build test lint
	@tools/mutants

inject:         ## fail the n-th allocation, write, sync, rename, open; see that nothing lies or leaks
	@tools/setup build test lint
	@tools/inject

crash:          ## runs under a seeded schedule of kills, stops, cuts and full disks (ROUNDS=200 SEED=1)
	@tools/setup build test
	@$(MAKE) --no-print-directory build
	@BERTH_TEST_TIMEOUT=0 BERTH_CRASH_ROUNDS=$(or $(ROUNDS),200) BERTH_CRASH_SEED=$(or $(SEED),1) tools/run-it $(BUILD)/src/cli/berth -k test_crash

chaos:          ## 10,000 jobs of a market whose servers, nodes and database are killed (JOBS=10000 SEED=1)
	@tools/setup build test
	@$(MAKE) --no-print-directory build
	@tools/chaos $(BUILD) --jobs $(or $(JOBS),10000) $(if $(SEED),--seed $(SEED))

valgrind:       ## unit tests that open no files under memcheck
	@tools/setup build test lint
	@$(MAKE) --no-print-directory build
	@tools/valgrind $(BUILD)

fuzz:           ## each fuzz target for FUZZ_SECONDS (60)
	@tools/setup build lint
	@tools/fuzz

asan:           ## unit and integration tests under ASan and UBSan (part of `make test`)
	@tools/setup build test lint
	@tools/run-sanitized address,undefined

tsan:           ## unit and integration tests of the threaded parts under TSan (part of `make test`)
	@tools/setup build test lint
	@tools/run-sanitized thread

install: build  ## install to PREFIX (/usr/local), DESTDIR honoured
	@meson configure $(BUILD) -Dprefix=$(or $(PREFIX),/usr/local) >/dev/null
	@$(NINJA) >/dev/null  # takes the prefix over
	@meson install -C $(BUILD) --no-rebuild

format:         ## clang-format every source file
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean:          ## remove the build folders
	@rm -rf build build-*
