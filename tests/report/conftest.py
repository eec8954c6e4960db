"""The five reports are made once and read by every test."""

import pytest

from diffaudit_jax.report import membership_report

from .audits import SIZES, audit


@pytest.fixture(scope="session")
def reports():
    """Level -> the report that ends in it."""
    return {level: membership_report(**audit(level)) for level in SIZES}
