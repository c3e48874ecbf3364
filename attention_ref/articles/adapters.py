"""How the kit calls what a mistake is made in: each adapter gives it the parts that it is put together of.

A mistake and what is right in its place go through the same adapter, so that a failing case is the mistake's doing.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

from attention_ref.spec.parameters import under


def heads(formula):
    """Multi-head attention: `formula(x, query, key, value, output)`, with the four kernels."""

    def build(config, parameters):
        kernels = [parameters[f"{name}.kernel"] for name in ("query", "key", "value", "output")]
        return lambda query: formula(query, *kernels)

    return build


def feedforward(formula):
    """A feed-forward network: `formula(x, first, second)`, with kernels and biases of its two maps."""

    def build(config, parameters):
        maps = [SimpleNamespace(**under(parameters, name)) for name in ("input", "output")]
        return lambda array: formula(array, *maps)

    return build


def block(formula):
    """A block: `formula(x, attention, feedforward, norms, code)`, with the code of the positions of x."""
    import torch

    from attention_ref import torch as ar
    from attention_ref.spec import Sinusoid

    def build(config, parameters):
        attention = ar.MultiHeadAttention(config.attention, under(parameters, "self_attention")).eval()
        network = ar.FeedForward(config.feedforward, under(parameters, "feedforward")).eval()
        norms = [
            partial(ar.layer_norm, **under(parameters, f"{name}_norm"), eps=config.norm.eps)
            for name in ("self_attention", "feedforward")
        ]

        def call(array):
            places = torch.arange(array.shape[1])
            code = ar.sinusoidal_positions(places, array.shape[2], Sinusoid(), like=array)
            return formula(array, attention, network, norms, code)

        return call

    return build


def stack(formula):
    """An encoder: `formula(tokens, token, position, layers)`, with the tables of tokens and of positions."""
    import torch

    from attention_ref import torch as ar
    from attention_ref.spec import Learned, Sinusoid

    def build(config, parameters):
        config = config.encoder_stack
        parameters = under(parameters, "encoder")
        layers = [ar.Block(each, under(parameters, f"blocks.{i}")).eval() for i, each in enumerate(config.blocks)]
        token = parameters["embedding.token"] * config.embedding.scale
        position, codes = torch.zeros(99, token.shape[1], dtype=token.dtype), config.embedding.positions
        if isinstance(codes, Learned):
            position = parameters["embedding.position"][codes.offset :]
        if isinstance(codes, Sinusoid):
            position = ar.sinusoidal_positions(torch.arange(99), token.shape[1], codes, like=token)
        return lambda source: formula(source, token, position, layers)

    return build


def head(formula):
    """The end of an encoder: `formula(x, kernel)`."""
    from attention_ref import torch as ar

    def build(config, parameters):
        encoder = ar.Stack(config.encoder_stack, under(parameters, "encoder")).eval()
        return lambda source: formula(encoder(source), parameters["head.kernel"])

    return build


def encoder_layer(make):
    """PyTorch's encoder layer as `make(model, heads, hidden, **options)` makes it, called without padding."""
    return _layer(make, lambda layer, x, is_padding: layer(x))


def padded_layer(formula):
    """PyTorch's encoder layer, called by `formula(layer, x, is_padding)`."""
    return _layer(_encoder_layer, formula)


def _encoder_layer(model, heads, hidden, **options):
    from torch import nn

    return nn.TransformerEncoderLayer(model, heads, hidden, **options)


def _layer(make, formula):
    import torch

    def build(config, parameters):
        layer = make(config.model, config.attention.heads, config.feedforward.hidden, **_options(config, parameters))
        _fill_layer(layer, parameters)

        def call(array, *, key_lengths=None):
            lengths = torch.full((len(array),), array.shape[1]) if key_lengths is None else key_lengths
            return formula(layer, array, torch.arange(array.shape[1]) >= lengths[:, None])

        return call

    return build


def decoder_layer(formula):
    """PyTorch's decoder layer, called by `formula(layer, x, memory, causal)`."""
    from torch import nn

    def build(config, parameters):
        sizes = config.model, config.attention.heads, config.feedforward.hidden
        layer = nn.TransformerDecoderLayer(*sizes, **_options(config, parameters))
        _fill_layer(layer, parameters)
        return lambda array, memory: formula(layer, array, memory, _causal(array))

    return build


def made_transformer(make):
    """`nn.Transformer` as `make(model, heads, layers, hidden, dropout)` makes it, put to use as it should be."""
    return _translation(make, _sequence_to_sequence)


