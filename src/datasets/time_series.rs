//! Windows over time.

use serde::{Deserialize, Serialize};

use super::samples::check_request;
use super::{Fingerprint, IntoSamples, Samples, Source};
use crate::error::{Error, Result};

/// The position of windows over the steps of a series.
///
/// ```
/// use brasa::datasets::Window;
/// // Steps 0, 2 and 4, then 1, 3 and 5; the target of the first is step 5.
/// let window = Window::new(3).sampling_rate(2).ahead(1);
/// assert_eq!((window.span(), window.count(7)), (5, 2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    length: usize,
    stride: usize,
    sampling_rate: usize,
    ahead: usize,
}

impl Window {
    /// Windows of `length` steps, one starting at each step, whose target is the step after the last.
    pub fn new(length: usize) -> Self {
        Self { length, stride: 1, sampling_rate: 1, ahead: 1 }
    }

    /// Steps from the start of a window to that of the next (default 1).
    #[must_use]
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Steps of the series from one step of a window to the next (default 1).
    #[must_use]
    pub fn sampling_rate(mut self, rate: usize) -> Self {
        self.sampling_rate = rate;
        self
    }

    /// The distance from the last step of a window to its target (default 1).
    #[must_use]
    pub fn ahead(mut self, ahead: usize) -> Self {
        self.ahead = ahead;
        self
    }

    /// Steps in a window.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Steps from the start of a window to that of the next.
    pub fn step(&self) -> usize {
        self.stride
    }

    /// Steps of the series from one step of a window to the next.
    pub fn rate(&self) -> usize {
        self.sampling_rate
    }

    /// Steps of the series from the first of a window to its last, inclusive.
    pub fn span(&self) -> usize {
        self.length.saturating_sub(1).saturating_mul(self.sampling_rate).saturating_add(1)
    }

    /// The number of windows with a target in a series of `steps` steps.
    pub fn count(&self, steps: usize) -> usize {
        let starts = steps.saturating_sub(self.span().saturating_add(self.ahead).saturating_sub(1));
        starts.div_ceil(self.stride.max(1))
    }

    /// Rejects windows without steps.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(&self) -> Result<()> {
        let named = [("window", self.length), ("stride", self.stride), ("sampling", self.sampling_rate)];
        match named.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Error::argument(name, "an integer above 0", 0)),
            None => Ok(()),
        }
    }
}

/// Windows over a series, each with a target, as made by Keras's `timeseries_dataset_from_array`.
///
/// [`new`](Self::new) takes Keras's arguments: the target of the window that starts at step `i` is `targets[i]`;
/// [`ahead`](Self::ahead) takes targets by step.
///
/// ```
/// use brasa::datasets::{Source, TimeSeries, Window};
/// let series: Vec<f32> = (0..6).map(|step| step as f32).collect();
/// let data = TimeSeries::ahead(&series[..], &series[..], Window::new(3))?;
/// let (mut x, mut y) = ([0.0; 3], [0.0]);
/// data.read(&[1], &mut x, &mut y)?;
/// assert_eq!((data.len(), x, y), (3, [1.0, 2.0, 3.0], [4.0]));
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TimeSeries {
    data: Samples,
    targets: Samples,
    window: Window,
    /// The step of the target of the window that starts at step 0.
    shift: usize,
    count: usize,
    shape: Vec<usize>,
}

impl TimeSeries {
    /// As in Keras: `data` by step, and the target of the window that starts at each step; those of the last steps, at
    /// which no complete window starts, can be omitted.
    ///
    /// # Errors
    /// [`Error::Argument`] for windows without steps, [`Error::Data`] if there is no complete window.
    pub fn new(data: impl IntoSamples, targets: impl IntoSamples, window: Window) -> Result<Self> {
        Self::of(data.into_samples()?, targets.into_samples()?, window, 0)
    }

