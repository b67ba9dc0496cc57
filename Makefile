# Short names for the README's commands; make itself is not needed.
.PHONY: demo test fast check
demo test:
	python3 manage.py $@
fast:
	python3 manage.py test --fast
check:
	python3 manage.py check_code
