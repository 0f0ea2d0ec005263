//! Predictions as JSON: classes with their probabilities, or numbers.

use serde_json::{Value as Json, json};

use super::Meaning;
use crate::error::Result;
use crate::model::Model;

/// Turns the outputs of a model into answers: their meaning, and the names of the classes.
///
/// ```
/// use brasa::prelude::*;
/// use brasa::training::Answers;
/// let mut model = Sequential::new();
/// model.add(Dense::new(2).activation("softmax").input_shape(4))?;
/// model.data_info_mut().class_names = vec!["cat".into(), "dog".into()];
/// let answers = Answers::of(&model)?;
/// let json = answers.json("a.png", &[0.25, 0.75], 1);
/// assert_eq!(json.to_string(), r#"{"input":"a.png","classes":[{"class":1,"name":"dog","probability":0.75}]}"#);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Answers {
    /// What the outputs mean.
    pub meaning: Meaning,
    /// The names of the classes; none if they are not known.
    pub names: Vec<String>,
    /// The shape of one output.
    pub shape: Vec<usize>,
}

/// The default number of classes in an answer.
pub const TOP_CLASSES: usize = 3;

impl Answers {
    /// For a model of one output.
    ///
    /// # Errors
    /// [`Error::State`](crate::Error::State) before its shape is known, [`Error::Shape`](crate::Error::Shape) for several
    /// outputs and for sizes that are not known.
    pub fn of(model: &Model) -> Result<Self> {
        let shape = model.output_shape()?.known_sample()?;
        Ok(Self { meaning: model.meaning(), names: model.data_info().class_names.clone(), shape })
    }

    /// The name of a class, if it has one.
    pub fn name(&self, class: usize) -> Option<&str> {
        self.names.get(class).map(String::as_str)
    }

    /// The likeliest classes with their probabilities; of equal ones the lower first. None where the outputs are no
    /// classes.
    pub fn classes(&self, row: &[f32], top: usize) -> Option<Vec<(usize, f32)>> {
        let mut classes: Vec<(usize, f32)> = self.meaning.probabilities(row)?.into_iter().enumerate().collect();
        classes.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        classes.truncate(top);
        Some(classes)
    }

    /// The answer for an input: `{"input":…, "classes":[…]}`, or `{"input":…, "output":…}` for numbers.
    pub fn json(&self, input: &str, row: &[f32], top: usize) -> Json {
        match self.classes(row, top) {
            Some(classes) => {
                let class = |(class, probability): (usize, f32)| match self.name(class) {
                    Some(name) => json!({ "class": class, "name": name, "probability": number_json(probability) }),
                    None => json!({ "class": class, "probability": number_json(probability) }),
                };
                json!({ "input": input, "classes": classes.into_iter().map(class).collect::<Vec<_>>() })
            }
            None => json!({ "input": input, "output": nested_json(row, &self.shape) }),
        }
    }
}

/// A number as short as it can be; `null` for one that is not finite.
pub fn number_json(value: f32) -> Json {
    value.to_string().parse::<f64>().map_or(Json::Null, |value| json!(value))
}

/// Numbers of a shape as nested lists.
pub fn nested_json(values: &[f32], shape: &[usize]) -> Json {
    match shape {
        [] => values.first().map_or(Json::Null, |value| number_json(*value)),
        [_] => values.iter().map(|value| number_json(*value)).collect(),
        [_, rest @ ..] => {
            let width = rest.iter().product::<usize>().max(1);
            values.chunks(width).map(|part| nested_json(part, rest)).collect()
        }
    }
}
