"""Wrong scores: the inner product, its scale, softcap, bias, and the order of these."""

from __future__ import annotations

import numpy as np

from tests.wrong_attentions.record import WrongAttention


class ScaleByHeadSize(WrongAttention):
    title = "The scale is 1/d"
    clause = "attention.scale"
    references = "no release that we know of"
    instead = "divides by the head size, not by its root: the weights come out too even"
    correction = "divide by sqrt(d)"
    pervasive = True

    def default_scale(self, query, _):
        return 1 / query.shape[-1]


class ScaleMissing(WrongAttention):
    title = "No scale"
    clause = "attention.scale"
    references = "article D; keras.layers.Attention 3.15.1 by default"
    instead = "takes the inner products as they are: the weights come out too sharp"
    correction = "divide by sqrt(d)"
    pervasive = True

    def default_scale(self, *_):
        return 1


class ScaleByModelSize(WrongAttention):
    title = "The scale is taken from the model size"
    clause = "attention.scale"
    references = "no release that we know of"
    instead = "divides by sqrt(h*d)"
    correction = "divide by the root of the size of one head"
    pervasive = True

    def default_scale(self, query, _):
        return 1 / np.sqrt(query.shape[-3] * query.shape[-1])


class ScaleNotReplaced(WrongAttention):
    title = "A given scale multiplies the default"
    clause = "attention.scale"
    references = "no release that we know of"
    instead = "computes with scale / sqrt(d)"
    correction = "a given scale replaces 1/sqrt(d)"

    def attention(self, query, key, value, *, scale=None, **options):
        scale = None if scale is None else scale * self.default_scale(query, key)
        return super().attention(query, key, value, scale=scale, **options)


class ScaleSplit(WrongAttention):
    title = "The scale's root multiplies query and key"
    clause = "attention.precision"
    references = "onnx.reference 1.23.2, as the ONNX standard recommends; PyTorch 2.13.0's math path"
    instead = "rounds query and key before the product: large scores that are exact lose three digits"
    correction = "multiply the scores, once"

    def attention(self, query, key, value, *, scale=None, **options):
        scale = self.default_scale(query, key) if scale is None else scale
        root = np.sqrt(abs(scale))
        query, key = query * query.dtype.type(root), key * key.dtype.type(np.copysign(root, scale))
        return super().attention(query, key, value, scale=1, **options)


class ScoresInHalf(WrongAttention):
    title = "Half precision scores in half precision"
    clause = "attention.precision"
    references = "transformers 5.23.0 eager, keras.ops 3.15.1 on TensorFlow and NumPy"
    instead = "keeps the inner products in float16: they overflow above 65504 and lose the digits that tell keys apart"
    correction = "compute scores and softmax in at least float32"
    dtypes = ("float16",)
    pervasive = True

    def scores(self, query, key):
        return self.widened(super().scores(query, key).astype(query.dtype))


class FourAxesOnly(WrongAttention):
    title = "Exactly four axes"
    clause = "attention.batch"
    references = "keras.ops, onnx.reference, onnxruntime, torch.flex"
    instead = "names the axes of one layout and fails for every other number of batch axes"
    correction = "let the leading axes be free"

    def dot_products(self, query, key):
        return np.einsum("bhqd,bhkd->bhqk", query, key)


class TwoAxesOnly(WrongAttention):
    title = "The transpose reverses every axis"
    clause = "attention.batch"
    references = "articles A and E"
    instead = "is right for one matrix and fails for a batch of them"
    correction = "swap the last two axes"
    pervasive = True

    def dot_products(self, query, key):
        return query @ key.T


class HeadsTiled(WrongAttention):
    title = "Grouped heads are tiled"
    clause = "attention.heads"
    references = "x-transformers 2.31.10; the ONNX standard until onnx/onnx#7274"
    instead = "lets query head i read key/value head i mod g"
    correction = "repeat each head h/g times in a row"

    def for_heads(self, array, heads):
        tiles = [1] * array.ndim
        tiles[-3] = heads // array.shape[-3]
        return np.tile(array, tiles)


class SoftcapIgnored(WrongAttention):
    title = "The softcap is dropped"
    clause = "attention.softcap"
    references = "vllm-project/vllm-metal#665; EricLBuehler/mistral.rs#1930"
    instead = "runs a capped model without its cap"
    correction = "softcap * tanh(scores / softcap)"

    def capped(self, scores, _):
        return scores


class SoftcapByAbsoluteValue(WrongAttention):
    title = "Another soft cap"
    clause = "attention.softcap"
    references = "documented by keras 3.15.1 for attn_logits_soft_cap"
    instead = "bounds the scores by s / (1 + |s| / softcap)"
    correction = "softcap * tanh(scores / softcap)"

    def capped(self, scores, softcap):
        return scores / (1 + np.abs(scores) / scores.dtype.type(softcap))


class SoftcapAfterBias(WrongAttention):
    title = "Softcap after bias"
    clause = "attention.order"
    references = "x-transformers 2.31.10"
    instead = "caps the bias too"
    correction = "softcap first, then bias"

    def finished(self, scores, scale, softcap, bias, visible):
        scores = self.scaled(scores, scale)
        scores = scores if bias is None else self.biased(scores, bias)
        return self.hidden(scores if softcap is None else self.capped(scores, softcap), visible)


class SoftcapAfterMask(WrongAttention):
    title = "Softcap after the mask"
    clause = "attention.order"
    references = "the ONNX standard until onnx/onnx#7867"
    instead = "turns the -inf of a hidden key into -softcap: the key leaks"
    correction = "hide keys after everything else"

    def finished(self, scores, scale, softcap, bias, visible):
        scores = super().finished(scores, scale, None, bias, visible)
        return scores if softcap is None else self.capped(scores, softcap)

    def attend(self, scores, visible, *rest):
        return super().attend(scores, visible | (scores > -np.inf), *rest)


class ScaleAfterBias(WrongAttention):
    title = "The scale multiplies the bias"
    clause = "attention.bias"
    references = "no release that we know of"
    instead = "adds the bias to the unscaled scores"
    correction = "scale first, then bias"

    def finished(self, scores, scale, softcap, bias, visible):
        bias = None if bias is None else bias * bias.dtype.type(scale)
        return super().finished(scores, scale, softcap, bias, visible)


class BiasAsMask(WrongAttention):
    title = "A float mask is cast to boolean"
    clause = "attention.bias"
    references = "keras.layers.MultiHeadAttention 3.15.1, Flax 0.12.8"
    instead = "hides the keys whose bias is 0 and shows the others: an inverted mask"
    correction = "add numbers, AND truth values, and reject what is neither"

    def by_bias(self, bias):
        return bias.astype(bool)

    def biased(self, scores, _):
        return scores


class LargeBiasHides(WrongAttention):
    title = "A large negative bias hides"
    clause = "attention.finite-bias"
    references = "onnxruntime 1.31.1, for the lowest float"
    instead = "takes every bias up to -10000 for -inf: a row of such biases returns 0"
    correction = "only -inf excludes"

    def by_bias(self, bias):
        return ~(bias <= -1e4)


class ExclusionByArithmetic(WrongAttention):
    title = "-inf is left to arithmetic"
    clause = "attention.exclusion"
    references = "jax.nn 0.10.2, keras.ops 3.15.1 on TensorFlow and JAX"
    instead = "subtracts -inf from -inf in a row whose biases are all -inf: NaN"
    correction = "a key with the bias -inf is hidden like any other"

    def by_bias(self, _):
        return True
