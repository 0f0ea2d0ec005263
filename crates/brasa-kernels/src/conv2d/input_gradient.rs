//! The gradient of a convolution's input.
//!
//! The input is computed row by row: the output rows that depend on it, each with the weights between them, make one
//! matrix product, whose columns are the channels of as many adjacent input pixels as the window is wide.

use std::collections::BTreeMap;

use super::super::gemm::{InitialC, Right, product};
use super::super::panels::{pack_transposed, panels_len};
use super::super::window::{even_offsets, offset, size_of};
use super::{Conv2d, ConvLayout};

/// State shared by the input gradients of all images.
pub(super) struct InputGradient<'a> {
    conv: &'a Conv2d,
    /// Contiguous weights of a window's row, whose inputs are contiguous too: the whole row, or one cell.
    run: usize,
    /// Columns of the window at which runs begin.
    columns: Vec<usize>,
    /// The window's rows, grouped by the input rows they can meet: row `i` of the frame meets those of the class of
    /// `i % stride`, if there is one. Sorted by `left`.
    classes: Vec<Class>,
    /// Values of the panels of one group and one run.
    block: usize,
    /// Offsets of the pixels of a row of all images of a product: in the output, in the input.
    results: Vec<u32>,
    inputs: Vec<u32>,
    /// Offsets of the filters of one pixel, then of the pixel below it as far as the class goes, and so on.
    steps: Vec<u32>,
    frame_rows: usize,
    frame_row: usize,
}

/// Rows of the window that meet the same rows of the input, from the last to the first: the output rows then ascend.
struct Class {
    /// `i % stride` of the rows in this class.
    left: usize,
    rows: Vec<usize>,
    /// Offset of its panels among those of a group and a run.
    at: usize,
}

impl<'a> InputGradient<'a> {
    pub fn new(conv: &'a Conv2d, layout: &ConvLayout) -> Self {
        let window = &conv.window;
        let [height, width] = window.size;
        let (stride, dilation) = (window.strides[0], window.dilations[0]);
        let whole_rows = conv.groups == 1 && (window.dilations[1] == 1 || width == 1);
        let run = if whole_rows { width * conv.channels } else { conv.group_channels() };
        let mut block = 0;
        // A map, not a table of `stride` entries: a stride can be longer than the image.
        let mut by_left: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        (0..height).rev().for_each(|row| by_left.entry(row * dilation % stride).or_default().push(row));
        let classes: Vec<_> = by_left
            .into_iter()
            .map(|(left, rows)| {
                let at = block;
                block += panels_len(rows.len() * conv.group_filters(), run);
                Class { left, rows, at }
            })
            .collect();
        // Distance of the output rows that two neighbours of a class add to the same input row.
        let apart =
            classes.iter().find_map(|c| c.rows.get(1).map(|next| (c.rows[0] - next) * dilation / stride)).unwrap_or(0);
        // A window can be taller than the output: no more of its rows meet one of the input than there are output rows.
        let rows = classes.iter().map(|class| class.rows.len()).max().unwrap_or(0);
        let most = rows.min(window.output[0].div_ceil(apart.max(1)));
        let [frame_rows, frame_columns] = layout.frame.size();
        let row_step = apart * window.output[1] * conv.filters;
        let across = |image_len: usize, step: usize| {
            let image_steps = even_offsets(layout.images, image_len);
            image_steps
                .iter()
                .flat_map(|i| even_offsets(window.output[1], step).into_iter().map(move |j| i + j))
                .collect()
        };
        InputGradient {
            conv,
            run,
            columns: (0..if whole_rows { 1 } else { width }).collect(),
            classes,
            block,
            results: across(window.pixels() * conv.filters, conv.filters),
            inputs: across(layout.frame.len(), window.strides[1] * conv.channels),
            steps: (0..most)
                .map(|row| offset(row * row_step))
                .flat_map(|row| (0..conv.group_filters() as u32).map(move |f| row + f))
                .collect(),
            frame_rows,
            frame_row: frame_columns * conv.channels,
        }
    }

