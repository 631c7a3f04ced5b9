"""What `prepare.py` and the data options build: source files to prepared objects."""
