# Each target is one line that calls a tool; the tools can be called without make.
PYTHON := .venv/bin/python
PATH := $(CURDIR)/.venv/bin:/usr/sbin:/sbin:$(PATH)
export PATH

.DEFAULT_GOAL := help
.PHONY: help setup setup-matrix lock lab lab-down demo demo-down test lint units contract sanity app-test lab-test integration molecule end-to-end docs

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: Debian packages, .venv
	@sh lab/setup.sh

setup-matrix: ## setup, and the oldest and the newest ansible-core beside it
	@sh lab/setup.sh matrix

lock: setup ## Resolve requirements-dev.in anew
	@uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-annotate --no-header requirements-dev.in -o requirements-dev.txt

lab: setup ## Start the lab: AWS, load balancer, six hosts
	@$(PYTHON) -m lab up

lab-down: ## Remove the lab and all that it made
	@test ! -x $(PYTHON) || $(PYTHON) -m lab down

demo: setup ## Ship three versions, the last a broken one, under live traffic
	@$(PYTHON) -m lab.demo

demo-down: lab-down ## The same as lab-down

test: ## Run every check, set-up included
	@python3 tests/run.py

lint: setup ## ansible-lint, yamllint, ruff
	@ruff check . && ruff format --check . && yamllint . && ansible-lint --offline

units: setup ## Unit tests
	@$(PYTHON) -m pytest -q tests/unit

contract: setup ## Specifications, defaults, documentation and pins agree
	@$(PYTHON) -m pytest -q tests/contract

app-test: setup ## Tests of the reference application
	@$(PYTHON) -m pytest -q tests/app

lab-test: setup ## Tests of the lab itself
	@$(PYTHON) -m pytest -q tests/lab

integration: setup ## Modules against the lab's AWS
	@$(PYTHON) -m pytest -q tests/integration --ignore tests/integration/test_molecule.py

molecule: setup ## Every role on Debian 12 and 13
	@$(PYTHON) -m pytest -q tests/integration/test_molecule.py

end-to-end: setup ## Whole deployments in the lab
	@$(PYTHON) -m pytest -q tests/end_to_end

sanity: setup ## ansible-test sanity
	@$(PYTHON) tests/sanity.py

docs: setup ## Write the reference pages below docs/ anew
	@$(PYTHON) docs/generate.py
