//! Kernels as operations of the CPU backends, gradients included.
//!
//! A kernel computes on plain slices. Here it becomes an operation of the CPU backend that holds the values, and Burn's
//! autodiff calls its backward pass. On other backends the portable form is used.

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
use burn::backend::{Backend, DispatchKindConversion, TensorMetadata};
use burn::tensor::{DType, Device, DispatchTensor, FloatDType, TensorData};

use super::Value;
use super::buffers::{buffer, give_back};

/// An operation on `N` values with a hand-written gradient.
pub(super) trait Kernel<const N: usize>: Clone + Debug + Send + 'static {
    /// Saved tensors of the forward pass for the backward pass, besides inputs and output.
    type Saved: Clone + Debug + Send + 'static;

    /// Whether the backward pass reads the output.
    const NEEDS_OUTPUT: bool;

    /// The output's sizes.
    fn output_sizes(&self) -> Vec<usize>;

    /// Computes the output, every value of which must be written; `keep` says whether a backward pass can follow.
    fn forward(&self, inputs: [&[f32]; N], output: &mut [f32], keep: bool) -> Self::Saved;

    /// Computes from the output's gradient those of the inputs that are `wanted`. `output` is empty unless it is
    /// needed.
    fn backward(
        &self,
        inputs: [&[f32]; N],
        output: &[f32],
        kept: &Self::Saved,
        gradient: &mut Gradient<'_>,
        wanted: [bool; N],
    ) -> [Option<Vec<f32>>; N];
}

/// The gradient of an output, owned unless it is shared.
pub(super) enum Gradient<'a> {
    Own(Vec<f32>),
    Shared(&'a [f32]),
}

impl Gradient<'_> {
    /// Takes the elements, to be changed and returned as the gradient of an input.
    pub fn take(&mut self) -> Vec<f32> {
        match self {
            Self::Own(values) => std::mem::take(values),
            Self::Shared(values) => {
                let mut copy = buffer(values.len());
                copy.copy_from_slice(values);
                copy
            }
        }
    }
}

impl std::ops::Deref for Gradient<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Own(values) => values,
            Self::Shared(values) => values,
        }
    }
}

