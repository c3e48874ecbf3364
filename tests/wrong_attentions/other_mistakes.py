"""Wrong attentions beyond those of the gallery's pages: one for every deviation that no page shows."""

from __future__ import annotations

import numpy as np

from tests.wrong_attentions.other_softmax import SOFTMAX
from tests.wrong_attentions.other_visibility import VISIBILITY
from tests.wrong_attentions.right import RightAttention


class _Unmasked(RightAttention):
    """The mask does not hide; a step below does something else with it."""

    mask = None

    def attention(self, query, key, value, *, mask=None, **options):
        self.mask = mask
        return super().attention(query, key, value, **options)


class MaskIgnored(_Unmasked):
    slug = "mask.ignored"


class MaskMultiplied(_Unmasked):
    slug = "mask.multiplied"

    def hidden(self, scores, visible):
        return super().hidden(scores if self.mask is None else scores * self.mask, visible)


class MaskAfterSoftmax(_Unmasked):
    slug = "mask.after-softmax"

    def softmax(self, scores, visible, sinks):
        weights, log_sum_exp = super().softmax(scores, visible, sinks)
        return (weights if self.mask is None else weights * self.mask), log_sum_exp


class MaskFinite(RightAttention):
    slug = "mask.finite-fill"

    def attend(self, scores, visible, *rest):
        scores = np.where(visible, scores, scores.dtype.type(-1e4))
        return super().attend(scores, visible | visible.any(axis=-1, keepdims=True), *rest)

    def mixed(self, weights, _, value):
        return super().mixed(weights, weights != 0, value)


class CausalSeesNext(RightAttention):
    slug = "causal.sees-next"

    def by_causality(self, distance):
        return distance < 2


class CausalReversed(RightAttention):
    slug = "causal.reversed"

    def by_causality(self, distance):
        return distance >= 0


class WindowIgnored(RightAttention):
    slug = "window.ignored"

    def by_window(self, distance, *_):
        return np.ones_like(distance, bool)


class WindowTooWide(RightAttention):
    slug = "window.one-too-wide"

    def by_window(self, distance, left, right):
        return super().by_window(distance, *(None if side is None else side + 1 for side in (left, right)))


class WindowTooNarrow(RightAttention):
    slug = "window.one-too-narrow"

    def by_window(self, distance, left, right):
        return super().by_window(distance, *(None if side is None else side - 1 for side in (left, right)))


class WindowLeftTooWide(RightAttention):
    slug = "window.left-one-too-wide"

    def by_window(self, distance, left, right):
        return super().by_window(distance, None if left is None else left + 1, right)


class _Scaled(RightAttention):
    def attention(self, query, key, value, *, scale=None, **options):
        return super().attention(query, key, value, scale=self.factor(query, key, value, scale), **options)


class ScaleOfValue(_Scaled):
    slug = "scale.value-size"

    def factor(self, query, key, value, scale):
        return value.shape[-1] ** -0.5 if scale is None else scale


class ScaleOfLength(_Scaled):
    slug = "scale.key-length"

    def factor(self, query, key, value, scale):
        return max(key.shape[-2], 1) ** -0.5 if scale is None else scale


class ScaleIgnored(_Scaled):
    slug = "scale.ignored"

    def factor(self, *_):
        return None


class BiasIgnored(RightAttention):
    slug = "bias.ignored"

    def attention(self, query, key, value, *, bias=None, **options):
        return super().attention(query, key, value, **options)


class BiasNegated(RightAttention):
    slug = "bias.negated"

    def biased(self, scores, bias):
        return scores - self.widened(bias)


class SoftcapNotRescaled(RightAttention):
    slug = "softcap.not-rescaled"

    def capped(self, scores, softcap):
        return np.tanh(scores / scores.dtype.type(softcap))


class HeadsFirstOnly(RightAttention):
    slug = "heads.first-only"

    def for_heads(self, array, heads):
        return array if array.shape[-3] == heads else np.concatenate([array[..., :1, :, :]] * heads, axis=-3)


class QueryKeySwapped(RightAttention):
    slug = "query-key.swapped"

    def dot_products(self, query, key):
        return super().dot_products(*((key, query) if query.shape == key.shape else (query, key)))


class SoftmaxOverHeads(RightAttention):
    slug = "softmax.over-heads"

    def softmax(self, scores, visible, _):
        exponentials = np.where(visible, np.exp(scores - scores.max(axis=-3, keepdims=True, initial=-1e300)), 0)
        total = exponentials.sum(axis=-3, keepdims=True)
        weights = np.divide(exponentials, total, out=np.zeros_like(exponentials), where=total > 0)
        return weights, np.zeros(scores.shape[:-1], scores.dtype)


class LogSumExpInBits(RightAttention):
    slug = "log-sum-exp.base-two"

    def log_sum_exp(self, *arrays):
        log_sum_exp = super().log_sum_exp(*arrays)
        return log_sum_exp * log_sum_exp.dtype.type(np.log2(np.e))


class SinkWithValue(RightAttention):
    slug = "sinks.carry-value"

    def attend(self, scores, visible, value, sinks, dropout, dropout_mask):
        output, weights, logs = super().attend(scores, visible, value, sinks, dropout, dropout_mask)
        if sinks is not None and value.shape[-2]:
            share = np.where(visible.any(axis=-1), np.exp(sinks[:, None] - logs), 0)
            output = output + share[..., None] * self.for_heads(value, scores.shape[-3])[..., -1:, :]
        return output, weights, logs


class DropoutIgnored(RightAttention):
    slug = "dropout.ignored"

    def attention(self, query, key, value, *, dropout=0.0, dropout_mask=None, **options):
        return super().attention(query, key, value, **options)


class DropoutBeforeSoftmax(RightAttention):
    slug = "dropout.before-softmax"

    def attend(self, scores, visible, value, sinks, dropout, dropout_mask):
        kept = visible if dropout_mask is None else visible & dropout_mask
        return super().attend(scores, kept, value, sinks, 0.0, None)


class ValueMissing(RightAttention):
    slug = "value.missing"

    def mixed(self, weights, *_):
        return weights


class ValueIsKey(RightAttention):
    slug = "value.is-key"

    def attention(self, query, key, value, **options):
        return super().attention(query, key, key, **options)


class LengthBeforeHeads(RightAttention):
    slug = "layout.heads-and-length-swapped"

    def attention(self, query, key, value, **options):
        arrays = (np.moveaxis(array, -2, -3) for array in (query, key, value))
        found = super().attention(*arrays, **options)
        output, *others = found if isinstance(found, tuple) else (found,)
        output = np.moveaxis(output, -3, -2)
        return (output, *others) if others else output


class HeadsMergedWrongly(RightAttention):
    slug = "output.heads-merged-wrongly"

    def mixed(self, *arrays):
        output = super().mixed(*arrays)
        *batch, heads, length, size = output.shape
        return np.moveaxis(output.reshape(*batch, length, heads, size), -2, -3)


OTHER_MISTAKES: tuple[type[RightAttention], ...] = (
    *(entry for entry in list(vars().values()) if isinstance(entry, type) and hasattr(entry, "slug")),
    *VISIBILITY,
    *SOFTMAX,
)
