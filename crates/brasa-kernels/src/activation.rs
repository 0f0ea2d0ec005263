//! Activation functions and their gradients.

use super::math::{exp, normal_cdf, sigmoid, softplus, tanh};
use super::parallel;
use super::simd::simd;

/// An elementwise activation. Formulas as in Keras.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x`
    Linear,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x` if positive, else `slope · x`; the slope must not be negative.
    LeakyRelu(f32),
    /// `x` if positive, else `alpha · (eˣ - 1)`; alpha must not be negative.
    Elu(f32),
    /// Elu with alpha 1.6732632, times 1.050701.
    Selu,
    /// `1 / (1 + e⁻ˣ)`
    Sigmoid,
    /// `min(max(x + 3, 0), 6) / 6`
    HardSigmoid,
    /// `tanh x`
    Tanh,
    /// `ln(1 + eˣ)`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `eˣ`
    Exponential,
    /// `x · sigmoid(x)`
    Silu,
    /// `x · Φ(x)`, with Φ the normal distribution function.
    Gelu,
    /// Gelu's approximation `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
    GeluTanh,
}

/// The activation at the end of a forward pass, and its result.
#[derive(Clone, Copy, Debug)]
pub struct ActivationOutput<'a> {
    /// The activation; its gradient must follow from its output alone.
    pub activation: Activation,
    /// The forward pass's result.
    pub y: &'a [f32],
}

const SELU_ALPHA: f32 = 1.673_263_2;
const SELU_SCALE: f32 = 1.050_701;
/// √(2/π)
const GELU_RATE: f32 = 0.797_884_6;
const GELU_CUBE: f32 = 0.044715;
/// 1/√(2π)
const NORMAL_PEAK: f32 = 0.398_942_3;

impl Activation {
    /// Whether the gradient follows from the output alone. Such an activation is non-decreasing.
    pub fn gradient_needs_only_output(self) -> bool {
        match self {
            Activation::Silu | Activation::Gelu | Activation::GeluTanh => false,
            Activation::LeakyRelu(slope) | Activation::Elu(slope) => slope > 0.0,
            _ => true,
        }
    }

    /// Replaces every value by its activation, on the calling thread.
    pub fn apply(self, x: &mut [f32]) {
        if self != Activation::Linear {
            apply(self, x);
        }
    }

    /// Multiplies each gradient of an output by the derivative there, on the calling thread. `y` holds the outputs.
    ///
    /// # Panics
    /// If lengths differ, or if the gradient does not follow from the output alone.
    pub fn gradient_from_output(self, y: &[f32], gradient: &mut [f32]) {
        assert_eq!(y.len(), gradient.len(), "outputs and gradients differ in number");
        assert!(self.gradient_needs_only_output(), "the gradient of {self:?} does not follow from its output");
        if self != Activation::Linear {
            from_output(self, y, gradient);
        }
    }

    /// Multiplies each gradient of an output by the derivative there, on the calling thread. `x` holds the inputs.
    ///
    /// # Panics
    /// If lengths differ.
    pub fn gradient_from_input(self, x: &[f32], gradient: &mut [f32]) {
        assert_eq!(x.len(), gradient.len(), "inputs and gradients differ in number");
        match self {
            Activation::Linear => {}
            _ if !self.gradient_needs_only_output() => from_input(self, x, gradient),
            _ => {
                // Through the output, a block at a time.
                let mut y = [0.0; 256];
                for (x, gradient) in x.chunks(256).zip(gradient.chunks_mut(256)) {
                    let y = &mut y[..x.len()];
                    y.copy_from_slice(x);
                    apply(self, y);
                    from_output(self, y, gradient);
                }
            }
        }
    }
}

/// `y = f(x)`, shared between threads.
///
/// # Panics
/// If lengths differ.
pub fn forward(activation: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "inputs and outputs differ in number");
    let (threads, step) = parallel::pass(x.len());
    let tasks = x.chunks(step).zip(y.chunks_mut(step)).collect();
    parallel::each(threads, tasks, |(x, y): (&[f32], &mut [f32])| {
        y.copy_from_slice(x);
        activation.apply(y);
    });
}

/// `gradient *= f'(x)`, shared between threads; `known` holds the outputs if
/// [`Activation::gradient_needs_only_output`], else the inputs.
///
/// # Panics
/// If lengths differ.
pub fn backward(activation: Activation, known: &[f32], gradient: &mut [f32]) {
    assert_eq!(known.len(), gradient.len(), "values and gradients differ in number");
    let (threads, step) = parallel::pass(gradient.len());
    let tasks = known.chunks(step).zip(gradient.chunks_mut(step)).collect();
    parallel::each(threads, tasks, |(known, gradient): (&[f32], &mut [f32])| {
        if activation.gradient_needs_only_output() {
            activation.gradient_from_output(known, gradient);
        } else {
            activation.gradient_from_input(known, gradient);
        }
    });
}

