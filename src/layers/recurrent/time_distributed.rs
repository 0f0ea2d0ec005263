//! `TimeDistributed`: the same layer at every step.

use crate::error::{Error, Result};
use crate::layers::wrapped::{inner_weights, is_trainable};
use crate::layers::{
    Arguments, BuiltIn, Call, Conv2D, Dense, Edge, Exporting, HasCommon, Layer, Update, WeightSpec, Wrapped,
};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Applies a layer to every step.
    ///
    /// Each step goes through the layer by itself: a `BatchNormalization` normalizes it by its own statistics in
    /// training, and updates its averages once per step. Where the result is the same, all steps are computed at once,
    /// as samples of one large batch.
    ///
    /// The mask is passed on, and the layer gets its slice for the step. The layer's own `activity_regularizer` is
    /// ignored, as in Keras, but those of layers inside it are not.
    ///
    /// # Shapes
    /// `(batch, steps, …)` → `(batch, steps, …)`, each step as the layer returns it; the weights are those of the
    /// layer.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(TimeDistributed::new(Conv2D::new(4, 3)).input_shape((10, 8, 8, 1)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 10, 6, 6, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct TimeDistributed {
        /// The layer.
        layer: Wrapped,
    }
}

impl TimeDistributed {
    /// Applies `layer` at every step.
    pub fn new(layer: impl Into<Wrapped>) -> Self {
        Self::required(layer.into())
    }
}

/// The shape of one step, batch included.
fn step_shape(input: &Shape) -> Result<Shape> {
    match input.sizes() {
        [batch, _, rest @ ..] if !rest.is_empty() => Ok(Shape::new([&[*batch], rest].concat())),
        _ => Err(Error::shape("at least ndim=3", format!("ndim={}, full shape {input}", input.rank()))),
    }
}

impl Layer for TimeDistributed {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if self.layer.layer().is_stateful() {
            return Err(Error::unsupported("TimeDistributed with a stateful layer", "one that keeps no states"));
        }
        let step = self.layer.layer().checked_output(&step_shape(input)?)?;
        let (batch, steps) = (input.sizes()[0], input.sizes()[1]);
        Ok(Shape::new([&[batch, steps], step.sample()].concat()))
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        inner_weights(self.layer.layer(), &step_shape(input)?, "layer")
    }

    fn given_weights(&self, input: &Shape) -> Result<Vec<Option<Value>>> {
        self.layer.layer().brought_weights(&[step_shape(input)?])
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn is_synchronized(&self) -> bool {
        self.layer.layer().is_synchronized()
    }

    fn check_values(&self, values: &[f32]) -> Result<bool> {
        self.layer.layer().check_values(values)
    }

    fn apply_trainable(&mut self, trainable: bool) {
        self.common_mut().trainable = trainable;
        self.layer.layer_mut().apply_trainable(trainable);
    }

    fn is_wrapper(&self) -> bool {
        true
    }

    fn call_count(&self) -> usize {
        self.layer.layer().call_count().saturating_add(1)
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        let steps = input.sizes()[1].unwrap_or(1).saturating_mul(input.sizes()[0].unwrap_or(1));
        self.layer.layer().scratch(&step_shape(input)?.with_batch(steps), training)
    }

    fn momentary(&self, input: &Shape, training: bool) -> Result<usize> {
        let steps = input.sizes()[1].unwrap_or(1).saturating_mul(input.sizes()[0].unwrap_or(1));
        self.layer.layer().momentary(&step_shape(input)?.with_batch(steps), training)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let (input, shape) = (to.input(), to.shape().clone());
        let step = step_shape(&shape)?;
        let layer = self.layer.layer();
        if to.mask(0).is_some() && !matches!(layer.class_name(), "Dense" | "Activation" | "Dropout") {
            to.refuse_masks()?;
        }
        let sample =
            |shape: &Shape| shape.sample().iter().map(|size| size.map(|size| size as i64)).collect::<Option<Vec<_>>>();
        let inner = sample(&step).ok_or_else(|| to.unknown_sizes(&shape))?;
        let flat = to.reshape(input, [vec![-1], inner].concat());
        let after = layer.checked_output(&step)?;
        let weights = to.weights();
        let output = to.part(layer, vec![flat], vec![step], &Arguments::new(), weights)?[0];
        let outer = sample(&after).ok_or_else(|| to.unknown_sizes(&after))?;
        if let Some(steps) = shape.sizes()[1] {
            return Ok(vec![to.reshape(output, [vec![-1, steps as i64], outer].concat())]);
        }
        // The number of steps is that of the input.
        let leading = to.op("Shape", &[input], vec![("start", 0.into()), ("end", 2.into())]);
        let rest = to.ints(outer);
        let sizes = to.concat(&[leading, rest], 0);
        Ok(vec![to.op("Reshape", &[output, sizes], vec![])])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        if let Some(mask) = call.mask.as_ref().filter(|mask| mask.rank() < 2 || mask.sizes()[..2] != sizes[..2]) {
            let expected = format!("a mask whose shape begins with {:?}", &sizes[..2]);
            return Err(Error::shape(expected, format!("{:?}", mask.sizes())));
        }
        let step = [&sizes[..1], &sizes[2..]].concat();
        let specs = self.layer.layer().weights(&Shape::known(&step))?;
        // Weights that a layer updates from its batches are updated at each step.
        let one_by_one = call.training_mode() && specs.iter().any(|spec| !spec.trainable);
        if !one_by_one && let Some(output) = self.all_steps(input.clone(), call)? {
            return Ok(output);
        }
        self.step_by_step(input, call)
    }
}

