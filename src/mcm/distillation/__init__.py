"""Distillation: the objective, the loop around it, and what watches over both."""
