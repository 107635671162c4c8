# Everything here needs a Python 3.11, 3.12 or 3.13 and nothing else; all of it stays inside this folder.

# The first Python that has what is needed: it is really run, since a name may be there and not work.
CHECK = import sys, venv, ensurepip, sqlite3; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)))
ifndef PYTHON
PYTHON := $(shell for name in python3.12 python3.11 python3.13 python3; do \
	"$$name" -c '$(CHECK)' >/dev/null 2>&1 && command -v "$$name" && break; done)
endif

# Airflow 2 has no releases for Python 3.13: its tests are left out there.
RUNS_AIRFLOW_2 := $(shell "$(PYTHON)" -c 'import sys; print("1" * (sys.version_info < (3, 13)))' 2>/dev/null)
if_it_runs = $(if $(RUNS_AIRFLOW_2),$(1))

NEWEST := airflow-3.3.2
OLDEST := airflow-2.11.2
LOWEST := airflow-2.11.0
PREFECT := prefect-3.9.1
PREFECT_BEFORE := prefect-3.8.8
OLDEST_PREFECT := prefect-3.0.11
PREFECT_2 := prefect-2.20.26
PREFECT_1 := prefect-1.4.1
RELEASE := release-tools
BENCH := airflow-bench
CLUSTER := airflow-cluster
DOCS := airflow-docs
UI := test-ui
# For example: make bench BENCHMARKS='--only waiting'
BENCHMARKS :=
# For example: make cluster CLUSTERS='--seed 7 --only storm --tasks 100'
CLUSTERS :=
# For example: make drills DRILLS='--seed 7 --only kills stops'
DRILLS :=
BIN := .envs/$(NEWEST)/bin
ROWS := .envs/prefect1.xml
TESTS := tests/tools tests/unit tests/fuzz tests/prefect1 tests/integration tests/drills

# Bytecode makes a second start of the servers twice as fast.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: python
python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 with venv and sqlite3 was found" \
		"(on Debian and Ubuntu: apt install python3-venv). Name one with: make PYTHON=/path/to/python3.12 …" >&2; exit 1; }

.PHONY: demo
demo: python ## Run the example Dag on a real Airflow and a real Prefect
	@"$(PYTHON)" tools/environments.py $(NEWEST) $(PREFECT)
	@exec "$(PYTHON)" -m tools.demo

.PHONY: up
up: python ## Keep both running, with their UIs, until Ctrl-C
	@"$(PYTHON)" tools/environments.py $(NEWEST) $(PREFECT)
	@exec "$(PYTHON)" -m tools.up

# What is the same on every Airflow, since it is Prefect that does it, is tested on the newest only: see the marker
# prefect_alone in pyproject.toml. What takes too long for every change is left out: what the marker long has, most of
# what the oldest Airflow does with servers, what people do with Dag runs, and the oldest Prefect 3. `make test-all`
# leaves nothing out.
.PHONY: test
test: lint ## Lint, types, and the tests on the newest and the oldest Airflow
	@exec "$(PYTHON)" -m tools.side_by_side "$(MAKE)" $(call if_it_runs,test-oldest-with-servers) test-drills test-waiting \
		test-whole-airflow test-starting test-prefect2 test-outputs $(call if_it_runs,test-lowest) test-prefect1 \
		test-client test-unit types

.PHONY: test-quick
test-quick: lint ## Lint, types, and the unit tests on the newest Airflow
	@exec "$(PYTHON)" -m tools.side_by_side "$(MAKE)" test-client test-unit types

.PHONY: test-all
test-all: lint ## All the tests, on all Airflows and Prefects; ends with a table
	@exec "$(PYTHON)" -m tools.side_by_side "$(MAKE)" $(addprefix test-,airflow-3.3.2 airflow-3.2.2 airflow-3.1.8) \
		$(call if_it_runs,test-airflow-2.11.2 test-lowest) test-oldest-prefect test-ui types
test-airflow-3.2.2 test-airflow-3.1.8: PREFECT := $(PREFECT_BEFORE)

# The tests with real servers wait for most of the time, so they are several runs of pytest side by side, each with
# servers of its own. What none of the first ones names is in the last.
WAITING := $(addprefix tests/integration/test_,sensor.py newest.py rename_and_cancel.py final_states.py)
STARTING := $(addprefix tests/integration/test_,start_flow_run.py connection.py)
OF_PREFECT_2 := $(addprefix tests/integration/test_,prefect2.py examples.py)
ON_THE_OLDEST := $(addprefix tests/integration/test_,start_flow_run.py sensor.py rename_and_cancel.py examples.py)
OUTPUTS := $(filter-out $(WAITING) $(STARTING) $(OF_PREFECT_2),$(wildcard tests/integration/test_*.py))

.PHONY: test-client test-unit test-waiting test-starting test-prefect2 test-outputs test-whole-airflow test-drills
test-client:
	@exec $(MAKE) test-$(NEWEST) TESTS="tests/unit/client tests/fuzz"
test-unit:
	@exec $(MAKE) test-$(NEWEST) TESTS="tests/tools tests/unit --ignore=tests/unit/client"
