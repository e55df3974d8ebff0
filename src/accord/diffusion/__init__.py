"""Alignment of diffusion models: Diffusion-DPO over any noise predictor, and a few-step sampler for the result.

A diffusion model has no tokens and no log-probability that can be had in one pass, so nothing of the loop over Groups
fits it: this room has its own objective, schedule, training and samplers, all small, and knows no other room. What it
works on is a function `eps_model(x_t, t, condition)` that predicts the noise in a batch of noised items.
"""
