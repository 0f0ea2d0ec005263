//! The `summary` table: the layers with their output shapes and parameter counts.
//!
//! This module does not depend on layers: it formats [`Row`]s and totals as Keras does, character for character, in the
//! style of TensorFlow 2.7 to 2.11, of 2.12 to 2.15, or of Keras 3.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::text::printable;

mod classic;
mod keras3;

/// The shortest line in which the columns of every style have room.
const MIN_LINE_LENGTH: usize = 40;

/// Bounds the output: each layer has a line, and a model can have thousands.
const MAX_LINE_LENGTH: usize = 1000;

/// An output of a layer that is the input of another: `dense[1][0]` is the first output of the second call of `dense`.
///
/// Calls are counted from 0 in order of creation. A call that is not part of the model counts too, until the model has
/// been saved and loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connection {
    /// The name of the layer that produces the value.
    pub layer: String,
    /// The index of the call of that layer.
    pub call: usize,
    /// The index of the output of that call.
    pub output: usize,
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}][{}]", self.layer, self.call, self.output)
    }
}

/// One layer in a [`Summary`], or an operation such as `x + y`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// The layer's name.
    pub name: String,
    /// Its Keras class name, such as `Conv2D`.
    pub class_name: String,
    /// The output shapes of its last call; empty if unknown.
    pub output_shapes: Vec<Shape>,
    /// The names of its outputs, if it is a model with named outputs; otherwise empty.
    pub output_names: Vec<String>,
    /// Whether all of its calls have these output shapes.
    pub same_shapes: bool,
    /// The number of its parameters, trainable or not; 0 before it is built.
    pub params: usize,
    /// Whether its weights exist.
    pub built: bool,
    /// Whether it is trainable.
    pub trainable: bool,
    /// Whether it is an operation, which Keras 3 does not count among the layers of a nested model.
    pub is_operation: bool,
    /// Its input values, call by call. Only for layers of Functional models; they are outputs of rows of the same
    /// model.
    pub connections: Vec<Connection>,
    /// 0 for a layer of the model; 1 for a layer of the nested model in the nearest row of level 0 above, and so on.
    pub level: usize,
}

impl Default for Row {
    /// A trainable, built layer without weights.
    fn default() -> Self {
        Self {
            name: String::new(),
            class_name: String::new(),
            output_shapes: Vec::new(),
            output_names: Vec::new(),
            same_shapes: true,
            params: 0,
            built: true,
            trainable: true,
            is_operation: false,
            connections: Vec::new(),
            level: 0,
        }
    }
}

impl Row {
    fn title(&self) -> String {
        printable(&format!("{} ({})", self.name, self.class_name))
    }

    /// The shape of its output, or the list of several shapes; `?` if unknown.
    pub(crate) fn shape(&self) -> String {
        match &self.output_shapes[..] {
            [] => "?".into(),
            [shape] => shape.to_string(),
            shapes => format!("[{}]", listed(shapes)),
        }
    }

    /// The shapes of its outputs as JSON: one shape, a list of several, `null` if unknown.
    fn shape_json(&self) -> Value {
        match &self.output_shapes[..] {
            [] => Value::Null,
            [shape] => json!(shape),
            shapes => json!(shapes),
        }
    }
}

fn listed<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// A parameter count and its size in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParamCount {
    /// The number of values.
    pub count: usize,
    /// The number of bytes.
    pub bytes: usize,
}

impl ParamCount {
    /// `count` numbers of 4 bytes each.
    pub fn float32(count: usize) -> Self {
        Self { count, bytes: count.saturating_mul(4) }
    }
}

impl ParamCount {
    /// The size with its unit, of which the smallest is called `bytes`: `3.25 KB`.
    fn size(self, bytes: &'static str) -> String {
        let mut size = self.bytes as f64;
        let mut units = [bytes, "KB", "MB", "GB", "TB", "PB"].into_iter();
        let mut unit = units.next().unwrap_or(bytes);
        while size >= 1024.0
            && let Some(larger) = units.next()
        {
            size /= 1024.0;
            unit = larger;
        }
        format!("{size:.2} {unit}")
    }
}