def used_transformer(formula):
    """A right `nn.Transformer`, put to use by `formula(parts, source, target)`."""
    from attention_ref.articles.c_torch import by_position

    return _translation(by_position, formula)


def _sequence_to_sequence(parts, source, target):
    from attention_ref.articles.c_torch import sequence_to_sequence

    return sequence_to_sequence(parts, source, target)


def _translation(make, formula):
    from attention_ref import torch as ar

    def build(config, parameters):
        ours = ar.Transformer(config, parameters).eval()
        first = config.decoder_stack.blocks[0]
        sizes = first.model, first.attention.heads, len(config.decoder_stack.blocks), first.feedforward.hidden
        transformer = make(*sizes, 0.0)
        transformer.batch_first = True  # with that of every attention below: what `batch_first=True` would have said
        for name in ("encoder", "decoder"):
            _fill_stack(getattr(transformer, name), getattr(config, f"{name}_stack"), under(parameters, name))
        parts = SimpleNamespace(
            transformer=transformer,
            embed_source=ours.encoder.embedding,
            embed_target=ours.decoder.embedding,
            project=ours.head,
            causal=lambda target: _causal(parameters["encoder.embedding.token"], target.shape[1]),
        )
        return lambda source, target: formula(parts, source, target)

    return build


def _fill_stack(stack, config, parameters):
    stack.eval()
    for i, layer in enumerate(stack.layers):
        options = _options(config.blocks[i], parameters)
        layer.to(options["dtype"])
        layer.self_attn.batch_first = True
        if hasattr(layer, "multihead_attn"):
            layer.multihead_attn.batch_first = True
        layer.norm_first = options["norm_first"]
        for norm in (each for name, each in layer.named_children() if name.startswith("norm")):
            norm.eps = options["layer_norm_eps"]
        _fill_layer(layer, under(parameters, f"blocks.{i}"))
    if config.norm is None:
        stack.norm = None
    else:
        stack.norm.to(options["dtype"]).eps = config.norm.eps
        stack.norm.load_state_dict(_norm(parameters, "norm", ""))


def _causal(array, length=None):
    from torch import nn

    length = length or array.shape[1]
    return nn.Transformer.generate_square_subsequent_mask(length, dtype=array.dtype)


def _options(config, parameters):
    activation = {"relu": "relu", "gelu": "gelu"}[config.feedforward.activation]
    return {
        "dropout": 0.0,
        "activation": activation,
        "layer_norm_eps": config.norm.eps,
        "norm_first": config.order == "pre",
        "batch_first": True,
        "dtype": next(iter(parameters.values())).dtype,
    }


_ATTENTIONS = {"self_attention": "self_attn", "cross_attention": "multihead_attn"}
_SUBLAYERS = ("self_attention", "cross_attention", "feedforward")


def _fill_layer(layer, parameters):
    """Copy our weights into PyTorch's layer; its kernels are output-first, and those of query, key and value packed."""
    state = {}
    for ours, theirs in _ATTENTIONS.items():
        if f"{ours}.query.kernel" in parameters:
            state |= {f"{theirs}.{name}": tensor for name, tensor in _packed(under(parameters, ours)).items()}
    for ours, theirs in (("input", "linear1"), ("output", "linear2")):
        state[f"{theirs}.weight"] = parameters[f"feedforward.{ours}.kernel"].T
        state[f"{theirs}.bias"] = parameters[f"feedforward.{ours}.bias"]
    present = [name for name in _SUBLAYERS if f"{name}_norm.gain" in parameters]
    for i, name in enumerate(present, start=1):
        state |= _norm(parameters, f"{name}_norm", f"norm{i}.")
    layer.load_state_dict(state)
    layer.eval()


def _packed(parameters):
    import torch

    projections = ("query", "key", "value")
    kernels = [parameters[f"{name}.kernel"].flatten(1).T for name in projections]
    return {
        "in_proj_weight": torch.cat(kernels),
        "in_proj_bias": torch.cat([parameters[f"{name}.bias"].flatten() for name in projections]),
        "out_proj.weight": parameters["output.kernel"].flatten(0, 1).T,
        "out_proj.bias": parameters["output.bias"],
    }


def _norm(parameters, ours, theirs):
    return {f"{theirs}weight": parameters[f"{ours}.gain"], f"{theirs}bias": parameters[f"{ours}.bias"]}
