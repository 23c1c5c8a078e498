"""ChatGLM3's configuration. Part of the remote-code folder: it imports nothing of this package."""

from transformers import PretrainedConfig

# The published configurations carry these switches; ChatGLM3 uses one setting of each, and this
# implementation has code for that setting only.
FIXED = {
    "rmsnorm": True,
    "post_layer_norm": True,
    "add_bias_linear": False,
    "add_qkv_bias": True,
    "multi_query_attention": True,
    "apply_residual_connection_post_layernorm": False,
    "fp32_residual_connection": False,
    "quantization_bit": 0,
    "pre_seq_len": None,
}


class ChatGLMConfig(PretrainedConfig):
    """Sizes of a ChatGLM3 model; the defaults are those of ``chatglm3-6b``.

    The number of layers is called ``num_layers``, as in the published configuration. There is no
    ``num_hidden_layers``, which transformers 4.57 asks for during generation.

    Parameters
    ----------
    num_layers, hidden_size, ffn_hidden_size
        Depth, width, and inner width of the SwiGLU feed-forward block.
    padded_vocab_size
        Rows of the embedding and of the output layer.
    num_attention_heads, multi_query_group_num, kv_channels
        Query heads, key/value heads (each shared by a group of query heads), width of a head.
    seq_length
        Longest sequence the model was made for, in tokens.
    rope_ratio
        Stretch of the rotary base (1 for chatglm3-6b).
    initializer_range
        Standard deviation of a fresh weight.

    Raises
    ------
    ValueError
        If the head counts do not divide, or a switch has a setting that ChatGLM3 does not use.
    """

    model_type = "chatglm"

    def __init__(
        self,
        num_layers: int = 28,
        padded_vocab_size: int = 65024,
        hidden_size: int = 4096,
        ffn_hidden_size: int = 13696,
        kv_channels: int = 128,
        num_attention_heads: int = 32,
        multi_query_group_num: int = 2,
        seq_length: int = 8192,
        layernorm_epsilon: float = 1e-5,
        hidden_dropout: float = 0.0,
        attention_dropout: float = 0.0,
        rope_ratio: float = 1,
        initializer_range: float = 0.02,
        **kwargs: object,
    ) -> None:
        self.num_layers = num_layers
        self.vocab_size = padded_vocab_size
        self.padded_vocab_size = padded_vocab_size
        self.hidden_size = hidden_size
        self.ffn_hidden_size = ffn_hidden_size
        self.kv_channels = kv_channels
        self.num_attention_heads = num_attention_heads
        self.multi_query_group_num = multi_query_group_num
        self.seq_length = seq_length
        self.layernorm_epsilon = layernorm_epsilon
        self.hidden_dropout = hidden_dropout
        self.attention_dropout = attention_dropout
        self.rope_ratio = rope_ratio
        self.initializer_range = initializer_range
        for name, value in FIXED.items():
            if kwargs.setdefault(name, value) != value:
                raise ValueError(
                    f"ChatGLM3 has {name}={value}; {name}={kwargs[name]} is not supported"
                )
        if num_attention_heads % multi_query_group_num:
            raise ValueError(
                f"num_attention_heads={num_attention_heads} is not a multiple of "
                f"multi_query_group_num={multi_query_group_num}"
            )
        kwargs.setdefault("use_cache", True)
        kwargs.setdefault("tie_word_embeddings", False)
        kwargs.pop("vocab_size", None)  # written by save_pretrained; padded_vocab_size decides
        super().__init__(**kwargs)
