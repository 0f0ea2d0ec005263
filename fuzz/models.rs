//! A small model drawn from bytes, with extreme numbers among its arguments, is built, predicts and trains for one step
//! under a memory limit. Each of these must end in a value or an error.
//!
//! The fuzz target `compute` and `tests/properties/extremes.rs` share this.

use std::sync::OnceLock;

use brasa::backend::Backend;
use brasa::config::Config;
use brasa::layers::{Layer, built_in};
use brasa::model::Mode;
use brasa::ndarray::{ArrayD, IxDyn};
use brasa::training::Compile;
use brasa::{Sequential, Value};
use serde_json::{Value as Json, json};

/// The stage that a model reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// A layer, or the number of inputs, was rejected.
    Nothing,
    /// It was built; prediction was rejected.
    Built,
    /// It has predicted; training was rejected.
    Predicted,
    /// It was trained for one step.
    Trained,
}

/// The memory limit of a model: small, so that even slow layers finish soon.
const LIMIT: u64 = 1 << 20;

/// The most numbers in a batch of inputs.
const MOST_INPUTS: usize = 4096;

/// An example from the list of built-in layers.
struct Template {
    class_name: &'static str,
    config: Config,
    sample: Vec<usize>,
}

fn templates() -> &'static [Template] {
    static TEMPLATES: OnceLock<Vec<Template>> = OnceLock::new();
    TEMPLATES.get_or_init(|| {
        let mut templates = Vec::new();
        for entry in built_in() {
            for example in entry.examples() {
                // Closures cannot be serialized.
                let Ok(mut config) = example.layer.full_config() else { continue };
                config.remove("name");
                let sample = example.input.sample().iter().map(|size| size.unwrap_or(3)).collect();
                templates.push(Template { class_name: entry.class_name, config, sample });
            }
        }
        templates
    })
}

/// A sequence of choices, each determined by bytes; by zeros when the bytes are used up.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn below(&mut self, count: usize) -> usize {
        // Two bytes, as there can be more than 256 options.
        let mut next = || usize::from(self.0.next().copied().unwrap_or(0));
        (next() * 256 + next()) % count.max(1)
    }

    fn of<'b, T>(&mut self, list: &'b [T]) -> &'b T {
        &list[self.below(list.len())]
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 1
    }

    /// A number for an argument.
    fn number(&mut self) -> Json {
        match self.below(4) {
            0 => json!(self.of(&[0i64, 1, 2, 3, 4, 5, 7, 16, 17, 33])),
            1 => {
                json!(self.of(&[1i64 << 10, 1 << 16, 1 << 20, (1 << 24) + 1, (1 << 29) - 1, 1 << 29, 1 << 30, 1 << 31]))
            }
            2 => json!(self.of(&[
                1u64 << 32,
                1 << 40,
                (1 << 45) - 1,
                (1 << 57) + 1,
                1 << 61,
                (1 << 62) + 1,
                i64::MAX as u64,
                1 << 63,
                u64::MAX
            ])),
            _ => json!(self.of(&[
                -1.0,
                -2.0,
                -7.0,
                0.5,
                0.999_999,
                1.5,
                -0.5,
                1e-30,
                1e30,
                -1e30,
                3.4e38,
                1e300,
                i64::MIN as f64
            ])),
        }
    }

    /// A replacement for an argument, usually of the same kind.
    fn instead_of(&mut self, value: &Json) -> Json {
        match value {
            Json::Number(_) => self.number(),
            Json::Bool(value) => json!(!value),
            Json::Array(list) if !list.is_empty() && !self.one_in(8) => {
                let mut list = list.clone();
                let place = self.below(list.len());
                list[place] = self.instead_of(&list[place].clone());
                list.into()
            }
            // A nested layer, an initializer and the like.
            Json::Object(object) if object.contains_key("config") => {
                let mut object = object.clone();
                if let Some(config) = object.get_mut("config").and_then(Json::as_object_mut) {
                    self.change(config);
                }
                object.into()
            }
            Json::String(_) if !self.one_in(8) => json!(self.of(&[
                "same",
                "valid",
                "causal",
                "channels_first",
                "channels_last",
                "relu",
                "softmax",
                "glu",
                "gelu",
                "orthogonal",
                "identity",
                "zeros",
                "he_normal",
                "nearest",
                "bicubic",
                "lanczos5",
                "one_hot",
                "count",
                "multi_hot",
                "sum",
                "mul",
            ])),
            _ => match self.below(6) {
                0 => Json::Null,
                1 => json!([]),
                2 => json!([self.number()]),
                3 => json!([self.number(), self.number()]),
                4 => json!([[self.number(), self.number()], [self.number(), self.number()]]),
                _ => self.number(),
            },
        }
    }

    fn change(&mut self, config: &mut Config) {
        let keys: Vec<String> = config.keys().cloned().collect();
        if keys.is_empty() {
            return;
        }
        let key = self.of(&keys).clone();
        let value = self.instead_of(&config[&key].clone());
        config.insert(key, value);
    }

    /// A layer, usually with an example of this input rank, with up to three arguments changed.
    fn layer(&mut self, rank: Option<usize>) -> brasa::Result<(Box<dyn Layer>, Vec<usize>)> {
        let all = templates();
        let fitting: Vec<&Template> =
            all.iter().filter(|one| rank.is_none_or(|rank| one.sample.len() == rank)).collect();
        let template = if fitting.is_empty() || self.one_in(8) { self.of(all) } else { *self.of(&fitting) };
        let mut config = template.config.clone();
        for _ in 0..self.below(4) {
            self.change(&mut config);
        }
        let entry = built_in().iter().find(|entry| entry.class_name == template.class_name);
        let layer = entry.map(|entry| entry.layer(config)).transpose()?;
        layer
            .map(|layer| (layer, template.sample.clone()))
            .ok_or_else(|| brasa::Error::unsupported(template.class_name, "built-in layers"))
    }

    fn described(&mut self, classes: &[(&str, &[&str])]) -> Json {
        let (class_name, arguments) = *self.of(classes);
        let mut config = Config::new();
        for _ in 0..*self.of(&[0, 0, 0, 1, 2]) {
            if !arguments.is_empty() {
                config
                    .insert((*self.of(arguments)).to_owned(), if self.one_in(4) { json!(true) } else { self.number() });
            }
        }
        json!({"class_name": class_name, "config": config})
    }

    fn compile(&mut self) -> brasa::Result<Compile> {
        let metrics: Vec<Json> = (0..*self.of(&[0, 0, 1, 2])).map(|_| self.described(METRICS)).collect();
        let config = json!({
            "optimizer": self.described(OPTIMIZERS), "loss": if self.one_in(2) { json!("mse") } else { self.described(LOSSES) }, "metrics": metrics,
        });
        Compile::from_config(config.as_object().cloned().unwrap_or_default())
    }
}

