//! The list of built-in metrics, and how a metric is specified.

use std::any::TypeId;

use serde_json::Value as Json;

use super::{
    AUC, Accuracy, BinaryAccuracy, BinaryIoU, CategoricalAccuracy, ConcordanceCorrelation, CosineSimilarity, F1Score,
    FBetaScore, FalseNegatives, FalsePositives, IoU, LogCoshError, LossMean, Mean, MeanFunction, MeanIoU, Metric,
    OneHotIoU, OneHotMeanIoU, PearsonCorrelation, Precision, PrecisionAtRecall, R2Score, Recall, RecallAtPrecision,
    RootMeanSquaredError, SensitivityAtSpecificity, SparseCategoricalAccuracy, SparseTopKCategoricalAccuracy,
    SpecificityAtSensitivity, SumMetric, Summed, TopKCategoricalAccuracy, TrueNegatives, TruePositives,
};
use crate::config::{
    Config, Configure, Origin, PACKAGE_END, keras_object, known_early, names_class, object_of, snake_case,
    without_package,
};
use crate::error::{Error, Result};
use crate::losses;
use crate::register::{Register, own_object};
use crate::shape::Shape;

type Maker = fn(Config) -> Result<Box<dyn Metric>>;

/// A metric's class, its arguments, and its constructor.
type MetricEntry = (&'static str, &'static [&'static str], Maker);

/// Declares the list, and the conversion of each of its metrics to an argument.
macro_rules! metrics {
    (means: $($mean:ident),* ; sums: $($sum:ident),* $(;)?) => {
        /// All built-in metrics that are not also losses. To add one, add its description and a name here.
        const LIST: &[MetricEntry] = &[$(mean::<$mean>(),)* $(sum::<$sum>()),*];

        /// Their types.
        const TYPES: &[fn() -> TypeId] = &[$(TypeId::of::<$mean>,)* $(TypeId::of::<$sum>),*];

        $(
            impl From<$mean> for MetricArgument {
                fn from(metric: $mean) -> Self {
                    Mean::of(metric).into()
                }
            }
        )*

        $(
            impl From<$sum> for MetricArgument {
                fn from(metric: $sum) -> Self {
                    Summed::new(metric).into()
                }
            }
        )*
    };
}

const fn mean<F: MeanFunction + Configure>() -> MetricEntry {
    (F::CLASS_NAME, F::ARGUMENTS, |mut config| {
        let name = take_name::<F>(&mut config);
        Ok(Box::new(Mean::of(F::from_config(config)?).named(name)))
    })
}

const fn sum<M: SumMetric>() -> MetricEntry {
    (M::CLASS_NAME, M::ARGUMENTS, |mut config| {
        let name = take_name::<M>(&mut config);
        Ok(Box::new(Summed::new(M::from_config(config)?).named(name)))
    })
}

/// Removes the metric's name from a config, if the description has no argument for it.
fn take_name<C: Configure>(config: &mut Config) -> Option<String> {
    let name = if C::ARGUMENTS.contains(&"name") { None } else { config.remove("name") };
    name.and_then(|name| name.as_str().map(str::to_owned))
}

metrics! {
    means: Accuracy, BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy, TopKCategoricalAccuracy,
        SparseTopKCategoricalAccuracy, CosineSimilarity, LogCoshError, PearsonCorrelation, ConcordanceCorrelation;
    sums: Precision, Recall, TruePositives, TrueNegatives, FalsePositives, FalseNegatives, AUC,
        SensitivityAtSpecificity, SpecificityAtSensitivity, PrecisionAtRecall, RecallAtPrecision, F1Score, FBetaScore,
        IoU, MeanIoU, OneHotIoU, OneHotMeanIoU, BinaryIoU, RootMeanSquaredError, R2Score;
}

static OWN: Register<MetricEntry> = Register::new();

/// Whether the class that a metric's description names is built in.
fn is_built_in(metric: &dyn Metric) -> bool {
    metric.is_of_built_in_loss() || metric.described_type().is_some_and(|id| TYPES.iter().any(|own| own() == id))
}

/// Whether a built-in metric, or a built-in loss as a metric, has this class or name.
fn is_built_in_name(class: &str) -> bool {
    LIST.iter().any(|(name, ..)| names_class(class, name)) || losses::is_built_in_name(class)
}

/// Registers a custom metric, a mean over samples, by its class name and its snake case, so that files and recipes can
/// load it and `compile` accepts the name. A metric made of it by [`Mean::of`] is serialized with its arguments.
///
/// A built-in class takes precedence; a class with its name needs a package (`struct Recall as "my_package>Recall"`),
/// which is then part of the name that `compile` accepts.
pub fn register_mean<F: MeanFunction + Configure>() {
    OWN.insert(F::CLASS_NAME, mean::<F>());
}

/// Like [`register_mean`], for a metric that is a function of sums.
pub fn register_sum<M: SumMetric>() {
    OWN.insert(M::CLASS_NAME, sum::<M>());
}

/// The losses that are metrics in Keras, too; the others are wrapped there.
const ALSO_LOSSES: &[&str] = &[
    "MeanSquaredError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredLogarithmicError",
    "Hinge",
    "SquaredHinge",
    "CategoricalHinge",
    "KLDivergence",
    "Poisson",
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "SparseCategoricalCrossentropy",
];

/// Keras's names for the accuracy that fits the shapes.
const ACCURACY: &[&str] = &["accuracy", "acc"];

pub(super) fn is_accuracy(name: &str) -> bool {
    ACCURACY.iter().any(|accuracy| accuracy.eq_ignore_ascii_case(name))
}

/// All names of metrics: those of this module and all losses.
pub fn names() -> Vec<String> {
    let own = LIST.iter().map(|(class, ..)| snake_case(class)).chain(OWN.names());
    let own = own.chain(["acc".to_owned()]);
    let losses = losses::names().into_iter().filter(|name| name != "cosine_similarity");
    own.chain(losses).collect()
}

/// The class of the built-in metric or loss of a name, which may be the class.
pub(super) fn class_of(name: &str) -> Option<&'static str> {
    let listed = LIST.iter().map(|(class, ..)| *class).find(|class| names_class(name, class));
    // Some cannot be made of a name alone.
    listed.or_else(|| from_name(name).ok()?.config().map(|(class, _)| class))
}

/// Creates the metric of a class (or name) with these arguments.
fn from_class(class: &str, mut config: Config) -> Result<Box<dyn Metric>> {
    if config.get("name").is_some_and(Json::is_null) {
        config.remove("name");
    }
    let built_in = LIST.iter().find(|(name, ..)| names_class(class, name)).copied();
    let entry = built_in.or_else(|| OWN.get(class));
    if !entry.is_some_and(|(_, arguments, _)| arguments.contains(&"dtype"))
        && let Some(dtype) = config.remove("dtype")
        && !(dtype.is_null() || dtype == "float32" || dtype.is_object())
    {
        return Err(Error::unsupported(format!("a metric with dtype={dtype}"), "float32"));
    }
    if let Some((.., make)) = entry {
        if config.get("dtype").is_some_and(Json::is_null) {
            config.remove("dtype");
        }
        return make(config);
    }
    let name = config.get("name").and_then(Json::as_str).map(str::to_owned);
    match losses::from_class(class, config) {
        Ok(loss) => {
            let own = loss.config().ok().and_then(|config| config.get("name")?.as_str().map(str::to_owned));
            let name = name.or(own).unwrap_or_else(|| snake_case(class));
            Ok(Box::new(Mean::new(name, LossMean(loss))))
        }
        Err(Error::UnknownName { kind: "loss", name, .. }) => Err(Error::unknown("metric", name, names())),
        Err(error) => Err(error),
    }
}

/// Creates the metric of a name, which is also its name in the history.
fn from_name(name: &str) -> Result<Box<dyn Metric>> {
    from_class(name, Config::from_iter([("name".to_owned(), Json::String(name.to_owned()))]))
}

/// A metric given by name or as an object.
#[derive(Clone, Debug)]
pub struct MetricArgument(Spec);

#[derive(Clone, Debug)]
enum Spec {
    Name(String),
    Metric(Box<dyn Metric>),
}

impl From<&str> for MetricArgument {
    fn from(name: &str) -> Self {
        Self(Spec::Name(name.to_owned()))
    }
}

impl<M: Metric + 'static> From<M> for MetricArgument {
    fn from(metric: M) -> Self {
        Self(Spec::Metric(Box::new(metric)))
    }
}