impl std::ops::Add for ParamCount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { count: self.count.saturating_add(other.count), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// The format of a [`Summary`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Style {
    /// TensorFlow 2.7 to 2.11: 65 columns of plain text, 98 for a model that is not a chain of layers.
    #[default]
    Classic,
    /// TensorFlow 2.12 to 2.15, and `tf_keras`: with sizes in bytes, and other column widths.
    Keras2,
    /// Keras 3: a table with borders, sizes in bytes, and the optimizer's parameters.
    Keras3,
}

impl FromStr for Style {
    type Err = Error;

    /// Reads `classic`, `keras2` or `keras3`.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "classic" => Ok(Self::Classic),
            "keras2" => Ok(Self::Keras2),
            "keras3" => Ok(Self::Keras3),
            _ => Err(Error::unknown("summary style", name, ["classic", "keras2", "keras3"])),
        }
    }
}

/// A model's layers and parameters; `Display` prints the table, without a line break at its end.
///
/// ```
/// use brasa::Shape;
/// use brasa::model::summary::{ParamCount, Row, Summary};
///
/// let mut row = Row::default();
/// row.name = "dense".into();
/// row.class_name = "Dense".into();
/// row.output_shapes = vec![Shape::batch_of(10)];
/// row.params = 10_250;
/// let summary = Summary::new("sequential", vec![row], ParamCount::float32(10_250), ParamCount::default());
/// let text = summary.to_string();
/// assert!(text.contains(" dense (Dense)               (None, 10)                10250     \n"));
/// assert!(text.contains("Total params: 10,250\n"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The model's name.
    pub name: String,
    /// Its layers in order; the layers of a nested model follow it, one [`level`](Row::level) deeper.
    pub rows: Vec<Row>,
    /// All trainable parameters.
    pub trainable: ParamCount,
    /// All others: statistics, and those of frozen layers.
    pub non_trainable: ParamCount,
    /// The optimizer's state, once created. Only [`Style::Keras3`] prints it.
    pub optimizer: Option<ParamCount>,
    /// The shape of a batch of inputs, if known. Shown in a diagram, not in the table.
    pub input_shape: Option<Shape>,
    /// Whether the table lists each layer's connections, as it does for models other than chains.
    pub connected: bool,
    style: Style,
    line_length: Option<usize>,
    show_trainable: bool,
    expand_nested: bool,
}

impl Summary {
    /// A summary in the classic style.
    pub fn new(name: impl Into<String>, rows: Vec<Row>, trainable: ParamCount, non_trainable: ParamCount) -> Self {
        Self {
            name: name.into(),
            rows,
            trainable,
            non_trainable,
            optimizer: None,
            input_shape: None,
            connected: false,
            style: Style::default(),
            line_length: None,
            show_trainable: false,
            expand_nested: false,
        }
    }

