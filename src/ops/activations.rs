//! Keras's activation functions, by name.
//!
//! Formulas and defaults are those of `keras.activations`; where Burn's function of the same name has other defaults
//! (`leaky_relu`, `hard_sigmoid`), Keras's are used.

use std::fmt;
use std::str::FromStr;

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::cpu::{Gradient, Kernel, run};
use super::{ElementWise, Value};
use crate::error::{Error, Result};
use crate::kernels::activation::{Activation as Fast, backward, forward};
use crate::shape::Shape;

macro_rules! activations {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal $(| $alias:literal)* ),* $(,)?) => {
        /// An activation function, given as a variant or by its Keras name.
        ///
        /// ```
        /// use brasa::Activation;
        /// assert_eq!(Activation::from("relu"), Activation::Relu);
        /// assert_eq!("swish".parse::<Activation>()?, Activation::Silu);
        /// assert!("rellu".parse::<Activation>().is_err());
        /// # Ok::<(), brasa::Error>(())
        /// ```
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Activation {
            $( $(#[$doc])* $variant, )*
            /// An unknown name. It is kept until the model is built, whose error names the layer and lists the
            /// valid names, so that `.argument("name")` needs no `?`.
            Unknown(String),
        }

        impl Activation {
            /// Every name, aliases included.
            pub const NAMES: &'static [&'static str] = &[$($name $(, $alias)*),*];

            /// The activation's Keras name.
            pub fn name(&self) -> &str {
                match self {
                    $( Self::$variant => $name, )*
                    Self::Unknown(name) => name,
                }
            }
        }

        impl FromStr for Activation {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self> {
                match name {
                    $( $name $(| $alias)* => Ok(Self::$variant), )*
                    _ => Err(Error::unknown("activation", name, Self::NAMES)),
                }
            }
        }
    };
}

activations! {
    /// `x`
    #[default]
    Linear = "linear",
    /// `max(x, 0)`
    Relu = "relu",
    /// `min(max(x, 0), 6)`
    Relu6 = "relu6",
    /// `x` if above 0, else `0.2 · x`
    LeakyRelu = "leaky_relu",
    /// `x` if above 0, else `exp(x) − 1`
    Elu = "elu",
    /// `1.0507 · (x if above 0, else 1.67326 · (exp(x) − 1))` (Klambauer et al. 2017)
    Selu = "selu",
    /// `max(x, 0) + min(0, exp(x) − 1)`
    Celu = "celu",
    /// `x · Φ(x)` with the exact Gaussian distribution function Φ
    Gelu = "gelu",
    /// `x · sigmoid(x)`
    Silu = "silu" | "swish",
    /// `tanh(x)`
    Tanh = "tanh",
    /// `1 / (1 + exp(−x))`
    Sigmoid = "sigmoid",
    /// `log(exp(x) + 1)`
    Softplus = "softplus",
    /// `x / (|x| + 1)`
    Softsign = "softsign",
    /// `exp(x)`
    Exponential = "exponential",
    /// `min(max(x / 6 + 1/2, 0), 1)`
    HardSigmoid = "hard_sigmoid",
    /// `min(max(0.2 · x + 1/2, 0), 1)`: the `hard_sigmoid` of Keras 1 and 2, as their files mean it. Keras 3 has no
    /// such function, and refuses its name
    HardSigmoidKeras2 = "hard_sigmoid_keras_2",
    /// `x · hard_sigmoid(x)`
    HardSilu = "hard_silu" | "hard_swish",
    /// `min(max(x, −1), 1)`
    HardTanh = "hard_tanh",
    /// `x` if `|x| > 0.5`, else 0
    HardShrink = "hard_shrink",
    /// `x ∓ 0.5` beyond ±0.5, else 0
    SoftShrink = "soft_shrink",
    /// `x − tanh(x)`
    TanhShrink = "tanh_shrink",
    /// `(x + √(x² + 4)) / 2`
    Squareplus = "squareplus",
    /// `x · tanh(softplus(x))`
    Mish = "mish",
    /// Gated linear unit: the first half of the last axis times the sigmoid of the second; halves the last axis.
    Glu = "glu",
    /// `log(sigmoid(x))`
    LogSigmoid = "log_sigmoid",
    /// `exp(x) / Σ exp(x)` over the last axis
    Softmax = "softmax",
    /// `log(softmax(x))`
    LogSoftmax = "log_softmax",
    /// `max(x − τ, 0)` over the last axis, after Martins and Astudillo 2016, with Keras's threshold τ: where several
    /// values are above it, it is higher than the paper's, and the results do not add up to 1
    Sparsemax = "sparsemax",
    /// 0 below −1, `(x + 1)² / 4` up to 1, `x` above
    SparsePlus = "sparse_plus",
    /// 0 below −1, `(x + 1) / 2` up to 1, 1 above
    SparseSigmoid = "sparse_sigmoid",
}

