//! Layers as operators of an ONNX graph.
//!
//! A model asks each step of its plan for its operators, [`Layer::onnx`](super::Layer::onnx), defined in the layer's
//! own file. Layers write operators in the order of axes that ONNX wants, between transposes, which cancel later.

use super::{Arguments, Layer, in_layer};
use crate::activations::Activation;
use crate::error::{Error, Result};
use crate::formats::onnx::{Attribute, Constant, Edge, Element, Numbers, OnnxGraph};
use crate::ops::{self, Interpolation, Value};
use crate::shape::{DataFormat, Shape};

/// The end of a slice up to the end of the axis.
const END: i64 = i64::MAX;

/// The context for writing a layer as ONNX operators: its inputs, its weights, and the graph.
///
/// ```
/// use brasa::layers::{Edge, Exporting, Layer};
/// use brasa::prelude::*;
///
/// brasa::describe! {
///     /// Doubles its input.
///     pub layer struct Double {}
/// }
///
/// impl Layer for Double {
///     fn forward(&self, input: brasa::Value, _: &mut brasa::layers::Call<'_>) -> brasa::Result<brasa::Value> {
///         Ok(input.mul_scalar(2.0))
///     }
///
///     fn onnx(&self, exporting: &mut Exporting<'_>) -> brasa::Result<Vec<Edge>> {
///         let two = exporting.number(2.0);
///         Ok(vec![exporting.op("Mul", &[exporting.input(), two], vec![])])
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Exporting<'a> {
    graph: &'a mut OnnxGraph,
    inputs: Vec<Edge>,
    shapes: Vec<Shape>,
    outputs: Vec<Shape>,
    masks: Vec<Option<Edge>>,
    output_masks: Option<Vec<Option<Edge>>>,
    weights: &'a [Value],
    arguments: &'a Arguments,
}

impl<'a> Exporting<'a> {
    /// A call of a layer with these inputs, each with its mask, on values of these shapes.
    pub(crate) fn new(
        graph: &'a mut OnnxGraph,
        (inputs, masks): (Vec<Edge>, Vec<Option<Edge>>),
        (shapes, outputs): (Vec<Shape>, Vec<Shape>),
        (weights, arguments): (&'a [Value], &'a Arguments),
    ) -> Self {
        Self { graph, inputs, shapes, outputs, masks, output_masks: None, weights, arguments }
    }

    /// The layer's outputs and their masks; `keeps_mask` says whether the first input's mask also holds for the output.
    pub(crate) fn run(mut self, layer: &dyn Layer, keeps_mask: bool) -> Result<(Vec<Edge>, Vec<Option<Edge>>)> {
        let edges = layer.onnx(&mut self)?;
        if edges.len() != self.outputs.len() {
            let expected = format!("{} outputs in ONNX", self.outputs.len());
            return Err(Error::shape(expected, format!("{} of them", edges.len())));
        }
        let mut masks = match self.output_masks {
            Some(masks) => masks,
            None => vec![self.masks.first().copied().flatten().filter(|_| keeps_mask)],
        };
        masks.resize(edges.len(), None);
        Ok((edges, masks))
    }

    /// The outputs of a layer inside this one.
    pub(crate) fn part(
        &mut self,
        layer: &dyn Layer,
        inputs: Vec<Edge>,
        shapes: Vec<Shape>,
        arguments: &Arguments,
        weights: &[Value],
    ) -> Result<Vec<Edge>> {
        let outputs = layer.checked_outputs(&shapes, arguments)?;
        let mut masks = vec![None; inputs.len()];
        if let (Some(first), Some(own)) = (masks.first_mut(), self.masks.first()) {
            *first = *own;
        }
        let part = Exporting::new(self.graph, (inputs, masks), (shapes, outputs), (weights, arguments));
        Ok(in_layer(layer, part.run(layer, true))?.0)
    }

    /// The first input.
    ///
    /// # Panics
    /// Without inputs, which no call has.
    pub fn input(&self) -> Edge {
        self.inputs[0]
    }

    /// All inputs.
    pub fn inputs(&self) -> &[Edge] {
        &self.inputs
    }

    /// The shape of the first input, batch first; `None` stands for any size.
    ///
    /// # Panics
    /// As [`input`](Self::input).
    pub fn shape(&self) -> &Shape {
        &self.shapes[0]
    }

    /// The shapes of all inputs.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// The shapes of the outputs.
    pub fn output_shapes(&self) -> &[Shape] {
        &self.outputs
    }

