"""What the optimizer keeps: templates and their versions, what came of them, and the key of decision ids."""

from prompt_optimizer.repository.outcomes import OutcomeRepository
from prompt_optimizer.repository.schema import SCHEMA
from prompt_optimizer.repository.secret import decision_key
from prompt_optimizer.repository.templates import TemplateRepository

__all__ = [
    "SCHEMA",
    "OutcomeRepository",
    "TemplateRepository",
    "decision_key",
]
