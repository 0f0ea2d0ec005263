//! The interpretation of a model's outputs.

use serde_json::Value as Json;

use crate::activations::Activation;
use crate::model::Model;

/// The interpretation of a row of outputs, derived from the last activation and the compiled loss, for everything that
/// shows predictions.
///
/// | last activation | loss | is |
/// | --- | --- | --- |
/// | softmax | any | [`Classes`](Self::Classes) |
/// | sigmoid, one output | any | [`Binary`](Self::Binary) |
/// | sigmoid, several | a crossentropy over classes | [`Classes`](Self::Classes) |
/// | sigmoid, several | any other | [`Labels`](Self::Labels) |
/// | any other | a crossentropy over classes, from logits | [`Classes`](Self::Classes) |
/// | any other | a binary crossentropy, from logits | [`Binary`](Self::Binary) or [`Labels`](Self::Labels) |
/// | any other | any other | [`Numbers`](Self::Numbers) |
///
/// ```
/// use brasa::prelude::*;
/// use brasa::training::Meaning;
/// let mut model = Sequential::new();
/// model.add(Dense::new(2).input_shape(4))?;
/// assert_eq!(model.meaning(), Meaning::Numbers);
/// let loss = SparseCategoricalCrossentropy::default().from_logits(true);
/// model.compile(Compile::new("adam", loss))?;
/// assert_eq!(model.meaning(), Meaning::Classes { logits: true });
/// let probabilities = model.meaning().probabilities(&[0.0, 3.0f32.ln()]).unwrap_or_default();
/// assert!((probabilities[1] - 0.75).abs() < 1e-6);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Meaning {
    /// One class of several: a probability for each, or logits of a softmax.
    Classes {
        /// Whether a softmax must be applied.
        logits: bool,
    },
    /// Several labels, any of which can hold: a probability for each, or logits of a sigmoid.
    Labels {
        /// Whether a sigmoid must be applied.
        logits: bool,
    },
    /// One of two classes: the probability of class 1, or its logit.
    Binary {
        /// Whether a sigmoid must be applied.
        logits: bool,
    },
    /// Numbers, such as prices.
    Numbers,
}

impl Meaning {
    /// The probability of each class or label for a row of outputs: two of them for [`Binary`](Self::Binary), `None`
    /// for [`Numbers`](Self::Numbers).
    pub fn probabilities(self, row: &[f32]) -> Option<Vec<f32>> {
        let sigmoid = |value: f32| 1.0 / (1.0 + (-value).exp());
        match self {
            Self::Classes { logits: false } | Self::Labels { logits: false } => Some(row.to_vec()),
            Self::Labels { logits: true } => Some(row.iter().map(|value| sigmoid(*value)).collect()),
            Self::Classes { logits: true } => {
                let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f32> = row.iter().map(|value| (value - top).exp()).collect();
                let sum: f32 = powers.iter().sum();
                Some(powers.into_iter().map(|power| power / sum).collect())
            }
            Self::Binary { logits } => {
                let one = row.first().map(|value| if logits { sigmoid(*value) } else { *value })?;
                Some(vec![1.0 - one, one])
            }
            Self::Numbers => None,
        }
    }

    /// The number of classes or labels for this number of outputs; `None` for [`Numbers`](Self::Numbers).
    pub fn classes(self, outputs: usize) -> Option<usize> {
        match self {
            Self::Classes { .. } | Self::Labels { .. } => Some(outputs),
            Self::Binary { .. } => Some(2),
            Self::Numbers => None,
        }
    }
}

/// The losses over one class of several.
const OF_CLASSES: [&str; 4] =
    ["CategoricalCrossentropy", "SparseCategoricalCrossentropy", "CategoricalFocalCrossentropy", "KLDivergence"];

/// The losses that compare each output separately with 0 or 1.
const BINARY: [&str; 2] = ["BinaryCrossentropy", "BinaryFocalCrossentropy"];

impl Model {
    /// The interpretation of the outputs. Outputs that are not rows of numbers, and those of a model with several
    /// outputs, are [`Meaning::Numbers`].
    pub fn meaning(&self) -> Meaning {
        let row = self.expect_single().ok().and_then(|()| self.output_shape().ok()?.known_sample().ok());
        let Some(&[outputs]) = row.as_deref() else { return Meaning::Numbers };
        let loss = self.compiled.as_ref().and_then(|compiled| compiled.only_loss()).map(|loss| loss.class_name());
        let is_one_of = |names: &[&str]| loss.is_some_and(|loss| names.contains(&loss));
        match self.last_activation() {
            Some(Activation::Softmax) => Meaning::Classes { logits: false },
            Some(Activation::Sigmoid) if outputs == 1 => Meaning::Binary { logits: false },
            Some(Activation::Sigmoid) if is_one_of(&OF_CLASSES) => Meaning::Classes { logits: false },
            Some(Activation::Sigmoid) => Meaning::Labels { logits: false },
            _ if !self.gives_logits() => Meaning::Numbers,
            _ if is_one_of(&OF_CLASSES) => Meaning::Classes { logits: true },
            _ if is_one_of(&BINARY) && outputs == 1 => Meaning::Binary { logits: true },
            _ if is_one_of(&BINARY) => Meaning::Labels { logits: true },
            _ => Meaning::Numbers,
        }
    }

