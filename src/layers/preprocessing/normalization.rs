//! `Normalization`: normalizes features to mean 0 and variance 1 over a data set.

use super::Numbers;
use crate::config::{Config, Configure};
use crate::constraints::Axes;
use crate::datasets::IntoSamples;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::kernels::activation::Activation;
use crate::kernels::batch_norm::PreparedNormalization;
use crate::kernels::merge;
use crate::layers::{
    BuiltIn, Call, Common, Edge, Exporting, Freezing, Frozen, FrozenStep, HasCommon, Layer, LayerArguments,
    OnnxNumbers, WeightSpec, copied, each_part,
};
use crate::ops::Value;
use crate::shape::Shape;

/// Keras's epsilon, the lower bound of the divisor.
const EPSILON: f32 = 1e-7;

crate::describe! {
    /// The arguments of [`Normalization`].
    struct NormalizationArguments as "Normalization" {
        /// The axes that keep their own means and variances; none for a scalar mean and variance.
        axis: Option<Axes> = Some(Axes::One(-1)),
        /// The mean, in place of a learned one.
        mean: Option<Numbers> = None,
        /// The variance, in place of a learned one.
        variance: Option<Numbers> = None,
        /// Whether to denormalize: from mean 0 and variance 1 to those of the data.
        invert: bool = false,
    }
}

/// `(x − mean) / √variance`, with mean and variance of a data set.
///
/// They are given, or learned by [`adapt`](Self::adapt); otherwise they are weights to be loaded from a file.
///
/// # Shapes
/// `(batch, …)` → the same; weights `mean` and `variance` of the sizes of the axes and `count`, unless mean and
/// variance are given.
///
/// ```
/// use brasa::prelude::*;
/// let data = ndarray::array![[0.0f32, 10.0], [2.0, 30.0]];
/// let mut model = Sequential::new();
/// model.add(Normalization::new().adapt(&data)?.input_shape(2))?;
/// assert_eq!(model.predict(&data)?, ndarray::array![[-1.0, -1.0], [1.0, 1.0]].into_dyn());
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Normalization {
    common: Common,
    arguments: NormalizationArguments,
    /// The mean and variance found by `adapt`.
    adapted: Option<(Vec<f32>, Vec<f32>)>,
}

impl Normalization {
    /// The layer with Keras's defaults: a mean and variance for each index of the last axis.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the axes that keep their own means and variances (default: the last); `None` for scalars.
    #[must_use]
    pub fn axis(mut self, axis: impl crate::config::Argument<Option<Axes>>) -> Self {
        self.arguments = self.arguments.axis(axis);
        self
    }

    /// Sets the mean and variance, in place of learned ones.
    #[must_use]
    pub fn moments(mut self, mean: impl Into<Numbers>, variance: impl Into<Numbers>) -> Self {
        self.arguments = self.arguments.mean(mean.into()).variance(variance.into());
        self
    }

    /// Sets whether to denormalize: from mean 0 and variance 1 to those of the data (default: no).
    #[must_use]
    pub fn invert(mut self, invert: bool) -> Self {
        self.arguments = self.arguments.invert(invert);
        self
    }

    /// Learns mean and variance from `data`.
    ///
    /// # Errors
    /// [`Error::Argument`] if they are given or the data has no such axis; [`Error::Data`] without data.
    pub fn adapt(mut self, data: impl IntoSamples) -> Result<Self> {
        if self.arguments.mean.is_some() {
            return Err(Error::argument("mean", "None, for `adapt` to learn it", "a mean"));
        }
        // Weights kept from an earlier model do not hold for this data.
        self.common.brought.0.clear();
        let data = data.into_samples()?;
        data.expect_numbers("data to adapt to")?;
        if data.is_empty() || data.sample_len() == 0 {
            return Err(Error::data("data to adapt to", "at least one sample", "an empty data set"));
        }
        let shape = Shape::batch_of(data.sample_shape());
        let (axes, sizes) = self.kept(&shape)?;
        // The index of each number of the data in the kept axes.
        let lengths = [&[data.len()], data.sample_shape()].concat();
        let cell_of = |mut index: usize| {
            let mut position = vec![0; lengths.len()];
            for (own, length) in position.iter_mut().zip(&lengths).rev() {
                (*own, index) = (index % length, index / length);
            }
            axes.iter().fold(0, |cell, axis| cell * lengths[*axis] + position[*axis])
        };
        let values = data.to_vec_f32();
        let cells: usize = sizes.iter().product();
        let count = (values.len() / cells) as f64;
        let mut mean = vec![0.0f64; cells];
        values.iter().enumerate().for_each(|(index, value)| mean[cell_of(index)] += f64::from(*value) / count);
        let mut variance = vec![0.0f64; cells];
        for (index, value) in values.iter().enumerate() {
            let cell = cell_of(index);
            variance[cell] += (f64::from(*value) - mean[cell]).powi(2) / count;
        }
        let narrow = |wide: Vec<f64>| wide.into_iter().map(|value| value as f32).collect();
        self.adapted = Some((narrow(mean), narrow(variance)));
        Ok(self)
    }

