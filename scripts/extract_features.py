"""Video features with several processes: accelerate launch scripts/extract_features.py SOURCE STORE [flags].

The same command as `mm-coach features extract`, whose --help lists the flags. Run it again to resume, with any number of
processes.
"""

import sys

from mm_adapter.cli import main

if __name__ == "__main__":
    sys.exit(main(["features", "extract", *sys.argv[1:]]))
