//! The list of built-in optimizers, and how an optimizer is specified.

use std::any::TypeId;

use serde_json::Value as Json;

use super::{
    Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Ftrl, Lamb, Lion, Muon, Nadam, Optimizer, RMSprop, SGD,
};
use crate::config::{Config, Configure, keras_object, names_class, object_of};
use crate::error::{Error, Result};
use crate::register::{Register, own_object};

type Maker = fn(Config) -> Result<Box<dyn Optimizer>>;

/// A class: its name, its constructor, its type.
type OptimizerEntry = (&'static str, Maker, fn() -> TypeId);

const fn entry<O: Optimizer + Configure + Clone + 'static>() -> OptimizerEntry {
    let make = |mut config: Config| -> Result<Box<dyn Optimizer>> {
        // An optimizer without arguments has the defaults of the common ones.
        let mut base = O::from_config(Config::new())?.base().clone();
        base.update(&mut config)?;
        let mut optimizer = O::from_config(config)?;
        *optimizer.base_mut() = base;
        Ok(Box::new(optimizer))
    };
    (O::CLASS_NAME, make, TypeId::of::<O>)
}

/// All built-in optimizers. To add one, write its file and add a line here.
const LIST: &[OptimizerEntry] = &[
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

/// Registers a custom optimizer by its class name and its snake case, so that files and recipes can load it and
/// `compile` accepts the name.
///
/// A built-in class takes precedence; a class with its name needs a package (`struct Adam as "my_package>Adam"`), which
/// is then part of the name that `compile` accepts.
pub fn register<O: Optimizer + Configure + Clone + 'static>() {
    let (class, make, _) = entry::<O>();
    OWN.insert(class, make);
}

/// Whether a class is built in.
pub(super) fn is_built_in<O: 'static>() -> bool {
    LIST.iter().any(|(_, _, own)| own() == TypeId::of::<O>())
}

/// Whether a built-in optimizer has this class or name.
pub(crate) fn is_built_in_name(class: &str) -> bool {
    built_in(class).is_some()
}

/// Whether an own optimizer has this name in the register.
pub(crate) fn is_registered(class: &str) -> bool {
    OWN.get(class).is_some()
}

/// All names of optimizers.
pub fn names() -> Vec<String> {
    LIST.iter().map(|(class, ..)| class.to_lowercase()).chain(OWN.names()).collect()
}

/// The constructor of a built-in class, by class or name.
fn built_in(class: &str) -> Option<Maker> {
    let is_it = |name: &str| names_class(class, name) || class.eq_ignore_ascii_case(name);
    LIST.iter().find(|(name, ..)| is_it(name)).map(|(_, make, _)| *make)
}

/// Creates the optimizer of a class (or name) with these arguments.
pub(crate) fn from_class(class: &str, config: Config) -> Result<Box<dyn Optimizer>> {
    match built_in(class).or_else(|| OWN.get(class)) {
        Some(make) => make(config),
        None => Err(Error::unknown("optimizer", class, names())),
    }
}

/// Serializes an optimizer as Keras does.
pub(crate) fn to_json(optimizer: &dyn Optimizer) -> Result<Json> {
    let (class, config) = (optimizer.class_name(), optimizer.config()?);
    match optimizer.is_built_in() {
        true => Ok(keras_object("keras.optimizers", class, config)),
        false => own_object("optimizer", class, is_built_in_name, config),
    }
}

/// An optimizer given by name or as an object.
#[derive(Clone, Debug)]
pub struct OptimizerArgument(Spec);

#[derive(Clone, Debug)]
enum Spec {
    Name(String),
    Optimizer(Box<dyn Optimizer>),
}

impl From<&str> for OptimizerArgument {
    fn from(name: &str) -> Self {
        Self(Spec::Name(name.to_owned()))
    }
}

impl<O: Optimizer + 'static> From<O> for OptimizerArgument {
    fn from(optimizer: O) -> Self {
        Self(Spec::Optimizer(Box::new(optimizer)))
    }
}

impl OptimizerArgument {
    /// The optimizer.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the list, [`Error::Argument`] for invalid arguments.
    pub fn resolve(&self) -> Result<Box<dyn Optimizer>> {
        let optimizer = match &self.0 {
            Spec::Name(name) => from_class(name, Config::new())?,
            Spec::Optimizer(optimizer) => optimizer.clone(),
        };
        optimizer.learning_rate_argument().check()?;
        optimizer.check()?;
        Ok(optimizer)
    }

