//! `BatchNormalization`: normalizes each channel to mean 0 and variance 1 over the batch.

use std::sync::Arc;

use crate::activations::Activation;
use crate::constraints::Constraint;
use crate::distributed::Communicator;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::kernels::batch_norm::{Affine, BatchNorm, PreparedNormalization};
use crate::layers::{
    BuiltIn, Call, Edge, Epilogue, Exporting, Freezing, Frozen, FrozenStep, Fused, Layer, OnnxNumbers as Numbers,
    WeightSpec, copied, each_part,
};
use crate::ops::{self, NormalizationParameters, Value};
use crate::regularizers::Regularizer;
use crate::shape::Shape;

use super::{axes_and_sizes, check_epsilon};

/// Keras's epsilon, added to the number of unmasked positions.
const EPSILON: f32 = 1e-7;

crate::describe! {
    /// `gamma · (x − mean) / √(variance + epsilon) + beta`, per channel (Ioffe and Szegedy 2015).
    ///
    /// In training, mean and variance are those of the batch, and the moving ones are updated by `moving · momentum +
    /// batch · (1 − momentum)`; in inference, and in a frozen layer, they are the moving ones. Masked time steps are
    /// ignored.
    ///
    /// # Shapes
    /// `(batch, …)` → the same; weights `gamma`, `beta`, `moving_mean` and `moving_variance` (channels).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Conv2D::new(8, 3).input_shape((10, 10, 3)))?.add(BatchNormalization::new())?;
    /// assert_eq!(model.count_params()?, (3 * 3 * 3 + 1) * 8 + 4 * 8);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct BatchNormalization {
        /// The axis of the channels; a negative one counts from the end.
        axis: isize = -1,
        /// The decay of the moving mean and variance.
        momentum: f32 = 0.99,
        /// Added to the variance.
        epsilon: f32 = 1e-3,
        /// Whether a learned shift is added.
        center: bool = true,
        /// Whether a learned factor is applied.
        scale: bool = true,
        /// The initializer of the shift.
        beta_initializer: Initializer = Initializer::Zeros {},
        /// The initializer of the factor.
        gamma_initializer: Initializer = Initializer::Ones {},
        /// The initializer of the moving mean.
        moving_mean_initializer: Initializer = Initializer::Zeros {},
        /// The initializer of the moving variance.
        moving_variance_initializer: Initializer = Initializer::Ones {},
        /// The penalty on the shift.
        beta_regularizer: Option<Regularizer> = None,
        /// The penalty on the factor.
        gamma_regularizer: Option<Regularizer> = None,
        /// The constraint on the shift.
        beta_constraint: Option<Constraint> = None,
        /// The constraint on the factor.
        gamma_constraint: Option<Constraint> = None,
        /// Whether mean and variance are those of the whole batch where several processes each compute a part of it
        /// ([`distributed`](crate::distributed)); by default they are those of the part.
        synchronized: bool = false,
    }
}

