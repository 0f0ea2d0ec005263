//! The list of built-in layers, and the registry of custom ones.

use std::any::TypeId;

use serde_json::Value as Json;

use super::built_in::{BuiltIn, Example, ExampleOfSeveral, LAYERS};
use super::{
    Common, Layer, activation, applications, attention, augmentation, convolution, core, drop_neutral, dtype_name,
    in_layer, merging, normalization, pooling, preprocessing, recurrent, regularization, reshaping, spectrogram,
};
use crate::config::{Config, Configure, keras_object, known_early, snake_case, without_package};
use crate::error::{Error, Result, words};
use crate::formats::limits::NAME_BYTES;
use crate::model::{Model, Sequential, nested_model};
use crate::register::{Register, own_object};
use crate::shape::Shape;

/// A class of the list.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Keras's class name.
    pub class_name: &'static str,
    /// Its own arguments.
    pub arguments: &'static [&'static str],
    module: &'static str,
    exported: &'static str,
    type_id: fn() -> TypeId,
    late: &'static [(&'static str, &'static str)],
    renew: fn(&mut Config, bool),
    from_config: fn(Config) -> Result<Box<dyn Layer>>,
    examples: fn() -> Vec<Example>,
    examples_of_several: fn() -> Vec<ExampleOfSeveral>,
    examples_of_text: fn() -> Vec<Example>,
}

fn example<L: BuiltIn>((layer, input): (L, Shape)) -> Example {
    Example { classes: layer.classes(), layer: layer.into(), input }
}

/// The dtype of a config, if it is not a floating-point one: integer, boolean or string.
fn other_dtype(config: &Config) -> Option<String> {
    let name = config.get("dtype").and_then(dtype_name)?;
    (name.starts_with("int") || name.starts_with("uint") || ["bool", "string"].contains(&name)).then(|| name.to_owned())
}

/// Creates the layer of this config. A `dtype` other than the floating-point ones is kept for files if the class
/// `takes` it.
fn from_config<L: Layer + Configure>(mut config: Config, takes: fn(&str) -> bool) -> Result<Box<dyn Layer>> {
    let dtype = other_dtype(&config).filter(|name| takes(name));
    if dtype.is_some() {
        config.remove("dtype");
    }
    let mut common = Common::take(&mut config)?;
    common.dtype = dtype.or(common.dtype);
    drop_neutral(&mut config, L::ARGUMENTS)?;
    let mut layer = L::from_config(config)?;
    *layer.common_mut() = common;
    Ok(Box::new(layer))
}

