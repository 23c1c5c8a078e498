"""Which profile a machine gets when nobody names one."""

import pytest
import torch

from glm_ppo_utils.profiles import CHATGLM3_GPU_GB, get_profile


@pytest.mark.parametrize(
    ("free_gb", "name", "said"),
    [
        (None, "tiny", ""),
        (7.6, "tiny", "the GPU has 7.6 GB free, and chatglm3-6b needs about 22 GB"),
        (15.8, "tiny", "GLM_PPO_PROFILE=chatglm3-6b"),
        (CHATGLM3_GPU_GB + 1, "chatglm3-6b", ""),
    ],
)
def test_the_large_model_is_the_default_only_where_it_fits(
    monkeypatch, capsys, free_gb, name, said
):
    monkeypatch.delenv("GLM_PPO_PROFILE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: free_gb is not None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(free_gb * 1e9), int(80e9)))
    assert get_profile().name == name
    error = capsys.readouterr().err
    assert said in error if said else not error
    assert error.count("\n") == bool(said)
    monkeypatch.setenv("GLM_PPO_PROFILE", "chatglm3-6b")  # asked for: no second guess
    assert get_profile().name == "chatglm3-6b"
    assert not capsys.readouterr().err
