//! `Input`: the shape of a model's samples.

use crate::error::{Error, Result};
use crate::layers::{
    BuiltIn, Call, Edge, Exporting, Freezing, Frozen, HasCommon, Layer, LayerArguments, OutputMemory, check_input_dtype,
};
use crate::ops::Value;
use crate::shape::{IntoSample, Shape};

crate::describe! {
    /// Sets the shape of one sample; computes nothing and is not counted among a model's layers.
    ///
    /// # Shapes
    /// `(batch, …)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Input::new((28, 28, 1)))?.add(Flatten::new())?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 784)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Input as "InputLayer" {
        /// Sparse inputs, which Brasa does not support.
        sparse: bool = false,
        /// Ragged inputs, which Brasa does not support.
        ragged: bool = false,
        /// Optional inputs, which Brasa does not support.
        optional: bool = false,
    }
}

impl Input {
    /// Samples of the given shape.
    pub fn new(sample: impl IntoSample) -> Self {
        Self::default().input_shape(sample)
    }

    /// Sets the dtype of the samples: `string`, an integer type such as `int64`, or floats (default). Strings are for
    /// layers that take them, such as [`TextVectorization`](crate::layers::TextVectorization).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Input::new(1).dtype("string"))?.add(StringLookup::default().vocabulary(["red", "blue"]))?;
    /// assert_eq!(model.predict(["blue"])?, ndarray::array![[2.0]].into_dyn());
    /// # Ok::<(), brasa::Error>(())
    /// ```
    #[must_use]
    pub fn dtype(mut self, dtype: impl Into<String>) -> Self {
        self.common_mut().dtype = Some(dtype.into()).filter(|dtype| dtype != "float32");
        self
    }
}

impl Layer for Input {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        for (argument, set) in [("sparse", self.sparse), ("ragged", self.ragged), ("optional", self.optional)] {
            if set {
                return Err(Error::unsupported(format!("an Input with {argument}=true"), "dense inputs"));
            }
        }
        if let Some(dtype) = &self.common().dtype {
            check_input_dtype(dtype)?;
        }
        Ok(input.clone())
    }

    fn check_values(&self, _: &[f32]) -> Result<bool> {
        Ok(true)
    }

    fn output_memory(&self) -> OutputMemory {
        OutputMemory::View
    }

    fn frozen_step(&self, _: &Freezing<'_>) -> Option<Frozen> {
        Some(Frozen::Same)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        Ok(vec![to.input()])
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        Ok(input)
    }
}

impl BuiltIn for Input {
    // Booleans and strings only as inputs: no layer computes with them.
    fn takes_dtype(_: &str) -> bool {
        true
    }

    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new((4, 3)), Shape::batch_of((4, 3)))]
    }
}
