"""How late timers come and what they cost: `python -m benchmarks`; see docs/performance.md."""
