//! Callbacks decide as in Keras, are called in order, and have their effects.

use std::fs;

use brasa::callbacks::{
    BackupAndRestore, CallbackState, Context, LambdaCallback, Logs, Params, SaveFreq, SwapEMAWeights,
};
use brasa::config::{Config, Configure};
use brasa::ndarray::{Array2, ArrayD};
use brasa::prelude::*;
use brasa::{Error, Result, Value};
use serde_json::Value as Json;

/// Keras's decisions, recorded by `tests/keras/callbacks.py`.
fn recorded(class: &str) -> Vec<Json> {
    let text = fs::read_to_string("tests/fixtures/callbacks/decisions.json").unwrap();
    let all: Json = serde_json::from_str(&text).unwrap();
    let cases = all[class].as_array().unwrap().clone();
    assert_eq!(cases.len(), 50);
    cases
}

fn keras_model(rate: f32) -> Sequential {
    let mut model = Sequential::new();
    model.add(Dense::new(1).use_bias(false).input_shape(1)).unwrap();
    model.compile(Compile::new(SGD::new(rate), "mse").metrics(["mae", "accuracy"])).unwrap();
    model
}

fn number(value: &Json) -> Option<f64> {
    match value {
        Json::Null => None,
        Json::String(text) => Some(text.parse().unwrap()),
        value => Some(value.as_f64().unwrap()),
    }
}

fn same(own: Option<f64>, keras: &Json, what: &str) {
    let keras = number(keras);
    let same = own == keras || (own.is_some_and(f64::is_nan) && keras.is_some_and(f64::is_nan));
    assert!(same, "{what}: {own:?}, Keras {keras:?}");
}

fn options(case: &Json) -> Config {
    case["options"].as_object().unwrap().clone()
}

fn epochs(case: &Json) -> Vec<Logs> {
    let logs = |epoch: &Json| {
        let values = epoch.as_object().unwrap().iter();
        values.map(|(name, value)| (name.clone(), number(value).unwrap())).collect()
    };
    case["logs"].as_array().unwrap().iter().map(logs).collect()
}

fn params(epoch: usize) -> Params {
    let mut params = Params::default();
    params.epoch = epoch;
    params
}

#[test]
fn early_stopping_decides_as_keras() {
    for (index, case) in recorded("EarlyStopping").iter().enumerate() {
        let mut stopping = EarlyStopping::from_config(options(case)).unwrap();
        let mut model = keras_model(0.1);
        stopping.on_train_begin(&mut Context::new(&mut model, params(0))).unwrap();
        let seen = case["seen"].as_array().unwrap();
        for (epoch, mut logs) in epochs(case).into_iter().enumerate().take(seen.len()) {
            let what = format!("case {index}, epoch {epoch}");
            model.set_weights(&[ArrayD::from_elem(vec![1, 1], epoch as f32 + 1.0)]).unwrap();
            let mut context = Context::new(&mut model, params(epoch));
            stopping.on_epoch_end(&mut context, epoch, &mut logs).unwrap();
            assert_eq!(context.stopped().is_some(), seen[epoch]["stop"] == true, "{what}");
            assert_eq!(stopping.wait(), seen[epoch]["wait"], "{what}");
            same(stopping.best(), &seen[epoch]["best"], &what);
        }
        stopping.on_train_end(&mut Context::new(&mut model, params(0))).unwrap();
        assert_eq!(stopping.best_epoch(), case["end"]["best_epoch"], "case {index}");
        assert_eq!(f64::from(model.get_weights().unwrap()[0][[0, 0]]), case["end"]["weight"], "case {index}");
    }
}

#[test]
fn reduce_lr_on_plateau_decides_as_keras() {
    for (index, case) in recorded("ReduceLROnPlateau").iter().enumerate() {
        let mut plateau = ReduceLROnPlateau::from_config(options(case)).unwrap();
        let mut model = keras_model(case["learning_rate"].as_f64().unwrap() as f32);
        plateau.on_train_begin(&mut Context::new(&mut model, params(0))).unwrap();
        for (epoch, mut logs) in epochs(case).into_iter().enumerate() {
            let (seen, what) = (&case["seen"][epoch], format!("case {index}, epoch {epoch}"));
            plateau.on_epoch_end(&mut Context::new(&mut model, params(epoch)), epoch, &mut logs).unwrap();
            same(Some(f64::from(model.learning_rate().unwrap())), &seen["learning_rate"], &what);
            same(logs.get("learning_rate"), &seen["logged"], &what);
            same(plateau.best(), &seen["best"], &what);
            assert_eq!(plateau.wait(), seen["wait"], "{what}");
            assert_eq!(plateau.cooldown_left(), seen["cooldown"], "{what}");
        }
    }
}

