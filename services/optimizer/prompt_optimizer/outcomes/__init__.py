"""Outcomes: what came of decisions, scored and added up once however often it is reported."""