    /// Whether its outputs tell classes or labels apart, so that names of classes say something: by what they
    /// [mean](Self::meaning), or by the loss that it was compiled with.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(2).input_shape(4))?;
    /// assert!(!model.is_classifier());
    /// model.add(Softmax::new())?;
    /// assert!(model.is_classifier());
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub fn is_classifier(&self) -> bool {
        let row = self.expect_single().ok().and_then(|()| self.output_shape().ok()?.known_sample().ok());
        let is_row = matches!(row.as_deref(), Some([_]));
        is_row && (self.meaning() != Meaning::Numbers || self.compares_classes() || self.has_hinge_loss())
    }

    /// Whether the loss compares classes, whatever the activation: the largest output is then the class.
    pub(crate) fn compares_classes(&self) -> bool {
        let loss = self.compiled.as_ref().and_then(|compiled| compiled.only_loss()).map(|loss| loss.class_name());
        loss.is_some_and(|loss| OF_CLASSES.contains(&loss) || BINARY.contains(&loss) || loss == "CategoricalHinge")
    }

    /// The activation of the only output, from its layer's argument or from an activation layer.
    fn last_activation(&self) -> Option<Activation> {
        let layer = self.final_layer()?;
        if let Some(nested) = crate::model::nested_model(layer) {
            return nested.last_activation();
        }
        if layer.class_name() == "Softmax" {
            return Some(Activation::Softmax);
        }
        let config = layer.full_config().ok()?;
        config.get("activation").and_then(Json::as_str)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    fn model(units: usize, activation: &str, loss: impl crate::training::IntoLosses) -> Sequential {
        let mut model = Sequential::new();
        model.add(Dense::new(units).activation(activation).input_shape(3)).unwrap();
        model.compile(Compile::new("sgd", loss)).unwrap();
        model
    }

    #[test]
    fn the_last_activation_and_the_loss_decide() {
        assert_eq!(model(3, "softmax", "mse").meaning(), Meaning::Classes { logits: false });
        assert_eq!(model(1, "sigmoid", "mse").meaning(), Meaning::Binary { logits: false });
        assert_eq!(model(3, "sigmoid", "binary_crossentropy").meaning(), Meaning::Labels { logits: false });
        assert_eq!(model(3, "sigmoid", "categorical_crossentropy").meaning(), Meaning::Classes { logits: false });
        assert_eq!(model(1, "linear", "mse").meaning(), Meaning::Numbers);
        assert_eq!(model(3, "linear", "categorical_crossentropy").meaning(), Meaning::Numbers);
        assert_eq!(model(1, "tanh", "hinge").meaning(), Meaning::Numbers);
        let logits = |units| model(units, "linear", BinaryCrossentropy::default().from_logits(true)).meaning();
        assert_eq!((logits(1), logits(3)), (Meaning::Binary { logits: true }, Meaning::Labels { logits: true }));
    }

    #[test]
    fn the_activation_can_be_a_layer_or_in_a_nested_model() {
        let mut inner = Sequential::new();
        inner.add(Dense::new(2).input_shape(3)).unwrap().add(Softmax::new()).unwrap();
        assert_eq!(inner.meaning(), Meaning::Classes { logits: false });
        let mut model = Sequential::new();
        model.add(Input::new(3)).unwrap().add(inner).unwrap();
        assert_eq!(model.meaning(), Meaning::Classes { logits: false });
        let mut model = Sequential::new();
        model.add(Dense::new(2).input_shape(3)).unwrap().add(ActivationLayer::new("sigmoid")).unwrap();
        assert_eq!(model.meaning(), Meaning::Labels { logits: false });
        let mut model = Sequential::new();
        model.add(Conv2D::new(2, 1).activation("softmax").input_shape((2, 2, 1))).unwrap();
        assert_eq!(model.meaning(), Meaning::Numbers);
    }

    #[test]
    fn probabilities_of_each_kind() {
        let near = |meaning: Meaning, row: &[f32], wanted: &[f32]| {
            let got = meaning.probabilities(row).unwrap();
            assert_eq!(got.len(), wanted.len());
            assert!(got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?}");
        };
        near(Meaning::Classes { logits: true }, &[500.0, 500.0 + 3.0f32.ln()], &[0.25, 0.75]);
        near(Meaning::Labels { logits: true }, &[0.0, 3.0f32.ln()], &[0.5, 0.75]);
        near(Meaning::Binary { logits: true }, &[-(3.0f32.ln())], &[0.75, 0.25]);
        near(Meaning::Binary { logits: false }, &[0.75], &[0.25, 0.75]);
        assert_eq!(Meaning::Numbers.probabilities(&[1.0]), None);
        assert_eq!(Meaning::Binary { logits: false }.classes(1), Some(2));
    }
}
