//! `Flatten`: flattens each sample.

use crate::error::Result;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer, OutputMemory};
use crate::ops::{self, Value};
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Flattens each sample, channels last.
    ///
    /// # Shapes
    /// `(batch, …)` → `(batch, product of the rest)`; `(batch,)` → `(batch, 1)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Flatten::new().input_shape((4, 4, 64)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 1024)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Flatten {
        /// The position of the channels in the input; they are moved last before flattening.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl Flatten {
    /// The layer with Keras's defaults.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Layer for Flatten {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        Ok(Shape::new([input.sizes().first().copied().flatten(), input.sample_len()]))
    }

    fn check_values(&self, _: &[f32]) -> Result<bool> {
        Ok(true)
    }

    fn output_memory(&self) -> OutputMemory {
        OutputMemory::View
    }

    fn frozen_step(&self, _: &Freezing<'_>) -> Option<Frozen> {
        (self.data_format == DataFormat::ChannelsLast).then_some(Frozen::Same)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let last = to.channels_last(to.input(), self.data_format, to.rank());
        let len = to.shape().sample_len().map_or(-1, |len| len as i64);
        Ok(vec![to.reshape(last, [0, len])])
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        let input = ops::to_channels_last(input, self.data_format);
        let sizes = input.sizes();
        input.reshape(&[sizes[0], sizes[1..].iter().product()])
    }
}

impl BuiltIn for Flatten {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(), Shape::batch_of((2, 3, 4))),
            (Self::new(), Shape::batch_of(())),
            (Self::new().data_format(DataFormat::ChannelsFirst), Shape::batch_of((2, 3, 4))),
        ]
    }
}
