//! A network drawn as boxes, like Keras's `plot_model`.

use std::collections::{BTreeSet, HashMap};

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::layout::{self, NetworkLayout, layout};
use super::style::DrawingStyle;
use crate::model::summary::{Row, Summary};
use crate::shape::Shape;
use crate::text::{printable, with_commas};

/// Sizes in pixels: a box, the indentation of a nested model's layers, the margin.
const BOX: (f64, f64) = (380.0, 50.0);
const INDENT: f64 = 26.0;
const MARGIN: f64 = 18.0;

/// The longest text that fits in a box.
const MOST_LETTERS: usize = 34;

/// The class of a Functional model's inputs.
const INPUT: &str = "InputLayer";

/// The boxes and arrows of a diagram.
#[derive(Clone, Debug, Default)]
pub(super) struct Network {
    name: String,
    /// The classes of the layers.
    classes: Vec<String>,
    /// Boxes, with left and top.
    nodes: Vec<(LayerBox, f64, f64)>,
    /// The points of arrows, the last at the tip.
    arrows: Vec<Vec<(f64, f64)>>,
    /// Frames of nested models that are not a single column: left, top, right, bottom.
    frames: Vec<[f64; 4]>,
    size: (f64, f64),
}

#[derive(Clone, Debug)]
struct LayerBox {
    name: String,
    class_name: String,
    shape: String,
    notes: String,
}

/// The layers of a model, with its nested models.
struct Rank {
    items: Vec<(LayerBox, Option<Rank>)>,
    layout: NetworkLayout,
}

impl Rank {
    /// The layers of these rows: those on the level of the first, with the deeper ones that follow nested in them.
    fn of(rows: &[&Row], input: Option<LayerBox>, shows_trainable: bool) -> Self {
        let level = rows.first().map_or(0, |row| row.level);
        let starts: Vec<usize> = (0..rows.len()).filter(|index| rows[*index].level <= level).collect();
        let first = usize::from(input.is_some());
        let mut items: Vec<(LayerBox, Option<Self>)> = input.map(|input| (input, None)).into_iter().collect();
        for (index, start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(rows.len());
            let inside = &rows[start + 1..end];
            let block = (!inside.is_empty()).then(|| Self::of(inside, None, shows_trainable));
            items.push((LayerBox::of(rows[*start], shows_trainable), block));
        }
        let index_of: HashMap<&str, usize> =
            starts.iter().enumerate().map(|(index, start)| (rows[*start].name.as_str(), first + index)).collect();
        let mut edges: BTreeSet<(usize, usize)> = BTreeSet::new();
        for (index, start) in starts.iter().enumerate() {
            let sources = rows[*start].connections.iter().filter_map(|own| index_of.get(own.layer.as_str()));
            edges.extend(sources.map(|source| (*source, first + index)));
        }
        if starts.iter().all(|start| rows[*start].connections.is_empty() && rows[*start].class_name != INPUT) {
            // A chain.
            edges.extend((1..items.len()).map(|index| (index - 1, index)));
        }
        let sizes: Vec<(f64, f64)> = items
            .iter()
            .map(|(_, block)| match block {
                None => BOX,
                Some(Self { layout, .. }) => {
                    ((INDENT + layout.width).max(BOX.0), BOX.1 + layout::STRAIGHT + layout.height)
                }
            })
            .collect();
        Self { items, layout: layout(&sizes, &edges, BOX.0 / 2.0) }
    }
}

