//! `Discretization`: sorts numbers into bins.

use super::OutputMode;
use crate::datasets::IntoSamples;
use crate::error::{Error, Result};
use crate::formats::onnx::Element;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer, OnnxNumbers as Numbers};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// The bin of each input, that is the number of boundaries that it has reached, as an integer or one-hot encoded.
    ///
    /// The boundaries are given, or learned from data by [`adapt`](Self::adapt).
    ///
    /// # Shapes
    /// `(batch, …)` → the same for `int`; `(batch, …, bins)` for `one_hot`, which drops a last dimension of 1;
    /// `(batch, numbers, …)` → `(batch, …, bins)` for `multi_hot` and `count`. There is one bin more than boundaries.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Discretization::new([0.0, 1.0]).input_shape(3))?;
    /// let bins = model.predict(&ndarray::array![[-0.5f32, 0.0, 3.0]])?;
    /// assert_eq!(bins, ndarray::array![[0.0, 1.0, 2.0]].into_dyn());
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Discretization {
        /// The sorted boundaries between bins.
        bin_boundaries: Option<Vec<f32>> = None,
        /// The number of bins for `adapt`.
        num_bins: Option<usize> = None,
        /// The precision of `adapt`, as a fraction of the data.
        epsilon: f32 = 0.01,
        /// The kind of output.
        output_mode: OutputMode = OutputMode::Int,
    }
}

impl Discretization {
    /// Bins with the given boundaries.
    pub fn new(bin_boundaries: impl Into<Vec<f32>>) -> Self {
        Self { bin_boundaries: Some(bin_boundaries.into()), ..Self::default() }
    }

    /// `num_bins` bins of about equal counts in the data; for [`adapt`](Self::adapt).
    pub fn with_bins(num_bins: usize) -> Self {
        Self { num_bins: Some(num_bins), ..Self::default() }
    }

    /// Finds the boundaries that split the numbers of `data` into `num_bins` bins of equal counts, to about `epsilon`,
    /// as Keras does.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let layer = Discretization::with_bins(2).adapt(&ndarray::array![[1.0f32, 2.0], [3.0, 4.0]])?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] without `num_bins`, [`Error::Data`] without data or for numbers that are not finite.
    pub fn adapt(mut self, data: impl IntoSamples) -> Result<Self> {
        let bins = self.num_bins.filter(|bins| *bins > 0);
        let bins = bins.ok_or_else(|| Error::argument("num_bins", "an integer above 0 to adapt", "nothing"))?;
        if !(self.epsilon > 0.0 && self.epsilon <= 1.0) {
            return Err(Error::argument("epsilon", "a number above 0, up to 1", self.epsilon));
        }
        let data = data.into_samples()?;
        data.expect_numbers("data to adapt to")?;
        let mut values = data.to_vec_f32();
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return Err(Error::data("data to adapt to", "finite numbers", "none, or values that are not finite"));
        }
        values.sort_by(f32::total_cmp);
        let summary = compress(summarize(&values, f64::from(self.epsilon)), f64::from(self.epsilon));
        let mut boundaries = compress(summary, 1.0 / bins as f64);
        boundaries.pop();
        self.bin_boundaries = Some(boundaries.into_iter().map(|(boundary, _)| boundary as f32).collect());
        Ok(self)
    }

    fn boundaries(&self) -> Result<&[f32]> {
        let boundaries = self.bin_boundaries.as_deref().ok_or_else(|| {
            Error::argument("bin_boundaries", "numbers in order, given or found by `adapt`", "nothing")
        })?;
        if boundaries.is_sorted() {
            return Ok(boundaries);
        }
        Err(Error::argument("bin_boundaries", "numbers in order", format!("{boundaries:?}")))
    }
}

/// Summarizes sorted values as at most about `1 / epsilon` of them, each with its weight.
fn summarize(values: &[f32], epsilon: f64) -> Vec<(f64, f64)> {
    let step = (values.len() as f64 * epsilon).max(1.0);
    let every = step as usize;
    values.iter().skip(step as usize - 1).step_by(every).map(|value| (f64::from(*value), step)).collect()
}

/// Compresses a summary to parts of weight `epsilon`, each with the value at its end (interpolated linearly).
fn compress(summary: Vec<(f64, f64)>, epsilon: f64) -> Vec<(f64, f64)> {
    if (summary.len() as f64) * epsilon < 1.0 {
        return summary;
    }
    let mut sum = 0.0;
    let sums: Vec<f64> = summary
        .iter()
        .map(|(_, weight)| {
            sum += weight;
            sum
        })
        .collect();
    let parts = (1.0 / epsilon - 1e-9).ceil() as usize;
    let mut before = 0.0;
    (1..=parts)
        .map(|part| {
            let target = part as f64 * epsilon * sum;
            let above = sums.partition_point(|known| *known < target);
            let (value, weight) = match above {
                0 => (summary[0].0, sums[0]),
                above if above == sums.len() => (summary[above - 1].0, sum),
                above => {
                    let (low, high) = (sums[above - 1], sums[above]);
                    let way = (target - low) / (high - low);
                    (summary[above - 1].0 + way * (summary[above].0 - summary[above - 1].0), target)
                }
            };
            let part = (value, weight - before);
            before = weight;
            part
        })
        .collect()
}