impl Entry {
    const fn of<L: Layer + Configure + Clone + 'static>() -> Self {
        Self {
            class_name: L::CLASS_NAME,
            arguments: L::ARGUMENTS,
            from_config: |config| from_config::<L>(config, |_| false),
            module: LAYERS,
            exported: L::CLASS_NAME,
            type_id: TypeId::of::<L>,
            late: &[],
            renew: |_, _| (),
            examples: Vec::new,
            examples_of_several: Vec::new,
            examples_of_text: Vec::new,
        }
    }

    const fn built_in<L: BuiltIn>() -> Self {
        Self {
            module: L::MODULE,
            exported: L::EXPORTED,
            late: L::LATE,
            renew: L::renew,
            from_config: |config| from_config::<L>(config, L::takes_dtype),
            examples: || L::examples().into_iter().map(example).collect(),
            examples_of_text: || L::examples_of_text().into_iter().map(example).collect(),
            examples_of_several: || {
                let examples = L::examples_of_several().into_iter();
                examples.map(|(layer, inputs)| (layer.into(), inputs)).collect()
            },
            ..Self::of::<L>()
        }
    }

    /// The built-in class of this name: its class name, the one under which Keras exports it, or an alias of Keras.
    ///
    /// ```
    /// use brasa::layers::Entry;
    /// for name in ["GroupedQueryAttention", "GroupQueryAttention"] {
    ///     assert_eq!(Entry::named(name).unwrap().class_name, "GroupedQueryAttention");
    /// }
    /// assert_eq!(Entry::named("MaxPool2D").unwrap().class_name, "MaxPooling2D");
    /// assert!(Entry::named("MaxPool").is_none());
    /// ```
    pub fn named(name: &str) -> Option<Self> {
        let canonical = canonical(name.get(..NAME_BYTES).unwrap_or(name));
        built_in().iter().find(|entry| [entry.class_name, entry.exported].contains(&&*canonical)).copied()
    }

    /// Creates the layer from a config, the common arguments included.
    ///
    /// # Errors
    /// [`Error::Argument`], [`Error::UnknownName`], [`Error::Unsupported`].
    pub fn layer(&self, config: Config) -> Result<Box<dyn Layer>> {
        (self.from_config)(config)
    }

    /// Whether a layer is of this class: an own one can have the name of a built-in one.
    pub(crate) fn is_class_of(&self, layer: &dyn Layer) -> bool {
        (self.type_id)() == layer.as_any().type_id()
    }

    /// Converts a config of an earlier Keras to today's arguments: [`BuiltIn::renew`].
    pub(crate) fn renew(&self, config: &mut Config, keras_2: bool) {
        (self.renew)(config, keras_2);
    }

    /// The examples of a built-in layer of one input; empty for a custom layer.
    pub fn examples(&self) -> Vec<Example> {
        (self.examples)()
    }

    /// The examples of a built-in layer of texts, each with the shape of its input.
    pub fn examples_of_text(&self) -> Vec<Example> {
        (self.examples_of_text)()
    }

    /// The examples of a built-in layer of several inputs, each with their shapes.
    pub fn examples_of_several(&self) -> Vec<ExampleOfSeveral> {
        (self.examples_of_several)()
    }
}

