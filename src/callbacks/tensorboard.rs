//! Event files for TensorBoard.

use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use super::{Callback, CallbackState, Context, Logs};
use crate::config::also_argument;
use crate::error::{Error, Result};
use crate::formats::tfevents::EventFile;
use crate::metrics::Score;
use crate::model::weight_name;

/// The folders of training and validation, which TensorBoard shows as two runs.
const TRAIN: &str = "train";
const VALIDATION: &str = "validation";

crate::describe! {
    /// Writes event files for TensorBoard: Keras's `TensorBoard`.
    ///
    /// The folders `train` and `validation` of `log_dir` hold, after each epoch, `epoch_loss` and the metrics, the
    /// learning rate, and histograms of the weights; the scores of each evaluation over the steps; after batches
    /// `batch_loss` and the metrics; and, as the graph, the model's configuration with its summary as text. Keras's
    /// `write_images`, `profile_batch`, `embeddings_freq` and `embeddings_metadata` are not supported.
    ///
    /// ```no_run
    /// use brasa::callbacks::TensorBoard;
    /// use brasa::prelude::*;
    /// # fn main() -> brasa::Result<()> {
    /// # let (mut model, data) = (Sequential::new(), Dataset::new(vec![0.0f32], vec![0.0f32])?);
    /// let callback = TensorBoard::default().log_dir("logs").histogram_freq(1usize).update_freq("batch");
    /// model.fit(&data, Fit::new().epochs(5).callback(callback))?;
    /// # Ok(())
    /// # }
    /// ```
    pub callback struct TensorBoard keeps Writers {
        /// The folder. Use a separate one for each run.
        log_dir: String = "logs".to_owned(),
        /// The number of epochs between histograms of the weights; 0 for never.
        histogram_freq: usize = 0,
        /// Whether the model's configuration and summary are written.
        write_graph: bool = true,
        /// Whether the steps per second are written.
        write_steps_per_second: bool = false,
        /// When loss and metrics are written in addition to each epoch's: `"epoch"` for never, `"batch"` for each
        /// batch, or a number of batches.
        update_freq: UpdateFreq = UpdateFreq::Epoch,
    }
}

/// When loss and metrics are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateFreq {
    /// After each epoch only.
    #[default]
    Epoch,
    /// Also after every given number of batches.
    Batches(usize),
}

impl From<usize> for UpdateFreq {
    fn from(batches: usize) -> Self {
        Self::Batches(batches)
    }
}

impl From<&str> for UpdateFreq {
    /// `"epoch"` or `"batch"`; anything else is refused when training begins.
    fn from(word: &str) -> Self {
        match word {
            "epoch" => Self::Epoch,
            "batch" => Self::Batches(1),
            _ => Self::Batches(0),
        }
    }
}

also_argument!(usize => UpdateFreq);
also_argument!(&str => UpdateFreq);

impl Serialize for UpdateFreq {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Epoch => serializer.serialize_str("epoch"),
            Self::Batches(1) => serializer.serialize_str("batch"),
            Self::Batches(batches) => batches.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for UpdateFreq {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Json::deserialize(deserializer)?;
        let batches = value.as_u64().and_then(|batches| usize::try_from(batches).ok());
        match (value.as_str(), batches) {
            (Some(word @ ("epoch" | "batch")), _) => Ok(word.into()),
            (_, Some(batches)) => Ok(Self::Batches(batches)),
            _ => Err(serde::de::Error::custom("expected \"epoch\", \"batch\" or an integer above 0")),
        }
    }
}

/// The state between epochs: the files, and the number of batches seen.
#[derive(Debug, Default)]
pub struct Writers {
    train: Option<EventFile>,
    validation: Option<EventFile>,
    /// Batches since training began, over all epochs.
    batches: u64,
    /// Batches in this epoch, when it began, and when the batch did.
    in_epoch: u64,
    epoch_began: Option<Instant>,
    batch_began: Option<Instant>,
}

impl Clone for Writers {
    /// A copy writes its own files.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl TensorBoard {
    /// Writes to this folder.
    pub fn new(log_dir: impl Into<String>) -> Self {
        Self::default().log_dir(log_dir.into())
    }

