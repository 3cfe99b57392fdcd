"""`python -m taimatsu.doctor` where there are GPUs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from taimatsu import doctor
from taimatsu.codegen import ptx


def lines() -> dict[str, doctor.Finding]:
    return {f.name: f for f in doctor.gpu()}


def test_what_is_found(double, capsys):
    assert doctor.main() == 0
    out = capsys.readouterr().out
    assert "ok CUDA driver   of CUDA 13.0" in out
    assert "ok GPU 1         Double 1, sm_90, 1.0 GiB, 4 multiprocessors" in out
    segments = "expandable segments" if double.virtual else "segments of fixed size"
    assert f"of 1.0 GiB free, {segments}" in out
    assert f"environment   TAIMATSU_LIBCUDA={os.environ['TAIMATSU_LIBCUDA']}" in out


def test_a_gpu_that_fails_is_told_and_the_others_too(double):
    double.fail("cuMemGetInfo_v2", 999)
    found = lines()
    assert not found["memory 0"].well and "cuMemGetInfo" in found["memory 0"].text
    assert found["memory 0"].mend == "see what nvidia-smi says" and not found["memory 0"].needed
    assert found["memory 1"].well


def test_an_assembler_or_the_command_that_brings_it(monkeypatch):
    monkeypatch.setattr(ptx, "assembler", lambda: None)
    found = lines()["ptxas"]
    assert not found.well and found.mend == "pip install nvidia-cuda-nvcc"
    monkeypatch.setattr(ptx, "assembler", lambda: "/bin/ptxas")
    assert lines()["ptxas"].well


@pytest.mark.parametrize("capability", ["capability=90", "capability=52"])
def test_missing_libraries_and_old_gpus(tmp_path, capability):
    environment = {**os.environ, "TAIMATSU_CUDA_LIBRARIES": str(tmp_path),
                   "TAIMATSU_DOUBLE": capability}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-P", "-m", "taimatsu.doctor"], env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr  # the CPU is whole
    for command in ("nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-cusolver", "nvidia-cufft",
                    "nvidia-nccl-cu13"):  # fmt: skip
        assert f"-> pip install {command}\n" in done.stdout
    old = "-- GPU 0         Double 0, sm_52" in done.stdout
    assert old == ("52" in capability) == ("code generation knows sm_70" in done.stdout)
