"""Judge what a model does with its tokens: plain data in, faults out; no torch here.

The recordings come from the process of the submission (`tinyadder.verify.external.operations`).
Every value gets one label: free (no token is in it), ids (tokens, moved about), values (what an
embedding made of them), decided (a hard decision about values). The rules:

- ids go into an embedding, an index, a gather or a one-hot, one token for each lookup, and nowhere
  else: no arithmetic, no comparison, no conversion to another kind of number;
- values go through operations of a network, which are continuous: products, sums, softmax, norms,
  activations, minima and maxima; not through rounding, remainders, comparisons or a choice of the
  largest, and no mask may depend on them;
- nothing of either reaches Python: no branch, no loop and no number depends on tokens.

Only what leads to the logits counts; what reaches Python always counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec

FREE, VALUES, IDS, DECIDED = range(4)
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool")


class Operation(msgspec.Struct):
    """One operation on what derives from the tokens."""

    full: str
    """`aten.add_.Tensor`, say."""
    reads: dict[str, list[int | str]]
    """By argument: the values in it; `free` for a tensor without tokens, `range` for 0, 1, ..."""
    options: dict[str, str]
    """The other arguments."""
    writes: list[int]
    outs: list[tuple[int, str]]
    """Value and type of each result."""
    line: str
    """Of the source: `file:12: text`."""

    @property
    def name(self) -> str:
        """`add` for `aten.add_.Tensor`."""
        parts = self.full.split(".")
        name = parts[1] if len(parts) > 1 and parts[0] != "Tensor" else parts[-1]
        return name if name.startswith("__") else name.strip("_")


class DataflowGraph(msgspec.Struct):
    """The operations of one pass in their order; value 0 is the tokens."""

    operations: list[Operation]
    logits: int | None
    """The value that the logits are; None where they derive from no token."""
    tokens: str = "int64"
    """The type of the tokens; a float: one-hot rows."""


@dataclass(frozen=True)
class Fault:
    """What an operation does that a network does not do with its tokens."""

    operation: str
    line: str
    why: str

    def __str__(self) -> str:
        return f"{self.operation} {self.why}" + (f" ({self.line})" if self.line else "")


# ---- the operations ------------------------------------------------------------------------------


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


SHAPE_ONLY = _names("""
    zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full
    new_empty sym_size sym_numel sym_stride sym_storage_offset assert_tensor_metadata size numel dim
""")
MOVES = _names("""
    view unsafe_view reshape view_as expand expand_as permute transpose t T mT movedim swapaxes
    unsqueeze squeeze flatten unflatten ravel contiguous clone detach detach_copy alias lift
    lift_fresh lift_fresh_copy copy fill select slice narrow split split_with_sizes unsafe_split
    chunk unbind cat concat stack hstack vstack dstack column_stack repeat tile flip roll rot90
    pad constant_pad_nd slice_scatter select_scatter diagonal_scatter diagonal diag diag_embed tril
    triu as_strided unfold unfold_copy repeat_interleave broadcast_to broadcast_tensors
    atleast_1d atleast_2d atleast_3d adjoint moveaxis resolve_conj resolve_neg masked_fill where set
    expand_copy view_copy transpose_copy select_copy slice_copy split_copy unbind_copy
    unsqueeze_copy squeeze_copy permute_copy t_copy alias_copy swapdims meshgrid block_diag
    pixel_shuffle trace
""")
CONVERTS = _names("to to_copy type float double half bfloat16 int long short bool type_as")
PYTHON = _names("""
    local_scalar_dense item tolist numpy __array__ __dlpack__ data_ptr untyped_storage storage
    equal is_nonzero nonzero nonzero_numpy nonzero_static masked_select unique unique2 unique_dim
    unique_consecutive argwhere cond while_loop assert_async assert_scalar allclose bincount
