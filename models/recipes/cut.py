"""The two little graphs with which the program handles hidden states where they are, without a copy to the host: src/model/cut.onnx, finite.onnx.

    python -m models.recipes.cut

cut: hidden [B, L, T, D], item [N], vector [N, W] -> cut [N, L, W, D], of batch item[n] the vectors vector[n].
finite: hidden [B, L, T, D] -> zero [B], 0 where all of an item is finite, otherwise not a number.
"""
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

F, I = TensorProto.FLOAT, TensorProto.INT64
STATES = ("hidden", F, ["B", "L", "T", "D"])


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs.split(), [output], **attributes)


def ints(name, value):
    return numpy_helper.from_array(np.array(value, np.int64), name)


def write(path, nodes, inputs, output, constants):
    graph = helper.make_graph(nodes, path.stem, [helper.make_tensor_value_info(*i) for i in inputs], [helper.make_tensor_value_info(*output)], constants)
    m = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="earwitness")
    m.ir_version = 8
    onnx.checker.check_model(m, full_check=True)
    path.write_bytes(m.SerializeToString())


def cut(path):
    # Row (item·L + layer)·T + vector of the states seen as [B·L·T, D].
    nodes = [node("Shape", "hidden", "layers", start=1, end=2), node("Shape", "hidden", "vectors", start=2, end=3), node("Shape", "hidden", "dim", start=3, end=4),
             node("Squeeze", "layers", "layer_count"), node("Range", "zero layer_count one", "layer"),
             node("Reshape", "item column", "item_at"), node("Unsqueeze", "vector one_axis", "vector_at"), node("Reshape", "layer middle", "layer_at"),
             node("Mul", "item_at layers", "item_layers"), node("Add", "item_layers layer_at", "row_layer"), node("Mul", "row_layer vectors", "row"),
             node("Add", "row vector_at", "index"),
             node("Concat", "all dim", "flat", axis=0), node("Reshape", "hidden flat", "rows"), node("Gather", "rows index", "cut", axis=0)]
    constants = [ints("zero", 0), ints("one", 1), ints("column", [-1, 1, 1]), ints("middle", [1, -1, 1]), ints("all", [-1]), ints("one_axis", [1])]
    write(path, nodes, [STATES, ("item", I, ["N"]), ("vector", I, ["N", "W"])], ("cut", F, ["N", "L", "W", "D"]), constants)


def finite(path):
    # x − x is 0 unless x is infinite or not a number.
    nodes = [node("Sub", "hidden hidden", "none"), node("ReduceSum", "none axes", "zero", keepdims=0)]
    write(path, nodes, [STATES], ("zero", F, ["B"]), [ints("axes", [1, 2, 3])])


def main():
    folder = Path(__file__).parents[2] / "src/model"
    cut(folder / "cut.onnx")
    finite(folder / "finite.onnx")
    import onnxruntime

    session = lambda name: onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
    h = np.random.default_rng(0).standard_normal((3, 2, 7, 4)).astype(np.float32)
    got = session("cut.onnx").run(None, {"hidden": h, "item": np.array([2, 0]), "vector": np.array([[1, 2, 3], [6, 5, 6]])})[0]
    assert np.array_equal(got, np.stack([h[2, :, 1:4], h[0, :, [6, 5, 6]].transpose(1, 0, 2)])), got.shape
    h[1, 0, 2, 3] = np.inf
    zero = session("finite.onnx").run(None, {"hidden": h})[0]
    assert zero[0] == 0 and np.isnan(zero[1]) and zero[2] == 0, zero


if __name__ == "__main__":
    main()