    /// The file of the training or the validation, created on first use.
    fn file(&mut self, validation: bool) -> Result<&mut EventFile> {
        let (own, name) = match validation {
            true => (&mut self.state.validation, VALIDATION),
            false => (&mut self.state.train, TRAIN),
        };
        match own {
            Some(file) => Ok(file),
            none => Ok(none.insert(EventFile::create(Path::new(&self.log_dir).join(name))?)),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.state.train.iter_mut().chain(&mut self.state.validation).try_for_each(EventFile::flush)
    }

    /// Writes histograms of the weights.
    fn write_weights(&mut self, context: &Context<'_>, epoch: u64) -> Result<()> {
        let model = &*context.model;
        let (weights, specs) = (model.layer_weights("TensorBoard")?, model.weight_specs("TensorBoard")?);
        for ((layer, weights), specs) in model.layers().iter().zip(weights).zip(specs) {
            for (weight, spec) in weights.iter().zip(specs) {
                let tag = format!("{}/histogram", weight_name(layer.name(), spec));
                self.file(false)?.histogram(&tag, epoch, &weight.value.to_vec()?)?;
            }
        }
        Ok(())
    }
}

impl Callback for TensorBoard {
    fn writes(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        if self.update_freq == UpdateFreq::Batches(0) {
            return Err(Error::argument("update_freq", "\"epoch\", \"batch\" or an integer above 0", "another"));
        }
        if self.log_dir.is_empty() {
            return Err(Error::argument("log_dir", "the path of a folder", "nothing"));
        }
        Ok(())
    }

    fn on_train_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
        self.state = Writers::default();
        if self.write_graph && !context.params().resumed {
            let json = context.model.to_json()?;
            let summary = format!("```\n{}\n```\n", context.model.summary());
            let file = self.file(false)?;
            file.keras_model("keras", 0, &json)?;
            file.text("summary", 0, &summary)?;
        }
        self.file(false)?.flush()
    }

    fn on_train_end(&mut self, _: &mut Context<'_>) -> Result<()> {
        self.flush()?;
        (self.state.train, self.state.validation) = (None, None);
        Ok(())
    }

    fn on_epoch_begin(&mut self, _: &mut Context<'_>, _: usize) -> Result<()> {
        self.state.in_epoch = 0;
        self.state.epoch_began = Some(Instant::now());
        Ok(())
    }

    fn on_epoch_end(&mut self, context: &mut Context<'_>, epoch: usize, logs: &mut Logs) -> Result<()> {
        let step = epoch as u64;
        for (name, value) in logs.iter() {
            let (validation, name) = match name.strip_prefix("val_") {
                Some(name) => (true, name),
                None => (false, name),
            };
            // Another callback can have added it to the logs.
            if name != "learning_rate" {
                let file = self.file(validation)?;
                scalars(&format!("epoch_{name}"), value).try_for_each(|(tag, value)| file.scalar(&tag, step, value))?;
            }
        }
        let rate = f64::from(context.learning_rate()?);
        self.file(false)?.scalar("epoch_learning_rate", step, rate)?;
        if let Some(began) = self.state.epoch_began.filter(|_| self.write_steps_per_second) {
            let speed = self.state.in_epoch as f64 / began.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
            self.file(false)?.scalar("epoch_steps_per_second", step, speed)?;
        }
        if self.histogram_freq > 0 && epoch.is_multiple_of(self.histogram_freq) {
            self.write_weights(context, step)?;
        }
        self.flush()
    }

    fn on_train_batch_begin(&mut self, _: &mut Context<'_>, _: usize) -> Result<()> {
        self.state.batches += 1;
        self.state.in_epoch += 1;
        self.state.batch_began = Some(Instant::now());
        Ok(())
    }

