"""The workloads: each module has a one-line docstring and ``run(options)``, which returns figures."""