test-waiting:
	@exec $(MAKE) test-$(NEWEST) TESTS="$(WAITING)"
test-starting:
	@exec $(MAKE) test-$(NEWEST) TESTS="$(STARTING)"
test-prefect2:
	@exec $(MAKE) test-$(NEWEST) TESTS="$(OF_PREFECT_2) -m 'not long'"
test-outputs:
	@exec $(MAKE) test-$(NEWEST) TESTS="$(OUTPUTS) -m 'not stack and not long'"
test-whole-airflow:
	@exec $(MAKE) test-$(NEWEST) TESTS="tests/integration/test_real_scheduler.py -m 'not long'"
test-drills:
	@exec $(MAKE) test-$(NEWEST) TESTS="tests/drills"
# Of the oldest Prefect 3, what tasks do most: start, wait, see the end of each kind, rename and cancel.
.PHONY: test-oldest-prefect
test-oldest-prefect:
	@exec $(MAKE) test-$(NEWEST) PREFECT=$(OLDEST_PREFECT) \
		TESTS="$(addprefix tests/integration/test_,final_states.py newest.py rename_and_cancel.py)"

# What knows nothing of Airflow is tested on the newest only, but for the HTTP clients, of which the lowest has others.
.PHONY: test-lowest test-oldest-with-servers
test-lowest: ## The unit tests with the lowest version of everything that setup.cfg allows
	@exec $(MAKE) test-$(LOWEST) TESTS="tests/unit tests/unit/client/http --ignore-glob=*/unit/client/[!h]*"
test-oldest-with-servers:
	@exec $(MAKE) test-$(OLDEST) TESTS="$(ON_THE_OLDEST) -m 'not prefect_alone and not long'"

# All tests on one Airflow, with all three Prefects, for example: make test-airflow-3.1.8 TESTS=tests/unit
TEST_AIRFLOWS := $(addprefix test-airflow-,3.3.2 3.2.2 3.1.8 2.11.2 2.11.0)
.PHONY: $(TEST_AIRFLOWS)
$(TEST_AIRFLOWS): test-%: python
	@"$(PYTHON)" tools/environments.py $* $(PREFECT) $(PREFECT_2) $(PREFECT_1)
	@echo "== Tests on $*"
	@exec "$(PYTHON)" -m tools.testing $* $(PREFECT) $(PREFECT_2) $(PREFECT_1) $(TESTS)

# What people see in Airflow's UI, in a browser; skipped where there is none.
ON_SCREEN := $(NEWEST) $(call if_it_runs,$(OLDEST))
.PHONY: test-ui pictures
test-ui: python ## Use Airflow's UI in a browser: the connection's form, links and logs
	@"$(PYTHON)" tools/environments.py $(UI) $(ON_SCREEN) $(PREFECT)
	@AIRFLOWS="$(ON_SCREEN)" PREFECT=$(PREFECT) exec .envs/$(UI)/bin/python -m pytest tests/ui

pictures: python ## Take the pictures in docs/images anew
	@"$(PYTHON)" tools/environments.py $(UI) $(NEWEST) $(PREFECT)
	@AIRFLOWS=$(NEWEST) PREFECT=$(PREFECT) PICTURES=1 exec .envs/$(UI)/bin/python -m pytest tests/ui -k "every_field or button_says or deferred or example"

.PHONY: test-prefect1
test-prefect1: python ## Compare with the real client of Prefect 1, row by row
	@"$(PYTHON)" tools/environments.py $(NEWEST) $(PREFECT_1)
	@rm -f $(ROWS)
	@exec "$(PYTHON)" -m tools.testing $(NEWEST) $(PREFECT_1) tests/prefect1 --junitxml=$(ROWS)
	@$(BIN)/python -m tests.prefect1.rows $(ROWS)

.PHONY: fuzz
fuzz: python ## Try 10,000 inputs of any shape for each door through which something arrives (some minutes)
	@"$(PYTHON)" tools/environments.py $(NEWEST) $(PREFECT)
	@FUZZ_INPUTS=$${FUZZ_INPUTS:-10000} exec "$(PYTHON)" -m tools.testing $(NEWEST) $(PREFECT) tests/fuzz

.PHONY: drills
drills: python ## Kill things and count flow runs: all drills on the newest Airflow, some on the oldest (half an hour or more)
	@"$(PYTHON)" tools/environments.py $(NEWEST) $(OLDEST) $(PREFECT)
	@$(BIN)/python -m tests.drills $(NEWEST) $(PREFECT) $(DRILLS)
	@$(BIN)/python -m tests.drills $(OLDEST) $(PREFECT) $(DRILLS)

.PHONY: cluster
cluster: python ## Kill parts of an Airflow with Celery, Redis and PostgreSQL, and count flow runs (half an hour or more)
	@"$(PYTHON)" tools/environments.py $(CLUSTER) $(PREFECT)
	@.envs/$(CLUSTER)/bin/python -m tests.cluster $(CLUSTER) $(PREFECT) $(CLUSTERS)

.PHONY: bench bench-full
bench: python ## Measure what waiting for many flow runs costs, beside what others do (a quarter of an hour)
	@"$(PYTHON)" tools/environments.py $(BENCH) $(PREFECT)
	@.envs/$(BENCH)/bin/python -m benchmarks bench $(BENCHMARKS)

