//! Operator fusion in the compiled form: an elementwise activation or a sum of two values is computed by an earlier
//! step, which saves a pass over memory.

use crate::kernels::activation::Activation;
use crate::layers::Frozen;
use crate::model::plan::Plan;

/// The compiled forms of a plan's steps after fusion.
pub(super) struct Fusion<'a> {
    plan: &'a Plan,
    /// Values per sample of each value.
    lens: &'a [usize],
    /// The form of each step; [`Frozen::Same`] for one that is fused into another.
    pub frozen: Vec<Frozen>,
    /// For each value the one whose numbers it shares.
    pub origin: Vec<usize>,
    /// For each step the value that its result is added to, in place: no later step reads that value.
    pub adds_to: Vec<Option<usize>>,
}

impl<'a> Fusion<'a> {
    /// Fuses the steps of a plan with these compiled forms.
    pub fn new(plan: &'a Plan, lens: &'a [usize], frozen: Vec<Frozen>) -> Self {
        let mut origin: Vec<usize> = (0..plan.value_count).collect();
        for (step, frozen) in plan.steps.iter().zip(&frozen) {
            if matches!(frozen, Frozen::Same) {
                origin[step.output] = origin[step.inputs[0].0];
            }
        }
        let mut fusion = Self { plan, lens, frozen, origin, adds_to: vec![None; plan.steps.len()] };
        (0..plan.steps.len()).for_each(|index| fusion.fuse(index));
        fusion
    }

    /// The steps that read a value, once for each of their inputs that is this value.
    pub fn readers(&self, value: usize) -> impl Iterator<Item = usize> {
        let steps = self.plan.steps.iter().zip(&self.frozen).enumerate();
        steps.filter(|(_, (_, frozen))| !matches!(frozen, Frozen::Same)).flat_map(move |(index, (step, _))| {
            step.inputs.iter().filter(move |(input, _)| self.origin[*input] == value).map(move |_| index)
        })
    }

    /// Fuses a step into an earlier one, if possible.
    fn fuse(&mut self, index: usize) {
        let Frozen::Step(step) = &self.frozen[index] else { return };
        let taken = match (step.activation(), step.is_sum()) {
            (Some(activation), _) => self.activate(index, activation),
            (None, true) => self.accumulate(index),
            (None, false) => None,
        };
        let Some(value) = taken else { return };
        self.frozen[index] = Frozen::Same;
        let output = self.plan.steps[index].output;
        self.origin.iter_mut().filter(|origin| **origin == output).for_each(|origin| *origin = value);
    }

    /// Fuses an activation into the step that computes its input, if that step can apply it; returns the input's value
    /// id.
    fn activate(&mut self, index: usize, activation: Activation) -> Option<usize> {
        let [(input, _)] = self.plan.steps[index].inputs[..] else { return None };
        let value = self.origin[input];
        let step = self.producer(value).filter(|_| self.is_read_once(value))?;
        self.frozen[step].last_mut()?.activate(activation).then_some(value)
    }

    /// Fuses a sum into the step that computes the later of its inputs: that step adds to the earlier one in place.
    /// Returns the value id of the later input, which holds the sum from then on.
    fn accumulate(&mut self, index: usize) -> Option<usize> {
        let sum = &self.plan.steps[index];
        let [(a, _), (b, _)] = sum.inputs[..] else { return None };
        let (a, b) = (self.origin[a], self.origin[b]);
        // The inputs of a call are not written to.
        let (of_a, of_b) = (self.producer(a)?, self.producer(b)?);
        let (step, value, other) = if of_a < of_b { (of_b, b, a) } else { (of_a, a, b) };
        let fits = [value, other].iter().all(|id| self.lens[*id] == self.lens[sum.output]);
        let is_free = self.adds_to[step].is_none() && self.is_read_once(value);
        // The step overwrites the other value, so it can neither read it itself nor leave it to be read.
        let overwrites = !self.is_output(other) && self.readers(other).all(|reader| reader < step || reader == index);
        if !fits || !is_free || !overwrites || !self.frozen[step].last_mut()?.accumulate() {
            return None;
        }
        self.adds_to[step] = Some(other);
        Some(value)
    }

