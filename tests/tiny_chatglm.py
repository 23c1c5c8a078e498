"""The smallest ChatGLM that still has every part: groups, rotary half, several layers."""

SIZES = {
    "num_layers": 3,
    "hidden_size": 32,
    "ffn_hidden_size": 32,
    "kv_channels": 8,
    "num_attention_heads": 4,
    "multi_query_group_num": 2,
    "seq_length": 128,
}
