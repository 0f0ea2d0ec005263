//! Conversion of models to and from Keras's JSON.

use serde_json::{Value as Json, json};

use super::Model;
use super::files::{functional, read_model};
use crate::compile::Compile;
use crate::config::{Config, Configure, from_json, keras_object, object};
use crate::error::{Error, Result};
use crate::formats::Limits;
use crate::formats::keras::parse_json;
use crate::layers::{self, Common, HasCommon, Layer};
use crate::shape::Shape;

impl Model {
    /// The model as a Keras config: its name and its layers, an `InputLayer` first if the input shape is known.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if a layer cannot be serialized.
    pub fn get_config(&self) -> Result<Config> {
        (self as &dyn Layer).full_config()
    }

    /// The model with this config, with new weights.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for classes and arguments that Brasa does not support, [`Error::Layer`],
    /// [`Error::Argument`].
    pub fn from_config(mut config: Config) -> Result<Self> {
        for key in ["name", "layers"] {
            if !config.contains_key(key) {
                return Err(Error::argument("config", "the keys `name` and `layers`", format!("no `{key}`")));
            }
        }
        let common = Common::take(&mut config)?;
        let mut model = Self::from_own_config(config)?;
        *model.common_mut() = common;
        // Each layer has its own flag; Keras does not read that of the model.
        model.common_mut().trainable = true;
        Ok(model)
    }

    fn functional_from_config(mut config: Config) -> Result<Self> {
        let common = Common::take(&mut config)?;
        let mut model = functional::from_config(config)?;
        *model.common_mut() = common;
        // As for a Sequential: each layer has its own flag.
        model.common_mut().trainable = true;
        Ok(model)
    }

    pub(super) fn own_config(&self) -> Result<Config> {
        if let Some(functional) = &self.functional {
            return functional::to_config(self, functional);
        }
        let mut layers = Vec::with_capacity(self.layers.len() + 1);
        if let Some(input) = self.shapes().and_then(<[Shape]>::first) {
            let name = self.input_name.as_deref().unwrap_or("input_layer");
            let dtype = self.input_dtype.as_deref().unwrap_or("float32");
            let config = json!({
                "batch_shape": self.batch_size().map_or(input.clone(), |size| input.with_batch(size)), "dtype": dtype, "sparse": false, "ragged": false, "name": name,
            });
            layers.push(json!({
                "module": "keras.layers", "class_name": "InputLayer", "config": config, "registered_name": null,
            }));
        }
        for layer in &self.layers {
            layers.push(layers::to_keras(&**layer)?);
        }
        let mut config = Config::new();
        config.insert("layers".into(), Json::Array(layers));
        if let Some(input) = self.shapes().and_then(<[Shape]>::first) {
            config.insert("build_input_shape".into(), json!(input));
        }
        Ok(config)
    }

    pub(super) fn from_own_config(mut config: Config) -> Result<Self> {
        let layers = match config.remove("layers") {
            Some(Json::Array(layers)) => layers,
            Some(other) => return Err(Error::argument("layers", "a list of layers", other)),
            None => Vec::new(),
        };
        let is_empty = layers.is_empty();
        let input: Option<Vec<Option<usize>>> = match config.remove("build_input_shape") {
            Some(shape) => from_json("build_input_shape", shape)?,
            None => None,
        };
        if let Some(unknown) = config.keys().next() {
            return Err(Error::unsupported(format!("key `{unknown}` of a Sequential model"), "name, layers"));
        }
        let mut model = Self::chain();
        for layer in layers {
            model.add(layers::from_keras(layer)?)?;
        }
        if let Some(sizes) = input.filter(|sizes| !sizes.is_empty() && model.shapes().is_none() && !is_empty) {
            model.build(sizes[1..].to_vec())?;
        }
        Ok(model)
    }

    /// The model in Keras's `to_json` form, including its compile configuration; no weights.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if a layer cannot be serialized.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(&self.to_keras()?).map_err(|error| Error::Syntax(error.to_string()))
    }

    /// The model described by Keras's JSON, with new weights.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(2).input_shape(3))?;
    /// let copy = Sequential::from_json(&model.to_json()?)?;
    /// assert_eq!(copy.count_params()?, 8);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Syntax`] if it is not JSON; else as [`from_config`](Self::from_config).
    pub fn from_json(json: &str) -> Result<Self> {
        let limits = Limits::default();
        let json = parse_json("the text", "its JSON", json.as_bytes(), &limits).map_err(|error| match error {
            Error::Broken { reason, .. } => Error::Syntax(format!("not JSON: {reason}")),
            error => error,
        })?;
        let version = json.get("keras_version").and_then(Json::as_str).map(str::to_owned);
        read_model(json, version.as_deref(), &limits)
    }

    /// Keras's JSON object for a model with this config.
    pub(crate) fn as_object(&self, config: Config) -> Json {
        let class = Configure::class_name(self);
        let mut object = keras_object("keras", class, config);
        if self.functional.is_some() {
            object["module"] = json!("keras.src.models.functional");
            object["registered_name"] = json!(class);
        }
        object
    }

    /// The model as Keras's `config.json` object.
    pub(crate) fn to_keras(&self) -> Result<Json> {
        let mut object = self.as_object(self.get_config()?);
        match self.shapes().and_then(<[Shape]>::first) {
            _ if self.functional.is_some() => object["build_config"] = json!({ "input_shape": null }),
            Some(input) => object["build_config"] = json!({ "input_shape": input }),
            None => {}
        }
        if let Some(compiled) = &self.compiled {
            object["compile_config"] = Json::Object(compiled.config()?);
        }
        Ok(object)
    }

    /// The model described by such an object.
    pub(crate) fn from_keras(mut json: Json) -> Result<Self> {
        // Keras writes an empty object for a model that was never compiled.
        let was_compiled = |config: &Json| !config.is_null() && *config != json!({});
        let compile = json.get_mut("compile_config").map(Json::take).filter(was_compiled);
        let (class, config) = object("model", json)?;
        let mut model = match class.as_str() {
            "Sequential" => Self::from_config(config)?,
            class if functional::is_graph(class) => Self::functional_from_config(config)?,
            class => return Err(Error::unsupported(format!("a model of class `{class}`"), "Sequential, Functional")),
        };
        if let Some(compile) = compile {
            model.compile_as_saved(compile);
        }
        Ok(model)
    }

    /// Compiles the model as its file says; if that fails the model is still complete, and can be compiled again.
    fn compile_as_saved(&mut self, saved: Json) {
        let (compile, left_out) = match from_json("compile_config", saved) {
            Ok(config) => Compile::read(config),
            Err(error) => (Err(error), Vec::new()),
        };
        for unread in left_out {
            let reason = reason(&unread.error);
            tracing::warn!("the {} of the compile configuration is left out: {reason}", unread.part);
        }
        if let Err(error) = compile.and_then(|compile| self.compile(compile).map(|_| ())) {
            let fault = match &error {
                Error::Argument { argument, received, .. } if argument == "loss" && received == "nothing" => {
                    "it was compiled without a loss".to_owned()
                }
                error => format!("its compile configuration could not be read: {}", reason(error)),
            };
            tracing::warn!("the model is not compiled as it was saved: {fault}");
            self.compile_fault = Some(fault);
        }
    }
}

/// The error about a part of a file, without the long list of valid names.
fn reason(error: &Error) -> String {
    match error {
        Error::UnknownName { kind: kind @ ("loss" | "metric" | "optimizer"), name, .. } => {
            let name = crate::text::printable(name);
            format!("Brasa has no {kind} `{name}`, and none of that name is registered")
        }
        error => error.to_string(),
    }
}
