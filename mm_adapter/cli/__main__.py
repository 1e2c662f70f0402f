"""`python -m mm_adapter.cli`, and with several processes `accelerate launch -m mm_adapter.cli COMMAND`."""

import sys

from mm_adapter.cli import main

sys.exit(main())