/// All built-in layers. To add one, write its file and add a line here.
pub fn built_in() -> &'static [Entry] {
    const LIST: &[Entry] = &[
        Entry::built_in::<core::Input>(),
        Entry::built_in::<core::Dense>(),
        Entry::built_in::<core::ActivationLayer>(),
        Entry::built_in::<core::Identity>(),
        Entry::built_in::<core::EinsumDense>(),
        Entry::built_in::<core::Lambda>(),
        Entry::built_in::<core::Embedding>(),
        Entry::built_in::<core::ReversibleEmbedding>(),
        Entry::built_in::<core::Masking>(),
        Entry::built_in::<activation::ReLU>(),
        Entry::built_in::<activation::LeakyReLU>(),
        Entry::built_in::<activation::PReLU>(),
        Entry::built_in::<activation::ELU>(),
        Entry::built_in::<activation::Softmax>(),
        Entry::built_in::<convolution::Conv1D>(),
        Entry::built_in::<convolution::Conv2D>(),
        Entry::built_in::<convolution::Conv3D>(),
        Entry::built_in::<convolution::Conv1DTranspose>(),
        Entry::built_in::<convolution::Conv2DTranspose>(),
        Entry::built_in::<convolution::Conv3DTranspose>(),
        Entry::built_in::<convolution::DepthwiseConv1D>(),
        Entry::built_in::<convolution::DepthwiseConv2D>(),
        Entry::built_in::<convolution::SeparableConv1D>(),
        Entry::built_in::<convolution::SeparableConv2D>(),
        Entry::built_in::<pooling::MaxPooling1D>(),
        Entry::built_in::<pooling::MaxPooling2D>(),
        Entry::built_in::<pooling::MaxPooling3D>(),
        Entry::built_in::<pooling::AveragePooling1D>(),
        Entry::built_in::<pooling::AveragePooling2D>(),
        Entry::built_in::<pooling::AveragePooling3D>(),
        Entry::built_in::<pooling::GlobalMaxPooling1D>(),
        Entry::built_in::<pooling::GlobalMaxPooling2D>(),
        Entry::built_in::<pooling::GlobalMaxPooling3D>(),
        Entry::built_in::<pooling::GlobalAveragePooling1D>(),
        Entry::built_in::<pooling::GlobalAveragePooling2D>(),
        Entry::built_in::<pooling::GlobalAveragePooling3D>(),
        Entry::built_in::<pooling::AdaptiveMaxPooling1D>(),
        Entry::built_in::<pooling::AdaptiveMaxPooling2D>(),
        Entry::built_in::<pooling::AdaptiveMaxPooling3D>(),
        Entry::built_in::<pooling::AdaptiveAveragePooling1D>(),
        Entry::built_in::<pooling::AdaptiveAveragePooling2D>(),
        Entry::built_in::<pooling::AdaptiveAveragePooling3D>(),
        Entry::built_in::<normalization::BatchNormalization>(),
        Entry::built_in::<normalization::LayerNormalization>(),
        Entry::built_in::<normalization::GroupNormalization>(),
        Entry::built_in::<normalization::RMSNormalization>(),
        Entry::built_in::<normalization::UnitNormalization>(),
        Entry::built_in::<normalization::SpectralNormalization>(),
        Entry::built_in::<regularization::Dropout>(),
        Entry::built_in::<regularization::GaussianNoise>(),
        Entry::built_in::<regularization::GaussianDropout>(),
        Entry::built_in::<regularization::AlphaDropout>(),
        Entry::built_in::<regularization::SpatialDropout1D>(),
        Entry::built_in::<regularization::SpatialDropout2D>(),
        Entry::built_in::<regularization::SpatialDropout3D>(),
        Entry::built_in::<regularization::ActivityRegularization>(),
        Entry::built_in::<reshaping::Flatten>(),
        Entry::built_in::<reshaping::Reshape>(),
        Entry::built_in::<reshaping::Permute>(),
        Entry::built_in::<reshaping::RepeatVector>(),
        Entry::built_in::<reshaping::Cropping1D>(),
        Entry::built_in::<reshaping::Cropping2D>(),
        Entry::built_in::<reshaping::Cropping3D>(),
        Entry::built_in::<reshaping::ZeroPadding1D>(),
        Entry::built_in::<reshaping::ZeroPadding2D>(),
        Entry::built_in::<reshaping::ZeroPadding3D>(),
        Entry::built_in::<reshaping::UpSampling1D>(),
        Entry::built_in::<reshaping::UpSampling2D>(),
        Entry::built_in::<reshaping::UpSampling3D>(),
        Entry::built_in::<recurrent::SimpleRNN>(),
        Entry::built_in::<recurrent::LSTM>(),
        Entry::built_in::<recurrent::GRU>(),
        Entry::built_in::<recurrent::RNN>(),
        Entry::built_in::<recurrent::SimpleRNNCell>(),
        Entry::built_in::<recurrent::LSTMCell>(),
        Entry::built_in::<recurrent::GRUCell>(),
        Entry::built_in::<recurrent::StackedRNNCells>(),
        Entry::built_in::<recurrent::ConvLSTM1D>(),
        Entry::built_in::<recurrent::ConvLSTM2D>(),
        Entry::built_in::<recurrent::ConvLSTM3D>(),
        Entry::built_in::<recurrent::Bidirectional>(),
        Entry::built_in::<recurrent::TimeDistributed>(),
        Entry::built_in::<preprocessing::Rescaling>(),
        Entry::built_in::<preprocessing::Normalization>(),
        Entry::built_in::<preprocessing::Resizing>(),
        Entry::built_in::<preprocessing::CenterCrop>(),
        Entry::built_in::<preprocessing::Discretization>(),
        Entry::built_in::<preprocessing::CategoryEncoding>(),
        Entry::built_in::<augmentation::RandomFlip>(),
        Entry::built_in::<augmentation::RandomRotation>(),
        Entry::built_in::<augmentation::RandomZoom>(),
        Entry::built_in::<augmentation::RandomTranslation>(),
        Entry::built_in::<augmentation::RandomCrop>(),
        Entry::built_in::<augmentation::RandomContrast>(),
        Entry::built_in::<augmentation::RandomBrightness>(),
        Entry::built_in::<augmentation::RandomHue>(),
        Entry::built_in::<augmentation::RandomSaturation>(),
        Entry::built_in::<augmentation::RandomColorDegeneration>(),
        Entry::built_in::<augmentation::RandomColorJitter>(),
        Entry::built_in::<augmentation::RandomGrayscale>(),
        Entry::built_in::<augmentation::RandomSharpness>(),
        Entry::built_in::<augmentation::RandomInvert>(),
        Entry::built_in::<augmentation::RandomPosterization>(),
        Entry::built_in::<augmentation::AutoContrast>(),
        Entry::built_in::<augmentation::Equalization>(),
        Entry::built_in::<augmentation::Solarization>(),
        Entry::built_in::<augmentation::RandomShear>(),
        Entry::built_in::<augmentation::RandomPerspective>(),
        Entry::built_in::<augmentation::RandomErasing>(),
        Entry::built_in::<augmentation::RandomElasticTransform>(),
        Entry::built_in::<augmentation::RandomGaussianBlur>(),
        Entry::built_in::<augmentation::Pipeline>(),
        Entry::built_in::<augmentation::RandAugment>(),
        Entry::built_in::<augmentation::AugMix>(),
        Entry::built_in::<spectrogram::STFTSpectrogram>(),
        Entry::built_in::<spectrogram::MelSpectrogram>(),
        Entry::built_in::<preprocessing::TextVectorization>(),
        Entry::built_in::<preprocessing::StringLookup>(),
        Entry::built_in::<preprocessing::IntegerLookup>(),
        Entry::built_in::<preprocessing::Hashing>(),
        Entry::built_in::<preprocessing::HashedCrossing>(),
        Entry::built_in::<attention::MultiHeadAttention>(),
        Entry::built_in::<attention::GroupQueryAttention>(),
        Entry::built_in::<attention::Attention>(),
        Entry::built_in::<attention::AdditiveAttention>(),
        Entry::built_in::<merging::Add>(),
        Entry::built_in::<merging::Subtract>(),
        Entry::built_in::<merging::Multiply>(),
        Entry::built_in::<merging::Average>(),
        Entry::built_in::<merging::Maximum>(),
        Entry::built_in::<merging::Minimum>(),
        Entry::built_in::<merging::Concatenate>(),
        Entry::built_in::<merging::Dot>(),
        Entry::built_in::<applications::LayerScale>(),
        Entry::built_in::<applications::StochasticDepth>(),
        Entry::built_in::<applications::CustomScaleLayer>(),
        Entry::built_in::<Sequential>(),
        Entry::built_in::<Model>(),
    ];
    LIST
}