    fn on_train_batch_end(&mut self, context: &mut Context<'_>, _: usize) -> Result<()> {
        let UpdateFreq::Batches(every) = self.update_freq else { return Ok(()) };
        let step = self.state.batches;
        if !step.is_multiple_of(every.max(1) as u64) {
            return Ok(());
        }
        let began = self.state.batch_began.filter(|_| self.write_steps_per_second);
        let logs = context.logs()?;
        let file = self.file(false)?;
        if let Some(began) = began {
            let speed = 1.0 / began.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
            file.scalar("batch_steps_per_second", step, speed)?;
        }
        let mut all = logs.iter().flat_map(|(name, value)| scalars(&format!("batch_{name}"), value));
        all.try_for_each(|(tag, value)| file.scalar(&tag, step, value))
    }

    fn on_test_end(&mut self, context: &mut Context<'_>, logs: &Logs) -> Result<()> {
        let step = context.model.compiled.as_ref().map_or(0, |compiled| compiled.state.iterations);
        let file = self.file(true)?;
        for (name, value) in logs.iter() {
            let mut all = scalars(&format!("evaluation_{name}_vs_iterations"), value);
            all.try_for_each(|(tag, value)| file.scalar(&tag, step, value))?;
        }
        file.flush()
    }

    fn state(&self) -> Result<CallbackState> {
        let mut state = CallbackState::default();
        state.put("batches", &self.state.batches)?;
        Ok(state)
    }

    fn restore(&mut self, mut state: CallbackState) -> Result<()> {
        self.state.batches = state.take_count("batches")? as _;
        Ok(())
    }
}