impl MetricArgument {
    /// Refuses an unknown name, and invalid arguments.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the list, [`Error::Argument`].
    pub fn check(&self) -> Result<()> {
        match &self.0 {
            Spec::Name(name) if is_accuracy(name) => Ok(()),
            Spec::Name(name) => from_name(name).map(|_| ()).map_err(|error| match error {
                // A name does not include arguments, which some metrics require.
                Error::Argument { argument, .. } => {
                    let expected = format!("an object with `{argument}`, which has no default");
                    Error::argument(format!("metrics: {name}"), expected, "its name alone")
                }
                error => error,
            }),
            Spec::Metric(metric) => metric.check(),
        }
    }

    /// Its name in the history, and its class if it is a built-in one.
    pub(crate) fn about(&self) -> (&str, Option<&'static str>) {
        let class = |metric: &dyn Metric| metric.config().map(|(class, _)| class);
        match &self.0 {
            Spec::Name(name) if is_accuracy(name) => (name, Some("Accuracy")),
            Spec::Name(name) => (name, from_name(name).ok().and_then(|metric| class(&*metric))),
            Spec::Metric(metric) => (metric.name(), class(&**metric)),
        }
    }

    /// Whether its result is a list, one number per class or threshold.
    pub(crate) fn is_list(&self) -> bool {
        match &self.0 {
            Spec::Name(name) if is_accuracy(name) => false,
            Spec::Name(name) => from_name(name).is_ok_and(|metric| metric.is_list()),
            Spec::Metric(metric) => metric.is_list(),
        }
    }