impl Activation {
    /// Refuses a name that is not in [`NAMES`](Self::NAMES).
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the list.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Unknown(name) => name.parse::<Self>().map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Whether it is elementwise.
    pub(crate) fn is_element_wise(&self) -> bool {
        !matches!(self, Self::Glu | Self::Softmax | Self::LogSoftmax | Self::Sparsemax | Self::Unknown(_))
    }

    /// The output's shape for `input`: the same, except for `glu`.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for an unknown activation, [`Error::Shape`] for `glu` over an odd last axis.
    pub fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.check()?;
        match self {
            Self::Glu => {
                let last = input.last()?;
                if last % 2 != 0 {
                    return Err(Error::shape("an even last dimension for `glu`", input));
                }
                Ok(input.with_last(Some(last / 2)))
            }
            _ => Ok(input.clone()),
        }
    }

    /// Applies it.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for an unknown activation.
    pub fn apply(&self, value: Value) -> Result<Value> {
        self.check()?;
        if *self == Self::Linear {
            return Ok(value);
        }
        if let Some(output) = by_kernel(self, &value) {
            return Ok(output);
        }
        let last = value.rank() - 1;
        Ok(match self {
            Self::Softmax => value.softmax(last),
            Self::LogSoftmax => value.log_softmax(last),
            Self::Sparsemax => sparsemax(value),
            Self::Glu => {
                let half = value.sizes()[last] / 2;
                value.clone().narrow(last, 0, half) * Self::Sigmoid.apply(value.narrow(last, half, half))?
            }
            other => value.map(ByElement(other)),
        })
    }
}

/// The elementwise activations.
struct ByElement<'a>(&'a Activation);

impl ElementWise for ByElement<'_> {
    fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self.0 {
            Activation::Relu => activation::relu(x),
            Activation::Relu6 => activation::relu6(x),
            Activation::LeakyRelu => activation::leaky_relu(x, 0.2),
            Activation::Elu => activation::elu(x, 1.0),
            Activation::Selu => activation::selu(x),
            Activation::Celu => activation::celu(x, 1.0),
            Activation::Gelu => activation::gelu(x),
            Activation::Silu => activation::silu(x),
            Activation::Tanh => activation::tanh(x),
            Activation::Sigmoid => activation::sigmoid(x),
            Activation::Softplus => activation::softplus(x, 1.0),
            Activation::Softsign => activation::softsign(x),
            Activation::Exponential => x.exp(),
            Activation::HardSigmoid => activation::hard_sigmoid(x, 1.0 / 6.0, 0.5),
            Activation::HardSigmoidKeras2 => activation::hard_sigmoid(x, 0.2, 0.5),
            Activation::HardSilu => x.clone() * activation::hard_sigmoid(x, 1.0 / 6.0, 0.5),
            Activation::HardTanh => activation::hardtanh(x, -1.0, 1.0),
            Activation::HardShrink => activation::hard_shrink(x, 0.5),
            Activation::SoftShrink => activation::soft_shrink(x, 0.5),
            Activation::TanhShrink => activation::tanhshrink(x),
            Activation::Squareplus => (x.clone() + (x.clone() * x + 4.0).sqrt()) * 0.5,
            Activation::Mish => activation::mish(x),
            Activation::LogSigmoid => activation::log_sigmoid(x),
            Activation::SparseSigmoid => ((x + 1.0) * 0.5).clamp(0.0, 1.0),
            Activation::SparsePlus => {
                // (x + 1)² / 4 where −1 ≤ x ≤ 1; beyond 1 the rest of x is added.
                let inside = x.clone().clamp(-1.0, 1.0) + 1.0;
                inside.clone() * inside * 0.25 + (x - 1.0).clamp_min(0.0)
            }
            // The others work on a whole axis, or were refused before.
            _ => x,
        }
    }
}

/// Keras's formula: the threshold is the paper's where one value stands out, and higher where several do, because their
/// partial sums are added up. The results of a Keras file must be those of Keras.
fn sparsemax(value: Value) -> Value {
    struct Sorted;
    impl ElementWise for Sorted {
        fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
            x.sort_descending(D - 1)
        }
    }
    let axis = value.rank() - 1;
    let sizes = value.sizes();
    let sorted = value.clone().map(Sorted);
    let cumulative = sorted.clone().cumsum(axis);
    let ones = sorted.clone().detach().mul_scalar(0.0).add_scalar(1.0);
    let counts = ones.cumsum(axis);
    // The support: ranks k with 1 + k·z(k) > Σ of the first k.
    let support = (sorted * counts).detach().add_scalar(1.0).greater(cumulative.clone().detach());
    let size = support.clone().sum_axis(axis);
    let threshold = (cumulative * support).sum_axis(axis).add_scalar(-1.0) / size;
    (value - threshold.expand(&sizes)).clamp_min(0.0)
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<&str> for Activation {
    fn from(name: &str) -> Self {
        name.parse().unwrap_or_else(|_| Self::Unknown(name.to_owned()))
    }
}

crate::config::also_argument!(&str => Activation);