impl Layer for Discretization {
    fn takes_trainable(&self) -> bool {
        false
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.output_mode.output_shape(input, self.boundaries()?.len() + 1)
    }

    fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
        let (numbers, boundaries) = (input.known_len(), self.boundaries()?.len());
        // Each number compared with each boundary, and the results of the comparison.
        let grid = numbers.saturating_mul(boundaries).saturating_mul(3);
        Ok(grid.saturating_add(self.output_mode.scratch(numbers, boundaries.saturating_add(1))))
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let boundaries = self.boundaries()?.to_vec();
        let rank = to.rank();
        let column = to.unsqueeze(to.input(), rank);
        let count = boundaries.len();
        let numbers = if count == 0 {
            to.mul_number(to.input(), 0.0)
        } else {
            let row = to.constant("boundaries", Numbers { sizes: vec![count], values: boundaries });
            let missed = to.op("Greater", &[row, column], vec![]);
            let missed = to.cast(missed, Element::Float);
            let missed = to.reduce("ReduceSum", missed, &[rank], false);
            let count = to.number(count as f32);
            to.sub(count, missed)
        };
        self.output_mode.onnx(to, numbers, count + 1)
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        let boundaries = self.boundaries()?;
        let sizes = input.sizes();
        let device = input.device();
        let numbers = match boundaries.len() {
            0 => Value::full(&sizes, 0.0, &device)?,
            count => {
                let grid = [input.len(), count];
                let column = input.detach().reshape(&[grid[0], 1])?.expand(&grid);
                let row = Value::from_vec(boundaries.to_vec(), &[1, count], &device)?.expand(&grid);
                let missed = row.greater(column).sum_axis(1);
                missed.mul_scalar(-1.0).add_scalar(count as f32).reshape(&sizes)?
            }
        };
        self.output_mode.encode(numbers, boundaries.len() + 1)
    }
}

impl BuiltIn for Discretization {
    fn takes_dtype(name: &str) -> bool {
        name.starts_with("int") || name.starts_with("uint")
    }

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new([-0.5, 0.0, 0.5]), Shape::batch_of((3, 2))),
            (Self::new([-0.5, 0.5]).output_mode("one_hot"), Shape::batch_of((3, 2))),
            (Self::new([0.0]).output_mode("count"), Shape::batch_of(3)),
            (Self::new([0.0]).output_mode("multi_hot"), Shape::batch_of(3)),
            (Self::new([0.0, 0.5]).output_mode("count"), Shape::batch_of((3, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Boundaries that Keras finds.
    #[test]
    fn adapt_finds_the_boundaries_of_keras() {
        let data: Vec<f32> = (0..250).map(|i| ((i * 37) % 250) as f32 * 0.1).collect();
        let adapt = |bins: usize, epsilon: f32, count: usize| {
            let data = ndarray::Array1::from(data[..count].to_vec());
            let layer = Discretization::with_bins(bins).epsilon(epsilon).adapt(&data).unwrap();
            layer.bin_boundaries.unwrap()
        };
        for ((bins, epsilon, count), expected) in KERAS {
            let found = adapt(*bins, *epsilon, *count);
            let near = found.iter().zip(*expected).all(|(a, b)| (a - b).abs() < 1e-3);
            assert!(near && found.len() == expected.len(), "{found:?} instead of {expected:?}");
        }
    }

    /// Bins, epsilon and number of values; the boundaries that Keras finds.
    type Case = ((usize, f32, usize), &'static [f32]);

    const KERAS: &[Case] = &[
        ((4, 0.01, 250), &[6.15, 12.4, 18.65]),
        ((3, 0.1, 250), &[8.233_33, 16.566_67]),
        ((5, 0.01, 20), &[3.7, 8.3, 12.9, 18.5]),
        ((2, 0.3, 7), &[7.4]),
        ((10, 0.05, 5), &[0.0, 3.7, 7.4, 11.1]),
    ];

    /// Keras 3.15.1 counts along the second dimension.
    #[test]
    fn later_dimensions_are_counted_separately() {
        let input = [1.0, -3.0, 2.0, -0.5, -1.0, 3.0];
        let input = Value::from_vec(input.into(), &[1, 3, 2], &burn::tensor::Device::flex()).unwrap();
        let out = |mode: &str| {
            let layer = Discretization::new([0.0, 1.5]).output_mode(mode);
            assert_eq!(layer.output_shape(&Shape::batch_of((3, 2))).unwrap().to_string(), "(None, 2, 3)");
            layer.forward(input.clone(), &mut Call::inference(&[])).unwrap().to_vec().unwrap()
        };
        assert_eq!(out("count"), [1., 1., 1., 2., 0., 1.]);
        assert_eq!(out("multi_hot"), [1., 1., 1., 1., 0., 1.]);
    }

    #[test]
    fn missing_and_unordered_boundaries_are_refused() {
        let input = Shape::batch_of(3);
        assert!(Discretization::with_bins(3).output_shape(&input).is_err());
        assert!(Discretization::new([1.0, 0.0]).output_shape(&input).is_err());
        assert!(Discretization::new([1.0]).adapt(&ndarray::array![1.0f32]).is_err());
    }
}
