"""Wrong additive and multiplicative attentions."""

from __future__ import annotations

from tests.wrong_attentions.record import WrongAttention


class AdditiveWithoutTanh(WrongAttention):
    title = "Additive scores without the tanh"
    clause = "additive.formula"
    references = "no release that we know of"
    instead = "adds a term of the query alone to one of the key alone: every query gets the same weights"
    correction = "tanh between the two layers"
    operation = "additive_attention"
    pervasive = True

    def activated(self, layer):
        return layer


class AdditiveWithoutKernels(WrongAttention):
    title = "Additive scores without projections"
    clause = "additive.kernels"
    references = "keras.layers.AdditiveAttention 3.15.1, which has none"
    instead = "adds query and key as they are, and fails where their sizes differ"
    correction = "project each by its own kernel"
    operation = "additive_attention"

    def projected(self, rows, _):
        return super().projected(rows, None)


class AdditiveKernelsSwapped(WrongAttention):
    title = "The kernels are swapped"
    clause = "additive.kernels"
    references = "no release that we know of"
    instead = "projects queries by the key's kernel"
    correction = "score_kernel . tanh(query query_kernel + key key_kernel)"
    operation = "additive_attention"

    def additive_scores(self, query, key, query_kernel, key_kernel, score_kernel):
        return super().additive_scores(query, key, key_kernel, query_kernel, score_kernel)


class AdditiveSeesEverything(WrongAttention):
    title = "Additive attention without visibility"
    clause = "additive.visibility"
    references = "teaching code that takes query, key and value only"
    instead = "attends to hidden keys"
    correction = "the same rules as in dot-product attention"
    operation = "additive_attention"

    def together(self, rules):
        return rules[0]


class MultiplicativeScaled(WrongAttention):
    title = "Multiplicative scores are scaled"
    clause = "multiplicative.formula"
    references = "no release that we know of"
    instead = "divides by sqrt(d), as scaled dot-product attention does"
    correction = "no scale: the kernel learns its own"
    operation = "multiplicative_attention"
    pervasive = True

    def multiplicative_scores(self, query, key, score_kernel):
        scores = super().multiplicative_scores(query, key, score_kernel)
        return self.scaled(scores, self.default_scale(query, key))


class MultiplicativeKernelTransposed(WrongAttention):
    title = "The kernel is transposed"
    clause = "multiplicative.kernel"
    references = "kernels of torch.nn.Linear, stored (out, in), read as (in, out)"
    instead = "lets queries play the keys, and fails where the sizes differ"
    correction = "query score_kernel key, with the kernel (d,e)"
    operation = "multiplicative_attention"

    def multiplicative_scores(self, query, key, score_kernel):
        return super().multiplicative_scores(query, key, None if score_kernel is None else score_kernel.T)


class MultiplicativeSeesEverything(WrongAttention):
    title = "Multiplicative attention without visibility"
    clause = "multiplicative.visibility"
    references = "teaching code that takes query, key and value only"
    instead = "attends to hidden keys"
    correction = "the same rules as in dot-product attention"
    operation = "multiplicative_attention"

    def together(self, rules):
        return rules[0]
