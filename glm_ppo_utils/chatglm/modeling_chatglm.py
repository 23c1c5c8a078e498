"""ChatGLM3 in readable form. Part of the remote-code folder: it imports only its configuration.

The architecture of ChatGLM3-6B (GLM-130B, arXiv 2210.02414; ChatGLM, arXiv 2406.12793) with the
published parameter names, so that published weights load into it. Its dealings with
``transformers`` follow the code published in December 2023, faults included: a notebook of this
series is about them.

Shapes are written ``[sequence, batch, hidden]``: hidden states and the cache are sequence-first,
logits are batch-first. ``heads`` are query heads, ``groups`` key/value heads.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import logging

from .configuration_chatglm import ChatGLMConfig

logger = logging.get_logger(__name__)

# One layer's keys and values, each [sequence, batch, groups, head_dim].
LayerCache = tuple[torch.Tensor, torch.Tensor]


class RotaryEmbedding(nn.Module):
    """Cosines and sines of the rotary position embedding (RoFormer, arXiv 2104.09864, 3.2.2)."""

    def __init__(self, dim: int, rope_ratio: float = 1, dtype: torch.dtype | None = None):
        super().__init__()
        self.dim = dim
        self.base = 10000.0 * rope_ratio
        # Published checkpoints hold this buffer, in their own dtype; half precision is too coarse
        # for angles, so `forward` does not use it.
        self.register_buffer("inv_freq", self._frequencies().to(dtype))

    def _frequencies(self, device: torch.device | None = None) -> torch.Tensor:
        exponents = torch.arange(0, self.dim, 2, dtype=torch.float32, device=device) / self.dim
        return 1.0 / self.base**exponents

    def forward(self, position_ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """``[batch, sequence]`` positions to ``[2, sequence, batch, 1, dim / 2]``: cosine, sine."""
        positions = position_ids.transpose(0, 1)[..., None].float()
        angles = positions * self._frequencies(position_ids.device)
        return torch.stack([angles.cos(), angles.sin()]).unsqueeze(-2).to(dtype)


def apply_rotary(x: torch.Tensor, rotary: torch.Tensor) -> torch.Tensor:
    """Rotate the first half of each head; the other half carries no position.

    Neighbouring channels ``(2i, 2i + 1)`` form a pair, unlike in Llama, where ``i`` and
    ``i + dim / 2`` do.

    Parameters
    ----------
    x
        ``[sequence, batch, heads, head_dim]``.
    rotary
        ``[2, sequence, batch, 1, head_dim / 4]``.
    """
    cos, sin = rotary
    turning, still = x[..., : 2 * cos.shape[-1]], x[..., 2 * cos.shape[-1] :]
    even, odd = turning[..., 0::2], turning[..., 1::2]
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1)
    return torch.cat([turned.flatten(-2), still], dim=-1)


class RMSNorm(nn.Module):
    """Root-mean-square layer norm (arXiv 1910.07467), computed in float32."""

    def __init__(self, size: int, eps: float, dtype: torch.dtype | None = None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size, dtype=dtype))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps)
        return normed.to(x.dtype)


class SelfAttention(nn.Module):
    """Grouped multi-query attention (arXiv 2305.13245) with rotary positions."""

    def __init__(self, config: ChatGLMConfig):
        super().__init__()
        self.heads = config.num_attention_heads
        self.groups = config.multi_query_group_num
        self.head_dim = config.kv_channels
        self.dropout = config.attention_dropout
        width = self.heads * self.head_dim
        qkv_width = width + 2 * self.groups * self.head_dim
        dtype = config.torch_dtype
        self.query_key_value = nn.Linear(config.hidden_size, qkv_width, bias=True, dtype=dtype)
        self.dense = nn.Linear(width, config.hidden_size, bias=False, dtype=dtype)

    def forward(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | None,
        rotary: torch.Tensor,
        kv_cache: LayerCache | None = None,
        use_cache: bool = True,
    ) -> tuple[torch.Tensor, LayerCache | None]:
        """``x`` ``[sequence, batch, hidden]``, ``mask`` additive, to the same shape and a cache."""
        heads, groups = self.heads, self.groups
        mixed = self.query_key_value(x).unflatten(-1, (heads + 2 * groups, self.head_dim))
        # Queries and keys lie side by side and turn by the same angles: one rotation for both.
        turned = apply_rotary(mixed[:, :, : heads + groups], rotary)
        query, key = turned.split([heads, groups], dim=2)
        value = mixed[:, :, heads + groups :]
        if kv_cache is not None:
            cache_k, cache_v = kv_cache
            key = torch.cat([cache_k, key])
            value = torch.cat([cache_v, value])
        context = F.scaled_dot_product_attention(
            query.permute(1, 2, 0, 3),
            key.permute(1, 2, 0, 3),
            value.permute(1, 2, 0, 3),
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=mask is None and len(query) == len(key),
            enable_gqa=heads != groups,
        )
        output = self.dense(context.permute(2, 0, 1, 3).flatten(2))
        return output, (key, value) if use_cache else None


class MLP(nn.Module):
    """SwiGLU feed-forward block (arXiv 2002.05202)."""

    def __init__(self, config: ChatGLMConfig):
        super().__init__()
        hidden, inner, dtype = config.hidden_size, config.ffn_hidden_size, config.torch_dtype
        self.dense_h_to_4h = nn.Linear(hidden, 2 * inner, bias=False, dtype=dtype)
        self.dense_4h_to_h = nn.Linear(inner, hidden, bias=False, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.dense_h_to_4h(x).chunk(2, dim=-1)
        return self.dense_4h_to_h(F.silu(gate) * up)


class GLMBlock(nn.Module):
    """One transformer layer, norms first."""

    def __init__(self, config: ChatGLMConfig):
        super().__init__()
        norm = (config.hidden_size, config.layernorm_epsilon, config.torch_dtype)
        self.input_layernorm = RMSNorm(*norm)
        self.self_attention = SelfAttention(config)
        self.post_attention_layernorm = RMSNorm(*norm)
        self.mlp = MLP(config)
        self.dropout = config.hidden_dropout

    def forward(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | None,
        rotary: torch.Tensor,
        kv_cache: LayerCache | None = None,
        use_cache: bool = True,
    ) -> tuple[torch.Tensor, LayerCache | None]:
        """As `SelfAttention.forward`."""
        attended, kv_cache = self.self_attention(
            self.input_layernorm(x), mask, rotary, kv_cache, use_cache
        )
        x = x + F.dropout(attended, self.dropout, self.training)
        fed_forward = self.mlp(self.post_attention_layernorm(x))
        return x + F.dropout(fed_forward, self.dropout, self.training), kv_cache


class GLMTransformer(nn.Module):
    """The stack of layers and the final norm."""

    def __init__(self, config: ChatGLMConfig):
        super().__init__()
        self.layers = nn.ModuleList(GLMBlock(config) for _ in range(config.num_layers))
        self.final_layernorm = RMSNorm(
            config.hidden_size, config.layernorm_epsilon, config.torch_dtype
        )
        self.gradient_checkpointing = False

    def forward(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | None,
        rotary: torch.Tensor,
        kv_caches: tuple[LayerCache, ...] | None = None,
        use_cache: bool = True,
        output_hidden_states: bool = False,
    ) -> tuple[torch.Tensor, tuple[LayerCache, ...] | None, tuple[torch.Tensor, ...] | None]:
        """Final hidden state, the caches, and every hidden state before the final norm."""
        checkpointing = self.gradient_checkpointing and self.training
        if checkpointing and use_cache:
            logger.warning_once("gradient checkpointing is on: use_cache=True is ignored")
            use_cache = False
        caches, states = [], [x]
        for index, layer in enumerate(self.layers):
            arguments = (x, mask, rotary, kv_caches[index] if kv_caches else None, use_cache)
            if checkpointing:
                x, kv_cache = checkpoint(layer, *arguments, use_reentrant=False)
            else:
                x, kv_cache = layer(*arguments)
            caches.append(kv_cache)
            states.append(x)
        return (
            self.final_layernorm(x),
            tuple(caches) if use_cache else None,
            tuple(states) if output_hidden_states else None,
        )


class ChatGLMPreTrainedModel(PreTrainedModel):
    """What the two model classes share: initialisation, masks, positions."""

    config_class = ChatGLMConfig
    base_model_prefix = "transformer"
    supports_gradient_checkpointing = True
    _no_split_modules = ["GLMBlock"]

    def _init_weights(self, module: nn.Module) -> None:
        """Normal weights, zero biases, unit norms. The published code leaves this empty."""
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.data.normal_(0.0, self.config.initializer_range)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.data.zero_()
        if isinstance(module, RMSNorm):
            module.weight.data.fill_(1.0)

    def _set_gradient_checkpointing(self, module: nn.Module, value: bool = False) -> None:
        # transformers recognises this older form by its `value` argument. No isinstance: importing
        # the code of a second checkpoint may have replaced the class under its name.
        if hasattr(module, "gradient_checkpointing"):
            module.gradient_checkpointing = value  # type: ignore[assignment]

    def get_masks(
        self,
        input_ids: torch.Tensor,
        past_key_values: tuple[LayerCache, ...] | None,
        padding_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Boolean attention mask ``[batch, 1, sequence, past + sequence]``, True where hidden.

        ``padding_mask`` is ``[batch, past + sequence]`` with 0 at padding. Rows that belong to
        padding see everything: a row that sees nothing would become NaN in the softmax.
        """
        batch, sequence = input_ids.shape
        past = past_key_values[0][0].shape[0] if past_key_values else 0
        ones = torch.ones(sequence, past + sequence, dtype=torch.bool, device=input_ids.device)
        hidden = ones.triu(past + 1).expand(batch, -1, -1)
        if padding_mask is not None:
            hidden = hidden | (padding_mask == 0)[:, None, :]
            if not past:
                hidden = hidden & (padding_mask != 0)[:, :, None]
        return hidden[:, None]

    def get_position_ids(self, input_ids: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Positions ``0, 1, ...`` for every row, ``[batch, sequence]``."""
        batch, sequence = input_ids.shape
        return torch.arange(sequence, device=device).expand(batch, -1)


class Embedding(nn.Module):
    """Token embedding that turns ``[batch, sequence]`` into ``[sequence, batch, hidden]``."""

    def __init__(self, config: ChatGLMConfig):
        super().__init__()
        self.word_embeddings = nn.Embedding(
            config.padded_vocab_size, config.hidden_size, dtype=config.torch_dtype
        )

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.word_embeddings(input_ids.transpose(0, 1))


class ChatGLMModel(ChatGLMPreTrainedModel):
    """Embedding, layers and output layer; ``forward`` stops at the final hidden state."""

    def __init__(self, config: ChatGLMConfig):
        super().__init__(config)
        self.embedding = Embedding(config)
        self.rotary_pos_emb = RotaryEmbedding(
            config.kv_channels // 2, config.rope_ratio, config.torch_dtype
        )
        self.encoder = GLMTransformer(config)
        # The language-model head lives here and not in the class that computes logits, which is
        # why TRL finds no `lm_head`.
        self.output_layer = nn.Linear(
            config.hidden_size, config.padded_vocab_size, bias=False, dtype=config.torch_dtype
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding.word_embeddings

    def set_input_embeddings(self, embeddings: nn.Embedding) -> None:
        self.embedding.word_embeddings = embeddings

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        full_attention_mask: torch.Tensor | None = None,
        past_key_values: tuple[LayerCache, ...] | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPast | tuple:
        """Run the layers.

        Parameters
        ----------
        input_ids, position_ids
            ``[batch, sequence]``. Without ``position_ids`` every row counts from 0.
        attention_mask
            ``[batch, past + sequence]``, 0 at (left) padding.
        full_attention_mask
            ``[batch, 1, sequence, past + sequence]``, True where hidden; replaces the former.
        past_key_values
            The caches of an earlier call.
        inputs_embeds
            ``[sequence, batch, hidden]``, instead of the embeddings of ``input_ids``.

        Returns
        -------
        BaseModelOutputWithPast
            ``last_hidden_state`` ``[sequence, batch, hidden]`` after the final norm; the
            ``hidden_states``, if asked for, are all from before it.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        use_cache = self.config.use_cache if use_cache is None else use_cache
        return_dict = self.config.use_return_dict if return_dict is None else return_dict
        if inputs_embeds is None:
            inputs_embeds = self.embedding(input_ids)
        if full_attention_mask is None:
            padded = attention_mask is not None and not attention_mask.all()
            # Without a mask the layers attend causally, or, for a single new token, to all.
            if padded or (past_key_values and input_ids.shape[1] != 1):
                full_attention_mask = self.get_masks(input_ids, past_key_values, attention_mask)
        if position_ids is None:
            position_ids = self.get_position_ids(input_ids, device=input_ids.device)
        x, caches, states = self.encoder(
            inputs_embeds,
            self._additive(full_attention_mask, inputs_embeds.dtype),
            self.rotary_pos_emb(position_ids, inputs_embeds.dtype),
            past_key_values,
            use_cache,
            output_hidden_states,
        )
        if not return_dict:
            return tuple(part for part in (x, caches, states) if part is not None)
        return BaseModelOutputWithPast(
            last_hidden_state=x, past_key_values=caches, hidden_states=states
        )

    @staticmethod
    def _additive(hidden: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
        """0 where visible and -inf where hidden: converted here once, not again in every layer."""
        if hidden is None:
            return None
        return torch.zeros_like(hidden, dtype=dtype).masked_fill_(hidden, float("-inf"))


class ChatGLMForConditionalGeneration(ChatGLMPreTrainedModel):
    """`ChatGLMModel` with logits, loss and what ``generate`` calls."""

    def __init__(self, config: ChatGLMConfig):
        super().__init__(config)
        self.max_sequence_length = config.max_length
        self.transformer = ChatGLMModel(config)
        self.post_init()

    def _update_model_kwargs_for_generation(
        self,
        outputs: CausalLMOutputWithPast,
        model_kwargs: dict,
        is_encoder_decoder: bool = False,
        standardize_cache_format: bool = False,
    ) -> dict:
        """What the next generation step starts from.

        The first statement is where ChatGLM and transformers part: the method it calls is private
        to transformers. Up to 4.41 it returned the cache; from 4.42 a pair (name, cache), which
        ends up in layer 0; from 4.44 it knows no ``standardize_cache_format``; from 4.49 it is
        gone.
        """
        model_kwargs["past_key_values"] = self._extract_past_from_model_output(
            outputs, standardize_cache_format=standardize_cache_format
        )
        if "attention_mask" in model_kwargs:
            mask = model_kwargs["attention_mask"]
            model_kwargs["attention_mask"] = F.pad(mask, (0, 1), value=1)
        if "position_ids" in model_kwargs:
            positions = model_kwargs["position_ids"]
            model_kwargs["position_ids"] = torch.cat([positions, positions[:, -1:] + 1], dim=-1)
        model_kwargs["is_first_forward"] = False
        return model_kwargs

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        past_key_values: tuple[LayerCache, ...] | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        use_cache: bool | None = None,
        is_first_forward: bool = True,
        **kwargs: object,
    ) -> dict:
        """Arguments of ``forward`` for one generation step: all tokens first, then the last one."""
        if position_ids is None:
            position_ids = self.get_position_ids(input_ids, device=input_ids.device)
        if not is_first_forward and past_key_values is not None:
            position_ids = position_ids[..., -1:]
            input_ids = input_ids[:, -1:]
        return {
            "input_ids": input_ids,
            "past_key_values": past_key_values,
            "position_ids": position_ids,
            "attention_mask": attention_mask,
            "return_last_logit": True,
            "use_cache": use_cache,
        }

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: tuple[LayerCache, ...] | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        return_last_logit: bool = False,
    ) -> CausalLMOutputWithPast | tuple:
        """Logits, and the loss if there are ``labels``.

        Parameters as in `ChatGLMModel.forward`, and:

        labels
            ``[batch, sequence]``, not shifted; -100 is left out of the loss.
        return_last_logit
            Compute the logits of the last position only, as generation does.

        Returns
        -------
        CausalLMOutputWithPast
            ``logits`` ``[batch, sequence, vocabulary]``; ``hidden_states`` and
            ``past_key_values`` are sequence-first.
        """
        return_dict = self.config.use_return_dict if return_dict is None else return_dict
        outputs = self.transformer(
            input_ids=input_ids,
            position_ids=position_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            return_dict=return_dict,
        )
        x = outputs[0][-1:] if return_last_logit else outputs[0]
        logits = self.transformer.output_layer(x.transpose(0, 1))
        loss = None
        if labels is not None:
            predictions = logits[:, :-1].flatten(0, 1).float()
            loss = F.cross_entropy(predictions, labels[:, 1:].flatten()).to(x.dtype)
        if not return_dict:
            return tuple(part for part in (loss, logits) if part is not None) + outputs[1:]
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )

    @staticmethod
    def _reorder_cache(
        past: tuple[LayerCache, ...], beam_idx: torch.Tensor
    ) -> tuple[LayerCache, ...]:
        """The caches in the order of the surviving beams; the batch is dimension 1."""
        return tuple(
            (k.index_select(1, beam_idx.to(k.device)), v.index_select(1, beam_idx.to(v.device)))
            for k, v in past
        )
