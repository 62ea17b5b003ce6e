"""The error that a person can put right. Every stage raises it; commands print it without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Wrong input or configuration: the message names the value, the limit and what to do next; no traceback."""
