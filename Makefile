# Every target is one line of `make help`.
.DEFAULT_GOAL := help
SHELL := /bin/bash

.PHONY: help dev test check lint format coverage bench build clean
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

# npm writes this file last, so that it stands for the whole folder. `npm ci` also builds.
node_modules: node_modules/.package-lock.json
node_modules/.package-lock.json: package.json package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

include replica-set/targets.mk

build: node_modules ## compile src to dist
	npm --silent run build

dev: build ## the whole example from a fresh clone: replica set, data, gateway, page
	node --import tsx examples/lab/dev.ts

# Fail points are a server's own: one that all specs share is not for two files at a time.
ifdef MONGODB_URI
export SPEC_FLAGS ?= --no-parallel
endif

test: node_modules ## install what the specs need and run all of them
	npm --silent run lint
	npm --silent run build
	npm --silent run check
	npm --silent run spec

coverage: node_modules ## the specs with their coverage
	npm --silent run coverage

check: node_modules ## types
	npm --silent run check

lint: node_modules ## style
	npm --silent run lint

format: node_modules ## mend the style
	npm --silent run format

bench: node_modules build ## benchmarks, as ratios beside the bare floor
	node --import tsx bench/main.ts all

clean: ## remove what was built
	rm -rf dist coverage
