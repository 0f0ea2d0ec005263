//! `Adafactor`: adaptive step sizes with sublinear memory.

use super::{HasBase, LearningRate, Optimizer, Slot, Step, WeightInfo, blended, check_positive, scaled};
use crate::error::{Error, Result};
use crate::kernels::optimizer as kernel;
use crate::ops::{self, Value};

crate::describe! {
    /// Adafactor (Shazeer and Stern 2018): the mean squares of a matrix are kept only as those of its rows and columns,
    /// which takes far less memory.
    ///
    /// With `β = 1 − t^beta_2_decay`, running means r and c of `g² + ε₁` over rows and columns and `v = r · c /
    /// mean(r)` (for vectors the running mean itself): `u = g / √v`, clipped to a root mean square of `clip_threshold`,
    /// and `w −= max(ε₂, rms(w)) · min(lr, 1 / √t) · u`.
    pub optimizer struct Adafactor {
        /// The largest relative step.
        learning_rate: LearningRate = LearningRate::Constant(0.001),
        /// The exponent of the means' decay.
        beta_2_decay: f32 = -0.8,
        /// Added to the divisor for numerical stability.
        epsilon_1: f32 = 1e-30,
        /// The lower bound of a weight's root mean square.
        epsilon_2: f32 = 1e-3,
        /// The largest root mean square of an update.
        clip_threshold: f32 = 1.0,
        /// Keras's argument for steps of at most 1/√t; Keras's formula bounds them either way.
        relative_step: bool = true,
    }
}

impl Adafactor {
    /// With a learning rate and Keras's defaults.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }
}

/// The root mean square, as one element.
fn rms(value: &Value) -> Value {
    value.clone().square().mean().sqrt()
}

impl Optimizer for Adafactor {
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot> {
        let (rows, columns) = match weight.sizes {
            [leading @ .., rows, columns] => ([leading, &[*rows]].concat(), [leading, &[*columns]].concat()),
            _ => (Vec::new(), Vec::new()),
        };
        vec![
            Slot::like(weight, "rows").of_sizes(&rows),
            Slot::like(weight, "columns").of_sizes(&columns),
            Slot::like(weight, "velocity"),
        ]
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value> {
        let number = step.number as f32;
        let rate = step.learning_rate.min(1.0 / number.sqrt());
        let kept = 1.0 - number.powf(self.beta_2_decay);
        let settings = kernel::Adafactor {
            learning_rate: rate,
            kept,
            epsilon_1: self.epsilon_1,
            epsilon_2: self.epsilon_2,
            clip_threshold: self.clip_threshold,
        };
        let mut weight = weight;
        if let [rows, columns, v] = slots
            && ops::adafactor_step(&settings, step.decay, &gradient, [&mut weight, rows, columns, v])
        {
            return Ok(weight);
        }
        let square = gradient.clone().square().add_scalar(self.epsilon_1);
        let sizes = weight.sizes();
        if let [.., _, _] = sizes[..] {
            let last = sizes.len() - 1;
            let (mut row_sizes, mut column_sizes) = (sizes.clone(), sizes.clone());
            (row_sizes[last], column_sizes[last - 1]) = (1, 1);
            let (slot_rows, slot_columns) = (slots[0].sizes(), slots[1].sizes());
            blended(&mut slots[0], square.clone().mean_axis(last).reshape(&slot_rows)?, kept);
            blended(&mut slots[1], square.mean_axis(last - 1).reshape(&slot_columns)?, kept);
            let mean = slots[0].clone().mean_axis(last - 1).expand(&slot_rows);
            let rows = (slots[0].clone() / mean).reshape(&row_sizes)?.expand(&sizes);
            slots[2] = rows * slots[1].clone().reshape(&column_sizes)?.expand(&sizes);
        } else {
            blended(&mut slots[2], square, kept);
        }
        let change = gradient / slots[2].clone().sqrt();
        let excess = rms(&change).mul_scalar(1.0 / self.clip_threshold).clamp_min(1.0);
        let factor = rms(&weight).clamp_min(self.epsilon_2).mul_scalar(rate) / excess;
        Ok(weight - scaled(change, &factor)?)
    }

    fn check(&self) -> Result<()> {
        check_positive(&[("epsilon_1", self.epsilon_1), ("epsilon_2", self.epsilon_2)])?;
        if !(self.clip_threshold.is_finite() && self.clip_threshold > 0.0) {
            return Err(Error::argument("clip_threshold", "a number above 0", self.clip_threshold));
        }
        if !(self.beta_2_decay.is_finite() && self.beta_2_decay <= 0.0) {
            return Err(Error::argument("beta_2_decay", "a number of at most 0", self.beta_2_decay));
        }
        self.base().check()
    }
}