simd! {
    fn apply<I>(activation: Activation, x: &mut [f32]) {
        // A macro, not a closure: a closure might stay a call, compiled without the level's target features.
        macro_rules! each {
            ($v:ident => $value:expr) => {
                for v in x.iter_mut() {
                    let $v = *v;
                    *v = $value;
                }
            };
        }
        match activation {
            Activation::Linear => {}
            Activation::Relu => each!(v => if v < 0.0 { 0.0 } else { v }),
            Activation::Relu6 => each!(v => clamp6(v)),
            Activation::LeakyRelu(slope) => each!(v => if v < 0.0 { slope * v } else { v }),
            Activation::Elu(alpha) => each!(v => if v < 0.0 { alpha * exp_m1::<I>(v) } else { v }),
            Activation::Selu => each!(v => SELU_SCALE * if v < 0.0 { SELU_ALPHA * exp_m1::<I>(v) } else { v }),
            Activation::Sigmoid => each!(v => sigmoid::<I>(v)),
            Activation::HardSigmoid => each!(v => clamp6(v + 3.0) * (1.0 / 6.0)),
            Activation::Tanh => each!(v => tanh::<I>(v)),
            Activation::Softplus => each!(v => softplus::<I>(v)),
            Activation::Softsign => each!(v => v / (1.0 + v.abs())),
            Activation::Exponential => each!(v => exp::<I>(v)),
            Activation::Silu => each!(v => v * sigmoid::<I>(v)),
            Activation::Gelu => each!(v => v * normal_cdf::<I>(v)),
            Activation::GeluTanh => {
                each!(v => 0.5 * v * (1.0 + tanh::<I>(GELU_RATE * I::mul_add(GELU_CUBE * v * v, v, v))))
            }
        }
    }
}

simd! {
    fn from_output<I>(activation: Activation, y: &[f32], gradient: &mut [f32]) {
        macro_rules! each {
            ($v:ident => $derivative:expr) => {
                for (g, v) in gradient.iter_mut().zip(y) {
                    let $v = *v;
                    *g *= $derivative;
                }
            };
        }
        match activation {
            // Where the output is not positive the gradient is zero, even if it was infinite.
            Activation::Relu => gradient.iter_mut().zip(y).for_each(|(g, y)| *g = if *y <= 0.0 { 0.0 } else { *g }),
            Activation::Relu6 => each!(y => if y <= 0.0 || y >= 6.0 { 0.0 } else { 1.0 }),
            Activation::LeakyRelu(slope) => each!(y => if y < 0.0 { slope } else { 1.0 }),
            Activation::Elu(alpha) => each!(y => if y < 0.0 { y + alpha } else { 1.0 }),
            Activation::Selu => each!(y => if y < 0.0 { y + SELU_SCALE * SELU_ALPHA } else { SELU_SCALE }),
            Activation::Sigmoid => each!(y => y * (1.0 - y)),
            Activation::HardSigmoid => each!(y => if y <= 0.0 || y >= 1.0 { 0.0 } else { 1.0 / 6.0 }),
            Activation::Tanh => each!(y => 1.0 - y * y),
            Activation::Softplus => each!(y => -exp_m1::<I>(-y)),
            Activation::Softsign => each!(y => (1.0 - y.abs()) * (1.0 - y.abs())),
            Activation::Exponential => each!(y => y),
            Activation::Linear | Activation::Silu | Activation::Gelu | Activation::GeluTanh => {}
        }
    }
}

simd! {
    fn from_input<I>(activation: Activation, x: &[f32], gradient: &mut [f32]) {
        macro_rules! each {
            ($v:ident => $derivative:expr) => {
                for (g, v) in gradient.iter_mut().zip(x) {
                    let $v = *v;
                    *g *= $derivative;
                }
            };
        }
        match activation {
            Activation::LeakyRelu(slope) => each!(x => if x < 0.0 { slope } else { 1.0 }),
            Activation::Elu(alpha) => each!(x => if x < 0.0 { alpha * exp::<I>(x) } else { 1.0 }),
            Activation::Silu => each!(x => {
                let s = sigmoid::<I>(x);
                s * (1.0 + x * (1.0 - s))
            }),
            Activation::Gelu => each!(x => normal_cdf::<I>(x) + x * NORMAL_PEAK * exp::<I>(-0.5 * x * x)),
            Activation::GeluTanh => each!(x => {
                let t = tanh::<I>(GELU_RATE * I::mul_add(GELU_CUBE * x * x, x, x));
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * GELU_RATE * (1.0 + 3.0 * GELU_CUBE * x * x)
            }),
            _ => {}
        }
    }
}