    /// The kept axes, resolved, and their sizes.
    fn kept(&self, input: &Shape) -> Result<(Vec<usize>, Vec<usize>)> {
        let axes = match &self.arguments.axis {
            Some(axes) => axes.positions(input.rank())?,
            None => Vec::new(),
        };
        if axes.contains(&0) {
            return Err(Error::argument("axis", "axes of a sample, not the batch's", 0));
        }
        let sizes = axes.iter().map(|axis| input.sizes()[*axis]).collect::<Option<Vec<_>>>();
        Ok((axes, sizes.ok_or_else(|| Error::shape("known sizes of the kept axes", input))?))
    }

    /// The mean or variance, broadcast to the input.
    fn broadcast(&self, numbers: &Numbers, axes: &[usize], input: &Value) -> Result<Value> {
        let sizes = input.sizes();
        match numbers {
            Numbers::One(number) => Value::full(&sizes, *number, &input.device()),
            Numbers::Each(numbers) => {
                let row = Value::from_vec(numbers.clone(), &[numbers.len()], &input.device())?;
                row.broadcast(&axes[axes.len().saturating_sub(1)..], &sizes)
            }
        }
    }
}

impl HasCommon for Normalization {
    fn common(&self) -> &Common {
        &self.common
    }

    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}

impl LayerArguments for Normalization {}

impl Configure for Normalization {
    const CLASS_NAME: &'static str = NormalizationArguments::CLASS_NAME;
    const ARGUMENTS: &'static [&'static str] = NormalizationArguments::ARGUMENTS;

    fn config(&self) -> Result<Config> {
        self.arguments.config()
    }

    fn from_config(config: Config) -> Result<Self> {
        Ok(Self { arguments: NormalizationArguments::from_config(config)?, ..Self::default() })
    }
}

impl Layer for Normalization {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let (_, sizes) = self.kept(input)?;
        let NormalizationArguments { mean, variance, .. } = &self.arguments;
        if mean.is_some() != variance.is_some() {
            return Err(Error::argument("variance", "both mean and variance, or none", "one of them"));
        }
        for (argument, numbers) in [("mean", mean), ("variance", variance)] {
            if let Some(Numbers::Each(numbers)) = numbers
                && sizes.last() != Some(&numbers.len())
            {
                let expected = format!("one number, or one for each cell of the last kept axis {sizes:?}");
                return Err(Error::argument(argument, expected, format!("{numbers:?}")));
            }
        }
        if let Some((mean, _)) = &self.adapted
            && mean.len() != sizes.iter().product::<usize>()
        {
            return Err(Error::shape(
                format!("the shape of the adapted data, with {} indices of the kept axes", mean.len()),
                input,
            ));
        }
        Ok(input.clone())
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        if self.arguments.mean.is_some() {
            return Ok(Vec::new());
        }
        let (_, sizes) = self.kept(input)?;
        let (mean, variance) = self.adapted.clone().unzip();
        let specs = [
            WeightSpec::new("mean", sizes.clone(), Initializer::Zeros {}).with_values(mean),
            WeightSpec::new("variance", sizes, Initializer::Ones {}).with_values(variance),
            // Kept as in Keras, for files of its earlier versions.
            WeightSpec::new("count", [], Initializer::Zeros {}),
        ];
        Ok(specs.map(WeightSpec::non_trainable).into())
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        let input = freezing.input()?;
        let shape = Shape::batch_of(input);
        let (axes, sizes) = self.kept(&shape).ok()?;
        let width = match axes[..] {
            [] => 1,
            [axis] if axis == input.len() => sizes[0],
            _ => return None,
        };
        let given = |numbers: &Option<Numbers>| match numbers {
            Some(Numbers::One(number)) => Some(vec![*number; width]),
            Some(Numbers::Each(numbers)) => Some(numbers.clone()),
            None => None,
        };
        let mean = given(&self.arguments.mean).or_else(|| freezing.weight(0))?;
        let variance = given(&self.arguments.variance).or_else(|| freezing.weight(1))?;
        if [mean.len(), variance.len()] != [width; 2] {
            return None;
        }
        let deviation = variance.iter().map(|variance| variance.sqrt().max(EPSILON));
        let len = input.iter().product();
        Some(
            match self.arguments.invert {
                true => {
                    let [factors, summands] = [deviation.collect(), mean].map(merge::repeated);
                    FrozenNormalization::Invert { factors, summands, len }
                }
                false => {
                    let factors = deviation.map(|deviation| 1.0 / deviation).collect();
                    FrozenNormalization::Normalize(
                        PreparedNormalization::with_factors(mean, factors, Activation::Linear),
                        len,
                    )
                }
            }
            .into(),
        )
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let rank = to.rank();
        let (axes, sizes) = self.kept(to.shape())?;
        let all = |numbers: &Numbers| match numbers {
            Numbers::One(number) => (Vec::new(), vec![*number]),
            Numbers::Each(numbers) => {
                let mut row = vec![1; rank];
                axes.last().into_iter().for_each(|axis| row[*axis] = numbers.len());
                (row, numbers.clone())
            }
        };
        let ((mean_sizes, mean), (variance_sizes, variance)) = match (&self.arguments.mean, &self.arguments.variance) {
            (Some(mean), Some(variance)) => (all(mean), all(variance)),
            _ => {
                let mut row = vec![1; rank];
                axes.iter().zip(&sizes).for_each(|(axis, size)| row[*axis] = *size);
                ((row.clone(), to.weight(0)?.values), (row, to.weight(1)?.values))
            }
        };
        let deviation = variance.iter().map(|variance| variance.sqrt().max(EPSILON)).collect();
        let mean = to.constant("mean", OnnxNumbers { sizes: mean_sizes, values: mean });
        let deviation = to.constant("deviation", OnnxNumbers { sizes: variance_sizes, values: deviation });
        if self.arguments.invert {
            let product = to.mul(to.input(), deviation);
            return Ok(vec![to.add(mean, product)]);
        }
        let difference = to.sub(to.input(), mean);
        Ok(vec![to.div(difference, deviation)])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        let shape = Shape::known(&sizes);
        let (axes, _) = self.kept(&shape)?;
        let (mean, variance) = match (&self.arguments.mean, &self.arguments.variance) {
            (Some(mean), Some(variance)) => {
                (self.broadcast(mean, &axes, &input)?, self.broadcast(variance, &axes, &input)?)
            }
            _ => (call.weight(0).broadcast(&axes, &sizes)?, call.weight(1).broadcast(&axes, &sizes)?),
        };
        let deviation = variance.sqrt().clamp_min(EPSILON);
        Ok(if self.arguments.invert { mean + input * deviation } else { (input - mean) / deviation })
    }
}

