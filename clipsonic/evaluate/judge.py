"""The judge under the name that evaluation calls it by; it lives with the soundstage, whose kinds it names."""

from clipsonic.soundstage.judge import Judge, JudgeConfig, Verdicts, load_judge

__all__ = ["Judge", "JudgeConfig", "Verdicts", "load_judge"]
