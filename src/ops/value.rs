//! A float tensor whose rank is known at run time.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, BackendTensor, DispatchKindConversion, DispatchTensorKind};
use burn::tensor::{Device, DispatchTensor, Gradients, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::shape::{MAX_RANK, MOST_VALUES, check_count, count};

/// A float tensor of any rank from 1 to 6, on any backend.
///
/// Burn's `Tensor<D>` has its rank in its type; a model described at run time cannot. A `Value` converts to and from
/// `Tensor<D>` at no cost, so a layer can use all of Burn:
///
/// ```
/// use brasa::{Value, burn::tensor::{Device, Tensor}};
/// # fn main() -> brasa::Result<()> {
/// let tensor = Tensor::<2>::from_data([[1.0, -2.0]], &Device::flex());
/// let value = Value::from(tensor);
/// assert_eq!(value.sizes(), [1, 2]);
/// let back: Tensor<2> = value.tensor()?;
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// Operators, and operations that return no `Result`, panic as Burn's do if sizes do not fit or an axis does not exist.
/// Layers check sizes in their [`output_shape`](crate::layers::Layer::output_shape), before they compute.
#[derive(Clone, Debug)]
pub struct Value(DispatchTensor);

impl<const D: usize> From<Tensor<D>> for Value {
    fn from(tensor: Tensor<D>) -> Self {
        Self(tensor.into_dispatch())
    }
}

/// Runs `$body` with `$tensor` bound to the value as a `Tensor<D>` of its rank.
macro_rules! with_rank {
    ($value:expr, |$tensor:ident| $body:expr) => {
        with_rank!($value, |$tensor, D| $body)
    };
    ($value:expr, |$tensor:ident, $d:ident| $body:expr) => {{
        let value = $value;
        match value.rank() {
            1 => with_rank!(@arm value, $tensor, $d, 1, $body),
            2 => with_rank!(@arm value, $tensor, $d, 2, $body),
            3 => with_rank!(@arm value, $tensor, $d, 3, $body),
            4 => with_rank!(@arm value, $tensor, $d, 4, $body),
            5 => with_rank!(@arm value, $tensor, $d, 5, $body),
            6 => with_rank!(@arm value, $tensor, $d, 6, $body),
            rank => unreachable!("values have 1 to {} dimensions, not {rank}", $crate::ops::MAX_RANK),
        }
    }};
    (@arm $value:ident, $tensor:ident, $d:ident, $rank:literal, $body:expr) => {{
        // Not every body uses the rank.
        #[allow(dead_code)]
        const $d: usize = $rank;
        let $tensor = burn::tensor::Tensor::<$rank>::from_dispatch($value.0);
        $body
    }};
}

mod elements;
mod reductions;

pub use self::elements::ElementWise;

impl Value {
    /// A value from numbers in row-major order.
    ///
    /// # Errors
    /// [`Error::Shape`] if the sizes do not multiply to the number of values, or there are not 1 to 6 of them.
    pub fn from_vec(values: Vec<f32>, sizes: &[usize], device: &Device) -> Result<Self> {
        let count = check_sizes(sizes)?;
        if count != values.len() {
            return Err(Error::shape(format!("{count} values for sizes {sizes:?}"), values.len()));
        }
        Ok(Self::from_checked(TensorData::new(values, sizes.to_vec()), sizes.len(), device))
    }

    fn from_checked(data: TensorData, rank: usize, device: &Device) -> Self {
        match rank {
            1 => Tensor::<1>::from_data(data, device).into(),
            2 => Tensor::<2>::from_data(data, device).into(),
            3 => Tensor::<3>::from_data(data, device).into(),
            4 => Tensor::<4>::from_data(data, device).into(),
            5 => Tensor::<5>::from_data(data, device).into(),
            _ => Tensor::<6>::from_data(data, device).into(),
        }
    }

    /// A value with every element `fill`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of sizes is not 1 to 6, or they multiply to more than [`MOST_VALUES`].
    pub fn full(sizes: &[usize], fill: f32, device: &Device) -> Result<Self> {
        check_sizes(sizes)?;
        let scalar = Self::from_checked(TensorData::new(vec![fill], vec![1; sizes.len()]), sizes.len(), device);
        Ok(scalar.expand(sizes))
    }

    /// A value without elements: Burn's operations misread a size of 0, or panic.
    pub(crate) fn empty(sizes: &[usize], device: &Device) -> Result<Self> {
        Self::from_vec(Vec::new(), sizes, device)
    }

    /// A single number, as a value of rank 1.
    pub fn scalar(number: f32, device: &Device) -> Self {
        Self::from_checked(TensorData::new(vec![number], vec![1]), 1, device)
    }

    /// This value as a Burn tensor of rank `D`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the value has another rank.
    pub fn tensor<const D: usize>(self) -> Result<Tensor<D>> {
        if self.rank() == D {
            Ok(Tensor::from_dispatch(self.0))
        } else {
            Err(Error::shape(format!("ndim={D}"), format!("ndim={}, full shape {:?}", self.rank(), self.sizes())))
        }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        use burn::backend::TensorMetadata;
        self.0.rank()
    }

    /// The sizes, the batch's first.
    pub fn sizes(&self) -> Vec<usize> {
        use burn::backend::TensorMetadata;
        self.0.shape().to_vec()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.sizes().iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The device that holds it.
    pub fn device(&self) -> Device {
        with_rank!(self.clone(), |tensor| tensor.device())
    }

    /// Copies the elements to the host, in row-major order. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        let data = with_rank!(self.clone(), |tensor| tensor.try_into_data());
        data.map_err(|error| Error::failed_device(&self.device(), error))?
            .try_into_vec::<f32>()
            .map_err(|error| Error::failed_device(&self.device(), format!("{error:?}")))
    }

    /// Moves the value out and leaves an empty one, so that the receiver can be its only owner.
    pub(crate) fn take(&mut self) -> Self {
        let empty = Self::from_checked(TensorData::new(Vec::<f32>::new(), vec![0]), 1, &self.device());
        std::mem::replace(self, empty)
    }

    /// The single number that it holds. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Shape`] if it does not hold exactly one; [`Error::Device`] if the device fails.
    pub fn to_scalar(&self) -> Result<f32> {
        match self.to_vec()?.as_slice() {
            [number] => Ok(*number),
            _ => Err(Error::shape("one element", format!("{:?}", self.sizes()))),
        }
    }

    /// Moves it to another device.
    pub fn to_device(self, device: &Device) -> Self {
        with_rank!(self, |tensor| tensor.to_device(device).into())
    }

    // --- backends ----------------------------------------------------------------------------------------------

    /// The tensor of backend `B`, if it is of that backend.
    pub(super) fn primitive<B: Backend>(self) -> Option<FloatTensor<B>>
    where
        DispatchTensor: DispatchKindConversion<B>,
    {
        match <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(self.0) {
            Ok(BackendTensor::Float(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// The value of a tensor of backend `B`.
    pub(super) fn from_primitive<B: Backend>(tensor: FloatTensor<B>) -> Self
    where
        DispatchTensor: DispatchKindConversion<B>,
    {
        Self(<DispatchTensor as DispatchKindConversion<B>>::from_backend(BackendTensor::Float(tensor)))
    }

    /// The backend's part of the tensor, without the autodiff layer.
    fn kind(&self) -> &DispatchTensorKind {
        match &self.0.kind {
            DispatchTensorKind::Autodiff(inner) => inner,
            kind => kind,
        }
    }

    /// Whether all elements are finite. Waits for the device.
    pub(crate) fn is_finite(&self) -> Result<bool> {
        Ok(self.to_vec()?.iter().all(|number| number.is_finite()))
    }

    /// Whether it is in host memory, where reading waits for nothing.
    pub(crate) fn is_on_cpu(&self) -> bool {
        #[cfg(feature = "flex")]
        if self.is_on_flex() {
            return true;
        }
        #[cfg(feature = "ndarray")]
        if self.is_on_ndarray() {
            return true;
        }
        false
    }

    /// Whether it is on the backend flex.
    #[cfg(feature = "flex")]
    pub(super) fn is_on_flex(&self) -> bool {
        matches!(self.kind(), DispatchTensorKind::Flex(_))
    }

    /// Whether it is on the backend ndarray.
    #[cfg(feature = "ndarray")]
    pub(super) fn is_on_ndarray(&self) -> bool {
        matches!(self.kind(), DispatchTensorKind::NdArray(_))
    }

    // --- gradients ---------------------------------------------------------------------------------------------

    /// This value as a leaf of a new graph, whose gradient is kept.
    pub fn require_grad(self) -> Self {
        with_rank!(self, |tensor| tensor.autodiff().require_grad().into())
    }

    /// This value with gradients enabled, without keeping its own.
    pub fn autodiff(self) -> Self {
        with_rank!(self, |tensor| tensor.autodiff().into())
    }

    /// This value without its graph.
    pub fn detach(self) -> Self {
        with_rank!(self, |tensor| tensor.inner().into())
    }

    /// Whether gradients are recorded through it.
    pub fn is_autodiff(&self) -> bool {
        with_rank!(self.clone(), |tensor| tensor.is_autodiff())
    }

    /// Whether it depends on something whose gradient is kept.
    pub fn is_tracked(&self) -> bool {
        with_rank!(self.clone(), |tensor| tensor.is_tracked())
    }

    /// The gradients of this (summed) value with respect to everything that requires them;
    /// `None` if it depends on nothing that does.
    pub fn backward(&self) -> Option<Gradients> {
        if !self.is_tracked() {
            return None;
        }
        Some(with_rank!(self.clone(), |tensor| tensor.backward()))
    }

    /// Takes this leaf's gradient out of `gradients`.
    pub fn take_gradient(&self, gradients: &mut Gradients) -> Option<Self> {
        with_rank!(self.clone(), |tensor| tensor.grad_remove(gradients).map(Self::from))
    }

    // --- form --------------------------------------------------------------------------------------------------

    /// The same elements with other sizes.
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of elements differs, or there are more than six sizes.
    pub fn reshape(self, sizes: &[usize]) -> Result<Self> {
        let count = check_sizes(sizes)?;
        if count != self.len() {
            return Err(Error::shape(format!("{} elements", self.len()), format!("{sizes:?}")));
        }
        if count == 0 {
            return Self::empty(sizes, &self.device());
        }
        Ok(with_rank!(self, |tensor| match sizes.len() {
            1 => tensor.reshape::<1, _>(as_array::<1>(sizes)).into(),
            2 => tensor.reshape::<2, _>(as_array::<2>(sizes)).into(),
            3 => tensor.reshape::<3, _>(as_array::<3>(sizes)).into(),
            4 => tensor.reshape::<4, _>(as_array::<4>(sizes)).into(),
            5 => tensor.reshape::<5, _>(as_array::<5>(sizes)).into(),
            _ => tensor.reshape::<6, _>(as_array::<6>(sizes)).into(),
        }))
    }

    /// Dimensions in another order: output dimension `i` is input dimension `axes[i]`.
    ///
    /// # Panics
    /// If `axes` does not name each dimension once.
    pub fn permute(self, axes: &[usize]) -> Self {
        with_rank!(self, |tensor, D| {
            let axes: [isize; D] = std::array::from_fn(|i| axes[i] as isize);
            tensor.permute(axes).into()
        })
    }

    /// Broadcasts dimensions of size 1 to `sizes`.
    ///
    /// # Panics
    /// If the sizes do not fit this value's, or multiply to more than [`MOST_VALUES`].
    pub fn expand(self, sizes: &[usize]) -> Self {
        let own = self.sizes();
        let fits = own.len() == sizes.len() && own.iter().zip(sizes).all(|(own, size)| own == size || *own == 1);
        assert!(fits, "cannot repeat a value of sizes {own:?} to {sizes:?}");
        assert_count(sizes);
        if sizes.contains(&0) {
            return Self::from_checked(TensorData::new(Vec::<f32>::new(), sizes.to_vec()), sizes.len(), &self.device());
        }
        with_rank!(self, |tensor, D| tensor.expand(as_array::<D>(sizes)).into())
    }

    /// Part of dimension `axis`, from `start`, `length` long.
    ///
    /// # Panics
    /// If the part is not inside.
    pub fn narrow(self, axis: usize, start: usize, length: usize) -> Self {
        let size = self.sizes()[axis];
        let inside = start.checked_add(length).is_some_and(|end| end <= size);
        assert!(inside, "no {length} cells from {start} on in a dimension of {size}");
        with_rank!(self, |tensor| tensor.narrow(axis, start, length).into())
    }

    /// Splits it into parts of length 1 along `axis`, for a value whose gradient is wanted. Parts are halved
    /// recursively: the gradient of a part is as large as the value it was taken from, which would otherwise be the
    /// whole for every step.
    pub(crate) fn split_apart(self, axis: usize) -> Vec<Self> {
        let mut parts = vec![self];
        while parts.iter().any(|part| part.sizes()[axis] > 1) {
            let halves = parts.into_iter().flat_map(|part| {
                let length = part.sizes()[axis];
                let half = length / 2;
                if half == 0 {
                    return vec![part];
                }
                vec![part.clone().narrow(axis, 0, half), part.narrow(axis, half, length - half)]
            });
            parts = halves.collect();
        }
        parts
    }

    /// This value, a part of one of `whole` values, copied to its own memory if that is [worth it](part_is_copied): a
    /// view keeps the whole in memory. Where gradients are recorded the whole is kept in any case.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub(crate) fn apart_from(self, whole: usize) -> Result<Self> {
        if part_is_copied(self.len(), whole) { self.copied() } else { Ok(self) }
    }

    /// This value in its own memory, where views share that of the whole and no gradients are recorded.
    pub(crate) fn copied(self) -> Result<Self> {
        use burn::backend::TensorMetadata;
        // A device can be configured for 64 bits, which `from_vec` does not support.
        if self.is_autodiff() || !self.is_on_cpu() || self.0.dtype() != burn::tensor::DType::F32 {
            return Ok(self);
        }
        Self::from_vec(self.to_vec()?, &self.sizes(), &self.device())
    }

    /// Dimension `axis` in reverse order.
    pub fn flip(self, axis: usize) -> Self {
        with_rank!(self, |tensor| tensor.flip([axis as isize]).into())
    }

    /// Joins values along dimension `axis`.
    ///
    /// # Errors
    /// [`Error::Shape`] without values, if their sizes beside `axis` differ, or if the result had more than
    /// [`MOST_VALUES`] values.
    pub fn concat(values: Vec<Self>, axis: usize) -> Result<Self> {
        let Some(mut sizes) = values.first().map(Self::sizes) else {
            return Err(Error::shape("at least one value to join", "none"));
        };
        if axis >= sizes.len() {
            return Err(Error::shape(format!("more than {axis} dimensions"), format!("{sizes:?}")));
        }
        for value in &values[1..] {
            let other = value.sizes();
            let alike = |(own, (at, size)): (&usize, (usize, &usize))| at == axis || own == size;
            if other.len() != sizes.len() || !sizes.iter().zip(other.iter().enumerate()).all(alike) {
                return Err(Error::shape(format!("{sizes:?} but for dimension {axis}"), format!("{other:?}")));
            }
            sizes[axis] = sizes[axis].saturating_add(other[axis]);
        }
        check_count(&sizes)?;
        macro_rules! concat {
            ($rank:literal) => {
                Tensor::cat(values.into_iter().map(|value| value.tensor::<$rank>()).collect::<Result<Vec<_>>>()?, axis)
                    .into()
            };
        }
        Ok(match values.first().map_or(0, Self::rank) {
            0 | 1 => concat!(1),
            2 => concat!(2),
            3 => concat!(3),
            4 => concat!(4),
            5 => concat!(5),
            _ => concat!(6),
        })
    }

    /// Adds `before` and `after` cells of `fill` to dimension `axis`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the result had more than [`MOST_VALUES`] values.
    pub fn pad(self, axis: usize, before: usize, after: usize, fill: f32) -> Result<Self> {
        let mut parts = Vec::with_capacity(3);
        let mut sizes = self.sizes();
        let mut whole = sizes.clone();
        whole[axis] = whole[axis].saturating_add(before).saturating_add(after);
        check_count(&whole)?;
        for (cells, at_front) in [(before, true), (after, false)] {
            if cells > 0 {
                sizes[axis] = cells;
                let border = Self::full(&sizes, fill, &self.device())?;
                parts.push((at_front, border));
            }
        }
        if parts.is_empty() {
            return Ok(self);
        }
        let mut whole = vec![self];
        for (at_front, border) in parts {
            whole.insert(if at_front { 0 } else { whole.len() }, border);
        }
        Self::concat(whole, axis)
    }
}

/// Whether a part of `part` values is copied out of `whole` instead of kept as a view, so that the whole can be freed:
/// if it is less than half of a buffer that is not small.
pub(crate) fn part_is_copied(part: usize, whole: usize) -> bool {
    const FEW: usize = 1 << 12;
    part > 0 && whole > FEW && part < whole / 2
}

fn check_rank(sizes: &[usize]) -> Result<()> {
    if (1..=MAX_RANK).contains(&sizes.len()) {
        Ok(())
    } else {
        Err(Error::shape(format!("1 to {MAX_RANK} dimensions, the batch counted"), format!("{sizes:?}")))
    }
}

/// Number of values of these sizes, checked: 1 to 6 of them, which multiply to at most [`MOST_VALUES`].
fn check_sizes(sizes: &[usize]) -> Result<usize> {
    check_rank(sizes)?;
    check_count(sizes)
}

/// Panics if these sizes multiply to more than [`MOST_VALUES`].
fn assert_count(sizes: &[usize]) {
    assert!(count(sizes).is_some(), "sizes {sizes:?} multiply to more than {MOST_VALUES} values");
}

/// Panics if two values differ in rank, or broadcast to too many values.
fn assert_broadcast(one: &Value, other: &Value) {
    let (one, other) = (one.sizes(), other.sizes());
    if one != other {
        assert_eq!(one.len(), other.len(), "values of sizes {one:?} and {other:?} have other ranks");
        let both: Vec<usize> = one.iter().zip(&other).map(|(one, other)| *one.max(other)).collect();
        assert_count(&both);
    }
}

fn as_array<const N: usize>(sizes: &[usize]) -> [usize; N] {
    std::array::from_fn(|i| sizes[i])
}
