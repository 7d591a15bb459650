"""The rule of each of ONNX's own operators. What an operator makes of rows that is not listed here cannot be told."""

from __future__ import annotations

from guesthouse.inference.rows import layers, pointwise, reductions, selections, shapes
from guesthouse.inference.rows.values import Rule

_SCALES = "it takes one scale for all rows"
#: Whatever the shapes are, these look at all rows: operator -> domain -> why.
ALL_ROWS: dict[str, dict[str, str]] = {
    "DynamicQuantizeLinear": {"": _SCALES},
    "DynamicQuantizeMatMul": {"com.microsoft": _SCALES},
    "DynamicQuantizeLSTM": {"com.microsoft": _SCALES},
}


def _rules() -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for names, rule in (
        ("Identity Cast", pointwise.same),
        (
            "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid "
            "HardSwish IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh "
            "Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu Clip Dropout QuantizeLinear DequantizeLinear "
            "CastLike Trilu Bernoulli RandomNormalLike RandomUniformLike",
            pointwise.keeps_shape,
        ),
        (
            "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max "
            "Mean Min Mod Mul Or Pow PRelu Sub Sum Where Xor",
            pointwise.elementwise,
        ),
        ("Softmax LogSoftmax Hardmax", reductions.softmax),
        ("LpNormalization", reductions.axis_rule("axis", -1, "it divides by a length over the rows")),
        ("LayerNormalization RMSNormalization SimplifiedLayerNormalization", reductions.layer_norm),
        ("MeanVarianceNormalization", reductions.mean_variance),
        ("CumSum CumProd", reductions.cumulative),
        (
            "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
            "ReduceSumSquare",
            reductions.reduce,
        ),
        ("ArgMax ArgMin", reductions.arg),
        ("TopK", reductions.top_k),
        ("Unique", reductions.unique),
        ("BatchNormalization", layers.batch_norm),
        (
            "InstanceNormalization GroupNormalization LRN AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool "
            "LpPool MaxPool Conv ConvInteger QLinearConv ConvTranspose DepthToSpace SpaceToDepth Resize Upsample",
            layers.convolution,
        ),
        ("RNN LSTM GRU", layers.recurrent),
        ("MatMul MatMulInteger", layers.matrix_product(0, 1)),
        ("QLinearMatMul", layers.matrix_product(0, 3)),
        ("Gemm", layers.gemm),
        ("Einsum", layers.einsum),
        ("Transpose", shapes.transpose),
        ("Reshape", shapes.reshape),
        ("Flatten", shapes.flatten),
        ("Squeeze", shapes.squeeze),
        ("Unsqueeze", shapes.unsqueeze),
        ("Concat", shapes.concat),
        ("Gather", selections.gather),
        ("GatherElements", selections.gather_elements),
        ("Slice", selections.slice_),
        ("Split", selections.split),
        ("ReverseSequence", selections.reverse),
        ("OneHot", shapes.one_hot),
        ("NonZero Compress NonMaxSuppression ConstantOfShape Range", pointwise.size_from_values),
        ("Expand", shapes.expand),
        ("Pad", shapes.pad),
        ("Constant", pointwise.constant),
    ):
        rules.update(dict.fromkeys(names.split(), rule))
    return rules


RULES = _rules()
