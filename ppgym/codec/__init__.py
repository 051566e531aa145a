"""Real codecs: pixels through FFmpeg, prompts through gradient inversion and a diffusion model."""
