# `make run`: the CPU example, with all set-up. `make test`: the tests, likewise; ARGS="-k foo" goes to pytest. The work is in scripts/.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -ISc 'import sys; sys.exit(sys.version_info < (3, 8) or print(sys.executable))' 2>/dev/null && break; done)

.PHONY: run test setup
run test setup:
	@$(or $(PYTHON),$(error No Python on PATH. Debian, Ubuntu: apt install python3 python3-venv. \
	One that is not on PATH: make $@ PYTHON=/path/to/python3.12)) scripts/setup.py $@ $(ARGS)
