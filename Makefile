# Every target is one line into scripts/; .venv is made on first use.
ARGS ?=
QUICK ?=
RUN := scripts/venv

.PHONY: demo test check bench bench-guard load soak
demo:
	@$(RUN) python -m scripts.demo $(ARGS)
test:
	@$(RUN) scripts/test $(ARGS)
check:
	@$(RUN) scripts/check
bench:
	@$(RUN) scripts/bench $(if $(QUICK),--quick) $(ARGS)
soak load:
	@$(RUN) scripts/measure $@ $(if $(QUICK),--quick) $(ARGS)
bench-guard:
	@$(RUN) scripts/bench-guard $(ARGS)
