//! Pooling as a step of a predictor.

use crate::kernels::window::Window;
use crate::kernels::{average_pool, pool};
use crate::layers::{Freezing, Frozen, FrozenStep};
use crate::ops::{PoolGeometry, PoolKind};
use crate::shape::DataFormat;

/// Pooling over images, channels last; one dimension is an image of one row.
#[derive(Debug)]
struct FrozenPool {
    kind: PoolKind,
    window: Window,
    channels: usize,
}

/// The step of a pooling in one or two dimensions, whose geometry depends on height and width.
pub(super) fn windows(
    freezing: &Freezing<'_>,
    kind: PoolKind,
    format: DataFormat,
    geometry: impl FnOnce([usize; 2]) -> Option<PoolGeometry>,
) -> Option<Frozen> {
    let ([height, width], channels) = match *freezing.input()? {
        [steps, channels] => ([1, steps], channels),
        [height, width, channels] => ([height, width], channels),
        _ => return None,
    };
    let window = geometry([height, width])?.window(1, [height, width])?;
    (format == DataFormat::ChannelsLast).then(|| FrozenPool { kind, window, channels }.into())
}

/// The step of a global pooling.
pub(super) fn global(freezing: &Freezing<'_>, kind: PoolKind, format: DataFormat) -> Option<Frozen> {
    let (channels, space) = freezing.input()?.split_last()?;
    let cells = space.iter().product();
    let window = Window::valid(1, [1, cells], [1, cells], [1, 1]);
    (format == DataFormat::ChannelsLast).then(|| FrozenPool { kind, window, channels: *channels }.into())
}

impl FrozenStep for FrozenPool {
    fn operations(&self) -> usize {
        let cells = self.window.pixels().saturating_mul(self.window.cells());
        cells.saturating_mul(self.channels).saturating_mul(2)
    }

    fn run(&self, inputs: &[&[f32]], _: usize, _: usize, output: &mut [f32]) {
        match self.kind {
            PoolKind::Max => pool::forward_here(&self.window, self.channels, inputs[0], output),
            PoolKind::Average => average_pool::forward_here(&self.window, self.channels, inputs[0], output),
        }
    }
}
