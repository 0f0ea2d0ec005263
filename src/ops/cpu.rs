//! Kernels as operations of the CPU backends, gradients included.
//!
//! A kernel computes on plain slices. Here it becomes an operation of whichever CPU backend holds the values: Burn's
//! autodiff calls its backward pass. On other backends there is none, and the portable form is used.

// Burn deprecates its ndarray backend in favour of flex; Brasa keeps it as long as Burn does.
#![cfg_attr(feature = "ndarray", allow(deprecated))]

use std::fmt::Debug;

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, DispatchKindConversion};
use burn::tensor::{DispatchTensor, TensorData};

use super::Value;

/// An operation on `N` values with a hand-written gradient.
pub(super) trait Kernel<const N: usize>: Clone + Debug + Send + 'static {
    /// What the backward pass needs of the forward pass besides inputs and output.
    type Kept: Clone + Debug + Send + 'static;

    /// Whether the backward pass looks at the output.
    const NEEDS_OUTPUT: bool;

    /// The output's sizes.
    fn output_sizes(&self) -> Vec<usize>;

    /// Computes the output; `keep` says whether a backward pass may follow.
    fn forward(&self, inputs: [&[f32]; N], output: &mut [f32], keep: bool) -> Self::Kept;

    /// From the output's gradient, those of the inputs that are `wanted`. `output` is empty unless it is needed.
    fn backward(
        &self,
        inputs: [&[f32]; N],
        output: &[f32],
        kept: &Self::Kept,
        gradient: &[f32],
        wanted: [bool; N],
    ) -> [Option<Vec<f32>>; N];
}

/// A backend whose tensors are slices of the machine's memory.
pub(super) trait CpuBackend: Backend {
    /// The tensor with its elements in row-major order, one after the other.
    fn contiguous(tensor: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The elements of such a tensor; `None` if they are not of 32 bits.
    fn slice(tensor: &FloatTensor<Self>) -> Option<&[f32]>;

    /// The elements of such a tensor, to be changed, if nobody else has it.
    fn slice_mut(tensor: &mut FloatTensor<Self>) -> Option<&mut [f32]>;

    /// A tensor of these elements.
    fn from_vec(values: Vec<f32>, sizes: &[usize]) -> FloatTensor<Self>;
}

#[cfg(feature = "flex")]
impl CpuBackend for burn::backend::Flex {
    fn contiguous(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
    }

    fn slice(tensor: &FloatTensor<Self>) -> Option<&[f32]> {
        tensor.as_slice::<f32>()
    }

    fn slice_mut(tensor: &mut FloatTensor<Self>) -> Option<&mut [f32]> {
        let whole = tensor.as_slice::<f32>().map(<[f32]>::len)?;
        tensor.try_storage_mut::<f32>().filter(|storage| storage.len() == whole)
    }

    fn from_vec(values: Vec<f32>, sizes: &[usize]) -> FloatTensor<Self> {
        burn::backend::flex::FlexTensor::from_data(TensorData::new(values, sizes.to_vec()))
    }
}

#[cfg(feature = "ndarray")]
impl CpuBackend for burn::backend::NdArray {
    fn contiguous(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        use burn::backend::ndarray::NdArrayTensor;
        match tensor {
            NdArrayTensor::F32(storage) if !storage.view().is_standard_layout() => {
                NdArrayTensor::from(storage.view().as_standard_layout().into_owned().into_shared())
            }
            tensor => tensor,
        }
    }

    fn slice(tensor: &FloatTensor<Self>) -> Option<&[f32]> {
        match tensor {
            burn::backend::ndarray::NdArrayTensor::F32(storage) => storage.view().to_slice(),
            _ => None,
        }
    }

    fn slice_mut(tensor: &mut FloatTensor<Self>) -> Option<&mut [f32]> {
        match tensor {
            burn::backend::ndarray::NdArrayTensor::F32(storage) if storage.is_unique() => {
                storage.ensure_owned().as_slice_mut()
            }
            _ => None,
        }
    }