impl BatchNormalization {
    /// The layer with Keras's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    fn axis_and_size(&self, input: &Shape) -> Result<(usize, usize)> {
        let (axes, sizes) = axes_and_sizes(&self.axis.into(), input)?;
        Ok((axes[0], sizes[0]))
    }

    /// The indices of the moving mean and variance among the weights.
    fn statistics(&self) -> [usize; 2] {
        let first = usize::from(self.scale) + usize::from(self.center);
        [first, first + 1]
    }

    /// Updates the moving mean and variance by those of the batch.
    fn follow(&self, call: &mut Call<'_>, mean: Value, variance: Value) {
        for (weight, batch) in self.statistics().into_iter().zip([mean, variance]) {
            let batch = batch.detach().mul_scalar(1.0 - self.momentum);
            let moved = call.weight(weight).detach().mul_scalar(self.momentum) + batch;
            call.update(weight, moved);
        }
    }

    /// The kernel with a fused activation, for normalization over all axes but the last.
    fn fast(&self, input: &Value, call: &mut Call<'_>, activation: &Activation) -> Option<Value> {
        let weights = call.weights();
        let gamma = self.scale.then(|| &weights[0]);
        let beta = self.center.then(|| &weights[usize::from(self.scale)]);
        let by = NormalizationParameters { gamma, beta, epsilon: self.epsilon, activation };
        if !call.trainable() {
            let [mean, variance] = self.statistics();
            return ops::normalize_by(input, &weights[mean], &weights[variance], by);
        }
        if call.mask.is_some() || self.ranks(call).is_some() {
            return None;
        }
        let normalized = ops::normalize_batch(input, by)?;
        self.follow(call, normalized.mean, normalized.variance);
        Some(normalized.output)
    }

    /// Whether it normalizes the last axis of inputs of this rank.
    pub(crate) fn is_over_channels(&self, rank: usize) -> bool {
        self.axis == -1 || self.axis == rank as isize - 1
    }

    /// Number of weights.
    pub(crate) fn weight_count(&self) -> usize {
        self.statistics()[1] + 1
    }

    /// The layer in inference, folded into a factor and a summand per channel.
    pub(crate) fn folded(&self, weights: &[Value]) -> (Value, Value) {
        let [mean, variance] = self.statistics().map(|index| weights[index].clone());
        let mut factor = variance.add_scalar(self.epsilon).sqrt().recip();
        if self.scale {
            factor = factor * weights[0].clone();
        }
        let mut shift = -(mean * factor.clone());
        if self.center {
            shift = shift + weights[usize::from(self.scale)].clone();
        }
        (factor, shift)
    }

    /// The layer with an activation after it as a step of a predictor.
    fn frozen(&self, activation: &Activation, freezing: &Freezing<'_>) -> Option<Frozen> {
        let input = freezing.input()?;
        let channels = *input.last()?;
        if !self.is_over_channels(input.len() + 1) {
            return None;
        }
        let epilogue = Epilogue::of(activation)?;
        let [mean, variance] = self.statistics().map(|index| freezing.weight(index));
        let gamma = if self.scale { Some(freezing.weight(0)?) } else { None };
        let beta = if self.center { Some(freezing.weight(usize::from(self.scale))?) } else { None };
        let sizes = BatchNorm { rows: 0, channels, epsilon: self.epsilon };
        let affine = Affine { gamma: gamma.as_deref(), beta: beta.as_deref() };
        let prepared = PreparedNormalization::new(&sizes, &mean?, &variance?, affine, epilogue.inside());
        Some(FrozenBatchNormalization { prepared, epilogue, channels, len: input.iter().product() }.into())
    }

    /// The ranks over which mean and variance are taken, if there are several.
    fn ranks<'a>(&self, call: &Call<'a>) -> Option<&'a Arc<dyn Communicator>> {
        call.peers().filter(|_| self.synchronized)
    }

    /// Mean and variance over the parts of all ranks, in two exchanges: the mean of squares minus the square of the
    /// mean, in one, loses all digits of values that are far from 0 and close together.
    fn synchronized_moments(
        &self,
        input: &Value,
        axis: usize,
        mask: Option<&Value>,
        ranks: &Arc<dyn Communicator>,
    ) -> Result<(Value, Value)> {
        let sizes = input.sizes();
        let channels = sizes[axis];
        let sum = |value: Value| {
            let others = (0..sizes.len()).filter(|other| *other != axis);
            others.fold(value, |value, other| value.sum_axis(other)).reshape(&[channels])
        };
        let mask = match mask {
            Some(mask) => Some(mask.clone().reshape(&[&sizes[..sizes.len() - 1], &[1]].concat())?.expand(&sizes)),
            None => None,
        };
        let counted = |value: Value| match &mask {
            Some(mask) => value * mask.clone(),
            None => value,
        };
        let count = match &mask {
            Some(mask) => sum(mask.clone())?,
            None => Value::full(&[channels], (input.len() / channels.max(1)) as f32, &input.device())?,
        };
        let mut row = vec![1; sizes.len()];
        row[axis] = channels;
        let sums = ops::rank_sum(&Value::concat(vec![sum(counted(input.clone()))?, count], 0)?, ranks)?;
        let part = |index: usize| sums.clone().narrow(0, index * channels, channels).reshape(&row);
        let count = part(1)?.detach().clamp_min(EPSILON);
        let mean = part(0)? / count.clone();
        // The gradient flows through the mean, too.
        let differences = counted(input.clone() - mean.clone().expand(&sizes));
        let variance = ops::rank_sum(&sum(differences.square())?, ranks)?.reshape(&row)? / count;
        Ok((mean, variance))
    }

    /// Mean and variance of the batch per channel, with the input's rank.
    fn batch_moments(&self, input: &Value, axis: usize, mask: Option<&Value>) -> Result<(Value, Value)> {
        let others: Vec<usize> = (0..input.rank()).filter(|other| *other != axis).collect();
        let Some(mask) = mask else { return Ok(input.clone().moments(&others)) };
        let sizes = input.sizes();
        let leading = &sizes[..sizes.len() - 1];
        if mask.sizes() != leading {
            return Err(Error::shape(format!("a mask of shape {leading:?}"), format!("{:?}", mask.sizes())));
        }
        let mask = mask.clone().reshape(&[leading, &[1]].concat())?.expand(&sizes);
        let sum = |value: Value| others.iter().fold(value, |value, other| value.sum_axis(*other));
        let count = sum(mask.clone()).add_scalar(EPSILON);
        let mean = sum(input.clone() * mask.clone()) / count.clone();
        let differences = (input.clone() - mean.clone().expand(&sizes)) * mask;
        Ok((mean, sum(differences.square()) / count))
    }
}

