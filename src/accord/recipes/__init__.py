"""Recipes join the stages: sample, judge, train, measure, report. Only the command line imports them."""
