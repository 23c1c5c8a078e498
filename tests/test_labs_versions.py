"""What works under which transformers: live rows, the stored table, the patch."""

import subprocess
import sys

import pytest

from glm_ppo_utils.labs import versions
from glm_ppo_utils.labs.versions import LIVE, OverlayError, Row, install_command, is_installed

HEAD = "ValueError: The model does not have a language model head, please use a model that has one."
MOVED = "AttributeError: 'ChatGLMModel' object has no attribute 'output_layer'"
UNPACK = "ValueError: too many values to unpack (expected 2)"
SHAPE = "AttributeError: 'str' object has no attribute 'shape'"
FORMAT = (
    "TypeError: GenerationMixin._extract_past_from_model_output() got an unexpected keyword "
    "argument 'standardize_cache_format'"
)
# What the published code raised under each version, and the function that raised it.
UPDATE = "_update_model_kwargs_for_generation"
GENERATION = {
    "4.40.0": {},
    "4.42.4": {
        "generate": (UNPACK, "forward"),
        "generate_leftpad_batch": (SHAPE, "get_masks"),
        "generate_nocache": (UNPACK, "forward"),
        "generate_sample": (UNPACK, "forward"),
        "wrap_alias": (UNPACK, "forward"),
        "peft_lora": (UNPACK, "forward"),
        "ppo_step": (SHAPE, "get_masks"),
    },
    "4.44.2": {
        step: (FORMAT, UPDATE)
        for step in (
            *("generate", "generate_leftpad_batch", "generate_nocache", "generate_sample"),
            *("wrap_alias", "peft_lora", "ppo_step"),
        )
    },
}
ALWAYS = {
    "wrap_nofix": (HEAD, "__init__"),
    "wrap_blog_move_delete": (MOVED, "forward"),
}
PATCHED = ("4.40.0", "4.42.4", "4.44.2", "4.48.3", "4.52.4")


def need(*versions: str) -> None:
    missing = [v for v in versions if not is_installed(v)]
    if missing:
        pytest.skip(f"overlays are missing; run: {install_command(*missing)}")


@pytest.fixture(scope="module")
def live() -> dict[str, list[Row]]:
    """Rows of each version, probed once."""
    need(*LIVE)
    return {transformers: versions.probe(transformers) for transformers in LIVE}


@pytest.mark.slow
@pytest.mark.parametrize("transformers", LIVE)
def test_chatglm_fails_as_the_published_code_does(live, transformers):
    failures = {
        row.step: (row.exception, row.at.split()[-1])
        for row in live[transformers]
        if row.model == "chatglm" and row.result != "ok"
    }
    assert failures.pop("wrap_alias_save")[0].startswith("RuntimeError: The weights trying to be")
    assert failures == {**ALWAYS, **GENERATION[transformers]}


@pytest.mark.slow
@pytest.mark.parametrize("transformers", LIVE)
def test_controls_pass_everywhere(live, transformers):
    rows = [row for row in live[transformers] if row.model != "chatglm"]
    assert {row.model for row in rows} == {"gpt2", "llama"}
    assert [row for row in rows if row.result != "ok"] == []


@pytest.mark.slow
@pytest.mark.parametrize("transformers", LIVE)
def test_stored_table_is_what_runs_now(live, transformers):
    def key(model, step, result, exception, at):
        return model, step, result, exception, at.split()[-1:]  # lines move, functions stay

    stored = [
        key(*(row[name] for name in ("model", "step", "result", "exception", "at")))
        for row in versions.read_matrix()
        if row["transformers"] == transformers
    ]
    now = [key(r.model, r.step, r.result, r.exception, r.at) for r in live[transformers]]
    assert stored == now


@pytest.mark.slow
def test_cause(live):
    """The pair, the 15 characters, and the pass that still worked."""
    before = versions.what_extract_past_returns("4.40.0")
    after = versions.what_extract_past_returns("4.42.4")
    assert before["signature"] == after["signature"]
    assert len(before["parts"]) == 3  # one cache a layer
    name, caches = after["parts"]
    assert name == "str 'past_key_values' of 15 characters"
    assert caches == before["returns"]
    assert FORMAT == versions.what_extract_past_returns("4.44.2")["exception"]
    for use_cache in (True, False):
        first, second = versions.what_layer_0_receives("4.42.4", use_cache)
        assert (first["call"], first["kv_cache"]) == (1, "None")
        assert (second["call"], second["kv_cache"]) == (2, name)