    /// `data` and `targets` by step: the target of a window is [`ahead`](Window::ahead) steps after its last one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn ahead(data: impl IntoSamples, targets: impl IntoSamples, window: Window) -> Result<Self> {
        let shift = (window.span() - 1).saturating_add(window.ahead);
        Self::of(data.into_samples()?, targets.into_samples()?, window, shift)
    }

    fn of(data: Samples, targets: Samples, window: Window, shift: usize) -> Result<Self> {
        window.check()?;
        let whole = (data.len() + 1).saturating_sub(window.span());
        let starts = whole.min(targets.len().saturating_sub(shift));
        let count = starts.div_ceil(window.stride);
        if count == 0 {
            let expected =
                format!("at least {} steps, for one window and its target", window.span().max(shift.saturating_add(1)));
            return Err(Error::data("a series", expected, data.len().min(targets.len())));
        }
        let shape = [&[window.length], data.sample_shape()].concat();
        Ok(Self { data, targets, window, shift, count, shape })
    }
}

impl Source for TimeSeries {
    fn len(&self) -> usize {
        self.count
    }

    fn x_shape(&self) -> &[usize] {
        &self.shape
    }

    fn y_shape(&self) -> &[usize] {
        self.targets.sample_shape()
    }

    fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
        check_request(indices, self.count, &self.shape, x.len())?;
        let starts = indices.iter().map(|index| index * self.window.stride);
        let steps = starts
            .clone()
            .flat_map(|start| (0..self.window.length).map(move |step| start + step * self.window.sampling_rate));
        self.data.gather(&steps.collect::<Vec<_>>(), x)?;
        self.targets.gather(&starts.map(|start| start + self.shift).collect::<Vec<_>>(), y)
    }

    fn fingerprint(&self) -> Result<Option<u64>> {
        let mut sum = Fingerprint::new();
        self.data.add_to(&mut sum);
        self.targets.add_to(&mut sum);
        let Window { length, stride, sampling_rate, .. } = self.window;
        sum.add_all([length, stride, sampling_rate, self.shift].map(|number| number as u64));
        Ok(Some(sum.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of `keras.utils.timeseries_dataset_from_array(data, targets, …)` of Keras 3.15 for `data =
    /// arange(20)` and `targets = 10 * data`.
    #[test]
    fn windows_are_those_of_keras() {
        let data: Vec<f32> = (0..20).map(|step| step as f32).collect();
        let targets: Vec<f32> = data.iter().map(|step| step * 10.0).collect();
        let read = |window: Window, targets: &[f32]| {
            let series = TimeSeries::new(&data[..], targets, window).unwrap();
            let (mut x, mut y) = (vec![0.0; window.length], [0.0]);
            let last = series.len() - 1;
            series.read(&[last], &mut x, &mut y).unwrap();
            (series.len(), x, y[0])
        };
        let window = Window::new(4).stride(3).sampling_rate(2);
        assert_eq!(read(window, &targets), (5, vec![12.0, 14.0, 16.0, 18.0], 120.0));
        assert_eq!(read(window, &targets[..8]), (3, vec![6.0, 8.0, 10.0, 12.0], 60.0));
        assert_eq!(read(Window::new(20), &targets), (1, data.clone(), 0.0));
        assert!(TimeSeries::new(&data[..], &targets[..], Window::new(21)).is_err());
        assert!(TimeSeries::new(&data[..], &targets[..], Window::new(2).stride(0)).is_err());
        let far = Window::new(2).ahead(usize::MAX);
        assert!(matches!(TimeSeries::ahead(&data[..], &targets[..], far), Err(Error::Data { .. })));
    }

    #[test]
    fn targets_lie_ahead() {
        let data = ndarray::Array::from_shape_fn((10, 2), |(step, column)| (step * 10 + column) as f32);
        let targets: Vec<f32> = (0..10).map(|step| step as f32).collect();
        let window = Window::new(3).sampling_rate(2).ahead(2);
        let series = TimeSeries::ahead(&data, &targets[..], window).unwrap();
        let (mut x, mut y) = ([0.0; 6], [0.0]);
        series.read(&[3], &mut x, &mut y).unwrap();
        assert_eq!((series.len(), window.count(10), series.x_shape()), (4, 4, &[3, 2][..]));
        assert_eq!((x, y), ([30.0, 31.0, 50.0, 51.0, 70.0, 71.0], [9.0]));
        assert!(series.read(&[4], &mut x, &mut y).is_err());
    }
}
