"""Hypothesis keeps no examples, and sets no deadline, for machines differ."""

from hypothesis import settings

settings.register_profile("egress", database=None, deadline=None)
settings.load_profile("egress")
