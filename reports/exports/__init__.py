"""Answers in other tools' formats."""
