"""`python -m mcm` is `mcm`, as `accelerate launch -m mcm` needs it."""

from __future__ import annotations

from mcm.cli import main

if __name__ == "__main__":
    main()
