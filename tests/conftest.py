"""One BLAS thread per test process: on a busy machine the threads wait for each other, tenfold slower."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