    /// Sets the style.
    pub fn style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }

    /// Sets the line length in characters: by default 65 for [`Style::Classic`] and [`Style::Keras2`], 98 with
    /// connections (the [`show_trainable`](Self::show_trainable) column adds 11 to any length in both); 76 for
    /// [`Style::Keras3`], as Keras has it in a terminal of 80.
    ///
    /// # Errors
    /// [`Error::Argument`] below 40, where the columns would not fit.
    pub fn line_length(mut self, characters: usize) -> Result<Self> {
        if !(MIN_LINE_LENGTH..=MAX_LINE_LENGTH).contains(&characters) {
            let expected = format!("at least {MIN_LINE_LENGTH}, at most {MAX_LINE_LENGTH}");
            return Err(Error::argument("line_length", expected, characters));
        }
        self.line_length = Some(characters);
        Ok(self)
    }

    /// Adds a column that shows which layers are trainable.
    pub fn show_trainable(mut self, show: bool) -> Self {
        self.show_trainable = show;
        self
    }

    /// Includes the layers of nested models.
    pub fn expand_nested(mut self, expand: bool) -> Self {
        self.expand_nested = expand;
        self
    }

    /// Restricts the table to the layers from `first` to `last`, inclusive; the totals stay those of the whole model.
    /// Keras also accepts patterns; here both are names.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`] for a name that is not that of a layer.
    pub fn layer_range(mut self, first: &str, last: &str) -> Result<Self> {
        let find = |name: &str| {
            self.rows.iter().position(|row| row.level == 0 && row.name == name).ok_or_else(|| Error::NoSuchLayer {
                wanted: format!("`{name}`"),
                existing: self.rows.iter().filter(|row| row.level == 0).map(|row| row.name.clone()).collect(),
            })
        };
        let (first, last) = (find(first)?, find(last)?);
        let (first, last) = (first.min(last), first.max(last));
        let nested = self.rows[last + 1..].iter().take_while(|row| row.level > 0).count();
        self.rows.truncate(last + 1 + nested);
        self.rows.drain(..first);
        Ok(self)
    }

    /// The summary as JSON: `name`, `layers` (each with `name`, `class_name`, `output_shape`, `params`),
    /// `total_params`, `trainable_params` and `non_trainable_params`. A nested model is one layer; the optimizer is not
    /// included.
    ///
    /// Layers of a Functional model also have `connected_to`, a list of `[layer, call, output]`; an `output_shape` of
    /// several outputs is a list of shapes.
    pub fn to_json(&self) -> Value {
        let is_graph = self.rows.iter().any(|row| !row.connections.is_empty());
        let layers: Vec<Value> = self
            .rows
            .iter()
            .filter(|row| row.level == 0)
            .map(|row| {
                let mut layer = json!({
                    "name": row.name,
                    "class_name": row.class_name,
                    "output_shape": row.shape_json(),
                    "params": row.params,
                });
                if is_graph {
                    let tensor = |own: &Connection| json!([own.layer, own.call, own.output]);
                    layer["connected_to"] = row.connections.iter().map(tensor).collect();
                }
                layer
            })
            .collect();
        json!({
            "name": self.name,
            "layers": layers,
            "total_params": (self.trainable + self.non_trainable).count,
            "trainable_params": self.trainable.count,
            "non_trainable_params": self.non_trainable.count,
        })
    }

    pub(crate) fn shown_rows(&self) -> impl Iterator<Item = &Row> {
        let shown = |row: &Row| self.expand_nested && !(row.is_operation && self.style == Style::Keras3);
        self.rows.iter().filter(move |row| row.level == 0 || shown(row))
    }

    /// Whether it shows which layers are trainable.
    #[cfg(feature = "report")]
    pub(crate) fn shows_trainable(&self) -> bool {
        self.show_trainable
    }

    /// The table's header cells.
    fn header(&self) -> Vec<&'static str> {
        let mut header = vec!["Layer (type)", "Output Shape", "Param #"];
        if self.connected {
            header.push("Connected to");
        }
        if self.show_trainable {
            header.push("Trainable");
        }
        header
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.style {
            Style::Classic => classic::write(self, &classic::TENSORFLOW_2_7, f),
            Style::Keras2 => classic::write(self, &classic::TENSORFLOW_2_12, f),
            Style::Keras3 => keras3::write(self, f),
        }
    }
}

/// Fixtures of the tests of all styles.
#[cfg(test)]
mod fixtures {
    use super::{ParamCount, Row, Summary};
    use crate::shape::{IntoSample, Shape};

    pub fn row(name: &str, class_name: &str, sample: impl IntoSample, params: usize) -> Row {
        Row {
            name: name.into(),
            class_name: class_name.into(),
            output_shapes: vec![Shape::batch_of(sample)],
            params,
            ..Row::default()
        }
    }

    pub fn unbuilt(name: &str, class_name: &str) -> Row {
        Row { output_shapes: Vec::new(), built: false, ..row(name, class_name, (), 0) }
    }

    /// A model all of whose parameters are trainable.
    pub fn model(name: &str, rows: Vec<Row>) -> Summary {
        let count = rows.iter().filter(|row| row.level == 0).map(|row| row.params).sum();
        Summary::new(name, rows, ParamCount::float32(count), ParamCount::default())
    }

