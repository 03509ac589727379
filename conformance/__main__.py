"""``python -m conformance`` is ``hoplint``."""

from conformance.cli import main

raise SystemExit(main())