impl Layer for BatchNormalization {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_epsilon(self.epsilon)?;
        if !self.momentum.is_finite() {
            return Err(Error::argument("momentum", "a number", self.momentum));
        }
        self.axis_and_size(input)?;
        Ok(input.clone())
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let sizes = vec![self.axis_and_size(input)?.1];
        let gamma = WeightSpec::new("gamma", sizes.clone(), self.gamma_initializer.clone())
            .regularizer(&self.gamma_regularizer)
            .constraint(&self.gamma_constraint);
        let beta = WeightSpec::new("beta", sizes.clone(), self.beta_initializer.clone())
            .regularizer(&self.beta_regularizer)
            .constraint(&self.beta_constraint);
        let mut specs = Vec::new();
        specs.extend(self.scale.then_some(gamma));
        specs.extend(self.center.then_some(beta));
        let mean = WeightSpec::new("moving_mean", sizes.clone(), self.moving_mean_initializer.clone());
        let variance = WeightSpec::new("moving_variance", sizes, self.moving_variance_initializer.clone());
        specs.extend([mean.non_trainable(), variance.non_trainable()]);
        Ok(specs)
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn is_synchronized(&self) -> bool {
        self.synchronized
    }

    fn absorb(&self, next: &dyn Layer, _: bool) -> Option<Box<dyn Fused>> {
        Some(Box::new(FusedNormalization { norm: self.clone(), activation: next.as_activation()? }))
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        self.frozen(&Activation::Linear, freezing)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let (axis, _) = self.axis_and_size(to.shape())?;
        let [mean, variance] = self.statistics();
        let (mean, variance) = (to.weight(mean)?.values, to.weight(variance)?.values);
        let gamma = to.weight_if(self.scale, 0)?;
        let beta = to.weight_if(self.center, usize::from(self.scale))?;
        let of = |values: &Option<Numbers>, index: usize, or: f64| {
            values.as_ref().map_or(or, |numbers| f64::from(numbers.values[index]))
        };
        let factor =
            |index: usize| of(&gamma, index, 1.0) / (f64::from(variance[index]) + f64::from(self.epsilon)).sqrt();
        let factors = (0..mean.len()).map(|index| factor(index) as f32).collect();
        let summands = mean
            .iter()
            .enumerate()
            .map(|(index, mean)| (of(&beta, index, 0.0) - f64::from(*mean) * factor(index)) as f32);
        let summands = summands.collect();
        let factors = to.along("factor", factors, axis, to.rank());
        let summands = to.along("summand", summands, axis, to.rank());
        let scaled = to.mul(to.input(), factors);
        Ok(vec![to.add(scaled, summands)])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        let shape = Shape::known(&sizes);
        let (axis, channels) = self.axis_and_size(&shape)?;
        if let Some(mask) = call.mask.as_ref().filter(|mask| mask.rank() + 1 != sizes.len()) {
            return Err(Error::shape(
                format!("a mask of {} dimensions", sizes.len() - 1),
                format!("{:?}", mask.sizes()),
            ));
        }
        let activation = call.next_activation.take().unwrap_or_default();
        let [mean, variance] = self.statistics();
        if axis + 1 == sizes.len()
            && let Some(output) = self.fast(&input, call, &activation)
        {
            return Ok(output);
        }
        let mut row = vec![1; sizes.len()];
        row[axis] = channels;
        let (mean, variance) = if call.trainable() {
            let (mean, variance) = match self.ranks(call) {
                Some(ranks) => self.synchronized_moments(&input, axis, call.mask.as_ref(), ranks)?,
                None => self.batch_moments(&input, axis, call.mask.as_ref())?,
            };
            self.follow(call, mean.clone().reshape(&[channels])?, variance.clone().reshape(&[channels])?);
            (mean, variance)
        } else {
            (call.weight(mean).reshape(&row)?, call.weight(variance).reshape(&row)?)
        };
        // One factor and one shift per channel, so that the large values are traversed only twice.
        let mut factor = variance.add_scalar(self.epsilon).sqrt().recip();
        if self.scale {
            factor = factor * call.weight(0).reshape(&row)?;
        }
        let mut shift = -(mean * factor.clone());
        if self.center {
            shift = shift + call.weight(usize::from(self.scale)).reshape(&row)?;
        }
        activation.apply(input * factor.expand(&sizes) + shift.expand(&sizes))
    }
}

