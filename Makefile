# Needs Python 3.11 or later, a C++17 compiler and make; everything else is fetched into .venv.
#
#   make build PYTHON=/path/to/python     with an interpreter that has the build requirements
#   make test ARGS="-k softmax"           what is given to pytest
#   make sanitize PARTS=tests/core        of which files and folders
#   USE_MKLDNN=0 make build               without oneDNN

BASE_PYTHON ?= python3
VENV        ?= .venv
JOBS        ?= 3
PYTHON      ?= $(VENV)/bin/python

# With a PYTHON from outside nothing is installed: it must have what the target needs.
ifeq ($(PYTHON),$(VENV)/bin/python)
ENVIRONMENT := $(VENV)/.stamp
PARITY      := $(VENV)/.stamp-parity
DOCUMENTS   := $(VENV)/.stamp-docs
endif

export PATH := $(abspath $(dir $(PYTHON))):$(PATH)
RUN    := PYTHONPATH=$(CURDIR) $(PYTHON)
PYTEST := $(RUN) -P -m pytest
SOURCES = $(shell git ls-files --cached --others --exclude-standard 'csrc/*.cpp' 'csrc/*.h')

.PHONY: help demo test tiny parity bench lint format stubs docs sanitize show build wheel venv clean

help:  ## this list
	@echo "make TARGET, where TARGET is one of"
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

demo: build  ## train a small CNN on scikit-learn's digits and draw what it learnt
	$(RUN) examples/digits.py $(ARGS)

test: build  ## all tests
	$(PYTEST) $(ARGS)

tiny: build  ## the first tests to run, in seconds
	$(PYTEST) -q tests/test_tiny.py $(ARGS)

parity: $(PARITY) build  ## the tests that compare with PyTorch, which is installed for it
	$(PYTEST) -m parity $(ARGS)

bench: build  ## speed against PyTorch, where it is installed
	$(RUN) -m benchmarks $(ARGS)

lint: stubs  ## ruff, mypy and clang-format
	ruff check
	mypy
	clang-format --dry-run -Werror $(SOURCES)

format: $(ENVIRONMENT)  ## rewrite the C++ sources in the house style
	clang-format -i $(SOURCES)

stubs: build  ## type stubs of the native core and the op table, for mypy and editors
	$(PYTHON) tools/stubs.py

docs: $(DOCUMENTS) build  ## the documentation, in docs/_build/html
	$(PYTHON) -m sphinx -W -q -b html docs docs/_build/html

show: build  ## all that is derived from one op's entry: make show OP=gelu
	@$(RUN) -m taimatsu.codegen show $(OP)

build: $(ENVIRONMENT)  ## compile the native core in place (incremental)
	@$(call configure,develop)
	@$(call locked,develop) cmake --build build/develop -j $(JOBS)

# The instrumented module lies in a copy of the package, so that the usual one stays usable.
# Python itself and the libraries are not instrumented: leaks are theirs, and not reported. Every
# part is a process of its own, and takes up to 4 GB: freed memory that is watched for late uses is
# bounded, and larger blocks than 2 GB are refused, as no limit on the address space can be set.
# Left out is what is tested without the module: most of code generation.
SANITIZED := build/sanitize/taimatsu
PARTS     ?= $(filter-out tests/codegen/ tests/ops/,$(wildcard tests/*/)) \
  tests/codegen/test_engine.py $(wildcard tests/ops/test_*.py tests/test_*.py)
SANITIZER_OPTIONS := PYTHONMALLOC=malloc PYTHONSAFEPATH=1 UBSAN_OPTIONS=print_stacktrace=1 \
  ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=2048:quarantine_size_mb=64
sanitize: $(ENVIRONMENT)  ## run the tests under AddressSanitizer and UBSan
	@$(call configure,sanitize,-DTM_SANITIZE=ON)
	@$(call locked,sanitize) cmake --build build/sanitize -j $(JOBS)
	cd taimatsu && find . -name '*.py' -o -name '*.h' -o -name '*.pxd' -o -name '*.txt' | xargs cp --parents -t $(CURDIR)/$(SANITIZED)
	@failed=; for part in $(PARTS); do \
	  echo "$$part"; \
	  env PYTHONPATH=$(CURDIR)/build/sanitize $(SANITIZER_OPTIONS) \
	    LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
	    $(PYTHON) -P -m pytest -q -p no:cacheprovider -m "not parity" $$part $(ARGS) \
	  || test $$? = 5 || failed="$$failed $$part"; \
	done; test -z "$$failed" || { echo "make sanitize: failed:$$failed"; exit 1; }

wheel: $(ENVIRONMENT)  ## dist/taimatsu-*.whl, tried in an environment of its own
	rm -rf dist $(VENV)-wheel && $(PYTHON) -m venv $(VENV)-wheel
	$(PYTHON) -m pip wheel -q --no-build-isolation --no-deps -w dist .
	$(VENV)-wheel/bin/python -m pip install -q "$$(ls dist/*.whl)[test]"
	$(VENV)-wheel/bin/python -P -m pytest -q $(or $(ARGS),tests/test_tiny.py)

venv: $(ENVIRONMENT)  ## .venv with all that the other targets need

# Requirements are read from pyproject.toml; the package itself is found in this tree by a .pth file.
$(VENV)/.stamp: pyproject.toml
	test -x $(VENV)/bin/python || $(BASE_PYTHON) -m venv $(VENV)
	$(call install,build-system dependencies test examples lint)
	echo "$(CURDIR)" > "$$($(PYTHON) -c 'import site; print(site.getsitepackages()[0])')/taimatsu.pth"
	touch $@

$(VENV)/.stamp-parity $(VENV)/.stamp-docs: $(VENV)/.stamp-%: $(VENV)/.stamp
	$(call install,$*)
	touch $@

define REQUIREMENTS
import sys, tomllib
file = tomllib.load(open("pyproject.toml", "rb"))
groups = {"build-system": file["build-system"]["requires"],
          "dependencies": file["project"]["dependencies"],
          **file["project"]["optional-dependencies"]}
print(*(line for name in sys.argv[1:] for line in groups[name]), sep="\n")
endef
export REQUIREMENTS
install = $(PYTHON) -c "$$REQUIREMENTS" $(1) > $(VENV)/requirements.txt && \
  $(PYTHON) -m pip install -q -r $(VENV)/requirements.txt

clean:  ## remove what builds made (not .venv)
	rm -rf build dist docs/_build docs/reference taimatsu/*.so taimatsu/*.so.*
	find taimatsu -name '*.pyi' -delete

# $(call configure,directory,options): CMake runs when a switch or the interpreter changed.
configure = mkdir -p build/$(1) && $(call locked,$(1)) cmake -S . -B build/$(1) -G Ninja \
  -DPython_EXECUTABLE="$$($(PYTHON) -c 'import sys; print(sys.executable)')" \
  -DUSE_MKLDNN=$(or $(USE_MKLDNN),AUTO) -DUSE_CUDA=$(or $(USE_CUDA),ON) $(2) $(CMAKE_ARGS) \
  > build/$(1).log || (cat build/$(1).log; exit 1)
# Two makes at a time in one build directory would spoil it.
FLOCK := $(shell command -v flock)
locked = $(if $(FLOCK),flock build/$(1))