    /// The rows of the notebook's network, with the given suffixes of the layers' names.
    pub fn notebook(name: &str, numbers: [&str; 3]) -> Summary {
        let [first, second, dense] = numbers;
        let rows = vec![
            row(&format!("conv2d{first}"), "Conv2D", (24, 24, 32), 832),
            row(&format!("max_pooling2d{first}"), "MaxPooling2D", (12, 12, 32), 0),
            row(&format!("conv2d{second}"), "Conv2D", (8, 8, 64), 51_264),
            row(&format!("max_pooling2d{second}"), "MaxPooling2D", (4, 4, 64), 0),
            row("flatten", "Flatten", 1024, 0),
            row(&format!("dense{dense}"), "Dense", 10, 10_250),
        ];
        model(name, rows)
    }

    /// The first `layers` layers of [`notebook`].
    pub fn first(layers: usize, name: &str, numbers: [&str; 3]) -> Summary {
        model(name, notebook(name, numbers).rows[..layers].to_vec())
    }

    /// A nested model of one layer, and another layer after it.
    pub fn nested() -> Summary {
        let rows = vec![
            row("my_model", "Sequential", 4, 20),
            Row { level: 1, ..row("dense_3", "Dense", 4, 20) },
            row("a_very_long_layer_name_that_wraps_the_column", "Dense", 1, 5),
        ];
        model("sequential_4", rows)
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::{first, nested, row, unbuilt};
    use super::*;

    #[test]
    fn json_has_the_documented_keys() {
        let mut summary = first(2, "sequential", ["", "_1", ""]);
        summary.rows.push(unbuilt("dense", "Dense"));
        summary.non_trainable = ParamCount::float32(8);
        summary.optimizer = Some(ParamCount::float32(1_000));
        let expected = json!({
            "name": "sequential",
            "layers": [
                {"name": "conv2d", "class_name": "Conv2D", "output_shape": [null, 24, 24, 32], "params": 832},
                {"name": "max_pooling2d", "class_name": "MaxPooling2D", "output_shape": [null, 12, 12, 32], "params": 0},
                {"name": "dense", "class_name": "Dense", "output_shape": null, "params": 0},
            ],
            "total_params": 840,
            "trainable_params": 832,
            "non_trainable_params": 8,
        });
        assert_eq!(summary.to_json(), expected);
    }

    #[test]
    fn json_shows_a_nested_model_as_one_layer() {
        let json = nested().expand_nested(true).to_json();
        assert_eq!(json["layers"].as_array().map(Vec::len), Some(2));
        assert_eq!(json["total_params"], 25);
    }

    #[test]
    fn a_line_too_short_is_refused() {
        let error = first(1, "m", ["", "", ""]).line_length(39).unwrap_err();
        assert!(matches!(error, Error::Argument { ref argument, .. } if argument == "line_length"), "{error}");
        for style in [Style::Classic, Style::Keras2, Style::Keras3] {
            let narrow = nested().style(style).show_trainable(true).expand_nested(true).line_length(40).unwrap();
            assert!(narrow.to_string().contains("Total params: 25"));
        }
    }

    #[test]
    fn a_range_works_in_either_order_and_keeps_nested_layers() {
        let range = |a, b| nested().layer_range(a, b).map(|s| s.rows.len());
        assert_eq!(range("my_model", "my_model").unwrap(), 2);
        let whole = ("my_model", "a_very_long_layer_name_that_wraps_the_column");
        assert_eq!(range(whole.0, whole.1).unwrap(), 3);
        assert_eq!(range(whole.1, whole.0).unwrap(), 3);
        let error = range("my_model", "dense_3").unwrap_err();
        assert!(matches!(error, Error::NoSuchLayer { ref existing, .. } if existing.len() == 2), "{error}");
    }

    #[test]
    fn styles_have_names() {
        assert_eq!("keras3".parse::<Style>().unwrap(), Style::Keras3);
        assert!("keras 3".parse::<Style>().is_err());
    }

    #[test]
    fn a_name_cannot_contain_terminal_control_codes() {
        for style in [Style::Classic, Style::Keras2, Style::Keras3] {
            let mut summary = fixtures::model("a\u{1b}[2Jb", vec![row("x\u{1b}[31m\ny", "Dense", 1, 1)]).style(style);
            summary.expand_nested = true;
            let text = summary.to_string();
            assert!(!text.contains('\u{1b}'), "{text:?}");
            assert!(text.contains("x\u{fffd}[31m\u{fffd}y"), "{text:?}");
        }
    }
}