    /// Parses an optimizer from a config: a name or Keras's object.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::Argument`], [`Error::Unsupported`].
    pub fn from_json(json: Json) -> Result<Self> {
        let (class, config) = object_of("optimizer", json, |class| OWN.origin(class, is_built_in_name(class)))?;
        from_class(&class, config).map(|optimizer| Self(Spec::Optimizer(optimizer)))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::ops::{Value, cpu_devices, portably, times_changed_in_place};
    use crate::optimizers::{OptimizerObject, OptimizerState, Slot, Step, WeightInfo, at_least_one};

    #[test]
    fn names_resolve_and_others_are_refused() {
        assert_eq!(OptimizerArgument::from("adam").resolve().unwrap().class_name(), "Adam");
        assert_eq!(OptimizerArgument::from("SGD").resolve().unwrap().class_name(), "SGD");
        let error = OptimizerArgument::from("adm").resolve().unwrap_err().to_string();
        assert!(error.contains("did you mean `adam`?"), "{error}");
    }

    #[test]
    fn invalid_arguments_are_refused() {
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

    /// Each optimizer's config survives the round trip, with Keras's keys in Keras's order.
    #[test]
    fn configs_survive_a_round_trip() {
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

    /// Weight and slots after three steps, on uniquely owned buffers.
    fn three_steps(optimizer: &dyn Optimizer, sizes: &[usize], device: &Device) -> Vec<Vec<f32>> {
        let numbers = |seed: u32| -> Vec<f32> {
            let len: usize = sizes.iter().product();
            (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_769).wrapping_add(seed) >> 8) as f32).collect()
        };
        let value = |seed: u32| {
            let numbers = numbers(seed).into_iter().map(|number| number / (1 << 23) as f32 - 1.0).collect();
            Value::from_vec(numbers, sizes, device).unwrap()
        };
        let slots = OptimizerState::slots(optimizer, &WeightInfo { path: "kernel", sizes });
        let slot = |slot: &Slot| {
            let sizes = at_least_one(&slot.sizes);
            Value::from_vec(vec![slot.start; sizes.iter().product()], sizes, device).unwrap()
        };
        let (mut weight, mut slots) = (value(1), slots.iter().map(slot).collect::<Vec<_>>());
        for number in 1..=3 {
            let step = Step { number, learning_rate: 0.01, shared: 0.9f32.powi(number as i32), decay: 0.01 };
            weight = optimizer.update(step, weight, value(77 * number as u32), &mut slots).unwrap();
        }
        std::iter::once(weight).chain(slots).map(|value| value.to_vec().unwrap()).collect()
    }

    /// A uniquely owned weight is updated in place, with the results of the portable path, whatever its size.
    #[test]
    fn every_optimizer_changes_weights_in_place() {
        let mut optimizers: Vec<Box<dyn Optimizer>> =
            LIST.iter().map(|(class, ..)| from_class(class, Config::new()).unwrap()).collect();
        optimizers.extend([
            SGD::new(0.1).momentum(0.9).boxed_clone(),
            SGD::new(0.1).momentum(0.9).nesterov(true).boxed_clone(),
            Adam::new(0.1).amsgrad(true).boxed_clone(),
            RMSprop::new(0.1).momentum(0.9).boxed_clone(),
            RMSprop::new(0.1).centered(true).boxed_clone(),
            RMSprop::new(0.1).momentum(0.9).centered(true).boxed_clone(),
            Ftrl::new(0.1).learning_rate_power(-0.7).l1_regularization_strength(0.01).beta(0.1).boxed_clone(),
            Ftrl::new(0.1).l2_regularization_strength(0.1).l2_shrinkage_regularization_strength(0.1).boxed_clone(),
        ]);
        for device in cpu_devices() {
            for optimizer in &optimizers {
                for sizes in [&[70_001][..], &[3, 2], &[331, 223], &[3, 2, 11, 17]] {
                    let before = times_changed_in_place();
                    let fast = three_steps(&**optimizer, sizes, &device);
                    let what = format!("{:?} on {sizes:?}", optimizer);
                    assert_eq!(times_changed_in_place() - before, 3, "{what}");
                    let portable = portably(|| three_steps(&**optimizer, sizes, &device));
                    assert_eq!(times_changed_in_place() - before, 3, "{what}");
                    for (fast, portable) in fast.iter().zip(&portable) {
                        let scale = portable.iter().fold(1e-3f32, |scale, number| scale.max(number.abs()));
                        let near = |(a, b): (&f32, &f32)| a == b || (a - b).abs() <= 1e-5 * scale;
                        assert!(fast.len() == portable.len() && fast.iter().zip(portable).all(near), "{what}");
                    }
                }
            }
        }
    }
}