bench-full: python ## The same with up to 10,000 flow runs and 1,000 tasks (half an hour or more)
	@"$(PYTHON)" tools/environments.py $(BENCH) $(PREFECT)
	@.envs/$(BENCH)/bin/python -m benchmarks bench-full $(BENCHMARKS)

.PHONY: lint
lint: python ## Check the style
	@"$(PYTHON)" tools/environments.py $(NEWEST)
	$(BIN)/ruff check .

.PHONY: lint-workflows
lint-workflows: python ## Check the workflow files
	@"$(PYTHON)" tools/environments.py $(RELEASE)
	.envs/$(RELEASE)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.envs/$(RELEASE)/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	.envs/$(RELEASE)/bin/zizmor --offline --quiet --persona pedantic .github

.PHONY: format
format: python ## Lay out the code
	@"$(PYTHON)" tools/environments.py $(NEWEST)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: types
types: python ## Check the types
	@"$(PYTHON)" tools/environments.py $(NEWEST)
	$(BIN)/mypy

.PHONY: docs
docs: python ## Build the documentation into build/docs
	@"$(PYTHON)" tools/environments.py $(DOCS)
	@AIRFLOW_HOME="$(CURDIR)/.envs/home/docs" .envs/$(DOCS)/bin/sphinx-build -W --keep-going -q docs build/docs
	@echo "The documentation is in build/docs/index.html"

.PHONY: package
package: python ## Build the sdist and the wheel, check them, and run an example Dag with the wheel alone
	@"$(PYTHON)" tools/environments.py $(RELEASE) $(PREFECT)
	rm -rf dist
	.envs/$(RELEASE)/bin/python -m build --no-isolation
	.envs/$(RELEASE)/bin/twine check --strict dist/*
	.envs/$(RELEASE)/bin/check-wheel-contents --package airflow_provider_prefect dist/*.whl
	@"$(PYTHON)" -m tools.wheel
# The SBOM lists what was installed with the wheel, in the versions that it was tried out with.
	.envs/$(RELEASE)/bin/cyclonedx-py environment --output-reproducible --output-file build/wheel/sbom.json .envs/wheel/bin/python
	@sed 's|file://$(CURDIR)/dist/||' build/wheel/sbom.json > "$$(ls dist/*.tar.gz | sed 's/.tar.gz$$/.cdx.json/')"
	@ls -l dist

# A lock file holds what was published until a day soon after its Airflow; common-compat is the exception, because
# its newest version is what the older Airflows are supported through.
COMPAT := apache-airflow-providers-common-compat=2026-11-22
LOCK = .envs/uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --python "$(PYTHON)" \
	--no-annotate --no-emit-index-url --exclude-newer-package $(COMPAT) --exclude-newer
lock: export UV_CUSTOM_COMPILE_COMMAND = make lock
lock: export UV_CACHE_DIR = $(CURDIR)/.envs/cache
lock: export UV_PYTHON_DOWNLOADS = never

.PHONY: lock
lock: python ## Resolve the lock files of all environments anew
	@"$(PYTHON)" tools/environments.py
	$(LOCK) 2026-11-22 requirements/airflow-3.3.2.in -o requirements/airflow-3.3.2.txt
	$(LOCK) 2026-11-22 requirements/airflow-bench.in -o requirements/airflow-bench.txt
	$(LOCK) 2026-11-22 requirements/airflow-cluster.in -o requirements/airflow-cluster.txt
	$(LOCK) 2026-11-22 requirements/airflow-docs.in -o requirements/airflow-docs.txt
	$(LOCK) 2026-11-22 requirements/test-ui.in -o requirements/test-ui.txt
	$(LOCK) 2026-07-01 requirements/airflow-3.2.2.in -o requirements/airflow-3.2.2.txt
	$(LOCK) 2026-03-25 requirements/airflow-3.1.8.in -o requirements/airflow-3.1.8.txt
	$(LOCK) 2026-03-20 requirements/airflow-2.11.2.in -o requirements/airflow-2.11.2.txt
	$(LOCK) 2026-03-20 requirements/airflow-2.11.0.in -o requirements/airflow-2.11.0.txt
	$(LOCK) 2026-11-22 requirements/prefect-3.9.1.in -o requirements/prefect-3.9.1.txt
	$(LOCK) 2026-11-22 requirements/prefect-3.8.8.in -o requirements/prefect-3.8.8.txt
	$(LOCK) 2024-11-20 requirements/prefect-3.0.11.in -o requirements/prefect-3.0.11.txt
	$(LOCK) 2026-11-22 requirements/prefect-2.20.26.in -o requirements/prefect-2.20.26.txt
	$(LOCK) 2026-11-22 requirements/prefect-1.4.1.in -o requirements/prefect-1.4.1.txt
	$(LOCK) 2026-11-22 requirements/release-tools.in -o requirements/release-tools.txt

.PHONY: clean
clean: ## Remove the environments, the state of the demo and everything built
	rm -rf .envs .demo .up build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
