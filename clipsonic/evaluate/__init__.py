"""Judging a model: a classifier of true sounds, closed-form figures, one report that anybody can read and hear."""