/// The layer in a predictor, for samples of so many values.
#[derive(Debug)]
enum FrozenNormalization {
    Normalize(PreparedNormalization, usize),
    Invert { factors: Vec<f32>, summands: Vec<f32>, len: usize },
}

impl FrozenStep for FrozenNormalization {
    fn operations(&self) -> usize {
        let (Self::Normalize(_, len) | Self::Invert { len, .. }) = self;
        len.saturating_mul(4)
    }

    fn in_place(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[&[f32]], samples: usize, threads: usize, output: &mut [f32]) {
        copied(inputs, output);
        let operations = self.operations().saturating_mul(samples);
        match self {
            Self::Normalize(prepared, _) => {
                each_part(threads, operations, output, prepared.channels(), |_, part| prepared.apply(part));
            }
            Self::Invert { factors, summands, .. } => {
                each_part(threads, operations, output, factors.len(), |_, part| merge::scale(factors, summands, part));
            }
        }
    }
}

impl BuiltIn for Normalization {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(), Shape::batch_of(3)),
            (Self::new().axis([1, 2]), Shape::batch_of((3, 2))),
            (Self::new().axis(None).moments(0.5, 4.0).invert(true), Shape::batch_of((3, 2))),
            (Self::new().moments(vec![0.5, 1.0], vec![4.0, 1.0]), Shape::batch_of((3, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::{Input, Sequential};

    #[test]
    fn several_axes_keep_a_mean_per_index_pair() {
        let data = ndarray::Array::from_shape_fn((4, 2, 3), |(i, j, k)| (i * (j + 1) + 10 * k) as f32);
        let layer = Normalization::new().axis([1, 2]).adapt(&data).unwrap();
        let (mean, variance) = layer.adapted.clone().unwrap();
        assert_eq!(mean, [1.5, 11.5, 21.5, 3.0, 13.0, 23.0]);
        assert_eq!(variance, [1.25, 1.25, 1.25, 5.0, 5.0, 5.0]);
        let one = Normalization::new().axis(None).adapt(&data).unwrap();
        assert_eq!(one.adapted.unwrap().0, [12.25]);
    }

    /// The results of `adapt` survive in a nested model.
    #[test]
    fn adapted_values_become_the_weights() {
        let data = ndarray::array![[0.0f32, 10.0], [2.0, 30.0]];
        let mut inner = Sequential::new();
        inner.add(Normalization::new().adapt(&data).unwrap()).unwrap();
        let mut model = Sequential::new();
        model.add(Input::new(2)).unwrap().add(inner).unwrap();
        let weights = model.get_weights().unwrap();
        assert_eq!(weights[0].as_slice().unwrap(), [1.0, 20.0]);
        assert_eq!(weights[1].as_slice().unwrap(), [1.0, 100.0]);
    }

    #[test]
    fn incompatible_arguments_are_refused() {
        let input = Shape::batch_of((3, 2));
        assert!(Normalization::new().axis(0).output_shape(&input).is_err());
        assert!(Normalization::new().moments(vec![1.0; 3], 1.0).output_shape(&input).is_err());
        assert!(Normalization::new().moments(0.0, 1.0).adapt(&ndarray::array![1.0f32]).is_err());
        let adapted = Normalization::new().adapt(&ndarray::array![[1.0f32, 2.0, 3.0]]).unwrap();
        assert!(adapted.output_shape(&input).is_err());
    }
}
