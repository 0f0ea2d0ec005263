//! `SpectralNormalization`: normalizes a kernel to a largest singular value of 1.

use std::cmp::Ordering;

use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::wrapped::{inner_weights, is_trainable};
use crate::layers::{
    Arguments, BuiltIn, Call, Conv2D, Dense, Edge, Exporting, HasCommon, Layer, Update, WeightSpec, Wrapped,
};
use crate::losses::one_minus;
use crate::ops::Value;
use crate::shape::Shape;

/// The lower bound of a norm used as a divisor.
const EPSILON: f32 = 1e-12;
/// More iterations than would ever change a digit, at equal cost each.
const MAX_ITERATIONS: usize = 10_000;

crate::describe! {
    /// Divides the kernel of a layer by its largest singular value at each training step (Miyato et al. 2018).
    ///
    /// The value is found by power iteration from the vector of the previous step. The kernel itself is replaced before
    /// the optimizer's step, and the singular value is a constant in the gradient.
    ///
    /// # Shapes
    /// Those of the layer; weights those of the layer, in the part `layer`, and `vector_u` (1, last size of the
    /// kernel).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(SpectralNormalization::new(Dense::new(4)).input_shape(8))?;
    /// assert_eq!(model.count_params()?, 8 * 4 + 4 + 4);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct SpectralNormalization {
        /// The layer, which must have a `kernel` or `embeddings`.
        layer: Wrapped,
        /// The number of power iterations per step.
        power_iterations: usize = 1,
    }
}

impl SpectralNormalization {
    /// `layer` with its kernel normalized.
    pub fn new(layer: impl Into<Wrapped>) -> Self {
        Self::required(layer.into())
    }

    /// The index of the layer's weight to be normalized.
    fn kernel(&self, specs: &[WeightSpec]) -> Result<usize> {
        let own = |spec: &WeightSpec| spec.group == "layer" && ["kernel", "embeddings"].contains(&spec.name.as_str());
        specs.iter().position(own).ok_or_else(|| {
            Error::argument("layer", "a layer with a `kernel` or `embeddings`", self.layer.layer().class_name())
        })
    }

    fn layer_weights(&self, input: &Shape) -> Result<(Vec<WeightSpec>, usize)> {
        let specs = inner_weights(self.layer.layer(), input, "layer")?;
        let kernel = self.kernel(&specs)?;
        Ok((specs, kernel))
    }

    /// The kernel divided by its largest singular value, and the vector of the power iteration.
    fn normalized(&self, kernel: &Value, vector: Value) -> Result<(Value, Value)> {
        let sizes = kernel.sizes();
        let columns = sizes[sizes.len() - 1];
        let matrix = kernel.clone().reshape(&[kernel.len() / columns.max(1), columns])?;
        let unit = |vector: Value| {
            let length = vector.clone().square().sum_axis(1).clamp_min(EPSILON * EPSILON).sqrt();
            let sizes = vector.sizes();
            vector / length.expand(&sizes)
        };
        let before = vector.clone();
        let (mut u, mut v) = (vector, None);
        for _ in 0..self.power_iterations {
            let left = unit(u.matmul(matrix.clone().permute(&[1, 0])));
            u = unit(left.clone().matmul(matrix.clone()));
            v = Some(left);
        }
        let Some(v) = v else { return Ok((kernel.clone(), u)) };
        let sigma = v.matmul(matrix.clone()).matmul(u.clone().permute(&[1, 0]));
        // A zero kernel is unchanged, and so is the vector.
        let rows = matrix.sizes()[0];
        let is_zero = matrix.abs().reshape(&[1, rows * columns])?.max_axis(1).equal_scalar(0.0);
        let u = before.select_where(one_minus(is_zero.expand(&[1, columns])), u);
        let sigma = sigma.clone() + sigma.equal_scalar(0.0);
        let sigma = sigma.reshape(&vec![1; sizes.len()])?.expand(&sizes);
        Ok((kernel.clone() / sigma, u))
    }
}

