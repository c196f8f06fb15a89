"""An ONNX file of a pack as a PyTorch module through which gradients flow: node by node, with the weights of the file itself, so that it is the pack
that is attacked and not a likeness of it. Operators as far as our packs need them."""
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import nn



def _slice(x, starts, ends, axes=None, steps=None):
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for s, e, d, k in zip(*(list(map(int, v)) for v in (starts, ends, axes, steps))):
        # Python's own clamping, which knows steps backwards; the far ends of exporters are no number of a slice.
        far = lambda v: max(min(v, 2**40), -(2**40))
        first, last, k = slice(far(s), far(e), k).indices(x.shape[d]) if abs(e) < 2**40 or k > 0 else (slice(far(s), None, k).indices(x.shape[d]))
        at = range(first, last, k)
        x = x.narrow(d, first, len(at)) if k == 1 else x.index_select(d, torch.tensor(list(at), dtype=torch.long))
    return x


def _pad(x, pads, value=None, mode="constant"):
    pads = [int(p) for p in pads]
    n = len(pads) // 2
    flat = [p for d in reversed(range(n)) for p in (pads[d], pads[n + d])]
    if mode == "edge":
        return F.pad(x, flat[:4], mode="replicate")  # of more than two dimensions at once PyTorch repeats no edge, nor does the encoder
    return F.pad(x, flat, mode=mode, value=float(value or 0.0))


def _conv(x, w, b=None, *, dilations=None, group=1, kernel_shape=None, pads=None, strides=None):
    n = w.dim() - 2
    pads = pads or [0] * 2 * n
    if pads[:n] != pads[n:]:
        x, pads = F.pad(x, [p for d in reversed(range(n)) for p in (pads[d], pads[n + d])]), [0] * 2 * n
    conv = F.conv1d if n == 1 else F.conv2d
    return conv(x, w, b, strides or 1, tuple(pads[:n]), dilations or 1, group)