@pytest.mark.slow
def test_traceback_ends_in_layer_0(live):
    *frames, message = versions.generation_traceback("4.42.4")
    assert message == UNPACK
    assert frames[-1].endswith("forward: cache_k, cache_v = kv_cache")
    assert versions.generation_traceback("4.42.4", "no_cache")[-1] == UNPACK
    assert versions.generation_traceback("4.42.4", "padded")[-1] == SHAPE
    assert versions.generation_traceback("4.40.0") == []


@pytest.mark.slow
def test_reverse_failure(live):
    """Code written for the pair fails where there is none: the same message, another line."""
    *frames, message = versions.generation_traceback("4.40.0", "newer_code")
    assert message == UNPACK
    assert "self._extract_past_from_model_output(outputs)" in frames[-1]
    assert versions.generation_traceback("4.42.4", "newer_code") == []


@pytest.fixture(scope="module")
def expected() -> dict:
    """Tokens under the pin, where no patch is needed."""
    return versions.generate_with_patch("4.40.0")


@pytest.mark.slow
@pytest.mark.parametrize("transformers", PATCHED)
def test_patch_generates_the_same_tokens(expected, transformers):
    need(transformers)
    tokens = versions.generate_with_patch(transformers)
    assert tokens["padded"] == tokens["single"] == expected["unpatched"]
    assert tokens["tokenized"] == expected["tokenized"] and tokens["mask"] == expected["mask"]
    assert [call["tokens"] for call in tokens["layer_0"]][1:] == [1] * 5  # the cache is used
    if transformers != "4.40.0":
        assert isinstance(tokens["unpatched"], str)  # without the patch it fails


def test_patch_is_off_by_default_and_refuses_untested_versions(monkeypatch):
    import transformers

    from glm_ppo_utils.chatglm import patch_generation

    monkeypatch.setattr(transformers, "__version__", "4.57.6")
    with pytest.raises(RuntimeError, match="tested with transformers 4.40.0 to 4.52.4"):
        patch_generation(None)


# -- the laboratory itself --------------------------------------------------------------------


def test_missing_overlay_names_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("GLM_PPO_OVERLAYS", str(tmp_path))
    with pytest.raises(OverlayError, match="labs.versions install 4.42.4"):
        versions.probe("4.42.4")
    assert versions.main(["run", "4.42.4"]) == 1
    assert "labs.versions install 4.42.4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("4.44.2", ["transformers==4.44.2"]),
        ("4.48.3", ["transformers==4.48.3", "tokenizers==0.21.4", "peft==0.13.2"]),
        ("deep_training", ["deep_training==0.3.0"]),
    ],
)
def test_what_an_overlay_is_made_of(monkeypatch, tmp_path, name, packages):
    monkeypatch.setenv("GLM_PPO_OVERLAYS", str(tmp_path))
    commands = []

    def run(command, **kwargs):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    versions.install(name)
    assert commands[0][-len(packages) :] == packages
    assert "==" not in commands[0][-len(packages) - 1]


def test_failed_install_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("GLM_PPO_OVERLAYS", str(tmp_path))

    def fail(*args, **kwargs):
        return subprocess.CompletedProcess(args, 1, stderr="ERROR: hint\nERROR: no such version\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(OverlayError, match="transformers==4.0.99 .*no such version"):
        versions.install("4.0.99")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_probe_that_crashes_is_an_error(live, monkeypatch):
    monkeypatch.setattr(
        versions, "_environment", lambda *args: {"PYTHONPATH": "/nowhere", "PATH": "/bin"}
    )
    with pytest.raises(OverlayError, match="probe failed under transformers 4.42.4"):
        versions.run_probe("4.42.4", "no-such-task")


def test_probe_that_takes_too_long_is_an_error(monkeypatch):
    monkeypatch.setattr(versions, "is_installed", lambda version: True)
    monkeypatch.setattr(versions, "TIMEOUT", 0.01)
    with pytest.raises(OverlayError, match="took over 0 s"):
        versions.run_probe("4.40.0", "steps")


@pytest.mark.slow
def test_package_imports_without_trl():
    """The probe imports it under versions that TRL and PEFT do not run on."""
    code = (
        "import sys; sys.modules['trl'] = sys.modules['peft'] = None\n"
        "import glm_ppo_utils.labs.probe"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