const OPTIMIZERS: &[(&str, &[&str])] = &[
    ("SGD", &["learning_rate", "momentum", "nesterov", "clipnorm", "clipvalue", "global_clipnorm", "weight_decay"]),
    (
        "Adam",
        &[
            "learning_rate",
            "beta_1",
            "beta_2",
            "epsilon",
            "amsgrad",
            "use_ema",
            "ema_momentum",
            "ema_overwrite_frequency",
        ],
    ),
    ("AdamW", &["learning_rate", "weight_decay", "gradient_accumulation_steps", "loss_scale_factor"]),
    ("RMSprop", &["learning_rate", "rho", "momentum", "centered"]),
    ("Adadelta", &["learning_rate", "rho", "epsilon"]),
    ("Adagrad", &["learning_rate", "initial_accumulator_value"]),
    ("Adamax", &["learning_rate", "beta_1"]),
    ("Nadam", &["learning_rate", "beta_2"]),
    ("Ftrl", &["learning_rate", "l1_regularization_strength", "beta", "learning_rate_power"]),
    ("Lion", &["learning_rate", "beta_1"]),
    ("Lamb", &["learning_rate", "epsilon"]),
    ("Adafactor", &["learning_rate", "clip_threshold", "beta_2_decay", "relative_step"]),
    ("Muon", &["learning_rate", "adam_beta_1", "ns_steps", "nesterov", "rms_rate"]),
];

const LOSSES: &[(&str, &[&str])] = &[
    ("MeanSquaredError", &[]),
    ("MeanAbsoluteError", &[]),
    ("MeanAbsolutePercentageError", &[]),
    ("MeanSquaredLogarithmicError", &[]),
    ("CosineSimilarity", &["axis"]),
    ("Huber", &["delta"]),
    ("LogCosh", &[]),
    ("Hinge", &[]),
    ("SquaredHinge", &[]),
    ("CategoricalHinge", &[]),
    ("KLDivergence", &[]),
    ("Poisson", &[]),
    ("BinaryCrossentropy", &["from_logits", "label_smoothing"]),
    ("BinaryFocalCrossentropy", &["alpha", "gamma", "label_smoothing"]),
    ("CategoricalCrossentropy", &["from_logits", "label_smoothing"]),
    ("CategoricalFocalCrossentropy", &["alpha", "gamma"]),
    ("SparseCategoricalCrossentropy", &["from_logits", "ignore_class"]),
    ("CategoricalGeneralizedCrossEntropy", &["q"]),
    ("Dice", &["axis"]),
    ("Tversky", &["alpha", "beta", "axis"]),
    ("Circle", &["gamma", "margin", "remove_diagonal"]),
    ("CTC", &[]),
];