#[test]
fn model_checkpoint_decides_as_keras() {
    for (index, case) in recorded("ModelCheckpoint").iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(case);
        let path = folder.path().join(options["filepath"].as_str().unwrap());
        options["filepath"] = path.to_str().unwrap().into();
        options.insert("verbose".into(), 1.into());
        let mut checkpoint = ModelCheckpoint::from_config(options).unwrap();
        checkpoint.check().unwrap();
        let mut model = keras_model(0.1);
        checkpoint.on_train_begin(&mut Context::new(&mut model, params(0))).unwrap();
        for (epoch, mut logs) in epochs(case).into_iter().enumerate() {
            let mut messages = Vec::new();
            for batch in 0..case["steps"].as_u64().unwrap() as usize {
                let mut context = Context::new(&mut model, params(epoch)).with_logs(logs.clone());
                checkpoint.on_train_batch_end(&mut context, batch).unwrap();
                messages.extend(context.finish().0);
            }
            let mut context = Context::new(&mut model, params(epoch));
            checkpoint.on_epoch_end(&mut context, epoch, &mut logs).unwrap();
            messages.extend(context.finish().0);
            let saved = messages.iter().filter_map(|text| text.split_once("finished saving model to "));
            let saved: Vec<&str> = saved.map(|(_, path)| path.rsplit('/').next().unwrap()).collect();
            let seen = &case["seen"][epoch];
            assert_eq!(serde_json::json!(saved), seen["saved"], "case {index}, epoch {epoch}");
            same(checkpoint.best(), &seen["best"], &format!("case {index}, epoch {epoch}"));
            assert!(saved.iter().all(|name| folder.path().join(name).exists()));
        }
    }
}

// --- in training ------------------------------------------------------------------------------------------------

fn line(samples: usize) -> Dataset {
    let x = Array2::from_shape_fn((samples, 2), |(i, j)| ((i * 7 + j * 3) % 11) as f32 / 11.0 - 0.5);
    let y: Vec<f32> = x.outer_iter().map(|row| 2.0 * row[0] - row[1] + 0.3).collect();
    Dataset::new(&x, y).unwrap()
}

fn linear(optimizer: SGD) -> Sequential {
    let mut model = Sequential::new().with_seed(3);
    model.add(Dense::new(1).input_shape(2)).unwrap();
    model.compile(Compile::new(optimizer, "mse").metrics(["mae"])).unwrap();
    model
}

fn quiet<'a>() -> Fit<'a> {
    Fit::new().verbose(Verbosity::Silent).batch_size(8)
}

/// Records its calls.
#[derive(Default)]
struct Diary {
    calls: Vec<String>,
    batch_losses: Vec<f64>,
}

impl Callback for Diary {
    fn on_train_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
        let params = context.params();
        self.calls.push(format!("train {} x {} of {}", params.epochs, params.steps, params.batch_size));
        Ok(())
    }

    fn on_train_end(&mut self, context: &mut Context<'_>) -> Result<()> {
        self.calls.push(format!("trained {:?}", context.history().unwrap().epoch));
        Ok(())
    }

    fn on_epoch_begin(&mut self, _: &mut Context<'_>, epoch: usize) -> Result<()> {
        self.calls.push(format!("epoch {epoch}"));
        Ok(())
    }

    fn on_epoch_end(&mut self, _: &mut Context<'_>, epoch: usize, logs: &mut Logs) -> Result<()> {
        self.calls.push(format!("epoch {epoch} done: {}", logs.names().collect::<Vec<_>>().join(" ")));
        logs.set("own", 7.0);
        Ok(())
    }

    fn on_train_batch_begin(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
        assert!(context.logs()?.is_empty());
        self.calls.push(format!("batch {batch}"));
        Ok(())
    }

    fn on_train_batch_end(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
        let logs = context.logs()?;
        assert_eq!(logs.names().collect::<Vec<_>>(), ["loss", "mae"]);
        self.batch_losses.push(f64::from(context.batch_loss()?.unwrap()));
        // With equal batches the running loss is the mean of the batches' losses.
        let epoch = &self.batch_losses[self.batch_losses.len() - batch - 1..];
        let mean = epoch.iter().sum::<f64>() / epoch.len() as f64;
        assert!((logs.get("loss").unwrap() - mean).abs() < 1e-6);
        self.calls.push(format!("batch {batch} done"));
        Ok(())
    }

    fn on_test_begin(&mut self, _: &mut Context<'_>) -> Result<()> {
        self.calls.push("test".into());
        Ok(())
    }

    fn on_test_end(&mut self, _: &mut Context<'_>, logs: &Logs) -> Result<()> {
        self.calls.push(format!("tested: {}", logs.names().collect::<Vec<_>>().join(" ")));
        Ok(())
    }

    fn on_test_batch_end(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
        assert!(context.logs()?.get("loss").is_some());
        self.calls.push(format!("test batch {batch} done"));
        Ok(())
    }

    fn on_predict_begin(&mut self, _: &mut Context<'_>) -> Result<()> {
        self.calls.push("predict".into());
        Ok(())
    }

    fn on_predict_batch_end(&mut self, _: &mut Context<'_>, batch: usize, outputs: &Value) -> Result<()> {
        self.calls.push(format!("predicted {batch}: {:?}", outputs.sizes()));
        Ok(())
    }

    fn on_predict_end(&mut self, _: &mut Context<'_>) -> Result<()> {
        self.calls.push("predicted".into());
        Ok(())
    }
}

