"""How good an output looks by rules that need no model: a first sieve, deterministic and quick."""

from prompt_optimizer.quality.score import Component, QualityScore, score

__all__ = ["Component", "QualityScore", "score"]