impl LayerBox {
    fn of(row: &Row, shows_trainable: bool) -> Self {
        let params = match row.params {
            _ if !row.built => "not built".to_owned(),
            0 => String::new(),
            1 => "1 parameter".to_owned(),
            params => format!("{} parameters", with_commas(params)),
        };
        let frozen = shows_trainable && !row.trainable && row.params > 0;
        Self {
            name: shortened(&row.name),
            class_name: shortened(&row.class_name),
            shape: shortened(&row.shape()),
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
    /// The layers that a summary shows, as boxes with arrows.
    pub fn of(summary: &Summary) -> Self {
        let rows: Vec<&Row> = summary.shown_rows().collect();
        let mut network = Self { name: summary.name.clone(), ..Self::default() };
        network.classes = rows.iter().filter(|row| row.level == 0).map(|row| shortened(&row.class_name)).collect();
        // A Functional model has its inputs among its layers.
        let input = LayerBox {
            name: "input".into(),
            class_name: String::new(),
            shape: summary.input_shape.as_ref().map_or_else(|| "?".into(), Shape::to_string),
            notes: String::new(),
        };
        let input = (!rows.iter().any(|row| row.level == 0 && row.class_name == INPUT)).then_some(input);
        let block = Rank::of(&rows, input, summary.shows_trainable());
        network.size = (block.layout.width, block.layout.height);
        network.add(block, (MARGIN, MARGIN));
        network
    }

    fn add(&mut self, block: Rank, (left, top): (f64, f64)) {
        let NetworkLayout { positions, arrows, .. } = block.layout;
        let moved = |points: Vec<(f64, f64)>| points.into_iter().map(|(x, y)| (left + x, top + y)).collect();
        self.arrows.extend(arrows.into_iter().map(moved));
        for ((node, inside), (x, y)) in block.items.into_iter().zip(positions) {
            let (x, y) = (left + x, top + y);
            self.nodes.push((node, x, y));
            let Some(inside) = inside else { continue };
            let corner = (x + INDENT, y + BOX.1 + layout::STRAIGHT);
            let roots = &inside.layout.roots;
            for root in roots {
                let (to, start) = (inside.layout.positions[*root], (x + BOX.0 / 2.0, y + BOX.1));
                // In a column the arrows are straight.
                let to_x = if roots.len() == 1 && to.0 == 0.0 { start.0 } else { corner.0 + to.0 + BOX.0 / 2.0 };
                self.arrows.push(vec![start, (to_x, corner.1 + to.1)]);
            }
            if inside.layout.width > INDENT + BOX.0 * 1.5 {
                let (right, bottom) = (corner.0 + inside.layout.width, corner.1 + inside.layout.height);
                self.frames.push([x - 6.0, y - 6.0, right + 6.0, bottom + 6.0]);
            }
            self.add(inside, corner);
        }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        ((self.size.0 + 2.0 * MARGIN) as u32, (self.size.1 + 2.0 * MARGIN) as u32)
    }

    /// An alternative text for the diagram.
    pub fn described(&self) -> String {
        format!("The network {}: {}", self.name, self.classes.join(", "))
    }

    /// Draws the network on an area of its size.
    pub fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: DrawingStyle,
    ) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        let px = |pixels: f64| style.px(pixels);
        let line = style.ink.mix(0.55).stroke_width(style.scale);
        for [left, top, right, bottom] in &self.frames {
            let corners = [(px(*left), px(*top)), (px(*right), px(*bottom))];
            area.draw(&Rectangle::new(corners, style.ink.mix(0.25).stroke_width(style.scale)))?;
        }
        for (own, left, top) in &self.nodes {
            let corners = [(px(*left), px(*top)), (px(left + BOX.0), px(top + BOX.1))];
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
        }
        for arrow in &self.arrows {
            let Some(((x, y), way)) = arrow.split_last() else { continue };
            let tip = y - 1.0;
            let points = way.iter().copied().chain([(*x, tip - 5.0)]);
            area.draw(&PathElement::new(points.map(|(x, y)| (px(x), px(y))).collect::<Vec<_>>(), line))?;
            let arrowhead = vec![(px(x - 4.0), px(tip - 6.0)), (px(x + 4.0), px(tip - 6.0)), (px(*x), px(tip))];
            area.draw(&Polygon::new(arrowhead, style.ink.mix(0.55).filled()))?;
        }
        Ok(())
    }
}

/// Layers of one kind share a colour.
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