    /// The number of dimensions of the first input, the batch included.
    pub fn rank(&self) -> usize {
        self.shape().rank()
    }

    /// The arguments of the call besides its inputs.
    pub fn arguments(&self) -> &Arguments {
        self.arguments
    }

    /// The mask of an input, which is 1 for the steps that count and 0 for the others, if it has one.
    pub fn mask(&self, input: usize) -> Option<Edge> {
        self.masks.get(input).copied().flatten()
    }

    /// Sets the masks of the outputs.
    pub fn set_masks(&mut self, masks: Vec<Option<Edge>>) {
        self.output_masks = Some(masks);
    }

    /// Refuses an input with a mask.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn refuse_masks(&self) -> Result<()> {
        if self.masks.iter().all(Option::is_none) {
            return Ok(());
        }
        Err(Error::unsupported(
            "a mask of time steps for this layer in ONNX, whose operator has none",
            "inputs without a mask (no `mask_zero`, no `Masking`)",
        ))
    }

    /// The layer's weights.
    pub(crate) fn weights(&self) -> &'a [Value] {
        self.weights
    }

    /// The numbers of weight `index`.
    ///
    /// # Errors
    /// [`Error::Shape`] for a weight that the layer does not have.
    pub fn weight(&self, index: usize) -> Result<Numbers> {
        let missing = || Error::shape(format!("at least {} weights", index + 1), format!("{}", self.weights.len()));
        let weight = self.weights.get(index).ok_or_else(missing)?;
        Ok(Numbers { sizes: weight.sizes(), values: weight.to_vec()? })
    }

    /// The numbers of weight `index`, if the layer has it.
    pub(crate) fn weight_if(&self, has_it: bool, index: usize) -> Result<Option<Numbers>> {
        if has_it { self.weight(index).map(Some) } else { Ok(None) }
    }

    /// Applies an operator of one output.
    pub fn op(&mut self, operator: &'static str, inputs: &[Edge], attributes: Vec<(&'static str, Attribute)>) -> Edge {
        self.graph.apply(operator, inputs, attributes)
    }

    /// Applies an operator of several outputs, with optional inputs.
    pub fn op_of(
        &mut self,
        operator: &'static str,
        inputs: Vec<Option<Edge>>,
        outputs: usize,
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Vec<Edge> {
        self.graph.apply_all(operator, inputs, outputs, attributes)
    }

    /// A constant of numbers.
    pub fn constant(&mut self, name: &str, numbers: Numbers) -> Edge {
        self.graph.constant(name, numbers.into())
    }

    /// A constant of a single number.
    pub fn number(&mut self, value: f32) -> Edge {
        self.graph.constant("number", Constant::number(value))
    }

    /// A constant list of integers.
    pub fn ints(&mut self, values: impl Into<Vec<i64>>) -> Edge {
        self.graph.constant("integers", Constant::Ints(values.into()))
    }

    /// A constant of a single integer.
    pub(crate) fn int(&mut self, value: i64) -> Edge {
        self.graph.constant("integer", Constant::Int(value))
    }

    /// A constant of numbers along one axis of `rank`.
    pub(crate) fn along(&mut self, name: &str, values: Vec<f32>, axis: usize, rank: usize) -> Edge {
        let mut sizes = vec![1; rank];
        sizes[axis] = values.len();
        self.constant(name, Numbers { sizes, values })
    }

    pub(crate) fn add(&mut self, a: Edge, b: Edge) -> Edge {
        self.op("Add", &[a, b], vec![])
    }

    pub(crate) fn sub(&mut self, a: Edge, b: Edge) -> Edge {
        self.op("Sub", &[a, b], vec![])
    }

    pub(crate) fn mul(&mut self, a: Edge, b: Edge) -> Edge {
        self.op("Mul", &[a, b], vec![])
    }

    pub(crate) fn div(&mut self, a: Edge, b: Edge) -> Edge {
        self.op("Div", &[a, b], vec![])
    }

    pub(crate) fn matmul(&mut self, a: Edge, b: Edge) -> Edge {
        self.op("MatMul", &[a, b], vec![])
    }

    pub(crate) fn add_number(&mut self, a: Edge, value: f32) -> Edge {
        let number = self.number(value);
        self.add(a, number)
    }

    pub(crate) fn mul_number(&mut self, a: Edge, value: f32) -> Edge {
        let number = self.number(value);
        self.mul(a, number)
    }

    pub(crate) fn clip(&mut self, x: Edge, low: f32, high: f32) -> Edge {
        let (low, high) = (self.number(low), self.number(high));
        self.op("Clip", &[x, low, high], vec![])
    }

    /// The numbers as 1 where they are not 0, for a choice.
    pub(crate) fn truth(&mut self, x: Edge) -> Edge {
        // (`BOOL` in ONNX's `TensorProto.DataType`.)
        self.op("Cast", &[x], vec![("to", 9.into())])
    }

    pub(crate) fn cast(&mut self, x: Edge, element: Element) -> Edge {
        self.op("Cast", &[x], vec![("to", element.code().into())])
    }

    /// With the axes in another order: axis `i` of the result is axis `order[i]`.
    pub fn transpose(&mut self, x: Edge, order: &[usize]) -> Edge {
        let order: Vec<i64> = order.iter().map(|axis| *axis as i64).collect();
        self.op("Transpose", &[x], vec![("perm", order.into())])
    }

    /// A value in `format`, of `rank` dimensions, with the channels first;
    /// [`from_channels_first`](Self::from_channels_first) is the way back.
    pub fn channels_first(&mut self, x: Edge, format: DataFormat, rank: usize) -> Edge {
        if format == DataFormat::ChannelsFirst {
            return x;
        }
        let order: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        self.transpose(x, &order)
    }

    /// A value with the channels first, of `rank` dimensions, in `format`.
    pub fn from_channels_first(&mut self, x: Edge, format: DataFormat, rank: usize) -> Edge {
        if format == DataFormat::ChannelsFirst {
            return x;
        }
        let order: Vec<usize> = std::iter::once(0).chain(2..rank).chain([1]).collect();
        self.transpose(x, &order)
    }

    /// A value in `format`, of `rank` dimensions, with the channels last;
    /// [`from_channels_last`](Self::from_channels_last) is the way back.
    pub fn channels_last(&mut self, x: Edge, format: DataFormat, rank: usize) -> Edge {
        match format {
            DataFormat::ChannelsFirst => self.from_channels_first(x, DataFormat::ChannelsLast, rank),
            _ => x,
        }
    }

    /// A value with the channels last, of `rank` dimensions, in `format`.
    pub fn from_channels_last(&mut self, x: Edge, format: DataFormat, rank: usize) -> Edge {
        match format {
            DataFormat::ChannelsFirst => self.channels_first(x, DataFormat::ChannelsLast, rank),
            _ => x,
        }
    }

    /// In other sizes; 0 stands for the input's size along the same axis, −1 for the remaining one.
    pub fn reshape(&mut self, x: Edge, sizes: impl Into<Vec<i64>>) -> Edge {
        let sizes = self.ints(sizes);
        self.op("Reshape", &[x, sizes], vec![])
    }

    /// A batch of samples of the sizes of a shape.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if more than one size of a sample is not known.
    pub(crate) fn reshape_to(&mut self, x: Edge, shape: &Shape) -> Result<Edge> {
        if shape.sample().iter().filter(|size| size.is_none()).count() > 1 {
            return Err(self.unknown_sizes(shape));
        }
        let sample = shape.sample().iter().map(|size| size.map_or(-1, |size| size as i64));
        let sizes: Vec<i64> = std::iter::once(0).chain(sample).collect();
        Ok(self.reshape(x, sizes))
    }

    /// The error for a shape of which more sizes would have to be known.
    pub(crate) fn unknown_sizes(&self, shape: &Shape) -> Error {
        Error::unsupported(
            format!("this layer in ONNX for values of shape {shape}"),
            "known sizes (`input_shape` without `None`)",
        )
    }

    /// The sizes of a sample of a shape.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if one is not known.
    pub(crate) fn known(&self, shape: &Shape) -> Result<Vec<usize>> {
        shape.known_sample().map_err(|_| self.unknown_sizes(shape))
    }

    pub(crate) fn unsqueeze(&mut self, x: Edge, axis: usize) -> Edge {
        let axes = self.ints([axis as i64]);
        self.op("Unsqueeze", &[x, axes], vec![])
    }

    pub(crate) fn squeeze(&mut self, x: Edge, axis: usize) -> Edge {
        let axes = self.ints([axis as i64]);
        self.op("Squeeze", &[x, axes], vec![])
    }

    /// Sums, means, … over axes.
    pub fn reduce(&mut self, operator: &'static str, x: Edge, axes: &[usize], keepdims: bool) -> Edge {
        let axes: Vec<i64> = axes.iter().map(|axis| *axis as i64).collect();
        let keepdims = ("keepdims", i64::from(keepdims).into());
        if operator == "ReduceSum" {
            let axes = self.ints(axes);
            return self.op(operator, &[x, axes], vec![keepdims]);
        }
        self.op(operator, &[x], vec![("axes", axes.into()), keepdims])
    }

    /// Positions `start..end` along an axis; without an end all that follow.
    pub(crate) fn slice(&mut self, x: Edge, axis: usize, start: usize, end: Option<usize>) -> Edge {
        let parts = [vec![start as i64], vec![end.map_or(END, |end| end as i64)], vec![axis as i64]];
        let parts = parts.map(|part| self.ints(part));
        self.op("Slice", &[x, parts[0], parts[1], parts[2]], vec![])
    }

    /// Without `borders` positions before and after along each of these axes.
    pub(crate) fn crop(&mut self, x: Edge, first: usize, borders: &[(usize, usize)]) -> Edge {
        let starts: Vec<i64> = borders.iter().map(|(before, _)| *before as i64).collect();
        let ends: Vec<i64> =
            borders.iter().map(|(_, after)| if *after == 0 { END } else { -(*after as i64) }).collect();
        let axes: Vec<i64> = (first..first + borders.len()).map(|axis| axis as i64).collect();
        let parts = [starts, ends, axes].map(|part| self.ints(part));
        self.op("Slice", &[x, parts[0], parts[1], parts[2]], vec![])
    }

    /// With a number around it.
    pub(crate) fn pad(
        &mut self,
        x: Edge,
        (first, rank): (usize, usize),
        borders: &[(usize, usize)],
        value: f32,
    ) -> Edge {
        let mut pads = vec![0i64; 2 * rank];
        for (index, (before, after)) in borders.iter().enumerate() {
            pads[first + index] = *before as i64;
            pads[rank + first + index] = *after as i64;
        }
        let (pads, value) = (self.ints(pads), self.number(value));
        self.op("Pad", &[x, pads, value], vec![])
    }

    /// Backwards along an axis.
    pub(crate) fn flip(&mut self, x: Edge, axis: usize) -> Edge {
        let parts =
            [-1, i64::MIN, axis as i64, -1].map(|number| self.graph.constant("flip", Constant::Ints(vec![number])));
        // Twice is not at all.
        if let Some(node) = self.graph.producer(x)
            && let ("Slice", [Some(before), own @ ..]) = (node.operator, &node.inputs[..])
            && own.len() == parts.len()
            && own
                .iter()
                .zip(&parts)
                .all(|(own, part)| own.and_then(|own| self.graph.value_of(own)) == self.graph.value_of(*part))
        {
            return *before;
        }
        self.op("Slice", &[x, parts[0], parts[1], parts[2], parts[3]], vec![])
    }

    pub(crate) fn concat(&mut self, parts: &[Edge], axis: usize) -> Edge {
        match parts {
            [only] => *only,
            _ => self.op("Concat", parts, vec![("axis", (axis as i64).into())]),
        }
    }

    /// Rows of a table by integers.
    pub(crate) fn gather(&mut self, x: Edge, indices: Vec<i64>, axis: usize) -> Edge {
        let indices = self.ints(indices);
        self.op("Gather", &[x, indices], vec![("axis", (axis as i64).into())])
    }

    /// One position along an axis, which is dropped.
    pub(crate) fn gather_one(&mut self, x: Edge, index: i64, axis: usize) -> Edge {
        let index = self.graph.constant("index", Constant::Int(index));
        self.op("Gather", &[x, index], vec![("axis", (axis as i64).into())])
    }

    /// The product with a matrix (from, to) along an axis.
    pub(crate) fn matmul_along(&mut self, x: Edge, axis: usize, rank: usize, matrix: Numbers) -> Edge {
        let matrix = self.constant("matrix", matrix);
        let order: Vec<usize> = (0..rank).filter(|own| *own != axis).chain([axis]).collect();
        let mut back = vec![0; rank];
        order.iter().enumerate().for_each(|(to, from)| back[*from] = to);
        let turned = self.transpose(x, &order);
        let product = self.matmul(turned, matrix);
        self.transpose(product, &back)
    }

    /// 1 at the index that a number is, 0 elsewhere, along a new last axis.
    pub(crate) fn one_hot(&mut self, x: Edge, depth: usize) -> Edge {
        // (ONNX's `OneHot` counts negative numbers from the end.)
        let last = self.ints([-1]);
        let column = self.op("Unsqueeze", &[x, last], vec![]);
        let codes = Numbers { sizes: vec![depth], values: (0..depth).map(|code| code as f32).collect() };
        let codes = self.constant("codes", codes);
        let same = self.op("Equal", &[column, codes], vec![]);
        self.cast(same, Element::Float)
    }

    /// `x · kernel + bias` along the last axis of `rank`; `kernel` is (inputs, outputs).
    pub(crate) fn dense(&mut self, x: Edge, rank: usize, kernel: Numbers, bias: Option<Numbers>) -> Edge {
        let kernel = self.constant("kernel", kernel);
        let bias = bias.map(|bias| self.constant("bias", bias));
        match (rank, bias) {
            (2, Some(bias)) => self.op("Gemm", &[x, kernel, bias], vec![]),
            (2, None) => self.op("Gemm", &[x, kernel], vec![]),
            (_, Some(bias)) => {
                let product = self.matmul(x, kernel);
                self.add(product, bias)
            }
            (_, None) => self.matmul(x, kernel),
        }
    }

    /// Values less their mean over axes, divided by the square root of their variance and `epsilon`.
    pub(crate) fn normalized(&mut self, x: Edge, axes: &[usize], epsilon: f32) -> Edge {
        let mean = self.reduce("ReduceMean", x, axes, true);
        let centred = self.sub(x, mean);
        let squares = self.mul(centred, centred);
        let variance = self.reduce("ReduceMean", squares, axes, true);
        let variance = self.add_number(variance, epsilon);
        let deviation = self.op("Sqrt", &[variance], vec![]);
        self.div(centred, deviation)
    }

    /// Applies an activation.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for an unknown one; [`Error::Unsupported`] for one over an axis of unknown size.
    pub fn activate(&mut self, activation: &Activation, x: Edge, shape: &Shape) -> Result<Edge> {
        activation.check()?;
        let simple = |own: &mut Self, operator: &'static str| own.op(operator, &[x], vec![]);
        Ok(match activation {
            Activation::Linear => x,
            Activation::Relu => simple(self, "Relu"),
            Activation::Relu6 => self.clip(x, 0.0, 6.0),
            Activation::LeakyRelu => self.op("LeakyRelu", &[x], vec![("alpha", 0.2.into())]),
            Activation::Elu | Activation::Celu => simple(self, "Elu"),
            Activation::Selu => simple(self, "Selu"),
            Activation::Gelu => {
                let scaled = self.mul_number(x, std::f32::consts::FRAC_1_SQRT_2);
                let erf = self.op("Erf", &[scaled], vec![]);
                let sum = self.add_number(erf, 1.0);
                let product = self.mul(x, sum);
                self.mul_number(product, 0.5)
            }
            Activation::Silu => {
                let sigmoid = simple(self, "Sigmoid");
                self.mul(x, sigmoid)
            }
            Activation::Tanh => simple(self, "Tanh"),
            Activation::Sigmoid => simple(self, "Sigmoid"),
            Activation::Softplus => simple(self, "Softplus"),
            Activation::Softsign => simple(self, "Softsign"),
            Activation::Exponential => simple(self, "Exp"),
            Activation::HardSigmoid => {
                self.op("HardSigmoid", &[x], vec![("alpha", (1.0f32 / 6.0).into()), ("beta", 0.5.into())])
            }
            Activation::HardSigmoidKeras2 => {
                self.op("HardSigmoid", &[x], vec![("alpha", 0.2.into()), ("beta", 0.5.into())])
            }
            Activation::HardSilu => simple(self, "HardSwish"),
            Activation::HardTanh => self.clip(x, -1.0, 1.0),
            Activation::HardShrink => self.op("Shrink", &[x], vec![("lambd", 0.5.into()), ("bias", 0.0.into())]),
            Activation::SoftShrink => self.op("Shrink", &[x], vec![("lambd", 0.5.into()), ("bias", 0.5.into())]),
            Activation::TanhShrink => {
                let tanh = simple(self, "Tanh");
                self.sub(x, tanh)
            }
            Activation::Squareplus => {
                let square = self.mul(x, x);
                let square = self.add_number(square, 4.0);
                let root = self.op("Sqrt", &[square], vec![]);
                let sum = self.add(x, root);
                self.mul_number(sum, 0.5)
            }
            Activation::Mish => {
                let softplus = simple(self, "Softplus");
                let tanh = self.op("Tanh", &[softplus], vec![]);
                self.mul(x, tanh)
            }
            Activation::LogSigmoid => {
                let negative = simple(self, "Neg");
                let softplus = self.op("Softplus", &[negative], vec![]);
                self.op("Neg", &[softplus], vec![])
            }
            Activation::Softmax => self.op("Softmax", &[x], vec![("axis", (-1).into())]),
            Activation::LogSoftmax => self.op("LogSoftmax", &[x], vec![("axis", (-1).into())]),
            Activation::Glu => {
                let (last, half) = (shape.rank() - 1, shape.last()? / 2);
                let values = self.slice(x, last, 0, Some(half));
                let gates = self.slice(x, last, half, None);
                let gates = self.op("Sigmoid", &[gates], vec![]);
                self.mul(values, gates)
            }
            Activation::Sparsemax => self.sparsemax(x, shape)?,
            Activation::SparsePlus => {
                let inside = self.clip(x, -1.0, 1.0);
                let inside = self.add_number(inside, 1.0);
                let square = self.mul(inside, inside);
                let square = self.mul_number(square, 0.25);
                let beyond = self.add_number(x, -1.0);
                let beyond = self.op("Relu", &[beyond], vec![]);
                self.add(square, beyond)
            }
            Activation::SparseSigmoid => {
                let sum = self.add_number(x, 1.0);
                let half = self.mul_number(sum, 0.5);
                self.clip(half, 0.0, 1.0)
            }
            other => return Err(Error::unsupported(format!("activation `{other}` in ONNX"), "Keras's activations")),
        })
    }

    /// As [`Activation::Sparsemax`] is computed.
    fn sparsemax(&mut self, x: Edge, shape: &Shape) -> Result<Edge> {
        let (axis, count) = (shape.rank() - 1, shape.last()?);
        let all = self.ints([count as i64]);
        let sorted = self.op_of("TopK", vec![Some(x), Some(all)], 2, vec![("axis", (-1).into())])[0];
        let along = self.graph.constant("axis", Constant::Int(-1));
        let cumulative = self.op("CumSum", &[sorted, along], vec![]);
        let ranks = Numbers { sizes: vec![count], values: (1..=count).map(|rank| rank as f32).collect() };
        let ranks = self.constant("ranks", ranks);
        let bounds = self.mul(sorted, ranks);
        let bounds = self.add_number(bounds, 1.0);
        let support = self.op("Greater", &[bounds, cumulative], vec![]);
        let support = self.cast(support, Element::Float);
        let size = self.reduce("ReduceSum", support, &[axis], true);
        let sum = self.mul(cumulative, support);
        let sum = self.reduce("ReduceSum", sum, &[axis], true);
        let sum = self.add_number(sum, -1.0);
        let threshold = self.div(sum, size);
        let above = self.sub(x, threshold);
        Ok(self.op("Relu", &[above], vec![]))
    }

    /// The activation of a layer's only output.
    pub(crate) fn activated(&mut self, activation: &Activation, x: Edge) -> Result<Vec<Edge>> {
        // (The shape before `glu` has twice as many channels.)
        let shape = match (activation, self.outputs.first()) {
            (Activation::Glu, Some(output)) => output.with_last(output.last().ok().map(|last| last * 2)),
            (_, output) => output.cloned().unwrap_or_else(|| Shape::batch_of(())),
        };
        Ok(vec![self.activate(activation, x, &shape)?])
    }
}

/// A dimension of `from` cells resized to `length`; `axis` is one of `rank`.
pub(crate) fn onnx_resize_axis(
    to: &mut Exporting<'_>,
    x: Edge,
    (axis, rank): (usize, usize),
    from: usize,
    length: usize,
    interpolation: &Interpolation,
    antialias: bool,
) -> Edge {
    if from == length {
        return x;
    }
    if *interpolation == Interpolation::Nearest {
        let indices = ops::nearest_cells(from, length).map(|index| index as i64).collect();
        return to.gather(x, indices, axis);
    }
    let values = ops::resize_weights(from, length, interpolation, antialias);
    to.matmul_along(x, axis, rank, Numbers { sizes: vec![from, length], values })
}