    /// Resolves the metric for targets and outputs of these shapes: `accuracy` is binary for one output, sparse for
    /// integer labels, else categorical, as in Keras.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the list.
    pub fn resolve(&self, target: &Shape, output: &Shape) -> Result<Box<dyn Metric>> {
        match &self.0 {
            Spec::Metric(metric) => Ok(metric.clone()),
            Spec::Name(name) if is_accuracy(name) => {
                let one = |shape: &Shape| shape.sample().last() == Some(&Some(1));
                let class = if one(output) {
                    "BinaryAccuracy"
                } else if target.rank() < output.rank() || one(target) {
                    "SparseCategoricalAccuracy"
                } else {
                    "CategoricalAccuracy"
                };
                from_class(class, Config::from_iter([("name".to_owned(), Json::String(name.clone()))]))
            }
            Spec::Name(name) => from_name(name),
        }
    }

    /// Parses a metric from a config: a name or Keras's object.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::Argument`].
    pub fn from_json(json: Json) -> Result<Self> {
        let argument = match json {
            Json::String(name) if !name.contains(PACKAGE_END) => Self(Spec::Name(name)),
            json => {
                let (class, config) = object_of("metric", json, |class| {
                    let is_metric = LIST.iter().any(|(name, ..)| names_class(class, name));
                    // A loss is a metric unless an own metric has its name.
                    let is_loss = OWN.get(class).is_none() && losses::is_built_in_name(class);
                    match OWN.origin(class, is_metric || is_loss) {
                        Origin::Unknown if losses::is_registered(class) => Origin::Registered,
                        origin => origin,
                    }
                })?;
                Self(Spec::Metric(from_class(&class, config)?))
            }
        };
        argument.check().map(|()| argument)
    }

