//! A convolution fused with the batch normalization, the activation and the pooling after it.

use crate::activations::Activation;
use crate::error::Result;
use crate::layers::{BatchNormalization, Call, Freezing, Frozen, Fused, Layer};
use crate::ops::{self, Value};
use crate::shape::Shape;

/// A convolution that can be fused with the layers after it.
pub(super) trait Fusible: Layer + Clone + 'static {
    /// The pooling that the fused kernel supports.
    type Pool: Layer + Clone + 'static;
    /// Number of dimensions of inputs and kernels.
    const RANK: usize;
    /// The index of the kernel that computes the output channels; the bias follows it.
    const KERNEL: usize = 0;
    /// The number of trailing output dimensions of the kernel.
    const CHANNELS: usize = 1;

    /// Whether a scale and a shift per output channel can be folded into the weights.
    fn foldable(&self) -> bool;

    /// The same convolution with a bias and this activation as its epilogue.
    fn with_epilogue(&self, activation: Activation) -> Self;

    /// Convolution and pooling in one pass, if there is a kernel for both.
    fn pooled(&self, pool: &Self::Pool, input: &Value, weights: &[Value]) -> Result<Option<Value>> {
        let _ = (pool, input, weights);
        Ok(None)
    }

    /// The convolution, with a pooling after it if there is one, as a step of a predictor.
    fn frozen(&self, pool: Option<&Self::Pool>, freezing: &Freezing<'_>) -> Option<Frozen> {
        let _ = (pool, freezing);
        None
    }

    /// Whether [`pooled`](Self::pooled) is supported.
    fn can_pool(&self) -> bool {
        false
    }
}

/// The first step of [`Layer::absorb`] for a convolution: a batch normalization in inference, or a pooling.
pub(super) fn absorb<C: Fusible>(conv: &C, next: &dyn Layer, training: bool) -> Option<Box<dyn Fused>> {
    let norm = next.as_any().downcast_ref::<BatchNormalization>();
    if let Some(norm) = norm.filter(|norm| !training && conv.foldable() && norm.is_over_channels(C::RANK)) {
        let conv = conv.with_epilogue(Activation::Linear);
        return Some(Box::new(FusedConv { conv, norm: Some(norm.clone()), activated: false, pool: None }));
    }
    let pool = next.as_any().downcast_ref::<C::Pool>().filter(|_| conv.can_pool())?.clone();
    Some(Box::new(FusedConv { conv: conv.clone(), norm: None, activated: false, pool: Some(pool) }))
}

#[derive(Clone, Debug)]
struct FusedConv<C: Fusible> {
    conv: C,
    norm: Option<BatchNormalization>,
    /// Whether the activation after the normalization is fused too.
    activated: bool,
    pool: Option<C::Pool>,
}

impl<C: Fusible> Fused for FusedConv<C> {
    fn absorb(&self, next: &dyn Layer, _: bool) -> Option<Box<dyn Fused>> {
        if self.pool.is_some() {
            return None;
        }
        if let Some(pool) = next.as_any().downcast_ref::<C::Pool>().filter(|_| self.conv.can_pool()) {
            return Some(Box::new(Self { pool: Some(pool.clone()), ..self.clone() }));
        }
        let activation = next.as_activation().filter(|_| self.norm.is_some() && !self.activated)?;
        Some(Box::new(Self { conv: self.conv.with_epilogue(activation), activated: true, ..self.clone() }))
    }

    fn prepare(&self, weights: &[Value]) -> Result<Option<Vec<Value>>> {
        let Some(norm) = &self.norm else { return Ok(None) };
        let (own, norms) = weights.split_at(weights.len() - norm.weight_count());
        let (factor, shift) = norm.folded(norms);
        let mut folded = own[..=C::KERNEL].to_vec();
        folded[C::KERNEL] = ops::scale_columns(&folded[C::KERNEL], &factor, C::CHANNELS)?;
        folded.push(match own.get(C::KERNEL + 1) {
            Some(bias) => bias.clone() * factor + shift,
            None => shift,
        });
        Ok(Some(folded))
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        let whole = self.conv.frozen(self.pool.as_ref(), freezing);
        if whole.is_some() {
            return whole;
        }
        // Where convolution and pooling have no joint kernel (such as after a non-monotonic activation), the pooling is
        // a step of its own.
        let pool = self.pool.as_ref()?;
        let between = self.conv.output_shape(&Shape::batch_of(freezing.padded_input()?)).ok()?.known_sample().ok()?;
        let first = self.conv.frozen(None, &Freezing { output: &between, ..*freezing })?;
        let len = between.iter().product();
        let next = Freezing { inputs: &[between], output: freezing.output, weights: &[], padding: [(0, 0); 2] };
        let next = pool.frozen_step(&next)?;
        Some(first.then(len, next, freezing.output.iter().product()))
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        if input.is_empty() {
            // Kernels require a non-empty input.
            let output = (&self.conv as &dyn Layer).run(input, call)?;
            return match &self.pool {
                Some(pool) => (pool as &dyn Layer).run(output, call),
                None => Ok(output),
            };
        }
        let Some(pool) = &self.pool else { return self.conv.forward(input, call) };
        if let Some(output) = self.conv.pooled(pool, &input, call.weights())? {
            ops::recycle(input);
            return Ok(output);
        }
        let output = self.conv.forward(input, call)?;
        call.mask = None;
        pool.forward(output, call)
    }
}