static OWN: Register<Entry> = Register::new();

/// Registers a custom layer by its class name, so that files and recipes can load it.
///
/// A class of Python that is registered in a package is found by its whole name, `my_package>Scale`, if there is a
/// class of that name here (`struct Scale as "my_package>Scale"`), else by the part after the package. A built-in class
/// takes precedence: a class with its name needs a package; without one it is neither saved nor loaded.
pub fn register<L: Layer + Configure + Clone + 'static>() {
    OWN.insert(L::CLASS_NAME, Entry::of::<L>());
}

/// Keras's layers that take images together with their labels, which no layer of a model receives.
const MIXING: [&str; 2] = ["CutMix", "MixUp"];

/// A class, built in or registered.
///
/// # Errors
/// [`Error::UnknownName`] with the nearest class.
pub(crate) fn entry(class_name: &str) -> Result<Entry> {
    let class_name = class_name.get(..NAME_BYTES).unwrap_or(class_name);
    if let Some(entry) = Entry::named(class_name).or_else(|| OWN.get(class_name)) {
        return Ok(entry);
    }
    if MIXING.contains(&class_name) {
        let supported =
            "layers that do not change labels; mixing images with their labels belongs in the data's `Source`";
        return Err(Error::unsupported(
            format!("layer class `{class_name}`, which mixes labels, in a model"),
            supported,
        ));
    }
    let names = built_in().iter().map(|entry| entry.class_name).chain(OWN.class_names());
    Err(Error::unknown("layer class", class_name, names))
}