const METRICS: &[(&str, &[&str])] = &[
    ("AUC", &["num_thresholds", "multi_label", "num_labels", "from_logits"]),
    ("Precision", &["thresholds", "top_k", "class_id"]),
    ("Recall", &["thresholds", "top_k", "class_id"]),
    ("MeanIoU", &["num_classes", "ignore_class", "axis"]),
    ("OneHotMeanIoU", &["num_classes", "axis"]),
    ("TopKCategoricalAccuracy", &["k"]),
    ("SparseTopKCategoricalAccuracy", &["k"]),
    ("F1Score", &["threshold"]),
    ("FBetaScore", &["beta", "threshold"]),
    ("R2Score", &["num_regressors"]),
    ("PrecisionAtRecall", &["recall", "num_thresholds"]),
    ("Accuracy", &[]),
    ("CosineSimilarity", &["axis"]),
    ("PearsonCorrelation", &["axis"]),
];

/// Values for inputs and targets.
fn numbers(choices: &mut Choices<'_>, sizes: &[usize]) -> ArrayD<f32> {
    let kind = choices.below(6);
    let mut index = 0u32;
    ArrayD::from_shape_simple_fn(IxDyn(sizes), || {
        index += 1;
        match kind {
            0 => (index % 2) as f32,
            1 => (index % 3) as f32 - 1.0,
            2 => 0.0,
            3 if index % 7 == 3 => f32::NAN,
            4 if index % 5 == 2 => f32::INFINITY,
            5 => 1e20 * (index % 4) as f32,
            _ => (index % 10) as f32 / 10.0,
        }
    })
}

/// The stage that the model drawn from the bytes reaches. A panic is a finding.
pub fn compute(bytes: &[u8]) -> Reached {
    run(&mut Choices(bytes.iter())).unwrap_or(Reached::Nothing)
}

fn run(choices: &mut Choices<'_>) -> Option<Reached> {
    let (first, mut sample) = choices.layer(None).ok()?;
    if choices.one_in(3) && !sample.is_empty() {
        let axis = choices.below(sample.len());
        sample[axis] = *choices.of(&[0, 1, 2, 6, 17, 64]);
    }
    let batch = *choices.of(&[2, 1, 5]);
    let sizes = [&[batch], sample.as_slice()].concat();
    if sizes.iter().product::<usize>() > MOST_INPUTS {
        return None;
    }
    let mut model = Sequential::new().with_seed(1);
    let device = |name: &str| name.parse::<Backend>().and_then(|backend| backend.device());
    let name = ["flex", "flex", "ndarray"][choices.below(3)];
    let device = device(name).or_else(|_| device("flex")).ok()?;
    model.to_device(&device);
    model.set_memory_limit(Some(LIMIT));
    model.add(brasa::layers::Input::new(sample)).ok()?;
    model.add(first).ok()?;
    for _ in 0..choices.below(4) {
        let rank = model.output_shape().ok()?.sample().len();
        // A layer that is rejected leaves the model unchanged.
        if let Ok((layer, _)) = choices.layer(Some(rank)) {
            let _ = model.add(layer);
        }
    }
    if choices.one_in(3) {
        let _ = model.add(brasa::layers::Flatten::new()).and_then(|model| model.add(brasa::layers::Dense::new(3)));
    }
    let x = numbers(choices, &sizes);
    let Ok(output) = model.predict(&x) else { return Some(Reached::Built) };
    let value = Value::from_vec(x.iter().copied().collect(), &sizes, &device).ok()?;
    let _ = model.forward(value, Mode::Training { seed: 1, step: 0 });
    let Ok(compile) = choices.compile() else { return Some(Reached::Predicted) };
    if model.compile(compile).is_err() {
        return Some(Reached::Predicted);
    }
    let mut target = output.shape().to_vec();
    match (choices.below(4), target.len()) {
        (1, 2..) => drop(target.pop()),
        (2, 1..) => *target.last_mut()? = 1,
        _ => {}
    }
    if target.iter().product::<usize>() > MOST_INPUTS {
        return Some(Reached::Predicted);
    }
    let y = numbers(choices, &target);
    let trained = model.train_on_batch(&x, &y).is_ok();
    let _ = model.test_on_batch(&x, &y);
    Some(if trained { Reached::Trained } else { Reached::Predicted })
}
