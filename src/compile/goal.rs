//! Losses, weights and metrics by output.

use serde_json::{Map, Value as Json};

use crate::config::{from_json, to_json};
use crate::error::{Error, Result};
use crate::losses::{Loss, LossArgument};
use crate::metrics::MetricArgument;

/// Loss and metrics of one output.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    /// The name of the output, in a model of several: the prefix of its loss and metric names.
    pub output: Option<String>,
    pub loss: Option<Box<dyn Loss>>,
    /// The factor of the loss.
    pub weight: f32,
    pub metrics: Vec<MetricArgument>,
    pub weighted_metrics: Vec<MetricArgument>,
}

impl Goal {
    /// Whether anything is computed from targets.
    pub fn needs_targets(&self) -> bool {
        self.loss.is_some() || !self.metrics.is_empty() || !self.weighted_metrics.is_empty()
    }

    /// The error with the name of the output, in a model of several.
    pub fn named(&self, error: Error) -> Error {
        match (&self.output, error) {
            (Some(output), Error::Data { what, expected, received }) => {
                Error::data(format!("output `{output}`: {what}"), expected, received)
            }
            (_, error) => error,
        }
    }

    /// The name of a loss or metric of this output in logs.
    pub fn log_name(&self, name: &str) -> String {
        self.output.as_ref().map_or_else(|| name.to_owned(), |output| format!("{output}_{name}"))
    }
}

/// An argument of `compile`: one for all outputs, or one for each, in order or by name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ByOutput<T> {
    All(T),
    List(Vec<T>),
    Named(Vec<(String, T)>),
}

impl<T: Clone> ByOutput<T> {
    /// The part of each output. Outputs missing in [`Named`](Self::Named) get `rest`; without `rest` that is an error.
    ///
    /// # Errors
    /// [`Error::Argument`] for a list of another length and for unknown output names.
    pub fn resolve(&self, argument: &str, outputs: &[String], rest: Option<&T>) -> Result<Vec<T>> {
        let names = outputs.join(", ");
        match self {
            Self::All(one) => Ok(vec![one.clone(); outputs.len()]),
            Self::List(list) if list.len() == outputs.len() => Ok(list.clone()),
            Self::List(list) => {
                Err(Error::argument(argument, format!("one for each of the outputs {names}"), list.len()))
            }
            Self::Named(named) => {
                if let Some((unknown, _)) = named.iter().find(|(name, _)| !outputs.contains(name)) {
                    let expected = format!("names among the outputs {names}");
                    return Err(Error::argument(argument, expected, format!("`{}`", crate::text::printable(unknown))));
                }
                let of = |output: &String| {
                    let found = named.iter().find(|(name, _)| name == output).map(|(_, part)| part);
                    found.or(rest).cloned().ok_or_else(|| {
                        Error::argument(
                            argument,
                            format!("one for each of the outputs {names}"),
                            format!("none for `{output}`"),
                        )
                    })
                };
                outputs.iter().map(of).collect()
            }
        }
    }

    /// In Keras's form.
    pub fn to_json(&self, part: impl Fn(&T) -> Result<Json>) -> Result<Json> {
        match self {
            Self::All(one) => part(one),
            Self::List(list) => list.iter().map(part).collect(),
            Self::Named(named) => {
                let parts = named.iter().map(|(name, own)| Ok((name.clone(), part(own)?)));
                parts.collect::<Result<Map<_, _>>>().map(Json::Object)
            }
        }
    }

    /// All parts.
    pub fn parts(&self) -> Vec<&T> {
        match self {
            Self::All(one) => vec![one],
            Self::List(list) => list.iter().collect(),
            Self::Named(named) => named.iter().map(|(_, part)| part).collect(),
        }
    }
}

/// The losses of a config: one, a list, or a map by output.
pub(super) fn losses_from_json(json: Json) -> Result<ByOutput<Option<LossArgument>>> {
    let loss = |json: Json| if json.is_null() { Ok(None) } else { LossArgument::from_json(json).map(Some) };
    by_output(json, loss)
}

pub(super) fn losses_to_json(losses: &ByOutput<Option<LossArgument>>) -> Result<Json> {
    losses.to_json(|loss| loss.as_ref().map_or(Ok(Json::Null), LossArgument::to_json))
}

/// The weights of the losses of a config.
pub(super) fn weights_from_json(json: Json) -> Result<ByOutput<f32>> {
    by_output(json, |json| if json.is_null() { Ok(1.0) } else { from_json("loss_weights", json) })
}