/// The number of a metric under its tag; several numbers each under `tag/index`.
fn scalars(tag: &str, score: &Score) -> impl Iterator<Item = (String, f64)> + use<> {
    let tags: Vec<(String, f64)> = match score {
        Score::One(number) => vec![(tag.to_owned(), *number)],
        Score::Several(numbers) => {
            numbers.iter().enumerate().map(|(index, number)| (format!("{tag}/{index}"), *number)).collect()
        }
    };
    tags.into_iter()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Params;
    use super::*;
    use crate::config::Configure;
    use crate::formats::tfevents::read::{Record, Recorded, read_events};
    use crate::model::Sequential;
    use crate::prelude::*;

    fn records(folder: &Path) -> Vec<Record> {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.flat_map(|file| read_events(file).unwrap()).collect()
    }

    fn scalars<'a>(records: &'a [Record], tag: &'a str) -> Vec<(i64, f32)> {
        let own = records.iter().filter(move |record| record.tag == tag);
        own.filter_map(|record| match record.value {
            Recorded::Scalar(value) => Some((record.step, value)),
            _ => None,
        })
        .collect()
    }

    /// Two epochs of three batches, with the calls that `fit` makes.
    fn train(mut callback: TensorBoard) {
        let mut model = Sequential::new();
        model.add(Dense::new(3).input_shape(2)).unwrap().add(Dense::new(1)).unwrap();
        model.compile(Compile::new(SGD::new(0.125), "mse")).unwrap();
        let logs = |values: &[(&str, f64)]| -> Logs {
            values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
        };
        let run =
            |model: &mut Sequential, callback: &mut TensorBoard, step: &dyn Fn(&mut TensorBoard, &mut Context<'_>)| {
                step(callback, &mut Context::new(model, Params::default()).with_logs(logs(&[("loss", 0.25)])));
            };
        run(&mut model, &mut callback, &|own, context| own.on_train_begin(context).unwrap());
        for epoch in 0..2 {
            run(&mut model, &mut callback, &|own, context| own.on_epoch_begin(context, epoch).unwrap());
            for batch in 0..3 {
                run(&mut model, &mut callback, &|own, context| {
                    own.on_train_batch_begin(context, batch).unwrap();
                    own.on_train_batch_end(context, batch).unwrap();
                });
            }
            let value = 1.0 / (epoch + 1) as f64;
            run(&mut model, &mut callback, &|own, context| {
                own.on_test_end(context, &logs(&[("loss", value * 2.0)])).unwrap();
                let mut logs = logs(&[("accuracy", 0.75), ("loss", value), ("val_loss", value * 2.0)]);
                own.on_epoch_end(context, epoch, &mut logs).unwrap();
            });
        }
        run(&mut model, &mut callback, &|own, context| own.on_train_end(context).unwrap());
    }

    #[test]
    fn all_requested_values_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let log_dir = folder.path().to_str().unwrap();
        train(TensorBoard::new(log_dir).histogram_freq(2usize).update_freq(2usize).write_steps_per_second(true));
        let (train, validation) = (records(&folder.path().join(TRAIN)), records(&folder.path().join(VALIDATION)));
        assert_eq!(scalars(&train, "epoch_loss"), [(0, 1.0), (1, 0.5)]);
        assert_eq!(scalars(&train, "epoch_accuracy"), [(0, 0.75), (1, 0.75)]);
        assert_eq!(scalars(&train, "epoch_learning_rate"), [(0, 0.125), (1, 0.125)]);
        assert_eq!(scalars(&validation, "epoch_loss"), [(0, 2.0), (1, 1.0)]);
        assert_eq!(scalars(&validation, "evaluation_loss_vs_iterations"), [(0, 2.0), (0, 1.0)]);
        assert_eq!(scalars(&train, "batch_loss"), [(2, 0.25), (4, 0.25), (6, 0.25)], "every second batch");
        let speeds = scalars(&train, "epoch_steps_per_second");
        assert!(speeds.len() == 2 && speeds.iter().all(|(_, speed)| *speed > 0.0), "{speeds:?}");
        assert_eq!(scalars(&train, "batch_steps_per_second").len(), 3);
        let histograms: Vec<_> = train
            .iter()
            .filter(|record| record.plugin == "histograms")
            .map(|record| (&*record.tag, record.step))
            .collect();
        let weights = ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"];
        assert_eq!(histograms, weights.map(|name| format!("{name}/histogram")).each_ref().map(|tag| (&**tag, 0)));
        let text = |tag: &str| train.iter().find(|record| record.tag == tag).map(|record| record.value.clone());
        let Some(Recorded::Text(json)) = text("keras") else { panic!("{train:?}") };
        assert_eq!(serde_json::from_str::<Json>(&json).unwrap()["class_name"], "Sequential");
        let Some(Recorded::Text(summary)) = text("summary") else { panic!("{train:?}") };
        assert!(summary.contains("Total params: 13"), "{summary}");
    }

    #[test]
    fn nothing_else_is_written() {
        let folder = tempfile::tempdir().unwrap();
        train(TensorBoard::new(folder.path().to_str().unwrap()).write_graph(false));
        let train = records(&folder.path().join(TRAIN));
        let mut tags: Vec<&str> = train.iter().map(|record| record.tag.as_str()).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags, ["epoch_accuracy", "epoch_learning_rate", "epoch_loss"]);
    }

    #[test]
    fn each_of_several_numbers_has_a_tag() {
        let tags = |score: Score| super::scalars("epoch_p", &score).collect::<Vec<_>>();
        assert_eq!(tags(0.5.into()), [("epoch_p".to_owned(), 0.5)]);
        assert_eq!(tags(vec![0.5, 1.0].into()), [("epoch_p/0".to_owned(), 0.5), ("epoch_p/1".to_owned(), 1.0)]);
    }

    #[test]
    fn it_is_made_from_a_config() {
        let config = json!({"log_dir": "a", "update_freq": "batch", "histogram_freq": 1}).as_object().unwrap().clone();
        let callback = TensorBoard::from_config(config).unwrap();
        assert_eq!(
            (callback.update_freq, callback.histogram_freq, callback.write_graph),
            (UpdateFreq::Batches(1), 1, true)
        );
        let wrong = [json!({"update_freq": "step"}), json!({"profile_batch": 2}), json!({"write_images": true})];
        for config in wrong {
            let refused = TensorBoard::from_config(config.as_object().unwrap().clone());
            assert!(refused.is_err(), "{config}");
        }
        assert!(TensorBoard::default().update_freq("step").check().is_err());
        assert!(TensorBoard::default().update_freq(0usize).check().is_err());
        assert!(TensorBoard::new("").check().is_err());
    }
}