impl TimeDistributed {
    /// The layer's pass over all steps as one batch; `None` if it has updates or penalties, which would differ per
    /// step.
    fn all_steps(&self, input: Value, call: &mut Call<'_>) -> Result<Option<Value>> {
        let (sizes, layer) = (input.sizes(), self.layer.layer());
        let flat = |value: Value| {
            let sizes = value.sizes();
            value.reshape(&[&[sizes[0] * sizes[1]], &sizes[2..]].concat())
        };
        let weights = call.weights();
        let mask = call.mask.clone().map(flat).transpose()?;
        let mut part = self.part(call, weights, 0, mask);
        let output = layer.run(flat(input)?, &mut part)?;
        if !part.updates().is_empty() || !part.losses().is_empty() {
            return Ok(None);
        }
        let sample = output.sizes()[1..].to_vec();
        output.reshape(&[&sizes[..2], sample.as_slice()].concat()).map(Some)
    }

    /// The layer's pass over each step, with the weights as updated by the previous step.
    fn step_by_step(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let (sizes, layer) = (input.sizes(), self.layer.layer());
        let without_axis = |step: Value| {
            let sizes = step.sizes();
            step.reshape(&[&sizes[..1], &sizes[2..]].concat())
        };
        let of_step = |value: Value, step: usize| without_axis(value.narrow(1, step, 1));
        let apart = input.is_tracked().then(|| input.clone().split_apart(1));
        let mut weights = call.weights().to_vec();
        let mut moved: Vec<Update> = Vec::new();
        let mut outputs = Vec::with_capacity(sizes[1]);
        for step in 0..sizes[1] {
            let mask = call.mask.clone().map(|mask| of_step(mask, step)).transpose()?;
            let mut part = self.part(call, &weights, step as u64, mask);
            let input = match &apart {
                Some(parts) => without_axis(parts[step].clone())?,
                None => of_step(input.clone(), step)?,
            };
            let output = layer.run(input, &mut part)?;
            let (updates, penalties, _) = part.finish(1, false);
            let output_sizes = output.sizes();
            outputs.push(output.reshape(&[&output_sizes[..1], &[1], &output_sizes[1..]].concat())?);
            penalties.into_iter().for_each(|penalty| call.add_loss(penalty));
            for update in updates {
                weights[update.weight] = update.applied_to(&weights[update.weight]);
                moved.retain(|earlier| earlier.weight != update.weight);
                moved.push(update);
            }
        }
        moved.into_iter().for_each(|update| call.update(update.weight, update.value));
        Value::concat(outputs, 1)
    }

    fn part<'a: 'b, 'b>(&self, call: &mut Call<'a>, weights: &'b [Value], key: u64, mask: Option<Value>) -> Call<'b> {
        let mut part = call.part_with(weights, key);
        part.restrict(is_trainable(self.layer.layer()));
        part.skip_activity_loss = true;
        // For a custom layer that hides a stateful one.
        part.without_states();
        part.mask = mask;
        part
    }
}

impl BuiltIn for TimeDistributed {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(Dense::new(3).activation("tanh")), Shape::batch_of((4, 2))),
            (Self::new(Conv2D::new(2, 2)), Shape::batch_of((2, 3, 4, 1))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn parts_have_the_values_and_gradients_of_the_whole() {
        for steps in [1usize, 2, 3, 7, 8] {
            let numbers: Vec<f32> = (0..2 * steps * 3).map(|i| i as f32).collect();
            let whole = Value::from_vec(numbers, &[2, steps, 3], &Device::flex()).unwrap().require_grad();
            let parts = whole.clone().split_apart(1);
            let sum = |parts: Vec<Value>| {
                let weighted = parts.into_iter().enumerate().map(|(step, part)| part.square().mul_scalar(step as f32));
                weighted.reduce(|a, b| a + b).unwrap().sum()
            };
            let gradient = |sum: Value| whole.take_gradient(&mut sum.backward().unwrap()).unwrap().to_vec().unwrap();
            let narrowed: Vec<Value> = (0..steps).map(|step| whole.clone().narrow(1, step, 1)).collect();
            for (part, narrow) in parts.iter().zip(&narrowed) {
                assert_eq!((part.sizes(), part.to_vec().unwrap()), (narrow.sizes(), narrow.to_vec().unwrap()));
            }
            assert_eq!(parts.len(), steps);
            assert_eq!(gradient(sum(parts)), gradient(sum(narrowed)));
        }
    }
}