    /// The step that computes a value; `None` for an input.
    fn producer(&self, value: usize) -> Option<usize> {
        self.plan.steps.iter().position(|step| step.output == value)
    }

    fn is_read_once(&self, value: usize) -> bool {
        self.readers(value).count() == 1 && !self.is_output(value)
    }

    fn is_output(&self, value: usize) -> bool {
        self.plan.outputs.iter().any(|id| self.origin[*id] == value)
    }
}

#[cfg(test)]
mod tests {
    use crate::Result;
    use crate::prelude::*;

    /// The kernels of the compiled form of a model, of which `build` makes the outputs from the input.
    fn kernels(sample: &[usize], build: impl FnOnce(&Symbol) -> Result<Vec<Symbol>>) -> Vec<&'static str> {
        let x = Input::new(sample.to_vec()).symbol();
        let model = Model::new(&x, &build(&x).unwrap()).unwrap();
        let program = model.program().unwrap().expect("a compiled form");
        program.kernels().map(|(_, kernel)| kernel).collect()
    }

    fn dense(x: &Symbol) -> Result<Symbol> {
        Dense::new(8).call(x)
    }

    /// Two dense layers.
    fn branch(x: &Symbol) -> Result<Symbol> {
        dense(&Dense::new(5).activation("relu").call(x)?)
    }

    fn sum(a: &Symbol, b: &Symbol) -> Result<Symbol> {
        Add::new().call([a, b])
    }

    fn relu(x: &Symbol) -> Result<Symbol> {
        ReLU::new().call(x)
    }

    #[test]
    fn a_residual_block_is_its_products() {
        let plain = kernels(&[8], |x| {
            let x = dense(x)?;
            Ok(vec![relu(&sum(&x, &branch(&x)?)?)?])
        });
        assert_eq!(plain, ["Dense"; 3]);
        let with_dropout = kernels(&[8], |x| {
            let x = dense(x)?;
            let y = Dropout::new(0.5).call(&branch(&x)?)?;
            Ok(vec![relu(&sum(&y, &Dropout::new(0.5).call(&x)?)?)?])
        });
        assert_eq!(with_dropout, ["Dense"; 3]);
        let two_in_a_row = kernels(&[8], |x| {
            let x = relu(&dense(x)?)?;
            let x = relu(&sum(&x, &branch(&x)?)?)?;
            Ok(vec![dense(&sum(&x, &branch(&x)?)?)?])
        });
        assert_eq!(two_in_a_row, ["Dense"; 6]);
        let nested = kernels(&[8], |x| {
            let x = dense(x)?;
            let y = Dense::new(8).activation("tanh").call(&x)?;
            Ok(vec![sum(&x, &dense(&relu(&sum(&y, &branch(&y)?)?)?)?)?])
        });
        assert_eq!(nested, ["Dense"; 5]);
    }

    #[test]
    fn a_projection_is_added_to_by_the_last_convolution() {
        let norm = |x: &Symbol| BatchNormalization::new().call(x);
        let found = kernels(&[6, 6, 4], |x| {
            let x = Conv2D::new(8, 3).activation("relu").call(x)?;
            let shortcut = norm(&Conv2D::new(16, 1).strides(2).call(&x)?)?;
            let y = relu(&norm(&Conv2D::new(8, 1).strides(2).call(&x)?)?)?;
            let y = norm(&Conv2D::new(16, 1).call(&y)?)?;
            Ok(vec![relu(&sum(&shortcut, &y)?)?])
        });
        assert_eq!(found, ["Conv", "Conv", "Dense", "Conv"]);
    }

    #[test]
    fn an_attention_adds_to_what_it_does_not_read() {
        let normalized_before = kernels(&[6, 8], |x| {
            let x = dense(x)?;
            let y = LayerNormalization::new().call(&x)?;
            let y = MultiHeadAttention::new(2, 3).call([&y, &y])?;
            let x = sum(&x, &Dropout::new(0.1).call(&y)?)?;
            Ok(vec![sum(&x, &branch(&x)?)?])
        });
        assert_eq!(normalized_before, ["Dense", "LayerNormalization", "Attention", "Dense", "Dense"]);
        let normalized_after = kernels(&[6, 8], |x| {
            let x = dense(x)?;
            let x = sum(&x, &GroupQueryAttention::new(3, 2, 1).call([&x, &x])?)?;
            Ok(vec![LayerNormalization::new().call(&x)?])
        });
        assert_eq!(normalized_after, ["Dense", "Attention", "Merge", "LayerNormalization"]);
    }

    #[test]
    fn a_sum_stays_a_step_where_its_inputs_are_needed() {
        // Of a call's input.
        assert_eq!(kernels(&[8], |x| Ok(vec![relu(&sum(x, &branch(x)?)?)?])), ["Dense", "Dense", "Merge"]);
        let used_later = kernels(&[8], |x| {
            let x = dense(x)?;
            Ok(vec![Multiply::new().call([&sum(&x, &branch(&x)?)?, &x])?])
        });
        assert_eq!(used_later, ["Dense", "Dense", "Dense", "Merge", "Merge"]);
        let read_by_the_last_step = kernels(&[8], |x| {
            let x = dense(x)?;
            Ok(vec![sum(&x, &dense(&x)?)?])
        });
        assert_eq!(read_by_the_last_step, ["Dense", "Dense", "Merge"]);
        let the_same_twice = kernels(&[8], |x| {
            let x = dense(x)?;
            Ok(vec![sum(&x, &x)?])
        });
        assert_eq!(the_same_twice, ["Dense", "Merge"]);
        let activated_before = kernels(&[8], |x| {
            let x = dense(x)?;
            Ok(vec![sum(&x, &relu(&branch(&x)?)?)?])
        });
        assert_eq!(activated_before, ["Dense", "Dense", "Dense", "Merge"]);
        let of_three = kernels(&[8], |x| {
            let x = dense(x)?;
            let y = branch(&x)?;
            Ok(vec![Add::new().call([&x, &y, &branch(&y)?])?])
        });
        assert_eq!(of_three, ["Dense", "Dense", "Dense", "Dense", "Dense", "Merge"]);
        let mean = kernels(&[8], |x| {
            let x = dense(x)?;
            Ok(vec![relu(&Average::new().call([&x, &branch(&x)?])?)?])
        });
        assert_eq!(mean, ["Dense", "Dense", "Dense", "Merge"]);
        let an_input_is_an_output = kernels(&[8], |x| {
            let x = dense(x)?;
            Ok(vec![sum(&x, &branch(&x)?)?, x])
        });
        assert_eq!(an_input_is_an_output, ["Dense", "Dense", "Dense", "Merge"]);
    }

    #[test]
    fn an_activation_stays_a_step_where_its_input_is_needed() {
        let used_twice = kernels(&[8], |x| {
            let x = dense(x)?;
            let x = sum(&x, &branch(&x)?)?;
            Ok(vec![Multiply::new().call([&relu(&x)?, &x])?])
        });
        assert_eq!(used_twice, ["Dense", "Dense", "Dense", "Activated", "Merge"]);
        let its_input_is_an_output = kernels(&[8], |x| {
            let x = dense(x)?;
            Ok(vec![relu(&x)?, x])
        });
        assert_eq!(its_input_is_an_output, ["Dense", "Activated"]);
        let a_second_one = kernels(&[8], |x| Ok(vec![Activation::new("tanh").call(&relu(&dense(x)?)?)?]));
        assert_eq!(a_second_one, ["Dense", "Activated"]);
        assert_eq!(kernels(&[8], |x| Ok(vec![relu(x)?])), ["Activated"]);
    }
}