    fn from_vec(values: Vec<f32>, sizes: &[usize]) -> FloatTensor<Self> {
        use burn::backend::ops::FloatTensorOps;
        <Self as FloatTensorOps<Self>>::float_from_data(TensorData::new(values, sizes.to_vec()), &Default::default())
    }
}

/// Runs a kernel where the inputs are on a CPU backend; `None` elsewhere.
pub(super) fn run<const N: usize, K: Kernel<N>>(kernel: &K, inputs: [&Value; N]) -> Option<Value> {
    #[cfg(feature = "flex")]
    if inputs[0].is_on_flex() {
        return run_on::<burn::backend::Flex, N, K>(kernel, inputs);
    }
    #[cfg(feature = "ndarray")]
    if inputs[0].is_on_ndarray() {
        return run_on::<burn::backend::NdArray, N, K>(kernel, inputs);
    }
    let _ = (kernel, inputs);
    None
}

fn run_on<B: CpuBackend, const N: usize, K: Kernel<N>>(kernel: &K, inputs: [&Value; N]) -> Option<Value>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B, NoCheckpointing>>,
{
    type Tracked<B> = Autodiff<B, NoCheckpointing>;
    let sizes = kernel.output_sizes();
    if !inputs.iter().any(|input| input.is_autodiff()) {
        let tensors = all(inputs.map(|input| input.clone().primitive::<B>()))?.map(B::contiguous);
        let slices = all(tensors.each_ref().map(B::slice))?;
        let mut output = vec![0.0; sizes.iter().product()];
        kernel.forward(slices, &mut output, false);
        return Some(Value::from_primitive::<B>(B::from_vec(output, &sizes)));
    }
    let tensors = all(inputs.map(|input| input.clone().autodiff().primitive::<Tracked<B>>()))?;
    let nodes = tensors.each_ref().map(|tensor| tensor.node());
    let tensors = tensors.map(|tensor| B::contiguous(tensor.into_primitive()));
    let slices = all(tensors.each_ref().map(B::slice))?;
    let mut output = vec![0.0; sizes.iter().product()];
    let output = match Operation(kernel.clone()).prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let kept = kernel.forward(slices, &mut output, true);
            let output = B::from_vec(output, &sizes);
            let known = K::NEEDS_OUTPUT.then(|| output.clone());
            prepared.finish(State { inputs: tensors, output: known, kept }, output)
        }
        OpsKind::UnTracked(prepared) => {
            kernel.forward(slices, &mut output, false);
            prepared.finish(B::from_vec(output, &sizes))
        }
    };
    Some(Value::from_primitive::<Tracked<B>>(output))
}

/// All, or none if one is missing.
fn all<T, const N: usize>(options: [Option<T>; N]) -> Option<[T; N]> {
    let mut found = Vec::with_capacity(N);
    for option in options {
        found.push(option?);
    }
    found.try_into().ok()
}

/// A kernel in Burn's graph.
#[derive(Debug)]
struct Operation<K>(K);

/// What it keeps for the backward pass.
#[derive(Debug)]
struct State<B: Backend, K: Kernel<N>, const N: usize> {
    inputs: [FloatTensor<B>; N],
    output: Option<FloatTensor<B>>,
    kept: K::Kept,
}

impl<B: Backend, K: Kernel<N>, const N: usize> Clone for State<B, K, N> {
    fn clone(&self) -> Self {
        Self { inputs: self.inputs.clone(), output: self.output.clone(), kept: self.kept.clone() }
    }
}

impl<B: CpuBackend, K: Kernel<N>, const N: usize> Backward<B, N> for Operation<K> {
    type State = State<B, K, N>;

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let State { inputs, output, kept } = ops.state;
        let gradient = B::contiguous(gradients.consume::<B>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let computed = {
            // The forward pass has read the same slices, so they are there.
            let (Some(slices), Some(gradient)) = (all(inputs.each_ref().map(B::slice)), B::slice(&gradient)) else {
                return;
            };
            let output = output.as_ref().and_then(B::slice).unwrap_or(&[]);
            self.0.backward(slices, output, &kept, gradient, wanted)
        };
        for ((parent, computed), input) in ops.parents.into_iter().zip(computed).zip(&inputs) {
            if let (Some(parent), Some(values)) = (parent, computed) {
                use burn::backend::TensorMetadata;
                gradients.register::<B>(parent.id, B::from_vec(values, &input.shape().to_vec()));
            }
        }
    }
}

/// Values that were changed in place, or could not be and are as they were.
pub(crate) struct Changed<const N: usize> {
    /// The values.
    pub values: [Value; N],
    /// Whether they were changed.
    pub done: bool,
}

/// Changes values in place, if they are on a CPU backend and nobody else has them.
pub(super) fn in_place<const N: usize>(
    read: &Value,
    values: [Value; N],
    change: impl FnOnce(&[f32], [&mut [f32]; N]),
) -> Changed<N> {
    #[cfg(feature = "flex")]
    if read.is_on_flex() {
        return in_place_on::<burn::backend::Flex, N>(read, values, change);
    }
    #[cfg(feature = "ndarray")]
    if read.is_on_ndarray() {
        return in_place_on::<burn::backend::NdArray, N>(read, values, change);
    }
    let _ = (read, change);
    Changed { values, done: false }
}

fn in_place_on<B: CpuBackend, const N: usize>(
    read: &Value,
    values: [Value; N],
    change: impl FnOnce(&[f32], [&mut [f32]; N]),
) -> Changed<N>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let source = read.clone().primitive::<B>().map(B::contiguous);
    let (Some(source), Some(mut tensors)) =
        (source.as_ref().and_then(B::slice), all(values.each_ref().map(|value| value.clone().primitive::<B>())))
    else {
        return Changed { values, done: false };
    };
    // Of the two handles to each only the tensors are left, so that one that nobody else has can be changed.
    drop(values);
    let slices = all(tensors.each_mut().map(B::slice_mut));
    let done = slices.is_some();
    if let Some(slices) = slices {
        change(source, slices);
    }
    Changed { values: tensors.map(Value::from_primitive::<B>), done }
}
