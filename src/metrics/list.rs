//! The one list of built-in metrics, and how a metric is told.

use serde_json::Value as Json;

use super::{BinaryAccuracy, CategoricalAccuracy, LossMean, Mean, Metric, SparseCategoricalAccuracy};
use crate::config::{Arguments, Config, keras_object, names_class, object, snake_case};
use crate::error::{Error, Result};
use crate::losses;
use crate::shape::Shape;

/// The metrics that are not also losses.
const CLASS_NAMES: &[&str] = &["BinaryAccuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy"];

/// Keras's name for the accuracy that fits the shapes.
const ACCURACY: &[&str] = &["accuracy", "acc"];

/// Every name by which a metric can be told: the accuracies and all losses.
pub fn names() -> Vec<String> {
    let own = CLASS_NAMES.iter().map(|class| snake_case(class));
    ACCURACY.iter().map(|name| (*name).to_owned()).chain(own).chain(losses::names()).collect()
}

fn from_class(class: &str, name: &str, mut config: Config) -> Result<Box<dyn Metric>> {
    let name =
        config.remove("name").and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_else(|| name.to_owned());
    config.remove("dtype");
    let plain = |config: Config| Arguments::new(config, &["name", "dtype"]).finish();
    if names_class(class, "BinaryAccuracy") {
        let mut arguments = Arguments::new(config, &["name", "dtype", "threshold"]);
        let threshold = arguments.take("threshold")?.unwrap_or(0.5);
        arguments.finish()?;
        return Ok(Box::new(Mean::new(name, BinaryAccuracy { threshold })));
    }
    if names_class(class, "CategoricalAccuracy") {
        return plain(config).map(|()| Box::new(Mean::new(name, CategoricalAccuracy)) as Box<dyn Metric>);
    }
    if names_class(class, "SparseCategoricalAccuracy") {
        return plain(config).map(|()| Box::new(Mean::new(name, SparseCategoricalAccuracy)) as Box<dyn Metric>);
    }
    match losses::from_class(class, config) {
        Ok(loss) => Ok(Box::new(Mean::new(name, LossMean(loss)))),
        Err(Error::UnknownName { kind: "loss", name, .. }) => Err(Error::unknown("metric", name, names())),
        Err(error) => Err(error),
    }
}

/// A metric as it is told: by name or as an object.
#[derive(Clone, Debug)]
pub struct MetricArgument(Told);

#[derive(Clone, Debug)]
enum Told {
    Name(String),
    Metric(Box<dyn Metric>),
}

impl From<&str> for MetricArgument {
    fn from(name: &str) -> Self {
        Self(Told::Name(name.to_owned()))
    }
}

impl<M: Metric + 'static> From<M> for MetricArgument {
    fn from(metric: M) -> Self {
        Self(Told::Metric(Box::new(metric)))
    }
}

impl MetricArgument {
    /// Refuses a name that no metric has.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the list.
    pub fn check(&self) -> Result<()> {
        match &self.0 {
            Told::Name(name) if !ACCURACY.contains(&name.as_str()) => from_class(name, name, Config::new()).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// The metric for targets and outputs of these shapes: `accuracy` is binary for one output, sparse for integer
    /// labels, else categorical, as in Keras.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the list.
    pub fn resolve(&self, target: &Shape, output: &Shape) -> Result<Box<dyn Metric>> {
        match &self.0 {
            Told::Metric(metric) => Ok(metric.clone()),
            Told::Name(name) if ACCURACY.contains(&name.as_str()) => {
                let one = |shape: &Shape| shape.sample().last() == Some(&Some(1));
                let class = if one(output) {
                    "BinaryAccuracy"
                } else if target.rank() < output.rank() || one(target) {
                    "SparseCategoricalAccuracy"
                } else {
                    "CategoricalAccuracy"
                };
                from_class(class, name, Config::new())
            }
            Told::Name(name) => from_class(name, name, Config::new()),
        }
    }

    /// The metric that a config tells, by name or as Keras's object.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::Argument`].
    pub(crate) fn from_json(json: Json) -> Result<Self> {
        let (class, config) = object("metric", json)?;
        if config.is_empty() {
            let told = Self(Told::Name(class));
            return told.check().map(|()| told);
        }
        from_class(&class, &snake_case(&class), config).map(|metric| Self(Told::Metric(metric)))
    }

    /// The metric as a config tells it; a user's own by its name alone.
    pub(crate) fn to_json(&self) -> Json {
        match &self.0 {
            Told::Name(name) => Json::String(name.clone()),
            Told::Metric(metric) => match metric.config() {
                Some((class, config)) => keras_object("keras.metrics", class, config),
                None => Json::String(metric.name().to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
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
    }
}
