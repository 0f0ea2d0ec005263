//! Elementwise operations.

use std::ops::{Add, Div, Mul, Neg, Sub};

use burn::tensor::Tensor;

use super::{Value, assert_broadcast};

impl Value {
    /// Applies a function of Burn tensors that keeps the shape.
    pub fn map(self, function: impl ElementWise) -> Self {
        with_rank!(self, |tensor| function.apply(tensor).into())
    }

    /// `e` to the power of each element.
    pub fn exp(self) -> Self {
        with_rank!(self, |tensor| tensor.exp().into())
    }

    /// The natural logarithm of each element.
    pub fn log(self) -> Self {
        with_rank!(self, |tensor| tensor.log().into())
    }

    /// `log(1 + x)` of each element, precise near zero.
    pub fn log1p(self) -> Self {
        with_rank!(self, |tensor| tensor.log1p().into())
    }

    /// The square root of each element.
    pub fn sqrt(self) -> Self {
        with_rank!(self, |tensor| tensor.sqrt().into())
    }

    /// The square of each element.
    pub fn square(self) -> Self {
        self.clone() * self
    }

    /// Each element without its sign.
    pub fn abs(self) -> Self {
        with_rank!(self, |tensor| tensor.abs().into())
    }

    /// −1, 0 or 1 for each element.
    pub fn sign(self) -> Self {
        with_rank!(self, |tensor| tensor.sign().into())
    }

    /// The hyperbolic tangent of each element.
    pub fn tanh(self) -> Self {
        with_rank!(self, |tensor| tensor.tanh().into())
    }

    /// Each element rounded down.
    pub fn floor(self) -> Self {
        with_rank!(self, |tensor| tensor.floor().into())
    }

    /// The sum of each element and all before it along `axis`.
    ///
    /// # Panics
    /// If there is no such axis.
    pub fn cumsum(self, axis: usize) -> Self {
        with_rank!(self, |tensor| tensor.cumsum(axis).into())
    }

    /// Each element to the power of `exponent`.
    pub fn powf(self, exponent: f32) -> Self {
        // Burn converts a whole exponent to an integer, and panics if it is too large. From 2²⁴ on all are even, and a
        // power beyond 2⁶² of any number but 1 and −1 is 0 or infinite.
        const MOST: f32 = (1u64 << 62) as f32;
        let exponent = exponent.clamp(-MOST, MOST);
        with_rank!(self, |tensor| tensor.powf_scalar(exponent).into())
    }

    /// Elements outside `low..=high` replaced by the nearer bound.
    pub fn clamp(self, low: f32, high: f32) -> Self {
        with_rank!(self, |tensor| tensor.clamp(low, high).into())
    }

    /// Elements below `low` replaced by it.
    pub fn clamp_min(self, low: f32) -> Self {
        with_rank!(self, |tensor| tensor.clamp_min(low).into())
    }

    /// Elements above `high` replaced by it.
    pub fn clamp_max(self, high: f32) -> Self {
        with_rank!(self, |tensor| tensor.clamp_max(high).into())
    }

    /// `self + number`, element by element.
    pub fn add_scalar(self, number: f32) -> Self {
        with_rank!(self, |tensor| tensor.add_scalar(number).into())
    }

    /// `self · number`, element by element.
    pub fn mul_scalar(self, number: f32) -> Self {
        with_rank!(self, |tensor| tensor.mul_scalar(number).into())
    }

    /// 1 where the element is above `number`, else 0.
    pub fn greater_scalar(self, number: f32) -> Self {
        with_rank!(self, |tensor| tensor.greater_elem(number).float().into())
    }

    /// 1 where the element equals `number`, else 0.
    pub fn equal_scalar(self, number: f32) -> Self {
        with_rank!(self, |tensor| tensor.equal_elem(number).float().into())
    }

    /// 1 where both are equal, else 0. The sizes must be the same.
    pub fn equal(self, other: Self) -> Self {
        assert_broadcast(&self, &other);
        with_rank!(self, |tensor, D| tensor.equal(Tensor::<D>::from_dispatch(other.0)).float().into())
    }

    /// 1 where `self` is above `other`, else 0.
    pub fn greater(self, other: Self) -> Self {
        assert_broadcast(&self, &other);
        with_rank!(self, |tensor, D| tensor.greater(Tensor::<D>::from_dispatch(other.0)).float().into())
    }

    /// The larger of both, element by element.
    pub fn maximum(self, other: Self) -> Self {
        assert_broadcast(&self, &other);
        with_rank!(self, |tensor, D| tensor.max_pair(Tensor::<D>::from_dispatch(other.0)).into())
    }

    /// The smaller of both, element by element.
    pub fn minimum(self, other: Self) -> Self {
        assert_broadcast(&self, &other);
        with_rank!(self, |tensor, D| tensor.min_pair(Tensor::<D>::from_dispatch(other.0)).into())
    }

    /// Each element to the power of the other's.
    pub fn power(self, exponents: Self) -> Self {
        assert_broadcast(&self, &exponents);
        with_rank!(self, |tensor, D| tensor.powf(Tensor::<D>::from_dispatch(exponents.0)).into())
    }

    /// The remainder of each element divided by the other's; it has the divisor's sign, as in Python.
    pub fn remainder(self, divisors: Self) -> Self {
        assert_broadcast(&self, &divisors);
        with_rank!(self, |tensor, D| tensor.remainder(Tensor::<D>::from_dispatch(divisors.0)).into())
    }

    /// The angle of the point whose height is the element and whose width is the other's.
    pub fn atan2(self, widths: Self) -> Self {
        assert_broadcast(&self, &widths);
        with_rank!(self, |tensor, D| tensor.atan2(Tensor::<D>::from_dispatch(widths.0)).into())
    }

    /// Elements of `other` where `mask` is not zero, those of `self` elsewhere.
    pub fn select_where(self, mask: Self, other: Self) -> Self {
        assert_broadcast(&self, &mask);
        assert_broadcast(&self, &other);
        with_rank!(self, |tensor, D| {
            let mask = Tensor::<D>::from_dispatch(mask.0).not_equal_elem(0.0);
            tensor.mask_where(mask, Tensor::<D>::from_dispatch(other.0)).into()
        })
    }
}

/// A function of Burn tensors that works for every rank and keeps the shape.
pub trait ElementWise {
    /// The function.
    fn apply<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D>;
}

macro_rules! element_wise_operator {
    ($trait:ident, $method:ident) => {
        impl $trait for Value {
            type Output = Self;

            fn $method(self, other: Self) -> Self {
                assert_broadcast(&self, &other);
                with_rank!(self, |tensor, D| tensor.$method(Tensor::<D>::from_dispatch(other.0)).into())
            }
        }
    };
}

element_wise_operator!(Add, add);
element_wise_operator!(Sub, sub);
element_wise_operator!(Mul, mul);
element_wise_operator!(Div, div);

impl Neg for Value {
    type Output = Self;

    fn neg(self) -> Self {
        with_rank!(self, |tensor| tensor.neg().into())
    }
}
