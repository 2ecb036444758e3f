"""The local web page and its HTTP service: the `demo` command."""