#[test]
fn callbacks_are_called_in_order() -> Result<()> {
    let (mut model, data, mut diary) = (linear(SGD::new(0.1)), line(24), Diary::default());
    let history = model.fit(&data, quiet().epochs(2).validation_split(1.0 / 3.0).callback(&mut diary))?;
    let epoch = |number: usize| {
        vec![
            format!("epoch {number}"),
            "batch 0".into(),
            "batch 0 done".into(),
            "batch 1".into(),
            "batch 1 done".into(),
            "test".into(),
            "test batch 0 done".into(),
            "tested: loss mae".into(),
            format!("epoch {number} done: loss mae val_loss val_mae"),
        ]
    };
    let expected = [vec!["train 2 x 2 of 8".to_owned()], epoch(0), epoch(1), vec!["trained [0, 1]".into()]].concat();
    assert_eq!(diary.calls, expected);
    assert_eq!(history.get("own"), Some(&[7.0, 7.0][..]), "what is added to the logs is in the history");
    assert_eq!((history.stopped, history.interrupted), (None, false));

    let mut diary = Diary::default();
    model.evaluate_with(&data, Evaluate::new().batch_size(20).callback(&mut diary))?;
    assert_eq!(diary.calls, ["test", "test batch 0 done", "test batch 1 done", "tested: loss mae"]);
    let mut diary = Diary::default();
    model.predict_with(data.x(), Predict::new().batch_size(20).callback(&mut diary))?;
    assert_eq!(diary.calls, ["predict", "predicted 0: [20, 1]", "predicted 1: [4, 1]", "predicted"]);
    Ok(())
}

#[test]
fn the_history_has_the_reason_for_stopping() -> Result<()> {
    let mut model = linear(SGD::new(0.0));
    let mut stopping = EarlyStopping::default().monitor("loss").patience(2usize);
    let history = model.fit(&line(16), quiet().epochs(50).shuffle(false).callback(&mut stopping))?;
    assert_eq!(history.epoch, [0, 1, 2]);
    assert_eq!(stopping.stopped_epoch(), Some(2));
    assert_eq!(history.stopped.as_deref(), Some("EarlyStopping: loss has not improved for 2 epochs"));

    let stop = LambdaCallback::new().on_train_batch_end(|context, batch| {
        if batch == 1 {
            context.stop("enough");
        }
        Ok(())
    });
    let mut diary = Diary::default();
    let history = model.fit(&line(32), quiet().epochs(3).validation_split(0.25).callback(stop).callback(&mut diary))?;
    // As in Keras, the interrupted epoch is validated and counts.
    assert_eq!(history.stopped.as_deref(), Some("enough"));
    assert_eq!(history.epoch, [0]);
    assert_eq!(diary.calls.iter().filter(|call| call.starts_with("batch")).count(), 4);
    assert!(diary.calls.contains(&"tested: loss mae".to_owned()));
    Ok(())
}

