//! A network drawn as boxes, as Keras's `plot_model` draws it.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::picture::{Picture, Style};
use crate::model::Model;
use crate::model::summary::{Row, Summary};
use crate::shape::Shape;
use crate::text::{printable, with_commas};

/// Sizes in pixels: a box, the arrow between two, the step to the right for a nested model's layers, the margin.
const BOX: (f64, f64) = (380.0, 50.0);
const ARROW: f64 = 24.0;
const INDENT: f64 = 26.0;
const MARGIN: f64 = 18.0;

/// The longest text that a box has room for.
const MOST_LETTERS: usize = 34;

/// Draws a model's layers as boxes, the nested ones too: name, class, output shape and parameters.
///
/// ```
/// use brasa::prelude::*;
/// use brasa::report::plot_model;
/// let mut model = Sequential::new();
/// model.add(Dense::new(10).activation("softmax").input_shape(784))?;
/// let svg = plot_model(&model).svg()?;
/// assert!(svg.contains("(None, 784)") && svg.contains("7,850 parameters"));
/// # Ok::<(), brasa::Error>(())
/// ```
pub fn plot_model(model: &Model) -> Picture {
    plot_summary(&model.summary().expand_nested(true))
}

/// Draws the layers that a summary shows; with [`show_trainable`](Summary::show_trainable) it says which are not
/// trained.
pub fn plot_summary(summary: &Summary) -> Picture {
    let mut nodes = vec![Node {
        level: 0,
        name: "input".into(),
        class_name: String::new(),
        shape: summary.input_shape.as_ref().map_or_else(|| "?".into(), Shape::to_string),
        notes: String::new(),
    }];
    nodes.extend(summary.shown_rows().map(|row| Node::of(row, summary.shows_trainable())));
    Picture::network(Network { name: summary.name.clone(), nodes })
}

/// The boxes of a picture.
#[derive(Clone, Debug)]
pub(super) struct Network {
    name: String,
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
struct Node {
    level: usize,
    name: String,
    class_name: String,
    shape: String,
    notes: String,
}

impl Node {
    fn of(row: &Row, shows_trainable: bool) -> Self {
        let params = match row.params {
            _ if !row.built => "not built".to_owned(),
            0 => String::new(),
            1 => "1 parameter".to_owned(),
            params => format!("{} parameters", with_commas(params)),
        };
        let frozen = shows_trainable && !row.trainable && row.params > 0;
        Self {
            level: row.level,
            name: shortened(&row.name),
            class_name: shortened(&row.class_name),
            shape: row.output_shape.as_ref().map_or_else(|| "?".into(), Shape::to_string),
            notes: if frozen { format!("{params}, not trained") } else { params },
        }
    }
}

fn shortened(text: &str) -> String {
    let text = printable(text);
    let mut letters = text.chars();
    let start: String = letters.by_ref().take(MOST_LETTERS).collect();
    if letters.next().is_some() { format!("{start}…") } else { start }
}

impl Network {
    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        let deepest = self.nodes.iter().map(|own| own.level).max().unwrap_or(0);
        let height = self.nodes.len() as f64 * (BOX.1 + ARROW) - ARROW;
        ((BOX.0 + INDENT * deepest as f64 + 2.0 * MARGIN) as u32, (height + 2.0 * MARGIN) as u32)
    }

    /// What it shows, in words.
    pub fn described(&self) -> String {
        let classes: Vec<&str> =
            self.nodes.iter().filter(|own| own.level == 0).skip(1).map(|own| own.class_name.as_str()).collect();
        format!("The network {}: {}", self.name, classes.join(", "))
    }

    /// Draws it on an area of its size.
    pub fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: Style,
    ) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        let px = |pixels: f64| style.px(pixels);
        let line = style.ink.mix(0.55).stroke_width(style.scale);
        for (index, own) in self.nodes.iter().enumerate() {
            let left = MARGIN + INDENT * own.level as f64;
            let top = MARGIN + index as f64 * (BOX.1 + ARROW);
            let corners = [(px(left), px(top)), (px(left + BOX.0), px(top + BOX.1))];
            area.draw(&Rectangle::new(corners, colour_of(&own.class_name).mix(0.16).filled()))?;
            area.draw(&Rectangle::new(corners, line))?;
            let at = |x: f64, y: f64| (px(left + x), px(top + y));
            let text =
                |size: f64, opacity: f64, side: HPos| style.text(size, opacity).pos(Pos::new(side, VPos::Center));
            let (upper, lower, right) = (16.0, 35.0, BOX.0 - 12.0);
            area.draw(&Text::new(own.name.as_str(), at(12.0, upper), text(13.0, 1.0, HPos::Left)))?;
            area.draw(&Text::new(own.class_name.as_str(), at(right, upper), text(12.0, 0.75, HPos::Right)))?;
            area.draw(&Text::new(own.shape.as_str(), at(12.0, lower), text(12.0, 0.9, HPos::Left)))?;
            area.draw(&Text::new(own.notes.as_str(), at(right, lower), text(12.0, 0.75, HPos::Right)))?;
            if index > 0 {
                let x = MARGIN + BOX.0 / 2.0;
                let tip = top - 1.0;
                area.draw(&PathElement::new(vec![(px(x), px(top - ARROW)), (px(x), px(tip - 5.0))], line))?;
                let head = vec![(px(x - 4.0), px(tip - 6.0)), (px(x + 4.0), px(tip - 6.0)), (px(x), px(tip))];
                area.draw(&Polygon::new(head, style.ink.mix(0.55).filled()))?;
            }
        }
        Ok(())
    }
}

/// Layers of one kind have one colour.
fn colour_of(class_name: &str) -> RGBColor {
    let kinds: [(&[&str], RGBColor); 6] = [
        (&["Conv"], RGBColor(59, 130, 196)),
        (&["Pool"], RGBColor(20, 150, 170)),
        (&["Dense"], RGBColor(47, 158, 110)),
        (&["Normalization"], RGBColor(190, 90, 190)),
        (&["Drop", "Noise", "Regularization"], RGBColor(214, 72, 72)),
        (&["RNN", "LSTM", "GRU", "Bidirectional", "Embedding", "TimeDistributed"], RGBColor(208, 112, 4)),
    ];
    let found = kinds.iter().find(|(words, _)| words.iter().any(|word| class_name.contains(word)));
    found.map_or(RGBColor(128, 138, 151), |(_, colour)| *colour)
}