/// The layer fused with the activation after it.
#[derive(Clone, Debug)]
struct FusedNormalization {
    norm: BatchNormalization,
    activation: Activation,
}

/// The layer in a predictor.
#[derive(Debug)]
struct FrozenBatchNormalization {
    prepared: PreparedNormalization,
    epilogue: Epilogue,
    channels: usize,
    len: usize,
}

impl FrozenStep for FrozenBatchNormalization {
    fn operations(&self) -> usize {
        self.len.saturating_mul(8)
    }

    fn in_place(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[&[f32]], samples: usize, threads: usize, output: &mut [f32]) {
        copied(inputs, output);
        each_part(threads, self.operations().saturating_mul(samples), output, self.channels, |_, rows| {
            self.prepared.apply(rows);
            self.epilogue.outside(self.channels, rows);
        });
    }
}

impl Fused for FusedNormalization {
    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        self.norm.frozen(&self.activation, freezing)
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        if input.is_empty() {
            return Ok(input);
        }
        call.next_activation = Some(self.activation.clone());
        self.norm.forward(input, call)
    }
}

impl BuiltIn for BatchNormalization {
    const LATE: &'static [(&'static str, &'static str)] = &[("synchronized", "false")];

    fn renew(config: &mut crate::config::Config, _: bool) {
        // Keras 2 wrote a list of one axis.
        if let Some(axis) = config.get_mut("axis")
            && let Some([only]) = axis.as_array().map(Vec::as_slice)
        {
            *axis = only.clone();
        }
    }

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(), Shape::batch_of(4)),
            (Self::new().axis(1).momentum(0.9), Shape::batch_of((2, 3, 4))),
            (Self::new().scale(false), Shape::batch_of((3, 2, 4))),
            (Self::new().center(false).scale(false).epsilon(1e-2), Shape::batch_of((2, 4))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn weights(channels: usize) -> Vec<Value> {
        [1.0, 0.0, 0.0, 1.0].map(|fill| Value::full(&[channels], fill, &Device::flex()).unwrap()).into()
    }

    #[test]
    fn a_frozen_layer_uses_the_moving_statistics() {
        let weights = weights(1);
        let input = Value::from_vec(vec![1.0, 3.0], &[2, 1], &Device::flex()).unwrap();
        let mut call = Call::training(&weights, false, &[1, 2, 3]);
        let output = BatchNormalization::new().epsilon(1e-6).forward(input, &mut call).unwrap().to_vec().unwrap();
        assert!(output.iter().zip([1.0, 3.0]).all(|(a, b)| (a - b).abs() < 1e-4), "{output:?}");
        assert!(call.updates().is_empty());
    }

    #[test]
    fn masked_steps_are_ignored() {
        let weights = weights(1);
        let input = Value::from_vec(vec![1.0, 3.0, 100.0, 2.0], &[2, 2, 1], &Device::flex()).unwrap();
        let mut call = Call::training(&weights, true, &[1, 2, 3]);
        call.mask = Some(Value::from_vec(vec![1.0, 1.0, 0.0, 1.0], &[2, 2], &Device::flex()).unwrap());
        BatchNormalization::new().momentum(0.0).forward(input, &mut call).unwrap();
        let statistics: Vec<f32> = call.updates().iter().map(|update| update.value.to_scalar().unwrap()).collect();
        assert!((statistics[0] - 2.0).abs() < 1e-5 && (statistics[1] - 2.0 / 3.0).abs() < 1e-5, "{statistics:?}");
    }

    #[test]
    fn an_axis_out_of_range_and_the_batch_axis_are_refused() {
        for axis in [0, 2, -3, -2] {
            assert!(BatchNormalization::new().axis(axis).output_shape(&Shape::batch_of(3)).is_err(), "{axis}");
        }
    }
}