#[test]
fn the_best_weights_are_restored() -> Result<()> {
    // The rate is 0 after the first epoch except in the last, which worsens the weights.
    let mut after_first = Vec::new();
    let mut model = linear(SGD::new(0.1));
    let rates = LearningRateScheduler::new(|epoch, _| [0.1, 0.0, 0.0, 0.9][epoch]);
    let keep = LambdaCallback::new().on_epoch_end(|context, epoch, _| {
        if epoch == 0 {
            after_first = context.model.get_weights()?;
        }
        Ok(())
    });
    let mut stopping =
        EarlyStopping::default().monitor("val_loss").patience(3usize).restore_best_weights(true).min_delta(0.001);
    let data = line(16);
    let flipped = Dataset::new(data.x(), line(16).y().to_vec_f32().iter().map(|y| y + 0.01).collect::<Vec<f32>>())?;
    let fit = quiet().epochs(4).validation_data(&flipped).callback(rates).callback(keep).callback(&mut stopping);
    let history = model.fit(&data, fit)?;
    assert_eq!(history.get("learning_rate").map(|rates| rates[0] as f32), Some(0.1));
    let best = stopping.best_epoch();
    assert!(best == 0 || best == 3, "only those epochs changed the weights");
    if best == 0 {
        assert_eq!(model.get_weights()?, after_first);
    }
    Ok(())
}

#[test]
fn a_nan_loss_stops_or_fails() {
    let data = Dataset::new(Array2::<f32>::from_elem((32, 2), 3.0), vec![1.0f32; 32]).unwrap();
    let mut model = linear(SGD::new(1e30));
    let history = model.fit(&data, quiet().epochs(9).callback(TerminateOnNaN::default())).unwrap();
    let reason = history.stopped.unwrap();
    assert!(reason.starts_with("TerminateOnNaN: the loss is ") && reason.ends_with("at epoch 1, batch 2"), "{reason}");
    assert_eq!(history.epoch, [0]);

    let failing = TerminateOnNaN::default().raise_error(true);
    let error = linear(SGD::new(1e30)).fit(&data, quiet().epochs(9).callback(failing)).unwrap_err();
    assert!(matches!(error, Error::NonFinite { epoch: 1, batch: 2, .. }), "{error}");
}

#[test]
fn the_origin_of_nan_is_named() {
    let mut model = Sequential::new();
    model.add(Dense::new(2).kernel_initializer("ones").input_shape(2)).unwrap();
    model.add(Lambda::new(|x: Value| Ok(x.mul_scalar(1e30).square()))).unwrap();
    model.add(Dense::new(1)).unwrap();
    model.compile(Compile::new("sgd", "mse")).unwrap();
    let error = model.fit(&line(24), quiet()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::NonFinite { epoch: 1, batch: 1, .. }), "{text}");
    assert!(text.contains("(Lambda) is the first whose output is not finite"), "{text}");

    let data = Dataset::new(Array2::<f32>::from_elem((32, 2), 3.0), vec![1.0f32; 32]).unwrap();
    let error = linear(SGD::new(f32::MAX)).fit(&data, quiet()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("after the previous step the weights of layer `dense` are infinite"), "{text}");
}

#[test]
fn rates_follow_the_schedule_and_are_in_the_history() -> Result<()> {
    let mut model = linear(SGD::new(0.5));
    let halved = LearningRateScheduler::new(|epoch, rate| if epoch == 0 { rate } else { rate / 2.0 });
    let history = model.fit(&line(8), quiet().epochs(3).callback(halved))?;
    assert_eq!(history.get("learning_rate"), Some(&[0.5, 0.25, 0.125][..]));
    assert_eq!(model.learning_rate()?, 0.125);
    let mut scheduled = linear(SGD::new(ExponentialDecay::new(0.1, 10, 0.5)));
    let error = scheduled.fit(&line(8), quiet().callback(LearningRateScheduler::new(|_, rate| rate))).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    Ok(())
}

#[test]
fn the_csv_logger_writes_what_keras_writes() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.csv");
    let name = path.to_str().unwrap();
    let mut model = linear(SGD::new(0.1));
    let fit = || quiet().epochs(2).validation_split(0.5).validation_freq(2);
    let history = model.fit(&line(16), fit().callback(CSVLogger::new(name).separator(";")))?;
    let text = fs::read_to_string(&path).unwrap();
    let rows: Vec<&str> = text.lines().collect();
    let value = |name: &str, epoch: usize| history.get(name).unwrap()[epoch];
    assert_eq!(rows[0], "epoch;loss;mae;val_loss;val_mae");
    assert_eq!(rows[1], format!("0;{};{};NA;NA", value("loss", 0), value("mae", 0)));
    assert_eq!(rows[2].split(';').nth(3), Some(value("val_loss", 0).to_string().as_str()));
    model.fit(&line(16), fit().callback(CSVLogger::new(name).separator(";").append(true)))?;
    let longer = fs::read_to_string(&path).unwrap();
    assert!(longer.starts_with(&text) && longer.lines().count() == 5, "{longer}");
    model.fit(&line(16), fit().callback(CSVLogger::new(name)))?;
    assert!(fs::read_to_string(&path).unwrap().starts_with("epoch,loss"));
    Ok(())
}