/// eˣ - 1 for x ≤ 0, without losing digits near zero: 2·tanh(x/2) / (1 - tanh(x/2)).
#[inline(always)]
fn exp_m1<I: super::simd::Isa>(x: f32) -> f32 {
    let t = tanh::<I>(0.5 * x);
    2.0 * t / (1.0 - t)
}

#[inline(always)]
fn clamp6(v: f32) -> f32 {
    let v = if v < 0.0 { 0.0 } else { v };
    if v > 6.0 { 6.0 } else { v }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::at_every_level;
    use Activation::*;

    const ALL: [Activation; 15] = [
        Linear,
        Relu,
        Relu6,
        LeakyRelu(0.2),
        Elu(1.5),
        Selu,
        Sigmoid,
        HardSigmoid,
        Tanh,
        Softplus,
        Softsign,
        Exponential,
        Silu,
        Gelu,
        GeluTanh,
    ];

    fn reference(activation: Activation, x: f64) -> f64 {
        match activation {
            Linear => x,
            Relu => x.max(0.0),
            Relu6 => x.clamp(0.0, 6.0),
            LeakyRelu(slope) => {
                if x < 0.0 {
                    slope as f64 * x
                } else {
                    x
                }
            }
            Elu(alpha) => {
                if x < 0.0 {
                    alpha as f64 * x.exp_m1()
                } else {
                    x
                }
            }
            Selu => 1.0507009873554805 * if x < 0.0 { 1.6732632423543772 * x.exp_m1() } else { x },
            Sigmoid => 1.0 / (1.0 + (-x).exp()),
            HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Tanh => x.tanh(),
            Softplus => x.exp().ln_1p(),
            Softsign => x / (1.0 + x.abs()),
            Exponential => x.exp(),
            Silu => x / (1.0 + (-x).exp()),
            Gelu => x * reference_cdf(x),
            GeluTanh => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()),
        }
    }

    fn reference_cdf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= x * x / (2 * n + 1) as f64;
            sum += term;
        }
        0.5 + sum * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
    }

    /// Away from the kinks of the piecewise functions, where there is no derivative.
    fn points() -> Vec<f32> {
        (0..403).map(|i| (i as f32 - 200.3) * 0.04).collect()
    }

    #[test]
    fn outputs_agree_with_double_precision() {
        at_every_level(|level| {
            for activation in ALL {
                let x = points();
                let mut y = vec![0.0; x.len()];
                forward(activation, &x, &mut y);
                for (x, y) in x.iter().zip(&y) {
                    let expected = reference(activation, *x as f64);
                    let error = (*y as f64 - expected).abs();
                    assert!(
                        error <= 1e-6 * expected.abs() + 1e-7,
                        "{level:?} {activation:?}({x}) = {y}, not {expected}"
                    );
                }
            }
        });
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        at_every_level(|level| {
            for activation in ALL {
                let x = points();
                let mut known = x.clone();
                if activation.gradient_needs_only_output() {
                    activation.apply(&mut known);
                }
                let (mut dx, mut direct) = (vec![2.0; x.len()], vec![2.0; x.len()]);
                backward(activation, &known, &mut dx);
                activation.gradient_from_input(&x, &mut direct);
                for i in 0..x.len() {
                    let (at, h) = (x[i] as f64, 1e-5);
                    let slope = (reference(activation, at + h) - reference(activation, at - h)) / h;
                    for dx in [dx[i], direct[i]] {
                        assert!(
                            (dx as f64 - slope).abs() < 1e-5 * slope.abs() + 2e-5,
                            "{level:?} {activation:?}'({at}): {dx} {slope}"
                        );
                    }
                }
            }
        });
    }

    #[test]
    fn slopes_that_are_not_positive_have_gradients_of_the_input() {
        at_every_level(|level| {
            for slope in [0.0, -0.5] {
                let (leaky, elu) = (Activation::LeakyRelu(slope), Activation::Elu(slope));
                for (activation, below) in [(leaky, slope), (elu, slope * (-1.0f32).exp())] {
                    let mut dx = [2.0; 2];
                    backward(activation, &[-1.0, 1.0], &mut dx);
                    assert!((dx[0] - 2.0 * below).abs() < 1e-6 && dx[1] == 2.0, "{level:?} {activation:?}: {dx:?}");
                }
            }
        });
    }

    #[test]
    fn nan_propagates() {
        for activation in ALL {
            let mut x = [f32::NAN; 40];
            activation.apply(&mut x);
            assert!(x.iter().all(|v| v.is_nan()), "{activation:?}");
        }
    }
}
