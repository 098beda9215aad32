# The same doors as .ci/do, for fingers that type make.
.PHONY: demo test ci docs
demo:
	@python3 .ci/do demo
test:
	@python3 .ci/do test
ci:
	@.ci/run
docs:
	@python3 .ci/do python .ci/docs.py
