import signal
import ssl
import subprocess
import sys
from pathlib import Path

import httpx

PROGRAM = """
import sys
from pathlib import Path
from app.simulator import serve
serve("127.0.0.1", 0, tls=True, ca_dir=Path(sys.argv[1]), more_hosts=("127.0.0.2",),
      ready=lambda serving: print(serving.url, serving.control_url, serving.ca_file, flush=True))
"""


def test_it_runs_in_its_own_process_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url, control_url, ca_file = process.stdout.readline().split()
        context = ssl.create_default_context(cafile=ca_file)
        with httpx.Client(verify=context, trust_env=False) as client:
            subscription = client.post(f"{control_url}/subscribe", json={"host": "127.0.0.2"}).json()
            counts = client.get(f"{control_url}/counts").json()
        process.send_signal(signal.SIGTERM)

    assert process.returncode == 0
    assert url.startswith("https://127.0.0.1:")
    assert "//127.0.0.2:" in subscription["subscriptions"][0]["endpoint"]
    assert counts["posts"] == 0
    assert Path(ca_file) == tmp_path / "ca.pem"
