"""Cards of policies and problems, and what reaches a hub: here one that notes what it gets."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from glm_ppo_utils.cli import main
from glm_ppo_utils.problems import generate, load_problems
from glm_ppo_utils.publishing import write_model_card


class Hub(BaseHTTPRequestHandler):
    """Answers as a hub does to a small upload."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, body.decode()))
        status, answer = 200, {}
        if self.path == "/api/repos/create":
            name = json.loads(body)["name"]
            status = 409 if name == "taken" else 401 if name == "secret" else 200
            answer = {"url": f"{self.server.address}/me/{name}"}
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            answer = {
                "files": [{**f, "uploadMode": "regular", "shouldIgnore": False} for f in files]
            }
        elif "/commit/" in self.path:
            address = f"{self.server.address}/me/x/commit/0"
            answer = {"commitUrl": address, "commitOid": "0", "success": True}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = HTTPServer(("127.0.0.1", 0), Hub)
    server.seen, server.address = [], f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
    monkeypatch.setattr("huggingface_hub.hf_api.ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def front_matter(path: Path) -> dict:
    return yaml.safe_load(path.read_text().split("---")[1])


def test_exported_problems_are_those_of_the_card(hub, capsys):
    assert main(["export-problems", "--n=7", "--seed=3", "--language=zh", "--out=mine"]) == 0
    assert load_problems("mine/problems.jsonl") == generate(7, 3, "zh")
    card = Path("mine/README.md")
    assert front_matter(card)["language"] == ["zh"]
    again = "glm-ppo export-problems --n 7 --seed 3 --language zh --split train --out FOLDER"
    assert again in card.read_text()
    assert main(["push", "--folder=mine", "--repo=me/taken"]) == 0
    assert capsys.readouterr().out.endswith(f"uploaded to {hub.address}/me/taken\n")
    paths = [path for path, _ in hub.seen]
    assert paths[0] == "/api/repos/create"
    assert paths[-1] == "/api/datasets/me/taken/commit/main"
    sent = [json.loads(line) for line in hub.seen[-1][1].splitlines()]
    files = {line["value"]["path"] for line in sent if line["key"] == "file"}
    assert files == {"README.md", "problems.jsonl"}


def test_the_card_of_an_adapter_names_its_base_and_what_was_reached(hub, capsys):
    policy = Path("run/policy")
    policy.mkdir(parents=True)
    Path(policy, "adapter_config.json").write_text('{"base_model_name_or_path": "a/chatglm3-6b"}')
    settings = {"steps": 50, "batch_size": 128, "seed": 0, "reward": "m:f", "problems": "5a5a"}
    Path("run/settings.json").write_text(json.dumps(settings))
    rows = [{"step": s, "problems": 200, "sampled_exact": s / 100, "greedy_exact": 0.9}
            for s in (0, 25, 50)]  # fmt: skip
    Path("run/eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    card = write_model_card(policy, Path("run"))
    assert front_matter(card)["base_model"] == "a/chatglm3-6b"
    assert front_matter(card)["library_name"] == "peft"
    text = card.read_text()
    assert "| 0 | 200 | 0.000 | 0.900 |\n| 50 | 200 | 0.500 | 0.900 |" in text
    assert "50 steps of 128 answers, seed 0, reward `m:f`" in text
    assert "5a5a" not in text
    assert main(["push", "--folder=run/policy", "--repo=me/adapter", "--private"]) == 0
    made = json.loads(hub.seen[0][1])
    assert (made["name"], made["private"]) == ("adapter", True)
    assert hub.seen[-1][0] == "/api/models/me/adapter/commit/main"


@pytest.mark.parametrize(
    ("folder", "repository", "message"),
    [
        ("none", "me/x", "none holds neither a policy nor problems.jsonl"),
        ("mine", "not a name", "no name for a repository"),
        ("mine", "me/secret", "401 Client Error"),
    ],
)
def test_what_cannot_be_uploaded_is_one_line(hub, capsys, folder, repository, message):
    assert main(["export-problems", "--n=1", "--out=mine"]) == 0
    assert main(["push", f"--folder={folder}", f"--repo={repository}"]) in (1, 2)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
