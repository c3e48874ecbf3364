"""Evidence for the goals of accuracy: the backends beside released kernels and the exact results.

    python -m tests.accuracy_evidence numpy torch keras torch.flash torch.math keras.ops

`KERAS_BACKEND` chooses what Keras runs on. The truth is the formula in float64 on the rounded inputs, of angles mpmath.
With `u` the unit roundoff of float32, `P` the weights and `E = |scale| |query| |key|`, an element of the output is
compared with

    m_i = u sum_j P_ij |v_j|         its magnitude, in which mean errors are measured
    B_i = u (sqrt(d) (sum_j P_ij E_ij |v_j| + |o_i| sum_j P_ij E_ij) + (sqrt(k) + 8) sum_j P_ij |v_j|)

`B` is a first-order bound of likely rounding errors (Higham and Mary, SIAM J. Sci. Comput. 41, 2019).
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

UNIT = 2.0**-24
LARGEST_POSITION = 2**20
LOW = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}

Function = Callable[..., Any]
Arrays = Mapping[str, np.ndarray]


class Exact(NamedTuple):
    """The results of a call in float64: output, magnitude and bound `(b,h,q,v)`."""

    output: np.ndarray
    magnitude: np.ndarray
    bound: np.ndarray


def exact(arrays: Arrays, *, causal: bool = False) -> Exact:
    """Compute the formula in float64."""
    query, key, value = (arrays[name].astype(np.float64) for name in ("query", "key", "value"))
    scale = query.shape[-1] ** -0.5
    scores, sizes = (left @ right.swapaxes(-1, -2) * scale for left, right in ((query, key), (abs(query), abs(key))))
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    output, magnitude, sized = weights @ value, UNIT * (weights @ abs(value)), weights * sizes
    moved = sized @ abs(value) + abs(output) * sized.sum(-1, keepdims=True)
    factor = np.sqrt(key.shape[-2]) + 8
    return Exact(output, magnitude, UNIT * np.sqrt(query.shape[-1]) * moved + factor * magnitude)


def cases() -> dict[str, tuple[Arrays, bool]]:
    """Return the nine cases, in float32, and whether each is causal."""
    rng = np.random.default_rng(11)

    def normal(length: int = 512, **changed: Any) -> Arrays:
        made = {name: rng.normal(size=(1, 2, length, 64)) for name in ("query", "key", "value")} | changed
        return {name: array.astype(np.float32) for name, array in made.items()}

    plain = normal()
    shape = plain["query"].shape
    ties = {name: rng.integers(-32, 33, size=shape).astype(float) for name in ("query", "key")}
    ties["key"][:, :, 1::2] = ties["key"][:, :, ::2]
    ties["key"][:, :, 1::2, 0] += rng.integers(0, 2, size=(*shape[:2], 256))
    one_hot = {"query": 40 * np.tile(np.eye(64), (8, 1))[None, None], "key": 40 * np.eye(64)[None, None]}
    half = rng.normal(size=(1, 2, 256, 64))
    return {
        "normal": (plain, False),
        "causal": (plain, True),
        "length 4096": (normal(4096), False),
        "large logits": (normal(query=rng.normal(size=shape) * 100, key=rng.normal(size=shape) * 100), False),
        "integer logits, near ties": (normal(**ties), False),
        "one key alone": (normal(**one_hot, value=rng.normal(size=(1, 1, 64, 64))), False),
        "cancelling values": (normal(key=np.tile(half, (1, 1, 2, 1)), value=np.concatenate([half, -half], 2)), False),
        "constant values": (normal(value=np.full(shape, 0.1)), False),
        "equal weights": (normal(query=np.zeros(shape)), False),
    }


def attention_of(name: str) -> Function:
    """Return an attention that takes and returns NumPy arrays."""
    framework, _, kernel = name.partition(".")
    if framework == "numpy":
        return importlib.import_module("attention_ref.numpy").attention
    if framework == "torch":
        return _of_torch(kernel)
    return _of_keras(kernel)


def _of_torch(kernel: str) -> Function:
    torch = importlib.import_module("torch")
    function = importlib.import_module("attention_ref.torch").attention if not kernel else _sdpa(kernel)

    def call(query: Any, key: Any, value: Any, *, causal: bool = False) -> np.ndarray:
        return _array(function(*(_tensor(torch, array) for array in (query, key, value)), causal=causal))

    return call


def _sdpa(kernel: str) -> Function:
    attend = importlib.import_module("torch.nn.functional").scaled_dot_product_attention
    backends = importlib.import_module("torch.nn.attention")
    chosen = {"flash": backends.SDPBackend.FLASH_ATTENTION, "math": backends.SDPBackend.MATH}[kernel]

    def call(*tensors: Any, causal: bool) -> Any:
        with backends.sdpa_kernel(chosen):
            return attend(*tensors, is_causal=causal)

    return call


def _of_keras(kernel: str) -> Function:
    ops = importlib.import_module("keras").ops
    function = importlib.import_module("attention_ref.keras").attention if not kernel else _keras_ops(ops)

    def call(query: Any, key: Any, value: Any, *, causal: bool = False) -> np.ndarray:
        dtype = "bfloat16" if query.dtype == ml_dtypes.bfloat16 else query.dtype.name
        tensors = [ops.cast(ops.convert_to_tensor(x.astype(np.float32)), dtype) for x in (query, key, value)]
        return np.asarray(ops.convert_to_numpy(ops.cast(function(*tensors, causal=causal), "float32")))

    return call


def _keras_ops(ops: Any) -> Function:
    def call(*tensors: Any, causal: bool) -> Any:
        lengths_first = (ops.swapaxes(x, 1, 2) for x in tensors)
        return ops.swapaxes(ops.dot_product_attention(*lengths_first, is_causal=causal), 1, 2)

    return call


def _tensor(torch: Any, array: np.ndarray) -> Any:
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.astype(np.float32)).bfloat16()
    return torch.from_numpy(array)


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().float().numpy()


def values(names: Sequence[str]) -> None:
    """Print, for each case and subject, the largest error / (bound / 4) and the largest and the mean error in units."""
    print(f"{'A1, A2: float32':28}{'subject':14}{'of bound / 4':>14}{'largest, u':>12}{'mean, u':>10}")
    for case, (arrays, causal) in cases().items():
        truth = exact(arrays, causal=causal)
        for name in names:
            error = abs(attention_of(name)(**arrays, causal=causal).astype(np.float64) - truth.output)
            share, units = error / (truth.bound / 4), error / truth.magnitude
            print(f"{case:28}{name:14}{share.max():14.3f}{units.max():12.3g}{units.mean():10.3f}", flush=True)


def low_precision(names: Sequence[str]) -> None:
    """Print how many outputs in 16 bits are correctly rounded, and the largest error in units of the last place."""
    print(f"\n{'A4: 16 bits':16}{'causal':8}{'subject':14}{'correctly rounded':>18}{'largest, ulp':>14}")
    rng = np.random.default_rng(12)
    drawn = {name: rng.normal(size=(1, 4, 512, 64)) for name in ("query", "key", "value")}
    for dtype, kind in LOW.items():
        arrays = {name: array.astype(kind) for name, array in drawn.items()}
        for causal in (False, True):
            truth = exact(arrays, causal=causal).output
            rounded, large = truth.astype(kind).astype(np.float64), abs(truth) > 0.01
            place = 2.0 ** (np.floor(np.log2(abs(truth))) - {"bfloat16": 7, "float16": 10}[dtype])
            for name in names:
                found = np.asarray(attention_of(name)(**arrays, causal=causal)).astype(np.float64)
                ulps = (abs(found - truth) / place)[large].max()
                print(f"{dtype:16}{causal!s:8}{name:14}{(found == rounded).mean():18.2%}{ulps:14.3f}", flush=True)


def gradient_errors(names: Sequence[str]) -> None:
    """Print the mean error of gradients in float32, relative to the mean size of their exact values."""
    torch = importlib.import_module("torch")
    print(f"\n{'A5: gradients':16}{'causal':8}{'subject':14}{'query':>10}{'key':>10}{'value':>10}")
    rng = np.random.default_rng(13)
    arrays = {name: rng.normal(size=(1, 2, 512, 64)).astype(np.float32) for name in ("query", "key", "value")}
    cotangent = rng.normal(size=(1, 2, 512, 64)).astype(np.float32)
    for causal in (False, True):
        doubles = [array.astype(np.float64) for array in arrays.values()]
        truth = _torch_gradients(torch, _sdpa("math"), doubles, cotangent.astype(np.float64), causal)
        for name in (name for name in names if not name.startswith("keras")):
            if name == "numpy":
                function = importlib.import_module("attention_ref.numpy.gradients").attention_gradients
                found = list(function(**arrays, cotangent=cotangent, causal=causal).values())
            else:
                kernel = name.partition(".")[2]
                attend = _sdpa(kernel) if kernel else importlib.import_module("attention_ref.torch").attention
                found = _torch_gradients(torch, attend, list(arrays.values()), cotangent, causal)
            errors = (abs(x - y).mean() / abs(y).mean() / UNIT for x, y in zip(found, truth, strict=True))
            print(f"{'':16}{causal!s:8}{name:14}" + "".join(f"{error:10.3f}" for error in errors), flush=True)


def _torch_gradients(
    torch: Any, function: Function, arrays: Sequence[np.ndarray], cotangent: np.ndarray, causal: bool
) -> list[np.ndarray]:
    tensors = [torch.from_numpy(array).requires_grad_() for array in arrays]
    found = torch.autograd.grad(function(*tensors, causal=causal), tensors, torch.from_numpy(cotangent))
    return [gradient.numpy() for gradient in found]


def tables(names: Sequence[str]) -> None:
    """Print the largest error of sines, and of rotations of (1, 0), at positions up to 2^20."""
    mpmath = importlib.import_module("mpmath")
    spec = importlib.import_module("attention_ref.spec")
    positions = np.unique(np.r_[0:64, 131071, 2 ** np.arange(21), np.random.default_rng(14).integers(0, 2**20, 64)])
    with mpmath.workdps(30):
        bases = [mpmath.power(10000, mpmath.mpf(-i) / 64) for i in range(64)]
        exact_codes = [[f(int(p) * base) for f in (mpmath.sin, mpmath.cos) for base in bases] for p in positions]
    truth = np.array(exact_codes, np.float64)
    print(f"\n{'A6: tables to 2^20':24}{'subject':14}{'sinusoids':>12}{'rotation':>12}  bits as in numpy")
    first: list[np.ndarray] = []
    for name in (name for name in names if "." not in name):
        room = importlib.import_module(f"attention_ref.{name}")
        like, vectors = np.zeros(1, np.float32), np.tile([1.0, 0.0], (1, 1, len(positions), 64)).astype(np.float32)
        given: list[Any] = [like, vectors]
        if name == "torch":
            given = [importlib.import_module("torch").from_numpy(array) for array in given]
        elif name == "keras":
            given = [importlib.import_module("keras").ops.convert_to_tensor(array) for array in given]
        at = positions if name != "torch" else importlib.import_module("torch").from_numpy(positions)
        code = room.sinusoidal_positions(at, 128, spec.Sinusoid(variant="concatenated"), like=given[0])
        turned = room.rotate(given[1], at, spec.Rotary(interleaved=True))
        found = [np.asarray(code), np.asarray(turned)[0, 0]]
        first = first or found
        errors = (abs(found[0] - truth).max(), abs(found[1][:, 1::2] - truth[:, :64]).max())
        same = all(map(np.array_equal, first, found))
        print(f"{'':24}{name:14}{errors[0]:12.2e}{errors[1]:12.2e}  {same}", flush=True)


def model(names: Sequence[str], length: int = 256) -> None:
    """Print the relative errors of the logits of a 6-layer GPT-2 in float32, beside those of transformers."""
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    weights = importlib.import_module("attention_ref.weights")
    config = transformers.GPT2Config(
        n_layer=6, vocab_size=5000, bos_token_id=0, eos_token_id=0, attn_implementation="sdpa"
    )
    torch.manual_seed(0)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    tokens = np.random.default_rng(15).integers(0, 5000, (1, length))
    given = torch.from_numpy(tokens)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours, params = weights.read(folder)
        results = {"transformers": theirs(given).logits.numpy()}
        for name in (name for name in names if "." not in name):
            made = importlib.import_module(f"attention_ref.{name}").Transformer(ours, params)
            result = made.eval()(given) if name == "torch" else made(tokens)
            results[name] = np.asarray(result)
        truth = theirs.double()(given).logits.numpy()
    print(f"\n{'A7: 6 layers of GPT-2':24}{'subject':14}{'relative error':>16}{'/ transformers':>16}")
    errors = {name: np.linalg.norm(found - truth) / np.linalg.norm(truth) for name, found in results.items()}
    for name, error in errors.items():
        print(f"{'':24}{name:14}{error:16.3g}{error / errors['transformers']:16.2f}", flush=True)


PARTS = {"values": values, "low": low_precision, "gradients": gradient_errors, "tables": tables, "model": model}


def main() -> int:
    """Print the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="+")
    parser.add_argument("--part", choices=PARTS, action="append")
    options = parser.parse_args()
    for part in options.part or PARTS:
        PARTS[part](options.subjects)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
