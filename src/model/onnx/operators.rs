//! Operators that a model may use: those of the default pack, of its recipes and of the published encoders, and their nearest
//! kin that other versions of the exporter write for the same networks. None of them runs a graph of its own, reads a file,
//! draws random numbers or keeps a state.

/// In alphabetical order.
const ALLOWED: [&str; 97] = [
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "Atan",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "Cos",
    "CumSum",
    "DepthToSpace",
    "DequantizeLinear",
    "Div",
    "DynamicQuantizeLinear",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "MatMul",
    "MatMulInteger",
    "Max",
    "MaxPool",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pad",
    "Pow",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "Range",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "Round",
    "Shape",
    "Sigmoid",
    "Sign",
    "Sin",
    "Slice",
    "Softmax",
    "Softplus",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Tile",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
];

/// Whether a model may use the operator of the default domain.
pub(super) fn is_allowed(operator: &str) -> bool {
    ALLOWED.binary_search(&operator).is_ok()
}

/// Which input of an operator says how large its output is.
pub(super) fn sized_by(operator: &str) -> &'static [usize] {
    match operator {
        "ConstantOfShape" => &[0],
        "Expand" | "Tile" | "Pad" => &[1],
        "Range" => &[0, 1, 2],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_found() {
        assert!(ALLOWED.is_sorted());
        assert!(is_allowed("Abs") && is_allowed("Where") && is_allowed("PRelu"));
        for dangerous in ["If", "Loop", "Scan", "SequenceMap", "RandomNormal", ""] {
            assert!(!is_allowed(dangerous), "{dangerous}");
        }
    }
}