""")
LOOKS_UP = {
    "embedding": ("weight", "indices"),
    "index": ("self", "indices"),
    "index_select": ("self", "index"),
    "gather": ("self", "index"),
    "take": ("self", "index"),
    "take_along_dim": ("self", "indices"),
    "unsafe_index": ("self", "indices"),
}
"""Operation -> its arguments that are the table and the tokens."""
WRITES_AT = {
    "scatter": "index",
    "scatter_add": "index",
    "index_put": "indices",
    "index_fill": "index",
    "index_copy": "index",
    "index_add": "index",
}
"""Operation -> its argument that says where it writes; with tokens there it writes a one-hot."""
SMOOTH = _names("""
    add sub subtract rsub mul multiply div divide true_divide neg negative reciprocal square pow
    sqrt rsqrt abs absolute exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan arctan
    atan2 sinh cosh asinh acosh atanh tanh sigmoid logit erf erfc erfinv addcmul addcdiv lerp hypot
    sinc logaddexp logaddexp2 maximum minimum fmax fmin clamp clip clamp_min clamp_max relu relu6
    leaky_relu prelu prelu_kernel elu celu selu gelu silu mish softplus softsign hardtanh
    hardsigmoid hardswish log_sigmoid log_sigmoid_forward softshrink tanhshrink rrelu glu nan_to_num
    isnan isinf isfinite isneginf isposinf ldexp
    mm bmm addmm baddbmm addbmm addmv mv dot vdot vecdot linalg_vecdot matmul linear einsum
    tensordot outer ger kron inner bilinear trilinear chain_matmul linalg_multi_dot cdist
    euclidean_dist pairwise_distance cosine_similarity convolution conv1d conv2d
    sum mean prod amax amin max min aminmax norm linalg_vector_norm linalg_norm std var var_mean
    std_mean logsumexp nansum cumsum cumprod logcumsumexp cummax cummin topk sort
    softmax log_softmax safe_softmax softmin scaled_dot_product_attention
    scaled_dot_product_flash_attention_for_cpu scaled_dot_product_attention_math
    native_multi_head_attention transformer_encoder_layer_fwd
    layer_norm native_layer_norm rms_norm fused_rms_norm group_norm native_group_norm batch_norm
    native_batch_norm native_batch_norm_legit_no_training dropout native_dropout feature_dropout
    normalize renorm real imag complex polar view_as_real view_as_complex conj
""")
COMPARES = _names("""
    eq ne lt le gt ge greater greater_equal less less_equal not_equal isclose isin logical_and
    logical_or logical_not logical_xor any all sign sgn signbit heaviside copysign threshold
    hardshrink bucketize searchsorted
""")
ROUNDS = _names("""
    floor ceil round trunc fix frac remainder fmod floor_divide __and__ __or__ __xor__ bitwise_and
    bitwise_or bitwise_xor bitwise_not bitwise_left_shift bitwise_right_shift __lshift__ __rshift__
    gcd lcm
