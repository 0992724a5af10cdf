"""Run one job on Lava: `python worker.py FOLDER`; or see whether Lava imports: `python worker.py --check`.

The folder holds `job.json` (fields of `snnkit_lava_worker.job.Job`), the network and the input that it names; the
answers are written beside them. Where the job fails, `failure.txt` there says why, and the exit code is 1.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    from snnkit_lava_worker import main

    sys.exit(main.check() if sys.argv[1:] == ["--check"] else main.run(Path(sys.argv[1])))