impl Serialize for Activation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Activation {
    /// Reads a name; Keras also writes `null` for no activation.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<String>::deserialize(deserializer)? {
            None => Ok(Self::Linear),
            Some(name) => name.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// The kernels' form of an activation, if there is one.
pub(crate) fn kernel_activation(activation: &Activation) -> Option<Fast> {
    Some(match activation {
        Activation::Linear => Fast::Linear,
        Activation::Relu => Fast::Relu,
        Activation::Relu6 => Fast::Relu6,
        Activation::LeakyRelu => Fast::LeakyRelu(0.2),
        Activation::Elu | Activation::Celu => Fast::Elu(1.0),
        Activation::Selu => Fast::Selu,
        Activation::Sigmoid => Fast::Sigmoid,
        Activation::HardSigmoid => Fast::HardSigmoid,
        Activation::Tanh => Fast::Tanh,
        Activation::Softplus => Fast::Softplus,
        Activation::Softsign => Fast::Softsign,
        Activation::Exponential => Fast::Exponential,
        Activation::Silu => Fast::Silu,
        Activation::Gelu => Fast::Gelu,
        _ => return None,
    })
}

/// Applies an activation by a kernel, if there is one.
fn by_kernel(activation: &Activation, value: &Value) -> Option<Value> {
    let activation = kernel_activation(activation)?;
    run(&Elementwise { activation, sizes: value.sizes() }, [value])
}

#[derive(Clone, Debug)]
struct Elementwise {
    activation: Fast,
    sizes: Vec<usize>,
}

impl Kernel<1> for Elementwise {
    type Saved = ();
    const NEEDS_OUTPUT: bool = true;

    fn output_sizes(&self) -> Vec<usize> {
        self.sizes.clone()
    }

    fn forward(&self, [x]: [&[f32]; 1], output: &mut [f32], _: bool) {
        forward(self.activation, x, output);
    }

    fn backward(
        &self,
        [x]: [&[f32]; 1],
        output: &[f32],
        (): &(),
        gradient: &mut Gradient<'_>,
        [wanted]: [bool; 1],
    ) -> [Option<Vec<f32>>; 1] {
        let known = if self.activation.gradient_needs_only_output() { output } else { x };
        [wanted.then(|| {
            let mut dx = gradient.take();
            backward(self.activation, known, &mut dx);
            dx
        })]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn apply(activation: Activation, row: [f32; 4]) -> Vec<f32> {
        let value = Value::from_vec(row.to_vec(), &[1, 4], &Device::flex()).unwrap();
        activation.apply(value).unwrap().to_vec().unwrap()
    }

    #[test]
    fn sparsemax_agrees_with_keras() {
        assert_eq!(apply(Activation::Sparsemax, [0.0, 0.0, 3.0, -1.0]), [0.0, 0.0, 1.0, 0.0]);
        // The paper's result: one half each.
        assert_eq!(apply(Activation::Sparsemax, [1.0, 1.0, -5.0, -5.0]), [0.0; 4]);
        // τ = (z₀ + (z₀ + z₁) − 1) / 2, so that z₀ − τ only changes with z₁.
        let x = Value::from_vec(vec![1.5, 1.0, -5.0, -5.0], &[1, 4], &Device::flex()).unwrap().require_grad();
        let y = Activation::Sparsemax.apply(x.clone().mul_scalar(0.5)).unwrap();
        let mut gradients = y.narrow(1, 0, 1).sum().backward().unwrap();
        let gradient = x.take_gradient(&mut gradients).unwrap().to_vec().unwrap();
        assert_eq!(gradient, [0.0, -0.25, 0.0, 0.0]);
    }

    #[test]
    fn sparse_plus_is_piecewise() {
        assert_eq!(apply(Activation::SparsePlus, [-2.0, 0.0, 1.0, 3.0]), [0.0, 0.25, 1.0, 3.0]);
    }

    #[test]
    fn the_hard_sigmoid_of_keras_2_is_steeper() {
        assert_eq!(apply(Activation::HardSigmoidKeras2, [-3.0, 0.0, 1.0, 2.5]), [0.0, 0.5, 0.7, 1.0]);
        assert_eq!(apply(Activation::HardSigmoid, [-3.0, 0.0, 1.5, 3.0]), [0.0, 0.5, 0.75, 1.0]);
    }

    #[test]
    fn glu_halves_the_last_axis() {
        let out = apply(Activation::Glu, [2.0, 4.0, 0.0, 0.0]);
        assert_eq!(out, [1.0, 2.0]);
        let shape = Activation::Glu.output_shape(&Shape::batch_of(4)).unwrap();
        assert_eq!(shape, Shape::batch_of(2));
        assert!(Activation::Glu.output_shape(&Shape::batch_of(3)).is_err());
    }

    #[test]
    fn an_unknown_name_is_kept_and_refused() {
        let unknown = Activation::from("rellu");
        assert!(unknown.check().unwrap_err().to_string().contains("did you mean `relu`?"));
        assert!(serde_json::from_str::<Activation>("\"rellu\"").is_err());
    }
}