""")
CHOOSES = _names("argmax argmin argsort mode median kthvalue nanmedian multinomial bernoulli")


# ---- the rules -----------------------------------------------------------------------------------


def faults(recording: DataflowGraph) -> list[Fault]:
    """What these operations do that they must not, in their order."""
    needed = _needed(recording.operations, recording.logits)
    labels = {0: IDS if recording.tokens in INTEGERS else VALUES}
    kinds = {0: recording.tokens}
    found: dict[tuple[str, str, str], Fault] = {}
    for operation in recording.operations:
        given = {
            argument: [labels.get(x, FREE) if isinstance(x, int) else FREE for x in values]
            for argument, values in operation.reads.items()
        }
        made, why = _rule(operation, given, kinds, needed)
        counts = operation.name in PYTHON or any(value in needed for value in operation.writes)
        if why and counts:
            fault = Fault(operation.full, operation.line, why)
            found.setdefault((fault.operation, fault.line, fault.why), fault)
        outs = dict(operation.outs)
        for value in operation.writes:
            kind = outs.get(value, kinds.get(value, ""))
            label = made
            if (
                made == VALUES
                and operation.name not in ("one_hot", "eq")
                and _is_index(operation, value, kind)
            ):
                label = DECIDED
            labels[value] = max(label, labels.get(value, FREE))
            kinds.setdefault(value, kind)
    if recording.logits is None:
        why = "returns logits that derive from no token in torch"
        return [*found.values(), Fault("the forward pass", "", why)]
    return list(found.values())


def lookups(recording: DataflowGraph) -> int:
    """How many operations look token ids up."""
    return sum(
        operation.name == "one_hot"
        or (
            operation.name in LOOKS_UP and 0 in operation.reads.get(LOOKS_UP[operation.name][1], ())
        )
        for operation in recording.operations
    )


def _needed(recorded: Sequence[Operation], logits: int | None) -> set[int]:
    """The values that lead to the logits."""
    needed = set() if logits is None else {logits}
    for operation in reversed(recorded):
        if any(value in needed for value in operation.writes):
            needed.update(x for xs in operation.reads.values() for x in xs if isinstance(x, int))
    return needed


def _is_index(operation: Operation, value: int, kind: str) -> bool:
    """Whether this result holds places (of the largest, say), not values."""
    places = operation.name in ("max", "min", "sort", "topk", "cummax", "cummin")
    return places and kind in INTEGERS and len(operation.outs) > 1 and value != operation.outs[0][0]


def _rule(
    operation: Operation,
    given: Mapping[str, Sequence[int]],
    kinds: Mapping[int, str],
    needed: Collection[int],
) -> tuple[int, str]:
    """The label of what an operation gives, and what is wrong with it (or nothing)."""
    name = operation.name
    label = max((x for xs in given.values() for x in xs), default=FREE)
    if label == FREE or name in SHAPE_ONLY:
        return FREE, ""
    if name in PYTHON:
        return DECIDED, "hands what derives from the tokens to Python"
    if label == DECIDED:  # its fault is reported where the decision was made
        return DECIDED, ""
    kind = operation.outs[0][1] if operation.outs else ""
    values = [x for xs in operation.reads.values() for x in xs if isinstance(x, int)]
    sources = {kinds.get(value, "") for value in values}
    if name == "view" and "dtype" in operation.full:
        return DECIDED, "reads the bits of what derives from the tokens as other numbers"
    if name in MOVES:
        mask = given.get("mask", given.get("condition", ()))
        if any(mask):
            return DECIDED, "masks by what derives from the tokens"
        if kind and label == IDS and kind not in INTEGERS:
            return VALUES, "turns token ids into numbers to compute with"
        return label, ""
    if name in CONVERTS:
        return _converted(label, kind, sources)
    if name in LOOKS_UP:
        return _looked_up(operation, given, kind)
    if name in WRITES_AT:
        return _written_at(given, WRITES_AT[name])
    if label == IDS:
        return _computes_with_ids(operation, given)
    return _network(operation, kind, sources, needed)


def _converted(label: int, kind: str, sources: set[str]) -> tuple[int, str]:
    if label == IDS:
        if kind == "bool":
            return DECIDED, "compares token ids with 0"
        if kind not in INTEGERS:
            return VALUES, "turns token ids into numbers to compute with"
    elif kind in INTEGERS and any(source not in INTEGERS for source in sources):
        return DECIDED, "rounds values to integers"
    return label, ""


def _written_at(given: Mapping[str, Sequence[int]], place: str) -> tuple[int, str]:
    places = list(given.get(place, [FREE]))
    content = max((x for argument, xs in given.items() if argument != place for x in xs), default=0)
    if max(places) == FREE:
        return content, ""
    if content == FREE and max(places) == IDS and places.count(IDS) == 1:
        return VALUES, ""
    return DECIDED, "puts values where the tokens say"


def _looked_up(
    operation: Operation, given: Mapping[str, Sequence[int]], kind: str
) -> tuple[int, str]:
    table, tokens = LOOKS_UP[operation.name]
    content, places = max(given.get(table, [FREE])), given.get(tokens, [FREE])
    if content == FREE and list(places).count(IDS) > 1:
        return DECIDED, "looks a table up by more than one token at once"
    if content != FREE and max(places) != FREE:
        return DECIDED, "picks values by token ids"
    if max(places) == VALUES:
        return DECIDED, "looks up by values"
    if content != FREE:
        return content, ""
    return (IDS if kind in INTEGERS else VALUES), ""


def _computes_with_ids(operation: Operation, given: Mapping[str, Sequence[int]]) -> tuple[int, str]:
    name = operation.name
    if name == "one_hot":
        return VALUES, ""
    if name == "eq" and "range" in operation.reads.get("other", ()):
        return VALUES, ""  # a one-hot
    if name in COMPARES or name in CHOOSES:
        return DECIDED, "compares token ids"
    return DECIDED, "computes with token ids"


def _network(
    operation: Operation, kind: str, sources: set[str], needed: Collection[int]
) -> tuple[int, str]:
    """The rule for values: an operation of a network, in floating point."""
    name = operation.name
    if name in COMPARES:
        return DECIDED, "compares values"
    if name in ROUNDS or operation.options.get("rounding_mode", "None") != "None":
        return DECIDED, "rounds values or takes a remainder"
    if name in CHOOSES or any(
        _is_index(operation, value, of) and value in needed for value, of in operation.outs
    ):
        return DECIDED, "chooses among values"
    if name not in SMOOTH:
        return VALUES, "is no operation of a transformer that is known here"
    whole = sources and sources <= set(INTEGERS)
    if whole and kind in INTEGERS and name not in ("isnan", "isinf", "isfinite"):
        return DECIDED, "computes with integers that derive from the tokens"
    return VALUES, ""
