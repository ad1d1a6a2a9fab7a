# Two commands: `make demo` and `make test`. Both set up what they need in .venv.
# `make soak` is the long form of tests/faults: hours, and as root, to mount the disks whose power it cuts.

PYTHON ?= python3
DUCKDB_OLDEST = duckdb==1.5.5
WITHOUT_DUCKDB = faults benchmarks blobs capture journal views test_house.py test_units.py

.PHONY: demo test soak lint clean

demo: .venv/.ready
	.venv/bin/tracestore demo

# The suite runs on both ends of the range of DuckDB that pyproject.toml allows: on the oldest beside the other, without
# the fault campaign and what has no database in it, and it is heard only where it fails.
test: lint .venv-oldest/.ready
	.venv-oldest/bin/python -m pytest -q $(WITHOUT_DUCKDB:%=--ignore=tests/%) >.venv-oldest/log 2>&1 & oldest=$$!; \
	TRACESTORE_OTHER_PYTHON=.venv-oldest/bin/python .venv/bin/python -m pytest; newest=$$?; \
	wait $$oldest || { echo "on $(DUCKDB_OLDEST):"; cat .venv-oldest/log; exit 1; }; exit $$newest

soak: .venv/.ready-test
	.venv/bin/python -m tests.faults

lint: .venv/.ready-test
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

.venv/bin/python:
	$(PYTHON) -m venv .venv || { .ci/system-packages python3-venv && $(PYTHON) -m venv --clear .venv; }

.venv/.ready: .venv/bin/python pyproject.toml
	.venv/bin/python -m pip install -q --disable-pip-version-check -e .
	touch $@

.venv/.ready-test: .venv/bin/python pyproject.toml
	.ci/system-packages rsync strace xfsprogs fuse3
	.venv/bin/python -m pip install -q --disable-pip-version-check -e '.[test]'
	touch $@ .venv/.ready

.venv-oldest/.ready: .venv/.ready-test
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install -q --disable-pip-version-check -e '.[test]' '$(DUCKDB_OLDEST)'
	touch $@

clean:
	rm -rf .venv .venv-oldest benchmarks/.venv-peers .pytest_cache .mypy_cache .ruff_cache .hypothesis