/// Resolves Keras's aliases of a class.
fn canonical(class_name: &str) -> String {
    let class_name = class_name.replace("Convolution", "Conv");
    match class_name.as_str() {
        "Input" => "InputLayer".into(),
        "Model" => "Functional".into(),
        name => ["Max", "Avg"].iter().fold(name.to_owned(), |name, kind| {
            let full = if *kind == "Avg" { "Average" } else { kind };
            name.replace(&format!("{kind}Pool1D"), &format!("{full}Pooling1D"))
                .replace(&format!("{kind}Pool2D"), &format!("{full}Pooling2D"))
                .replace(&format!("{kind}Pool3D"), &format!("{full}Pooling3D"))
        }),
    }
}

/// Creates the layer that a Keras file describes: `{"class_name", "config", …}`.
///
/// # Errors
/// [`Error::Unsupported`] for a class that Brasa does not have, [`Error::Layer`] for a config that the layer refuses.
pub(crate) fn from_keras(object: Json) -> Result<Box<dyn Layer>> {
    let python_class = python_class(&object);
    let (class, config) =
        crate::config::object_of("layer", object, |class| OWN.origin(class, Entry::named(class).is_some()))?;
    let name = config.get("name").and_then(Json::as_str).unwrap_or("(unnamed)").to_owned();
    let layer = entry(&class).and_then(|entry| {
        let mut layer = entry.layer(config)?;
        let is_own = Entry::named(&class).is_none();
        layer.common_mut().python_class =
            python_class.filter(|written| is_own && written.as_str() != without_package(entry.class_name));
        Ok(layer)
    });
    layer.map_err(|error| match error {
        Error::UnknownName { kind: "layer class", name: class, valid } => {
            let what = format!("layer class `{class}` (layer `{name}`)");
            Error::unsupported(what, words("layer class", &class, &valid))
        }
        error => Error::Layer { layer: name, class_name: class, source: Box::new(error) },
    })
}

/// The class of a registered layer in Python, if it can name weights in a file. Python's decorator can register a class
/// under another name.
fn python_class(object: &Json) -> Option<String> {
    let text = |key: &str| object.get(key).and_then(Json::as_str);
    text("registered_name")?;
    let class = text("class_name").filter(|class| class.len() <= NAME_BYTES)?;
    // A key is longer than its class: it has underscores, and a number.
    (1..=NAME_BYTES / 2).contains(&snake_case(class).len()).then(|| class.to_owned())
}

/// Serializes a layer as Keras does.
///
/// # Errors
/// [`Error::Unsupported`] if it holds something that cannot be serialized, [`Error::Layer`] for an own layer with the
/// name of a built-in class.
pub(crate) fn to_keras(layer: &dyn Layer) -> Result<Json> {
    let class = layer.class_name();
    let config = layer.full_config()?;
    if let Some(model) = nested_model(layer) {
        return Ok(model.as_object(config));
    }
    if let Some(entry) = built_in().iter().find(|entry| entry.is_class_of(layer)) {
        return Ok(keras_object(entry.module, entry.exported, known_early(config, entry.late)));
    }
    let mut object = in_layer(layer, own_object("layer", class, |class| Entry::named(class).is_some(), config))?;
    if let Some(class) = &layer.common().python_class {
        object["class_name"] = Json::from(class.as_str());
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_resolve_to_the_class() {
        assert_eq!(canonical("MaxPool2D"), "MaxPooling2D");
        assert_eq!(canonical("GlobalAvgPool2D"), "GlobalAveragePooling2D");
        assert_eq!(canonical("Convolution2DTranspose"), "Conv2DTranspose");
        assert_eq!(entry("GroupQueryAttention").unwrap().class_name, "GroupedQueryAttention");
        assert_eq!(canonical("Dense"), "Dense");
    }

    #[test]
    fn layers_that_mix_labels_are_refused_with_the_reason() {
        for class in MIXING {
            let error = from_keras(serde_json::json!({"class_name": class, "config": {}})).unwrap_err().to_string();
            assert!(error.contains(class) && error.contains("labels") && error.contains("Source"), "{error}");
        }
    }

    #[test]
    fn class_names_are_unique() {
        let mut names: Vec<_> = built_in().iter().map(|entry| entry.class_name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