#[test]
fn averaged_weights_are_evaluated_and_the_weights_restored() -> Result<()> {
    let optimizer = || SGD::new(0.1).use_ema(true).ema_momentum(0.5);
    let data = line(16);
    // The averaged weights and their scores, obtained in another way: training ends with the average in the weights.
    let mut plain = linear(optimizer());
    plain.fit(&data, quiet())?;
    let scores = plain.evaluate_with(&data, Evaluate::new().batch_size(8))?;
    let mut model = linear(optimizer());
    let mut trained = Vec::new();
    let keep = LambdaCallback::new().on_epoch_end(|context, _, _| {
        trained = context.model.get_weights()?;
        Ok(())
    });
    let fit = quiet().validation_data(&data).callback(SwapEMAWeights::default()).callback(keep);
    let history = model.fit(&data, fit)?;
    assert_eq!(history.last("val_loss"), Some(scores.loss));
    assert_ne!(trained, plain.get_weights()?, "the weights stood in their place when the epoch ended");
    assert_eq!(model.get_weights()?, plain.get_weights()?);

    let mut model = linear(optimizer());
    let mut saved = Vec::new();
    let keep = LambdaCallback::new().on_epoch_end(|context, _, _| {
        saved.push(context.model.get_weights()?);
        Ok(())
    });
    model.fit(&data, quiet().epochs(2).callback(SwapEMAWeights::default().swap_on_epoch(true)).callback(keep))?;
    assert_eq!(saved[0], plain.get_weights()?, "between epochs the means stand there");
    assert_eq!(saved[1], model.get_weights()?, "and in the end");
    let refused = linear(SGD::new(0.1)).fit(&data, quiet().callback(SwapEMAWeights::default()));
    assert!(matches!(refused, Err(Error::Argument { .. })));
    Ok(())
}

#[test]
fn weights_that_are_not_finite_replace_nothing() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    let mut model = linear(SGD::new(0.1));
    model.fit(&line(16), quiet().callback(ModelCheckpoint::new(path.to_str().unwrap())))?;
    let good = fs::read(&path).unwrap();
    let spoil = LambdaCallback::new().on_epoch_end(|context, _, _| {
        let mut weights = context.model.get_weights()?;
        weights[0][[0, 0]] = f32::NAN;
        context.model.set_weights(&weights)
    });
    model.fit(&line(16), quiet().callback(spoil).callback(ModelCheckpoint::new(path.to_str().unwrap())))?;
    assert_eq!(fs::read(&path).unwrap(), good);
    Ok(())
}

#[test]
fn a_backup_is_resumed_and_finally_removed() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("backup");
    let backup =
        || BackupAndRestore::new(place.to_str().unwrap()).save_freq(SaveFreq::Batches(3)).double_checkpoint(true);
    let mut whole = linear(SGD::new(0.1).momentum(0.9));
    let expected = whole.fit(&line(40), quiet().epochs(3))?;

    let failing = LambdaCallback::new().on_train_batch_begin(|context, batch| match (context.params().epoch, batch) {
        (1, 3) => Err(Error::Syntax("the power is gone".into())),
        _ => Ok(()),
    });
    let error =
        linear(SGD::new(0.1).momentum(0.9)).fit(&line(40), quiet().epochs(3).callback(backup()).callback(failing));
    assert!(error.unwrap_err().to_string().contains("the power is gone"));
    assert!(place.join("latest.ckpt").exists() && place.join("latest.ckpt.bkp").exists());
    // The newest is damaged: the previous one is used.
    fs::write(place.join("latest.ckpt"), b"PK").unwrap();
    let mut model = linear(SGD::new(0.1).momentum(0.9));
    let mut first = None;
    let watch = LambdaCallback::new().on_train_batch_begin(|context, batch| {
        first.get_or_insert((context.params().epoch, batch));
        Ok(())
    });
    let history = model.fit(&line(40), quiet().epochs(3).callback(backup()).callback(watch))?;
    assert_eq!(first, Some((1, 0)), "after the first epoch");
    assert_eq!(model.get_weights()?, whole.get_weights()?);
    assert_eq!(history.history, expected.history);
    assert!(!place.exists());
    Ok(())
}