pub(super) fn weights_to_json(weights: &ByOutput<f32>) -> Result<Json> {
    match weights {
        ByOutput::All(weight) if *weight == 1.0 => Ok(Json::Null),
        ByOutput::All(weight) => to_json("loss_weights", &[weight]),
        weights => weights.to_json(|weight| to_json("loss_weights", weight)),
    }
}

fn by_output<T>(json: Json, part: impl Fn(Json) -> Result<T>) -> Result<ByOutput<T>> {
    match json {
        Json::Array(list) => list.into_iter().map(part).collect::<Result<_>>().map(ByOutput::List),
        Json::Object(map) if !map.contains_key("class_name") => {
            let named = map.into_iter().map(|(name, json)| Ok((name, part(json)?)));
            named.collect::<Result<_>>().map(ByOutput::Named)
        }
        one => part(one).map(ByOutput::All),
    }
}

/// The metrics of a list, which can have a list for each output, or of a map by output names.
pub(super) fn flat(given: &Json) -> Vec<&Json> {
    match given {
        Json::Null => Vec::new(),
        Json::Array(list) => list.iter().flat_map(flat).collect(),
        Json::Object(map) if !map.contains_key("class_name") => map.values().flat_map(flat).collect(),
        metric => vec![metric],
    }
}

/// The metrics of a config: a list; a list of lists, one for each output; or a map by output.
pub(super) fn metrics_from_json(
    given: Json,
    read: &mut impl FnMut(Json) -> Option<MetricArgument>,
) -> ByOutput<Vec<MetricArgument>> {
    let by_output = |json: &Json| json.is_null() || json.is_array();
    let mut all = |given: &Json| flat(given).into_iter().cloned().filter_map(&mut *read).collect();
    match given {
        Json::Array(list) => {
            let parts: Vec<Vec<MetricArgument>> = list.iter().map(all).collect();
            // An unreadable entry keeps its place, as the list can be one for each output.
            match list.iter().any(by_output) || parts.iter().any(Vec::is_empty) {
                true => ByOutput::List(parts),
                false => ByOutput::All(parts.concat()),
            }
        }
        Json::Object(map) if !map.contains_key("class_name") => {
            ByOutput::Named(map.iter().map(|(name, given)| (name.clone(), all(given))).collect())
        }
        given => ByOutput::All(all(&given)),
    }
}

impl ByOutput<Vec<MetricArgument>> {
    /// Adds metrics for all outputs; `false` if metrics are already given by output.
    pub(super) fn extend(&mut self, metrics: impl Iterator<Item = MetricArgument>) -> bool {
        match self {
            Self::All(own) => own.extend(metrics),
            Self::List(_) | Self::Named(_) => return false,
        }
        true
    }

    /// Adds metrics for one output; `false` if metrics are already given for all.
    pub(super) fn extend_of(&mut self, output: String, metrics: impl Iterator<Item = MetricArgument>) -> bool {
        if matches!(self, Self::All(own) if own.is_empty()) {
            *self = Self::Named(Vec::new());
        }
        let Self::Named(named) = self else { return false };
        match named.iter_mut().find(|(name, _)| *name == output) {
            Some((_, own)) => own.extend(metrics),
            None => named.push((output, metrics.collect())),
        }
        true
    }

    /// The metrics of each of the outputs.
    pub(super) fn of_outputs(&self, argument: &str, outputs: &[String]) -> Result<Vec<Vec<MetricArgument>>> {
        match self {
            // A single output has them all, in whatever form.
            own if outputs.len() == 1 => Ok(vec![own.parts().into_iter().flatten().cloned().collect()]),
            Self::All(list) if list.is_empty() => Ok(vec![Vec::new(); outputs.len()]),
            Self::All(list) if list.len() == outputs.len() => Ok(list.iter().map(|one| vec![one.clone()]).collect()),
            Self::All(list) => {
                let expected = format!("metrics by output (`metrics_of`), or one for each of {}", outputs.join(", "));
                Err(Error::argument(argument, expected, format!("{} for all of them", list.len())))
            }
            own => own.resolve(argument, outputs, Some(&Vec::new())),
        }
    }
}

/// Metrics in Keras's form; null if there are none.
pub(super) fn metrics_to_json(
    metrics: &ByOutput<Vec<MetricArgument>>,
    write: impl Fn(&MetricArgument) -> Result<Json>,
) -> Result<Json> {
    match metrics {
        ByOutput::All(list) if list.is_empty() => Ok(Json::Null),
        metrics => metrics.to_json(|list| list.iter().map(&write).collect()),
    }
}

