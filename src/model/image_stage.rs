//! The image stage: layers at a model's inputs that prepare and augment images, which run in training on the threads
//! that load batches.

use burn::tensor::Device;

use super::Model;
use super::graph::ValueId;
use super::plan::PlanStep;
use super::planner::{ImageSteps, image_steps};
use super::stage::{Feed, HostSplit};
use crate::error::{Error, Result};
use crate::layers::{Call, SampleKeys, in_layer};
use crate::ops::{self, Value};
use crate::shape::Shape;

/// A value for the steps behind the stage.
#[derive(Debug)]
pub(crate) struct ImageFeed {
    pub feed: Feed,
    /// The fed value that its numbers are, in whatever form, if no layer of the stage has changed them.
    input: Option<usize>,
}

/// The steps of a model that prepare images, with their own random numbers.
#[derive(Debug)]
pub(crate) struct ImageStage {
    steps: Vec<PlanStep>,
    /// The number of values that the model is fed with; they come first.
    inputs: usize,
    /// The values for the steps behind the stage.
    feeds: Vec<ValueId>,
    value_count: usize,
    /// For each value the fed value whose numbers it has, if any.
    origins: Vec<Option<usize>>,
    /// A device on the host.
    device: Device,
}

impl ImageStage {
    /// The stage of a built model; `None` if no layer at its inputs augments images.
    pub fn of(model: &Model) -> Result<Option<Self>> {
        let built = model.expect_built("a forward pass")?;
        let shapes = model.feed_shapes(&built.shapes);
        let own = Some(model.device()).filter(|_| model.is_on_cpu()).cloned();
        let Some(device) = own.or_else(|| ops::cpu_devices().into_iter().next()) else { return Ok(None) };
        let Some(found) = image_steps(model, &HostSplit::of(model), &shapes)? else { return Ok(None) };
        let ImageSteps { steps, feeds, value_count } = found;
        let mut origins: Vec<Option<usize>> =
            (0..value_count).map(|id| Some(id).filter(|_| id < shapes.len())).collect();
        for step in &steps {
            let origin = step.inputs.first().and_then(|(id, _)| origins[*id]);
            // Whether the values pass unchanged does not depend on them.
            origins[step.output] = origin.filter(|_| matches!(step.layer.check_values(&[]), Ok(true)));
        }
        Ok(Some(Self { steps, inputs: shapes.len(), feeds, value_count, origins, device }))
    }

    /// The number of values in memory for a batch of these sizes.
    pub fn values(&self, inputs: &[Vec<usize>]) -> Result<usize> {
        let mut shapes: Vec<Option<Shape>> = inputs.iter().map(|sizes| Some(Shape::known(sizes))).collect();
        shapes.resize(self.value_count, None);
        let mut sum = 0usize;
        for step in &self.steps {
            let Some(input) = step.inputs.first().and_then(|(id, _)| shapes[*id].clone()) else { continue };
            let batch = input.sizes()[0].unwrap_or(1);
            let output = in_layer(&*step.layer, step.layer.checked_output(&input))?.or_batch(batch);
            let scratch = in_layer(&*step.layer, step.layer.scratch(&input, true))?;
            sum = sum.saturating_add(output.known_len()).saturating_add(scratch);
            shapes[step.output] = Some(output);
        }
        Ok(sum)
    }

    /// Prepares the images of a batch. `number` is that of the batch, counted from the first of the run.
    pub fn run(&self, feeds: Vec<Feed>, seed: u64, number: u64, samples: SampleKeys) -> Result<Vec<ImageFeed>> {
        let missing =
            || Error::State { action: "load", needs: "planned: a value is used before it is computed".into() };
        let mut fed: Vec<Option<Feed>> = feeds.into_iter().map(Some).collect();
        let mut values: Vec<Option<Value>> = vec![None; self.value_count];
        let is_fed_on = |id: ValueId| self.feeds.contains(&id);
        let root = Call::training(&[], true, &[seed, number]).of_samples(samples);
        for (index, step) in self.steps.iter().enumerate() {
            let (id, _) = *step.inputs.first().ok_or_else(missing)?;
            if id < self.inputs && values[id].is_none() {
                let feed = if is_fed_on(id) { fed[id].clone() } else { fed[id].take() };
                let Feed { sizes, numbers } = feed.ok_or_else(missing)?;
                values[id] = Some(Value::from_vec(numbers, &sizes, &self.device)?);
            }
            let again = self.steps[index + 1..].iter().flat_map(PlanStep::uses).any(|other| other == id);
            let input = if again || is_fed_on(id) { values[id].clone() } else { values[id].take() };
            let mut call = root.part_at(&[], &step.key);
            let output = step.layer.forward(input.ok_or_else(missing)?, &mut call);
            values[step.output] = Some(in_layer(&*step.layer, output)?);
        }
        let mut prepared = |id: &ValueId| {
            if *id < self.inputs {
                return Ok(ImageFeed { feed: fed[*id].take().ok_or_else(missing)?, input: Some(*id) });
            }
            let value = values[*id].take().ok_or_else(missing)?;
            let feed = Feed { sizes: value.sizes(), numbers: value.to_vec()? };
            Ok(ImageFeed { feed, input: self.origins[*id] })
        };
        self.feeds.iter().map(&mut prepared).collect()
    }
}

impl Model {
    /// The image stage of the model, if it has one.
    pub(crate) fn image_stage(&self) -> Result<Option<ImageStage>> {
        ImageStage::of(self)
    }

    /// Moves the outputs of the image stage to the device; numbers that the next layers do not accept are rejected.
    pub(crate) fn fed_images(&self, images: Vec<ImageFeed>) -> Result<Vec<Value>> {
        let split = HostSplit::of(self);
        let value = |ImageFeed { feed, input }: ImageFeed| {
            if let Some(input) = input {
                self.check_fed(&split, input, &feed.numbers)?;
            }
            Value::from_vec(feed.numbers, &feed.sizes, self.device())
        };
        images.into_iter().map(value).collect()
    }
}