impl Layer for SpectralNormalization {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if self.power_iterations == 0 {
            return Err(Error::argument("power_iterations", "an integer above 0", 0));
        }
        if self.power_iterations > MAX_ITERATIONS {
            let expected = format!("at most {MAX_ITERATIONS}");
            return Err(Error::argument("power_iterations", expected, self.power_iterations));
        }
        let output = self.layer.layer().checked_output(input)?;
        self.layer_weights(input)?;
        Ok(output)
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let (mut specs, kernel) = self.layer_weights(input)?;
        let columns = specs[kernel].sizes.last().copied().unwrap_or(1);
        let start = Initializer::TruncatedNormal { mean: 0.0, stddev: 0.02, seed: None };
        let kernel = specs.remove(kernel).also_in("");
        specs.splice(0..0, [kernel, WeightSpec::new("vector_u", [1, columns], start).non_trainable()]);
        Ok(specs)
    }

    fn given_weights(&self, input: &Shape) -> Result<Vec<Option<Value>>> {
        let mut values = self.layer.layer().brought_weights(std::slice::from_ref(input))?;
        let (specs, kernel) = self.layer_weights(input)?;
        if values.len() == specs.len() {
            let kernel = values.remove(kernel);
            values.splice(0..0, [kernel, None]);
        }
        Ok(values)
    }

    fn check_values(&self, values: &[f32]) -> Result<bool> {
        self.layer.layer().check_values(values)
    }

    /// The layer inside decides.
    fn supports_masking(&self) -> bool {
        true
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
        let (specs, kernel) = self.layer_weights(input)?;
        let copies = if training { specs[kernel].count().saturating_mul(3) } else { 0 };
        Ok(self.layer.layer().scratch(input, training)?.saturating_add(copies))
    }

    fn momentary(&self, input: &Shape, training: bool) -> Result<usize> {
        self.layer.layer().momentary(input, training)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let (specs, kernel) = self.layer_weights(to.shape())?;
        let own_index = |index: usize| match index.cmp(&kernel) {
            Ordering::Less => index + 2,
            Ordering::Equal => 0,
            Ordering::Greater => index + 1,
        };
        let weights: Vec<Value> =
            (0..specs.len()).filter_map(|index| to.weights().get(own_index(index)).cloned()).collect();
        let (inputs, shapes) = (to.inputs().to_vec(), to.shapes().to_vec());
        to.part(self.layer.layer(), inputs, shapes, &Arguments::new(), &weights)
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let shape = Shape::known(&input.sizes());
        let (specs, kernel) = self.layer_weights(&shape)?;
        // Keras's order is the kernel, the vector, the layer's other weights.
        let own_index = |index: usize| match index.cmp(&kernel) {
            Ordering::Less => index + 2,
            Ordering::Equal => 0,
            Ordering::Greater => index + 1,
        };
        let mut weights: Vec<Value> = (0..specs.len()).map(|index| call.weight(own_index(index))).collect();
        if call.training_mode() {
            let own = weights[kernel].clone();
            let (normalized, vector) = self.normalized(&own.clone().detach(), call.weight(1).detach())?;
            let replaced = Update { weight: 0, value: normalized };
            weights[kernel] = replaced.applied_to(&own);
            call.update(0, replaced.value);
            call.update(1, vector);
        }
        let layer = self.layer.layer();
        let mut part = call.part_with(&weights, 0);
        part.restrict(is_trainable(layer));
        let output = layer.run(input, &mut part)?;
        call.mask = part.mask.take().filter(|_| layer.supports_masking());
        call.take_over_at(part, own_index);
        Ok(output)
    }
}

impl BuiltIn for SpectralNormalization {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(Dense::new(3)), Shape::batch_of(4)),
            (Self::new(Conv2D::new(2, 2).use_bias(false)).power_iterations(3), Shape::batch_of((3, 3, 1))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Flatten;
    use crate::model::Sequential;
    use crate::prelude::*;

    #[test]
    fn the_largest_singular_value_becomes_one() {
        let mut model = Sequential::new().with_seed(1);
        model
            .add(SpectralNormalization::new(Dense::new(2).use_bias(false)).power_iterations(50).input_shape(2))
            .unwrap();
        let start = [ndarray::array![[3.0, 0.0], [0.0, -5.0]].into_dyn(), ndarray::array![[0.6, 0.8]].into_dyn()];
        model.set_weights(&start).unwrap();
        // With a learning rate of 0 only the layer's own update remains.
        model.compile(Compile::new(SGD::new(0.0), "mse")).unwrap();
        model.train_on_batch(ndarray::array![[1.0f32, 1.0]], ndarray::array![[0.0f32, 0.0]]).unwrap();
        let weights = model.get_weights().unwrap();
        let kernel: Vec<f32> = weights[0].iter().copied().collect();
        assert!(kernel.iter().zip([0.6, 0.0, 0.0, -1.0]).all(|(a, b)| (a - b).abs() < 1e-5), "{kernel:?}");
    }

    /// As in Keras: a zero kernel has no direction to be found.
    #[test]
    fn a_kernel_of_zeros_leaves_the_vector() {
        let mut model = Sequential::new().with_seed(1);
        model.add(SpectralNormalization::new(Dense::new(2).use_bias(false)).input_shape(2)).unwrap();
        let start = [ndarray::Array2::zeros((2, 2)).into_dyn(), ndarray::array![[0.6, 0.8]].into_dyn()];
        model.set_weights(&start).unwrap();
        model.compile(Compile::new(SGD::new(0.0), "mse")).unwrap();
        model.train_on_batch(ndarray::array![[1.0f32, 1.0]], ndarray::array![[0.0f32, 0.0]]).unwrap();
        assert_eq!(model.get_weights().unwrap(), start);
    }

    #[test]
    fn a_layer_without_a_kernel_is_refused() {
        let error = SpectralNormalization::new(Flatten::new()).output_shape(&Shape::batch_of(3)).unwrap_err();
        assert!(error.to_string().contains("kernel"), "{error}");
    }
}