    /// Entries of the table of steps.
    #[cfg(test)]
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// Number of values of the weights packed for [`InputGradient::images`].
    pub fn panels_len(&self) -> usize {
        size_of(&[self.conv.groups, self.columns.len(), self.block])
    }

    /// Packs the weights for [`InputGradient::images`].
    pub fn pack(&self, w: &[f32], panels: &mut [f32]) {
        let (conv, depth) = (self.conv, self.conv.group_filters());
        for (i, panels) in panels.chunks_exact_mut(self.block.max(1)).enumerate() {
            let (group, column) = (i / self.columns.len(), self.columns[i % self.columns.len()]);
            for class in &self.classes {
                for (n, row) in class.rows.iter().enumerate() {
                    let cell = row * conv.window.size[1] + column;
                    let from = &w[cell * conv.group_channels() * conv.filters + group * depth..];
                    let place = (class.rows.len() * depth, n * depth);
                    pack_transposed((from, conv.filters), depth, self.run, &mut panels[class.at..], place);
                }
            }
        }
    }

    /// The gradient `dx` of some images, from the gradient of their results.
    pub fn images(&self, layout: &ConvLayout, panels: &[f32], dz: &[f32], copies: &mut [f32], dx: &mut [f32]) {
        let frame = &layout.frame;
        if !frame.padded {
            return self.frames(layout, panels, dz, dx);
        }
        let copies = &mut copies[..dx.len() / frame.image_len() * frame.len()];
        self.frames(layout, panels, dz, copies);
        for (dx, copy) in dx.chunks_exact_mut(frame.image_len()).zip(copies.chunks_exact(frame.len())) {
            frame.read(copy, dx);
        }
    }

    fn frames(&self, layout: &ConvLayout, panels: &[f32], dz: &[f32], dx: &mut [f32]) {
        let window = &self.conv.window;
        if window.size == [1, 1] && window.strides == [1, 1] && window.output == window.input && self.conv.groups == 1 {
            // Each input pixel meets one output pixel: a single product, without accumulation.
            let count = dz.len() / self.conv.filters;
            let (results, inputs) = (&layout.results[..count], &layout.pixels[..count]);
            let right = Right::panels(panels, self.conv.filters);
            return product((dz, results, &self.steps), right, self.run, (dx, inputs), InitialC::Zero);
        }
        dx.fill(0.0);
        for row in 0..self.frame_rows {
            self.row(row, panels, dz, &mut dx[row * self.frame_row..]);
        }
    }

    /// One row of all frames. `dx` begins with the first frame's.
    fn row(&self, row: usize, panels: &[f32], dz: &[f32], dx: &mut [f32]) {
        let conv = self.conv;
        let [height, width] = conv.window.output;
        let (stride, dilation) = (conv.window.strides[0], conv.window.dilations[0]);
        let Ok(class) = self.classes.binary_search_by_key(&(row % stride), |class| class.left) else { return };
        let class = &self.classes[class];
        // The output row that row `n` of the class connects with this input row, if there is one.
        let output =
            |n: &usize| row.checked_sub(class.rows[*n] * dilation).map(|above| above / stride).filter(|i| *i < height);
        let met = (0..class.rows.len()).filter(|n| output(n).is_some());
        let (Some(first), count) = (met.clone().next(), met.count()) else { return };
        let depth = conv.group_filters();
        let steps = &self.steps[..count * depth];
        let pixels = dz.len() / conv.filters / height;
        let (results, inputs) = (&self.results[..pixels], &self.inputs[..pixels]);
        let from = output(&first).unwrap_or(0) * width * conv.filters;
        for (i, panels) in panels.chunks_exact(self.block.max(1)).enumerate() {
            let (group, column) = (i / self.columns.len(), self.columns[i % self.columns.len()]);
            let right =
                Right::Panels { data: &panels[class.at..], depth: class.rows.len() * depth, first: first * depth };
            let dx = &mut dx[column * conv.window.dilations[1] * conv.channels + group * conv.group_channels()..];
            product((&dz[from + group * depth..], results, steps), right, self.run, (dx, inputs), InitialC::Add);
        }
    }
}
