"""Kinds of secrets whose beginnings contain one another."""

import pytest

from tracestore.capture import Redaction, Secret

REDACTION = Redaction(secrets=[Secret("acme-sk-ant-", "[0-9]{4}"), Secret("sk-ant-", "[a-z]{16,}")])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("sk-ant-" + "q" * 20, "sk-…redacted…qqq"),
        ("acme-sk-ant-1234", "acm…redacted…234"),
        ("acme-sk-ant-" + "q" * 20, "acme-sk-…redacted…qqq"),
    ],
)
def test_a_secret_is_found_where_what_begins_another_kind_contains_its_beginning(text, masked):
    assert REDACTION.text(text) == masked