def _average_pool(x, *, kernel_shape, strides, pads=None, ceil_mode=0, count_include_pad=0):
    return F.avg_pool2d(x, tuple(kernel_shape), tuple(strides), tuple(pads[: len(pads) // 2]) if pads else 0, bool(ceil_mode), bool(count_include_pad))


def _gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    y = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return y if c is None else y + beta * c


def _reduce(f):
    def run(x, *more, keepdims=1, noop_with_empty_axes=0, **a):
        axes = [int(v) for v in more[0]] if more else a.get("axes")
        return f(x, tuple(axes) if axes else tuple(range(x.dim())), bool(keepdims))
    return run


def _reshape(x, shape, allowzero=0):
    return x.reshape([x.shape[i] if int(s) == 0 else int(s) for i, s in enumerate(shape)])


def _expand(x, shape):
    return x.expand(torch.broadcast_shapes(tuple(x.shape), tuple(int(s) for s in shape)))


def _norm(x, s, b=None, *, axis=-1, epsilon=1e-5, stash_type=1):
    return F.layer_norm(x, x.shape[axis:], s, b, epsilon)


def _batch_norm(x, s, b, m, v, *, epsilon=1e-5, momentum=0.9, training_mode=0):
    return F.batch_norm(x, m, v, s, b, False, 0.0, epsilon)


def _split(x, sizes=None, *, axis=0, num_outputs=None):
    return torch.split(x, [int(s) for s in sizes], axis)


def _squeeze(x, axes=None):
    for d in sorted((int(v) % x.dim() for v in axes), reverse=True):
        x = x.squeeze(d)
    return x


def _unsqueeze(x, axes):
    for d in sorted(int(v) for v in axes):
        x = x.unsqueeze(d)
    return x


def _gather(x, i, axis=0):
    if i.dim() == 0:
        return x.select(axis, int(i))
    return torch.index_select(x, axis, i.flatten() % x.shape[axis]).unflatten(axis, tuple(i.shape))


_KINDS = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float64}


def _filled(shape, value=None):
    value = torch.zeros(1) if value is None else value
    return value.reshape(-1)[0].expand(tuple(int(s) for s in shape)).clone()


def _divide(a, b):
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "floor")


def _along(v, x, axis):
    return v.reshape([-1 if i == axis else 1 for i in range(x.dim())]) if v.numel() > 1 else v


def _quantise(x, scale, zero, *, axis=1):
    """In floating point. The gradient is that of a straight line within the range, as if nothing were rounded (Bengio et al. 2013)."""
    kind, y = torch.iinfo(zero.dtype), x / _along(scale, x, axis) + _along(zero, x, axis)
    return (y + (torch.round(y) - y).detach()).clamp(kind.min, kind.max)


def _dequantise(x, scale, zero, *, axis=1):
    return (x.to(torch.float32) - _along(zero, x, axis).to(torch.float32)) * _along(scale, x, axis)


OPERATORS = {
    "Abs": torch.abs, "Add": torch.add, "AveragePool": _average_pool, "BatchNormalization": _batch_norm, "Cast": lambda x, to: x.to(_KINDS[to]),
    "Clip": lambda x, low=None, high=None: torch.clamp(x, None if low is None else float(low), None if high is None else float(high)),
    "Concat": lambda *x, axis: torch.cat([v for v in x if v.numel()] or x[:1], axis), "Constant": lambda value: value, "ConstantOfShape": _filled, "Conv": _conv, "DequantizeLinear": _dequantise,
    "Div": _divide, "Equal": torch.eq, "Erf": torch.erf, "Exp": torch.exp, "Expand": _expand, "Gather": _gather, "Gemm": _gemm, "Greater": torch.gt,
    "Identity": lambda x: x, "LayerNormalization": _norm, "Less": torch.lt, "Log": torch.log, "MatMul": torch.matmul, "Min": torch.minimum,
    "Max": torch.maximum, "Mul": torch.mul, "Neg": torch.neg, "Pad": _pad, "Pow": lambda a, b: torch.pow(a, b), "QuantizeLinear": _quantise,
    "Range": lambda a, b, c: torch.arange(int(a), int(b), int(c)), "ReduceL2": _reduce(lambda x, d, k: x.square().sum(d, k).clamp_min(1e-24).sqrt()),
    "ReduceMax": _reduce(lambda x, d, k: x.amax(d, k)), "ReduceMean": _reduce(lambda x, d, k: x.mean(d, k)),
    "ReduceSum": _reduce(lambda x, d, k: x.sum(d, k)), "Relu": torch.relu, "Reshape": _reshape,
    "Shape": lambda x: torch.tensor(x.shape), "Sigmoid": torch.sigmoid, "Slice": _slice, "Softmax": lambda x, axis=-1: torch.softmax(x, axis),
    "Split": _split, "Sqrt": torch.sqrt, "Squeeze": _squeeze, "Sub": torch.sub, "Tanh": torch.tanh,
    "Transpose": lambda x, perm: x.permute(perm), "Unsqueeze": _unsqueeze, "Where": torch.where,
}


def _tensor(t):
    return torch.from_numpy(np.array(numpy_helper.to_array(t)))


def _attribute(a):
    if a.type == onnx.AttributeProto.TENSOR:
        return _tensor(a.t)
    value = onnx.helper.get_attribute_value(a)
    return value.decode() if isinstance(value, bytes) else list(value) if isinstance(value, (list, tuple)) or hasattr(value, "append") else value


class Graph(nn.Module):
    """`forward(**inputs)` gives the outputs by name. An input that is left out has the file's own value (`past`, `tails`)."""

    def __init__(self, path):
        super().__init__()
        m = onnx.load(path)
        self.inputs, self.outputs = [i.name for i in m.graph.input], [o.name for o in m.graph.output]
        self.known = {t.name: _tensor(t) for t in m.graph.initializer}
        lacking = {n.op_type for n in m.graph.node} - OPERATORS.keys()
        if lacking:
            raise SystemExit(f"{path}: expected operators of {sorted(OPERATORS)}, found {sorted(lacking)} too: add them")
        self.nodes = [(n.op_type, list(n.input), list(n.output), {a.name: _attribute(a) for a in n.attribute}) for n in m.graph.node]
        # Which values nobody needs any more after each node: a graph has some thousand of them.
        last = {name: k for k, (_, inputs, _, _) in enumerate(self.nodes) for name in inputs}
        keep = set(self.outputs) | set(self.known)
        self.done = [[n for n in inputs if n and last[n] == k and n not in keep] for k, (_, inputs, _, _) in enumerate(self.nodes)]

    def forward(self, **given):
        v = dict(self.known) | given
        for (op, inputs, outputs, a), done in zip(self.nodes, self.done):
            got = OPERATORS[op](*(v[n] if n else None for n in inputs), **a)
            v.update(zip(outputs, got if isinstance(got, tuple) else (got,)))
            for n in done:
                v.pop(n, None)
        return {n: v[n] for n in self.outputs}