/// A backend whose tensors are slices of host memory.
pub(super) trait CpuBackend: Backend {
    /// The tensor with its elements contiguous, in row-major order.
    fn contiguous(tensor: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The elements of a contiguous tensor; `None` if they are not of 32 bits.
    fn slice(tensor: &FloatTensor<Self>) -> Option<&[f32]>;

    /// The elements of a contiguous tensor, to be changed in place; `None` if it is shared.
    fn slice_mut(tensor: &mut FloatTensor<Self>) -> Option<&mut [f32]>;

    /// The buffer of a contiguous tensor, or the tensor as it is if it is shared.
    fn into_vec(tensor: FloatTensor<Self>) -> Result<Vec<f32>, FloatTensor<Self>>;

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

    fn into_vec(tensor: FloatTensor<Self>) -> Result<Vec<f32>, FloatTensor<Self>> {
        let whole = tensor.as_slice::<f32>().is_some_and(|values| values.len() == tensor.storage::<f32>().len());
        if !tensor.is_unique() || !whole {
            return Err(tensor);
        }
        let (bytes, shape, dtype) = tensor.into_data().into_parts();
        // As arrays of one value: for `f32` the compiler takes the function from a crate that is not optimized in
        // development, where looking at every value took a sixth of a training step.
        bytes
            .try_into_vec::<[f32; 1]>()
            .map(Vec::into_flattened)
            .map_err(|bytes| burn::backend::flex::FlexTensor::from_data(TensorData::from_bytes(bytes, shape, dtype)))
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

    fn into_vec(tensor: FloatTensor<Self>) -> Result<Vec<f32>, FloatTensor<Self>> {
        match tensor {
            burn::backend::ndarray::NdArrayTensor::F32(storage)
                if storage.is_unique() && storage.view().is_standard_layout() =>
            {
                let len = storage.len();
                let (mut values, offset) = storage.into_owned().into_owned().into_raw_vec_and_offset();
                values.drain(..offset.unwrap_or(0));
                values.truncate(len);
                Ok(values)
            }
            tensor => Err(tensor),
        }
    }

    fn from_vec(values: Vec<f32>, sizes: &[usize]) -> FloatTensor<Self> {
        use burn::backend::ops::FloatTensorOps;
        <Self as FloatTensorOps<Self>>::float_from_data(TensorData::new(values, sizes.to_vec()), &Default::default())
    }
}

#[cfg(test)]
thread_local! {
    static PORTABLE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    static CHANGED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Number of changes in place by this thread so far.
#[cfg(test)]
pub(crate) fn times_changed_in_place() -> usize {
    CHANGED.get()
}

/// Calls `work` with kernels disabled: everything takes its portable form.
#[cfg(test)]
pub(crate) fn portably<R>(work: impl FnOnce() -> R) -> R {
    PORTABLE.set(true);
    let result = work();
    PORTABLE.set(false);
    result
}

/// The devices of the CPU backends that are compiled in.
pub(crate) fn cpu_devices() -> Vec<burn::tensor::Device> {
    let device = |name: &str| name.parse::<crate::backend::Backend>().and_then(|backend| backend.device()).ok();
    ["flex", "ndarray"].into_iter().filter_map(device).collect()
}

/// Whether kernels are enabled: always, except in tests of the portable forms.
fn wanted() -> bool {
    #[cfg(test)]
    return !PORTABLE.get();
    #[cfg(not(test))]
    true
}

/// Whether there are kernels for a device.
pub(crate) fn has_kernels(device: &Device) -> bool {
    wanted() && Value::from_vec(vec![0.0], &[1], device).is_ok_and(|value| value.is_on_cpu())
}

/// Runs a kernel where the inputs are on a CPU backend; `None` elsewhere.
pub(super) fn run<const N: usize, K: Kernel<N>>(kernel: &K, inputs: [&Value; N]) -> Option<Value> {
    if !wanted() {
        return None;
    }
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
        let mut output = buffer(sizes.iter().product());
        kernel.forward(slices, &mut output, false);
        return Some(Value::from_primitive::<B>(B::from_vec(output, &sizes)));
    }
    let tensors = all(inputs.map(|input| input.clone().autodiff().primitive::<Tracked<B>>()))?;
    let nodes = tensors.each_ref().map(|tensor| tensor.node());
    let tensors = tensors.map(|tensor| B::contiguous(tensor.into_primitive()));
    let slices = all(tensors.each_ref().map(B::slice))?;
    let mut output = buffer(sizes.iter().product());
    let output = match AutodiffNode(kernel.clone()).prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
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

/// All values, or `None` if one is missing.
fn all<T, const N: usize>(options: [Option<T>; N]) -> Option<[T; N]> {
    let mut found = Vec::with_capacity(N);
    for option in options {
        found.push(option?);
    }
    found.try_into().ok()
}

/// A kernel as a node of Burn's autodiff graph.
#[derive(Debug)]
struct AutodiffNode<K>(K);

/// Saved tensors for the backward pass.
#[derive(Debug)]
struct State<B: Backend, K: Kernel<N>, const N: usize> {
    inputs: [FloatTensor<B>; N],
    output: Option<FloatTensor<B>>,
    kept: K::Saved,
}

impl<B: Backend, K: Kernel<N>, const N: usize> Clone for State<B, K, N> {
    fn clone(&self) -> Self {
        Self { inputs: self.inputs.clone(), output: self.output.clone(), kept: self.kept.clone() }
    }
}

impl<B: CpuBackend, K: Kernel<N>, const N: usize> Backward<B, N> for AutodiffNode<K> {
    type State = State<B, K, N>;

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let State { inputs, output, kept } = ops.state;
        let gradient = gradients.consume::<B>(&ops.node);
        // Operations after the kernel can compute in another type; their gradient is cast to the kernel's.
        let gradient = if gradient.dtype() == DType::F32 { gradient } else { B::float_cast(gradient, FloatDType::F32) };
        let gradient = B::into_vec(B::contiguous(gradient));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let mut own = None;
        let computed = {
            let mut gradient = match gradient {
                Ok(values) => Gradient::Own(values),
                Err(tensor) => match B::slice(own.insert(tensor)) {
                    Some(values) => Gradient::Shared(values),
                    None => unreachable!("a contiguous tensor of float32 on a CPU backend is a slice"),
                },
            };
            let Some(slices) = all(inputs.each_ref().map(B::slice)) else {
                unreachable!("the forward pass has read the same inputs as slices")
            };
            let output = output.as_ref().and_then(B::slice).unwrap_or(&[]);
            let computed = self.0.backward(slices, output, &kept, &mut gradient, wanted);
            if let Gradient::Own(values) = gradient {
                give_back(values);
            }
            computed
        };
        for ((parent, computed), input) in ops.parents.into_iter().zip(computed).zip(&inputs) {
            if let (Some(parent), Some(values)) = (parent, computed) {
                gradients.register::<B>(parent.id, B::from_vec(values, &input.shape().to_vec()));
            }
        }
        inputs.into_iter().chain(output).filter_map(|tensor| B::into_vec(tensor).ok()).for_each(give_back);
    }
}

/// Recycles the buffer of a value for later results, if it is on a CPU backend and not shared.
pub(crate) fn recycle(value: Value) {
    #[cfg(any(feature = "flex", feature = "ndarray"))]
    fn on<B: CpuBackend>(value: Value)
    where
        DispatchTensor: DispatchKindConversion<B>,
    {
        value.primitive::<B>().and_then(|tensor| B::into_vec(tensor).ok()).into_iter().for_each(give_back);
    }
    // Recorded values belong to the graph.
    if value.is_autodiff() {
        return;
    }
    #[cfg(feature = "flex")]
    if value.is_on_flex() {
        return on::<burn::backend::Flex>(value);
    }
    #[cfg(feature = "ndarray")]
    if value.is_on_ndarray() {
        on::<burn::backend::NdArray>(value);
    }
}

/// Calls `look` with the elements of values on a CPU backend, without their graphs; `None` elsewhere.
pub(super) fn read<const N: usize, R>(values: [&Value; N], look: impl FnOnce([&[f32]; N]) -> R) -> Option<R> {
    if !wanted() {
        return None;
    }
    #[cfg(feature = "flex")]
    if values[0].is_on_flex() {
        return read_on::<burn::backend::Flex, N, R>(values, look);
    }
    #[cfg(feature = "ndarray")]
    if values[0].is_on_ndarray() {
        return read_on::<burn::backend::NdArray, N, R>(values, look);
    }
    let _ = (values, look);
    None
}

fn read_on<B: CpuBackend, const N: usize, R>(values: [&Value; N], look: impl FnOnce([&[f32]; N]) -> R) -> Option<R>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let tensors = all(values.map(|value| value.clone().detach().primitive::<B>()))?.map(B::contiguous);
    all(tensors.each_ref().map(B::slice)).map(look)
}

/// Changes values in place, if they are on a CPU backend and not shared; returns whether they were changed.
pub(super) fn in_place<const N: usize>(
    read: &Value,
    values: [&mut Value; N],
    change: impl FnOnce(&[f32], [&mut [f32]; N]),
) -> bool {
    if !wanted() {
        return false;
    }
    #[cfg(feature = "flex")]
    if read.is_on_flex() {
        return in_place_on::<burn::backend::Flex, N>(read, values, change);
    }
    #[cfg(feature = "ndarray")]
    if read.is_on_ndarray() {
        return in_place_on::<burn::backend::NdArray, N>(read, values, change);
    }
    let _ = (values, change);
    false
}

fn in_place_on<B: CpuBackend, const N: usize>(
    read: &Value,
    mut values: [&mut Value; N],
    change: impl FnOnce(&[f32], [&mut [f32]; N]),
) -> bool
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let source = read.clone().primitive::<B>().map(B::contiguous);
    let (Some(source), Some(mut tensors)) =
        (source.as_ref().and_then(B::slice), all(values.each_ref().map(|value| (**value).clone().primitive::<B>())))
    else {
        return false;
    };
    // Drops the values' own handles, so that a tensor that is not shared otherwise can be changed.
    values.iter_mut().for_each(|value| drop(value.take()));
    let slices = all(tensors.each_mut().map(B::slice_mut));
    let done = slices.is_some();
    if let Some(slices) = slices {
        change(source, slices);
        #[cfg(test)]
        CHANGED.set(CHANGED.get() + 1);
    }
    for (value, tensor) in values.into_iter().zip(tensors) {
        *value = Value::from_primitive::<B>(tensor);
    }
    done
}
