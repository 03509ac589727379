"""Recordings in an object store: moto's S3, and s3fs."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

ROOT = Path(__file__).parents[2]
SECRET = "canary-secret-access-key"
UPLOAD = """
import sys, boto3
store = boto3.client("s3")
store.create_bucket(Bucket="runs")
for path in sys.argv[1:]:
    store.upload_file(path, "runs", "today/" + path.rpartition("/")[2])
"""


@pytest.fixture
def store(start, python, free_port) -> tuple[Path, Mapping[str, str]]:
    """The interpreter that has s3fs, and the variables that lead it to the store."""
    interpreter, port = python("s3"), free_port()
    start([interpreter.with_name("moto_server"), "-H", "127.0.0.1", "-p", port], port)
    return interpreter, {
        **os.environ,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "access-key-id",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def large(path: Path, flows: int) -> Path:
    """A recording of so many megabytes."""
    with path.open("wb") as file:
        writer = FlowWriter(file)
        for _ in range(flows):
            flow = tflow.tflow(resp=True)
            flow.request.raw_content = b"x" * 10**6
            writer.add(flow)
    return path


def test_recordings_in_a_bucket(store, tmp_path: Path) -> None:
    interpreter, variables = store
    recordings = [
        ROOT / "recordings/incidents/duplicate-server.http",
        *sorted((ROOT / "recordings/flows").glob("*.flow"))[:2],
        large(tmp_path / "small.flow", 30),
        large(tmp_path / "large.flow", 150),
    ]
    subprocess.run([interpreter, "-c", UPLOAD, *recordings], env=variables, check=True, timeout=120)

    def checked(*words: str) -> tuple[int, str, str, int]:
        command = [
            str(interpreter),
            "-m",
            "conformance",
            "check",
            "--isolated",
            "--format",
            "concise",
            *words,
        ]
        with subprocess.Popen(
            command, env=variables, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            out, err = process.stdout.read(), process.stderr.read()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert SECRET not in out + err
        assert "Traceback" not in err
        return process.returncode, out, err, used.ru_maxrss * 1024

    code, out, err, _ = checked("s3://runs/today/*.http", f"s3://runs/today/{recordings[1].name}")
    assert code in (0, 1), err
    assert "s3://runs/today/duplicate-server.http:35: error[duplicate-server]" in out
    here = checked(*map(str, recordings[:2]))[1]
    assert out.replace("s3://runs/today/", "") == here.replace(f"{recordings[0].parent}/", "").replace(
        f"{recordings[1].parent}/", ""
    )

    peaks = [checked(f"s3://runs/today/{name}.flow")[3] for name in ("small", "large")]
    assert peaks[1] - peaks[0] < 30e6, "150 MB are never held as a whole"

    code, _, err, _ = checked("s3://runs/today/none.flow", "s3://nobody/x.flow")
    assert code == 2
    assert "s3://runs/today/none.flow: no such file or folder" in err
    assert "s3://nobody/x.flow: " in err