/// The loss of [`Compile::new`](super::Compile::new): one for all outputs, by name or as an object; a list with one for
/// each output; or pairs of an output's name and its loss. `None` is an output without a loss.
///
/// ```
/// use brasa::prelude::*;
/// let one = Compile::new("adam", "mse");
/// let listed = Compile::new("adam", ["mse", "binary_crossentropy"]);
/// let named = Compile::new("adam", [("price", "mse"), ("sold", "binary_crossentropy")]);
/// let first = Compile::new("adam", [("price", Some("mse")), ("sold", None)]);
/// ```
pub trait IntoLosses {
    /// The losses.
    #[doc(hidden)]
    fn into_losses(self) -> Losses;
}

/// Losses as given.
#[doc(hidden)]
#[derive(Debug)]
pub struct Losses(pub(super) ByOutput<Option<LossArgument>>);

impl<L> IntoLosses for L
where
    LossArgument: From<L>,
{
    fn into_losses(self) -> Losses {
        Losses(ByOutput::All(Some(self.into())))
    }
}

impl<L> IntoLosses for Vec<L>
where
    LossArgument: From<L>,
{
    fn into_losses(self) -> Losses {
        Losses(ByOutput::List(self.into_iter().map(|loss| Some(loss.into())).collect()))
    }
}

impl<L> IntoLosses for Vec<Option<L>>
where
    LossArgument: From<L>,
{
    fn into_losses(self) -> Losses {
        Losses(ByOutput::List(self.into_iter().map(|loss| loss.map(Into::into)).collect()))
    }
}

impl<K: Into<String>, L> IntoLosses for Vec<(K, L)>
where
    LossArgument: From<L>,
{
    fn into_losses(self) -> Losses {
        Losses(ByOutput::Named(self.into_iter().map(|(name, loss)| (name.into(), Some(loss.into()))).collect()))
    }
}

impl<K: Into<String>, L> IntoLosses for Vec<(K, Option<L>)>
where
    LossArgument: From<L>,
{
    fn into_losses(self) -> Losses {
        Losses(ByOutput::Named(self.into_iter().map(|(name, loss)| (name.into(), loss.map(Into::into))).collect()))
    }
}

impl<T, const N: usize> IntoLosses for [T; N]
where
    Vec<T>: IntoLosses,
{
    fn into_losses(self) -> Losses {
        Vec::from(self).into_losses()
    }
}

/// The factors of [`Compile::loss_weights`](super::Compile::loss_weights): one for each output, or pairs of an output's
/// name and its factor.
///
/// ```
/// use brasa::prelude::*;
/// let listed = Compile::new("adam", "mse").loss_weights([0.5, 2.0]);
/// let named = Compile::new("adam", "mse").loss_weights([("price", 0.5), ("sold", 2.0)]);
/// ```
pub trait IntoLossWeights {
    /// The factors.
    #[doc(hidden)]
    fn into_loss_weights(self) -> LossWeights;
}

/// Factors as given.
#[doc(hidden)]
#[derive(Debug)]
pub struct LossWeights(pub(super) ByOutput<f32>);

impl IntoLossWeights for Vec<f32> {
    fn into_loss_weights(self) -> LossWeights {
        LossWeights(ByOutput::List(self))
    }
}

impl<K: Into<String>> IntoLossWeights for Vec<(K, f32)> {
    fn into_loss_weights(self) -> LossWeights {
        LossWeights(ByOutput::Named(self.into_iter().map(|(name, weight)| (name.into(), weight)).collect()))
    }
}

impl<T, const N: usize> IntoLossWeights for [T; N]
where
    Vec<T>: IntoLossWeights,
{
    fn into_loss_weights(self) -> LossWeights {
        Vec::from(self).into_loss_weights()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs() -> Vec<String> {
        vec!["a".to_owned(), "b".to_owned()]
    }

    #[test]
    fn parts_are_found_in_order_or_by_name() {
        assert_eq!(ByOutput::All(1).resolve("x", &outputs(), None).unwrap(), [1, 1]);
        assert_eq!(ByOutput::List(vec![1, 2]).resolve("x", &outputs(), None).unwrap(), [1, 2]);
        let named = ByOutput::Named(vec![("b".to_owned(), 2)]);
        assert_eq!(named.resolve("x", &outputs(), Some(&0)).unwrap(), [0, 2]);
        assert!(named.resolve("x", &outputs(), None).unwrap_err().to_string().contains("none for `a`"));
        let refused = ByOutput::List(vec![1]).resolve("loss", &outputs(), None).unwrap_err().to_string();
        assert!(refused.contains("`loss`: expected one for each of the outputs a, b"), "{refused}");
        let unknown = ByOutput::Named(vec![("c".to_owned(), 2)]).resolve("x", &outputs(), Some(&0));
        assert!(unknown.unwrap_err().to_string().contains("`c`"));
    }
}
