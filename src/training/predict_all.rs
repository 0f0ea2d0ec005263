//! `predict` of models with several inputs or outputs.

use ndarray::ArrayD;

use super::evaluate::check_not_empty;
use super::predict::of_other_sizes;
use super::step::accepted_sizes;
use crate::datasets::{Column, Field, IntoFields, Samples, field_indices};
use crate::error::{Error, Result};
use crate::model::{Feed, Model};
use crate::ops;
use crate::shape::Shape;

/// The number of values in `samples` samples of these sizes.
fn count_of(sizes: &[usize], samples: usize) -> usize {
    sizes.iter().fold(samples, |count, size| count.saturating_mul(*size))
}

impl Model {
    /// All outputs, in the order of [`output_keys`](Self::output_keys), for the samples of all inputs, given by name or
    /// in the order of [`input_keys`](Self::input_keys); in batches of 32.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let (a, b) = (Input::new(2).name("a").symbol(), Input::new(2).name("b").symbol());
    /// let sum = Add::new().name("sum").call([&a, &b])?;
    /// let product = Multiply::new().name("product").call([&a, &b])?;
    /// let model = Model::new([&a, &b], [&sum, &product])?;
    ///
    /// let x = [Samples::new([1, 2], vec![1.0f32, 2.0])?, Samples::new([1, 2], vec![3.0f32, 4.0])?];
    /// let outputs = model.predict_all(&x)?; // or by name: [("a", …), ("b", …)]
    /// assert_eq!(model.output_keys(), ["sum", "product"]);
    /// assert_eq!(outputs[0].as_slice(), Some(&[4.0, 6.0][..]));
    /// assert_eq!(outputs[1].as_slice(), Some(&[3.0, 8.0][..]));
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] for the wrong number of inputs, for inputs of different numbers of samples and for samples that
    /// do not fit.
    pub fn predict_all(&self, x: impl IntoFields) -> Result<Vec<ArrayD<f32>>> {
        self.predict_all_with(x, self.default_batch_size())
    }

    /// As [`predict_all`](Self::predict_all), in batches of `batch_size`.
    ///
    /// # Errors
    /// As [`predict_all`](Self::predict_all); [`Error::Argument`] for a batch size of 0.
    pub fn predict_all_with(&self, x: impl IntoFields, batch_size: usize) -> Result<Vec<ArrayD<f32>>> {
        if batch_size == 0 {
            return Err(Error::argument("batch_size", "an integer above 0", 0));
        }
        let names = self.input_keys();
        let given = x.into_fields()?;
        let fields: Vec<Field> =
            given.iter().map(|(name, _)| Field { name: name.clone(), shape: Vec::new() }).collect();
        let indices = field_indices("input", &fields, &names, |_| true)?;
        let x: Vec<&Samples> = indices.into_iter().flatten().map(|index| &given[index].1).collect();
        let count = x.first().map_or(0, |first| first.len());
        check_not_empty(count)?;
        self.check_batches(count, batch_size)?;
        let mut sizes = Vec::with_capacity(x.len());
        for ((index, samples), name) in x.iter().enumerate().zip(&names) {
            if samples.len() != count {
                return Err(Error::data(format!("input `{name}`"), format!("{count} samples"), samples.len()));
            }
            sizes.push(self.accept_input(index, samples.sample_shape())?);
        }
        let shapes: Vec<Shape> = sizes.iter().map(|sizes| Shape::batch_of(sizes.as_slice())).collect();
        let outputs = self.output_shapes_for(&shapes)?;
        let fed = self.fed_samples(&shapes)?;
        // Sizes that depend on the data are taken from the first batch.
        let mut outputs = match &fed {
            Some(_) if self.has_other_outputs(&shapes)? => vec![None; outputs.len()],
            Some(_) => outputs.iter().map(|output| output.known_sample().map(Some)).collect::<Result<Vec<_>>>()?,
            None => outputs.iter().map(|output| output.known_sample().ok()).collect(),
        };
        let results =
            outputs.iter().flatten().map(|output| count_of(output, count)).fold(0usize, usize::saturating_add);
        let first = fed.unwrap_or_default().into_iter();
        let first: Vec<Vec<usize>> = first.map(|sizes| [&[count.min(batch_size)], sizes.as_slice()].concat()).collect();
        self.admit_all(&first, false, results)?;
        let (stage, program) = (self.stage(), self.program()?);
        let mut values: Vec<Vec<f32>> = vec![Vec::new(); outputs.len()];
        for start in (0..count).step_by(batch_size) {
            let indices: Vec<usize> = (start..count.min(start.saturating_add(batch_size))).collect();
            let shapes = sizes.iter().map(|sizes| [&[indices.len()], sizes.as_slice()].concat());
            let feeds = match &stage {
                Some(stage) => {
                    let columns = x
                        .iter()
                        .zip(shapes)
                        .map(|(samples, shape)| Column::new(shape, samples.gather_column(&indices)?.into_parts().1));
                    stage.run(columns.collect::<Result<_>>()?)?
                }
                None => {
                    let feeds = x.iter().zip(shapes).map(|(samples, sizes)| {
                        let mut numbers = ops::buffer(indices.len() * samples.sample_len());
                        samples.gather(&indices, &mut numbers)?;
                        Ok(Feed { sizes, numbers })
                    });
                    feeds.collect::<Result<_>>()?
                }
            };
            if let Some(program) = program.as_ref().filter(|_| outputs.iter().all(Option::is_some)) {
                let computed = self.compute(program, feeds, indices.len())?;
                values.iter_mut().zip(&computed).for_each(|(values, output)| values.extend_from_slice(output));
                computed.into_iter().for_each(ops::give_back);
                continue;
            }
            let batch = self.fed(feeds)?;
            for ((values, sizes), output) in values.iter_mut().zip(&mut outputs).zip(self.infer_outputs(batch)?) {
                let own = output.sizes()[1..].to_vec();
                let sizes = sizes.get_or_insert_with(|| own.clone());
                if own != *sizes {
                    return Err(of_other_sizes(&own, sizes));
                }
                values.extend(output.to_vec()?);
            }
        }
        let arrays = values.into_iter().zip(outputs).map(|(values, output)| {
            let sizes = [&[count], output.unwrap_or_default().as_slice()].concat();
            ArrayD::from_shape_vec(sizes.clone(), values).map_err(|error| Error::shape(format!("{sizes:?}"), error))
        });
        arrays.collect()
    }

    /// The [accepted sizes](accepted_sizes) of samples of these sizes for input `index`.
    pub(super) fn accept_input(&self, index: usize, sample: &[usize]) -> Result<Vec<usize>> {
        let expected = match self.shapes().and_then(|shapes| shapes.get(index)) {
            Some(expected) if self.expect_single().is_err() => expected,
            _ => return self.accept_sample(sample),
        };
        accepted_sizes(expected, sample).ok_or_else(|| {
            let name = self.input_names().swap_remove(index);
            Error::data(format!("input `{name}`"), format!("shape {expected}"), Shape::batch_of(sample))
        })
    }
}
