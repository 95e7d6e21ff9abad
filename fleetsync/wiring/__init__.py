"""Settings in, connected parts out: the only place that constructs things."""
