from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.unit.decision.replays import CASES, GOLDEN, digest_of_everything, golden_text, replay


@pytest.mark.parametrize("case", CASES)
def test_a_replay_equals_its_golden_file(case: str) -> None:
    decision = replay(case)

    assert golden_text(decision) == (GOLDEN / f"{case}.json").read_text(encoding="utf-8")


def test_replaying_twice_gives_the_same_bytes() -> None:
    assert digest_of_everything() == digest_of_everything()


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_bytes_do_not_depend_on_the_hash_seed(seed: str) -> None:
    assert _elsewhere(PYTHONHASHSEED=seed) == digest_of_everything()


@pytest.mark.slow
@pytest.mark.parametrize("blas", ["Nehalem", "Haswell"])
def test_bytes_do_not_depend_on_the_processor(blas: str) -> None:
    vectors = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])

    plain = _elsewhere(NPY_DISABLE_CPU_FEATURES=" ".join(vectors), OPENBLAS_CORETYPE=blas)

    assert plain == digest_of_everything()


def _elsewhere(**environment: str) -> str:
    program = "from tests.unit.decision.replays import digest_of_everything; print(digest_of_everything())"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, check=True, text=True
    )
    return done.stdout.strip()