    /// Serializes the metric for a config; a custom one without a description by its name only.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an own metric with the name of a built-in class, and for one that is not registered
    /// with the name of a registered loss.
    pub(crate) fn to_json(&self) -> Result<Json> {
        match &self.0 {
            // Keras finds an own class only by the registered name in its object.
            Spec::Name(name) if !is_accuracy(name) && (OWN.get(name).is_some() || losses::is_registered(name)) => {
                written(&*from_name(name)?)
            }
            Spec::Name(name) => Ok(Json::String(name.clone())),
            Spec::Metric(metric) => written(&**metric),
        }
    }

    /// Like [`to_json`](Self::to_json), with objects instead of names: Keras's older files accept no names but those of
    /// accuracy and crossentropy, whose class depends on shapes.
    ///
    /// # Errors
    /// As [`to_json`](Self::to_json).
    pub(crate) fn to_object(&self) -> Result<Json> {
        match &self.0 {
            Spec::Name(name) if !is_accuracy(name) && !["crossentropy", "ce"].contains(&name.as_str()) => {
                from_name(name).map_or_else(|_| self.to_json(), |metric| written(&*metric))
            }
            _ => self.to_json(),
        }
    }
}

/// Serializes a metric as Keras does; a custom one by its name.
fn written(metric: &dyn Metric) -> Result<Json> {
    match metric.config() {
        Some((class, config)) if is_built_in(metric) => {
            if LIST.iter().any(|(name, ..)| *name == class) || ALSO_LOSSES.contains(&class) {
                // Early versions of Keras 3 do not have this argument.
                let late: &[(&str, &str)] = match class {
                    "SparseTopKCategoricalAccuracy" => &[("from_sorted_ids", "false")],
                    _ => &[],
                };
                Ok(keras_object("keras.metrics", class, known_early(losses::without_late(class, config), late)))
            } else {
                Ok(keras_object("keras.losses", class, losses::without_late(class, config)))
            }
        }
        Some((class, config)) => {
            let is_loss = metric.described_type() == Some(TypeId::of::<LossMean>());
            let is_name_of_loss = [class, without_package(class)].into_iter().any(losses::is_registered);
            if is_name_of_loss && !is_loss && OWN.get(class).is_none() {
                return Err(Error::unsupported(
                    format!("saving the own metric `{class}`: the registered loss of this name would be loaded"),
                    "metrics that are registered as well, or have another name",
                ));
            }
            // An own metric takes precedence over a built-in loss of its name.
            let is_taken = |class: &str| is_built_in_name(class) && OWN.get(class).is_none();
            own_object("metric", class, is_taken, config)
        }
        None => Ok(Json::String(metric.name().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn accuracy_is_chosen_by_shape() {
        let class = |target: Shape, output: Shape| {
            let metric = MetricArgument::from("accuracy").resolve(&target, &output).unwrap();
            assert_eq!(metric.name(), "accuracy");
            metric.config().unwrap().0
        };
        assert_eq!(class(Shape::batch_of(()), Shape::batch_of(10)), "SparseCategoricalAccuracy");
        assert_eq!(class(Shape::batch_of(1), Shape::batch_of(10)), "SparseCategoricalAccuracy");
        assert_eq!(class(Shape::batch_of(10), Shape::batch_of(10)), "CategoricalAccuracy");
        assert_eq!(class(Shape::batch_of(1), Shape::batch_of(1)), "BinaryAccuracy");
    }

    #[test]
    fn an_unknown_metric_is_refused_with_the_nearest() {
        let error = MetricArgument::from("acuracy").check().unwrap_err().to_string();
        assert!(error.contains("did you mean `accuracy`?"), "{error}");
        let error = MetricArgument::from("mean_io_u").check().unwrap_err().to_string();
        assert!(error.contains("an object with `num_classes`"), "{error}");
    }

    #[test]
    fn invalid_arguments_are_refused() {
        let refused = |class: &str, config: Json| {
            let metric = MetricArgument::from_json(json!({"class_name": class, "config": config}));
            assert!(metric.is_err(), "{class}: {metric:?}");
        };
        refused("TopKCategoricalAccuracy", json!({"k": 0}));
        refused("Precision", json!({"thresholds": [0.5, 1.5]}));
        refused("AUC", json!({"curve": "ROX"}));
        refused("AUC", json!({"num_thresholds": 1}));
        refused("FBetaScore", json!({"beta": 0.0}));
        refused("F1Score", json!({"average": "mean"}));
        refused("SensitivityAtSpecificity", json!({"specificity": 1.5}));
        refused("IoU", json!({"num_classes": 2, "target_class_ids": [2]}));
        refused("R2Score", json!({"class_aggregation": "mean"}));
        refused("Precision", json!({"tresholds": 0.5}));
    }

    /// Labels are unchecked before a metric: whatever they are, the result is a number or an error.
    #[test]
    fn invalid_labels_do_not_panic() {
        let shapes: [(&[usize], &[usize]); 6] =
            [(&[], &[4]), (&[1], &[4]), (&[4], &[4]), (&[1], &[1]), (&[3], &[6, 4]), (&[6], &[6, 4])];
        let (names, mut tried) = (names(), std::collections::BTreeSet::new());
        let backends = ["flex", "ndarray"].map(str::parse::<crate::backend::Backend>);
        for device in backends.into_iter().flatten().filter_map(|backend| backend.device().ok()) {
            for (name, (target, output)) in names.iter().flat_map(|name| shapes.map(|shapes| (name, shapes))) {
                let metric = MetricArgument::from(name.as_str());
                let (y, shape) = (Shape::batch_of(target), Shape::batch_of(output));
                let Ok(mut metric) = metric.resolve(&y, &shape) else { continue };
                for wrong in [-1.0, 4.0, 1e9, 1e30, 0.5, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                    let value = |sizes: &[usize], number: &dyn Fn(usize) -> f32| {
                        let sizes = [&[2], sizes].concat();
                        let numbers = (0..sizes.iter().product()).map(number).collect();
                        crate::Value::from_vec(numbers, &sizes, &device).unwrap()
                    };
                    let y_true = value(target, &|index| if index == 1 { wrong } else { (index % 2) as f32 });
                    let y_pred = value(output, &|index| (index * 7 % 5 + 1) as f32 / 8.0);
                    if metric.update(&y_true, &y_pred, None).is_ok() {
                        metric.result().unwrap();
                        tried.insert(name);
                    }
                }
            }
        }
        let never: Vec<_> = names.iter().filter(|name| !tried.contains(name)).collect();
        assert!(never.iter().all(|name| MetricArgument::from(name.as_str()).check().is_err()), "{never:?}");
    }

    /// The names are Keras's; each config survives the round trip.
    #[test]
    fn configs_survive_a_round_trip() {
        let cases = [
            (json!({"class_name": "AUC", "config": {"curve": "PR", "name": null}}), "auc"),
            (json!({"class_name": "Recall", "config": {"thresholds": [0.25, 0.5], "dtype": "float32"}}), "recall"),
            (json!({"class_name": "MeanIoU", "config": {"num_classes": 3, "dtype": "int32"}}), "mean_io_u"),
            (json!({"class_name": "R2Score", "config": {}}), "r2_score"),
            (json!({"class_name": "FBetaScore", "config": {"beta": 2.0}}), "fbeta_score"),
            (json!({"class_name": "LogCoshError", "config": {}}), "logcosh"),
            (json!({"class_name": "MeanSquaredError", "config": {"name": "squares"}}), "squares"),
            (json!({"class_name": "BinaryCrossentropy", "config": {"from_logits": true}}), "binary_crossentropy"),
        ];
        for (json, name) in cases {
            let written = MetricArgument::from_json(json).unwrap().to_json().unwrap();
            assert_eq!(written["module"], "keras.metrics");
            assert_eq!(written["config"]["name"], name);
            assert_eq!(MetricArgument::from_json(written.clone()).unwrap().to_json().unwrap(), written);
        }
    }
}
