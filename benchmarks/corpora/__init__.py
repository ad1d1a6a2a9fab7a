"""Generators of journals, a module for each kind of application."""
