//! The one list of built-in optimizers, and how an optimizer is told.

use serde_json::Value as Json;

use super::{
    Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Ftrl, Lamb, Lion, Muon, Nadam, Optimizer, RMSprop, SGD,
};
use crate::config::{Config, Configure, keras_object, names_class, object};
use crate::error::{Error, Result};
use crate::register::{Register, own_object};

type Maker = fn(Config) -> Result<Box<dyn Optimizer>>;

const fn entry<O: Optimizer + Configure + Clone + 'static>() -> (&'static str, Maker) {
    (O::CLASS_NAME, |mut config| {
        // An optimizer without arguments has the defaults of the common ones.
        let mut base = O::from_config(Config::new())?.base().clone();
        base.update(&mut config)?;
        let mut optimizer = O::from_config(config)?;
        *optimizer.base_mut() = base;
        Ok(Box::new(optimizer))
    })
}

/// Every built-in optimizer. A new one is a file and a line here.
const LIST: &[(&str, Maker)] = &[
    entry::<SGD>(),
    entry::<RMSprop>(),
    entry::<Adam>(),
    entry::<AdamW>(),
    entry::<Adadelta>(),
    entry::<Adagrad>(),
    entry::<Adamax>(),
    entry::<Adafactor>(),
    entry::<Nadam>(),
    entry::<Ftrl>(),
    entry::<Lion>(),
    entry::<Lamb>(),
    entry::<Muon>(),
];

static OWN: Register<Maker> = Register::new();

/// Makes a user's own optimizer known by its class name and its snake case, so that files and recipes that name it load
/// and `compile` takes the name.
///
/// A built-in class keeps its meaning.
pub fn register<O: Optimizer + Configure + Clone + 'static>() {
    let (class, make) = entry::<O>();
    OWN.insert(class, make);
}

/// Every name by which an optimizer can be told.
pub fn names() -> Vec<String> {
    let own = OWN.class_names().into_iter().map(crate::config::snake_case);
    LIST.iter().map(|(class, _)| class.to_lowercase()).chain(own).collect()
}

/// The optimizer of a class (or name) with these arguments.
pub(crate) fn from_class(class: &str, config: Config) -> Result<Box<dyn Optimizer>> {
    let built_in = LIST.iter().find(|(name, _)| names_class(class, name) || class.eq_ignore_ascii_case(name));
    match built_in.map(|(_, make)| *make).or_else(|| OWN.get(class)) {
        Some(make) => make(config),
        None => Err(Error::unknown("optimizer", class, names())),
    }
}

/// An optimizer as a Keras file tells it.
pub(crate) fn to_json(optimizer: &dyn Optimizer) -> Result<Json> {
    let (class, config) = (optimizer.class_name(), optimizer.config()?);
    Ok(match LIST.iter().any(|(name, _)| *name == class) {
        true => keras_object("keras.optimizers", class, config),
        false => own_object(class, config),
    })
}

/// An optimizer as it is told: by name or as an object.
#[derive(Clone, Debug)]
pub struct OptimizerArgument(Told);

#[derive(Clone, Debug)]
enum Told {
    Name(String),
    Optimizer(Box<dyn Optimizer>),
}

impl From<&str> for OptimizerArgument {
    fn from(name: &str) -> Self {
        Self(Told::Name(name.to_owned()))
    }
}

impl<O: Optimizer + 'static> From<O> for OptimizerArgument {
    fn from(optimizer: O) -> Self {
        Self(Told::Optimizer(Box::new(optimizer)))
    }
}

impl OptimizerArgument {
    /// The optimizer.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the list, [`Error::Argument`] for arguments that make no sense.
    pub fn resolve(&self) -> Result<Box<dyn Optimizer>> {
        let optimizer = match &self.0 {
            Told::Name(name) => from_class(name, Config::new())?,
            Told::Optimizer(optimizer) => optimizer.clone(),
        };
        optimizer.learning_rate_argument().check()?;
        optimizer.check()?;
        Ok(optimizer)
    }

    /// The optimizer that a config tells, by name or as Keras's object.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::Argument`], [`Error::Unsupported`].
    pub fn from_json(json: Json) -> Result<Self> {
        let (class, config) = object("optimizer", json)?;
        from_class(&class, config).map(|optimizer| Self(Told::Optimizer(optimizer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve_and_others_are_refused() {
        assert_eq!(OptimizerArgument::from("adam").resolve().unwrap().class_name(), "Adam");
        assert_eq!(OptimizerArgument::from("SGD").resolve().unwrap().class_name(), "SGD");
        let error = OptimizerArgument::from("adm").resolve().unwrap_err().to_string();
        assert!(error.contains("did you mean `adam`?"), "{error}");
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        use crate::optimizers::OptimizerArguments;
        let refused = |optimizer: OptimizerArgument| optimizer.resolve().is_err();
        assert!(refused(SGD::new(0.1).momentum(1.5).into()));
        assert!(refused(Adam::new(-1.0).into()));
        assert!(refused(Adam::new(0.1).clipnorm(1.0).clipvalue(1.0).into()));
        assert!(refused(Adam::new(0.1).beta_1(1.0).into()));
        assert!(refused(SGD::new(0.1).gradient_accumulation_steps(1).into()));
        assert!(refused(SGD::new(0.1).use_ema(true).ema_momentum(2.0).into()));
        assert!(refused(SGD::new(0.1).loss_scale_factor(0.0).into()));
        assert!(refused(Ftrl::new(0.1).learning_rate_power(0.5).into()));
        assert!(refused(Lion::new(0.1).beta_1(0.0).into()));
        assert!(refused(Muon::new(0.1).exclude_layers(vec!["dense.*".to_owned()]).into()));
        assert!(refused(SGD::new(crate::schedules::ExponentialDecay::new(0.1, 0, 0.5)).into()));
    }

    /// A config from each optimizer says the same when it is read, and Keras's keys come in Keras's order.
    #[test]
    fn configs_go_there_and_back() {
        for name in names() {
            let config = OptimizerArgument::from(name.as_str()).resolve().unwrap().config().unwrap();
            let again = from_class(&name, config.clone()).unwrap().config().unwrap();
            assert_eq!(again, config);
            let keys: Vec<&str> = config.keys().map(String::as_str).take(3).collect();
            assert_eq!(keys, ["name", "learning_rate", "weight_decay"]);
        }
        let decay = |name: &str| from_class(name, Config::new()).unwrap().base().weight_decay;
        assert_eq!((decay("adamw"), decay("muon"), decay("adam")), (Some(0.004), Some(0.004), None));
    }
}
