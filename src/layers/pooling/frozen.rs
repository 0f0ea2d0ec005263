//! Pooling as a step of a predictor.

use crate::kernels::window::WindowGeometry;
use crate::kernels::{average_pool, pool};
use crate::layers::windows::Windows;
use crate::layers::{Freezing, Frozen, FrozenStep};
use crate::ops::{self, PoolGeometry, PoolKind};
use crate::shape::DataFormat;

/// Pooling over images, channels last; one dimension is an image of one row.
#[derive(Debug)]
struct FrozenPool {
    kind: PoolKind,
    window: WindowGeometry,
    channels: usize,
}

/// The geometry of pooling windows over an image, a line being one of a single row; `None` for a volume, or channels
/// first.
pub(super) fn over_image<const N: usize>(windows: &Windows<N>, image: [usize; 2]) -> Option<PoolGeometry<2>> {
    let own = image.get(2usize.checked_sub(N)?..)?;
    let geometry = windows.pooling(&[&[1], own].concat()).flat()?;
    (windows.data_format == DataFormat::ChannelsLast).then_some(geometry)
}

/// The step of a pooling in one or two dimensions.
pub(super) fn windows<const N: usize>(freezing: &Freezing<'_>, kind: PoolKind, own: &Windows<N>) -> Option<Frozen> {
    let (channels, image) = freezing.input()?.split_last()?;
    let image = ops::flat(<[usize; N]>::try_from(image).ok()?, 1)?;
    let window = over_image(own, image)?.window(1, image)?;
    Some(FrozenPool { kind, window, channels: *channels }.into())
}

/// The step of a global pooling.
pub(super) fn global(freezing: &Freezing<'_>, kind: PoolKind, format: DataFormat) -> Option<Frozen> {
    let (channels, space) = freezing.input()?.split_last()?;
    let cells = space.iter().product();
    let window = WindowGeometry::valid(1, [1, cells], [1, cells], [1, 1]);
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