#[test]
fn the_order_of_callbacks_and_lists_of_them() -> Result<()> {
    let mut list: Vec<Box<dyn Callback>> =
        vec![Box::new(EarlyStopping::default().monitor("loss")), Box::new(TerminateOnNaN::default())];
    let mut model = linear(SGD::new(0.01));
    model.fit(&line(16), quiet().epochs(2).callbacks(list.iter_mut()))?;
    let state: CallbackState = list[0].state()?;
    assert!(state.values.contains_key("best"));
    model.fit(&line(16), quiet().callbacks(list))?;
    model.fit(&line(16), quiet().callbacks([TerminateOnNaN::default()]))?;
    let refused = model.fit(&line(16), quiet().callback(ReduceLROnPlateau::default().factor(2.0)));
    assert!(matches!(refused, Err(Error::Argument { .. })), "arguments are checked before training");
    let unknown = model.fit(&line(16), quiet().callback(EarlyStopping::default().monitor("val_magic")));
    assert!(unknown.unwrap_err().to_string().contains("direction of `val_magic`"));
    Ok(())
}

/// A metric of several numbers has no best value: an error before training.
#[test]
fn a_metric_of_several_numbers_cannot_be_monitored() -> Result<()> {
    use brasa::callbacks::{CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau};
    use brasa::metrics::Precision;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut model = Sequential::new();
    model.add(Dense::new(1).activation("sigmoid").input_shape(1))?;
    let precision = Precision::default().thresholds(vec![0.2, 0.8]).name("p".to_owned());
    model.compile(Compile::new("sgd", "binary_crossentropy").metrics([precision]))?;
    let data = Dataset::new(Array2::<f32>::ones((4, 1)), [0.0f32, 1.0, 1.0, 1.0])?;
    let fit = || Fit::new().verbose(Verbosity::Silent).validation_split(0.5);
    let refused = |model: &mut Sequential, fit: Fit<'_>| {
        let error = model.fit(&data, fit).unwrap_err().to_string();
        assert!(error.contains("val_p") && error.contains("one number"), "{error}");
    };
    let before = model.get_weights()?;
    refused(&mut model, fit().callback(EarlyStopping::default().monitor("val_p").mode("max")));
    refused(&mut model, fit().callback(ReduceLROnPlateau::default().monitor("val_p")));
    refused(&mut model, fit().callback(ModelCheckpoint::new(at("m.keras")).monitor("val_p").save_best_only(true)));
    assert_eq!(model.get_weights()?, before, "nothing was trained");
    let error = model.fit(&data, fit().callback(ModelCheckpoint::new(at("{p:.2f}.keras")))).unwrap_err().to_string();
    assert!(error.contains("a list"), "{error}");

    let history = model.fit(&data, fit().callback(CSVLogger::new(at("log.csv"))))?;
    assert_eq!((history.get("p"), history.get_lists("val_p").map(|lists| lists[0].len())), (None, Some(2)));
    let table = fs::read_to_string(at("log.csv")).unwrap();
    assert!(table.starts_with("epoch,loss,p,val_loss,val_p\n") && table.contains("\"["), "{table}");
    let curves = brasa::report::Curves::read(at("log.csv"))?;
    assert_eq!(curves.metrics(), ["loss", "p[0]", "p[1]"]);
    Ok(())
}

/// The resulting model is not that of the last epoch.
#[test]
fn the_restored_epoch_is_reported() -> Result<()> {
    use brasa::callbacks::EarlyStopping;
    let mut model = keras_model(0.9);
    model.set_weights(&[ArrayD::from_elem(vec![1, 1], 0.5)])?;
    // With this rate each step moves further from the target.
    let data = Dataset::new(Array2::<f32>::from_elem((4, 1), 2.0), [1.1f32; 4])?;
    let stopping = EarlyStopping::default().monitor("loss").patience(2usize).restore_best_weights(true);
    let history = model.fit(&data, Fit::new().epochs(9).verbose(Verbosity::Silent).callback(stopping))?;
    assert_eq!((history.restored_epoch, history.epoch.len()), (Some(0), 3));
    let page = brasa::report::Report::new(&model, &history)?.to_html()?;
    assert!(page.contains("the saved model has the weights of epoch 1"), "{page}");
    let mut plain = keras_model(0.1);
    assert_eq!(plain.fit(&data, Fit::new().verbose(Verbosity::Silent))?.restored_epoch, None);
    Ok(())
}
