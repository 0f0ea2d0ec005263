//! `StackedRNNCells`: several cells stacked in each step.

use super::cell::refuse_call;
use crate::config::Configure;
use crate::error::Result;
use crate::layers::{BuiltIn, HasCommon, Layer, Wrapped};
use crate::shape::Shape;

crate::describe! {
    /// Stacked cells, each on the output of the previous one, as the cell of an [`RNN`](super::RNN).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let cells = StackedRNNCells::new([LSTMCell::new(8).into(), GRUCell::new(4).into()]);
    /// let mut model = Sequential::new();
    /// model.add(RNN::new(cells).input_shape((10, 2)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct StackedRNNCells {
        /// The cells; the first one receives the inputs.
        cells: Vec<Wrapped>,
    }
}

impl StackedRNNCells {
    /// Stacks these cells; the first one receives the inputs.
    pub fn new(cells: impl Into<Vec<Wrapped>>) -> Self {
        Self::required(cells.into())
    }

    pub(super) fn in_order(&self) -> impl Iterator<Item = &dyn Layer> {
        self.cells.iter().map(Wrapped::layer)
    }
}

impl Layer for StackedRNNCells {
    fn output_shape(&self, _: &Shape) -> Result<Shape> {
        refuse_call(self.class_name())
    }

    fn is_wrapper(&self) -> bool {
        true
    }

    fn apply_trainable(&mut self, trainable: bool) {
        self.common_mut().trainable = trainable;
        self.cells.iter_mut().for_each(|cell| cell.layer_mut().apply_trainable(trainable));
    }
}

impl BuiltIn for StackedRNNCells {}
