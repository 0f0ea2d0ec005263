//! `RandomCrop`: crops images at a random position.

use crate::error::{Error, Result};
use crate::layers::preprocessing::{part_of_aspect_ratio, resizing_len, with_size};
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Layer, Preparation};
use crate::ops::{self, Interpolation, Value};
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Crops the images of a batch in training, at a random position shared by the whole batch. If an image is not
    /// larger in both dimensions, its center is cropped to the target aspect ratio and resized.
    ///
    /// In inference the images are passed unchanged, whatever their size, as in Keras: the next layers, which are built
    /// for cropped ones, must be able to take them. A [`CenterCrop`](super::super::CenterCrop) crops always.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, height, width, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomCrop::new(28, 28).input_shape((32, 32, 3)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 28, 28, 3)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomCrop {
        /// The rows of the output.
        height: usize,
        /// The columns of the output.
        width: usize,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl RandomCrop {
    /// Crops to `height` rows and `width` columns.
    pub fn new(height: usize, width: usize) -> Self {
        Self::required(height, width)
    }

    /// The top left corner of the crop, row and column, in an image of these rows and columns.
    fn start(&self, [rows, columns]: [usize; 2], call: &mut Call<'_>) -> [usize; 2] {
        if rows > self.height && columns > self.width {
            let mut random = call.rng(self.seed);
            let row = random.below(rows - self.height + 1);
            return [row, random.below(columns - self.width + 1)];
        }
        let high = part_of_aspect_ratio(rows, columns, self.height, self.width);
        let wide = part_of_aspect_ratio(columns, rows, self.width, self.height);
        [(rows - high) / 2, (columns - wide) / 2]
    }

    /// The crop at that corner, resized if it exceeds the image (channels last).
    fn part(&self, input: Value, [row, column]: [usize; 2]) -> Result<Value> {
        let sizes = input.sizes();
        let (high, wide) = (self.height.min(sizes[1] - row), self.width.min(sizes[2] - column));
        let part = input.narrow(1, row, high).narrow(2, column, wide).copied()?;
        if [high, wide] == [self.height, self.width] {
            return Ok(part);
        }
        let rows = ops::resize_axis(part, 1, self.height, &Interpolation::Bilinear, false)?;
        ops::resize_axis(rows, 2, self.width, &Interpolation::Bilinear, false)
    }
}

impl Layer for RandomCrop {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        with_size(input, self.data_format, self.height, self.width)
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        let image: Vec<usize> =
            self.data_format.to_channels_last(input).sizes().iter().map(|size| size.unwrap_or(1)).collect();
        if !training || (image[1] >= self.height && image[2] >= self.width) {
            return Ok(0);
        }
        Ok(resizing_len(&image, [self.height, self.width], &Interpolation::Bilinear))
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let sizes = self.data_format.to_channels_last(to.shape()).sizes()[1..3].to_vec();
        if sizes == [Some(self.height), Some(self.width)] {
            return Ok(vec![to.input()]);
        }
        let expected = format!("images of {} × {} in inference, where nothing is cropped", self.height, self.width);
        Err(Error::shape(expected, to.shape()))
    }

    fn resizes_in_training(&self) -> bool {
        true
    }

    fn inference_shapes(&self, inputs: &[Shape], _: &Arguments) -> Result<Option<Vec<Shape>>> {
        let [input] = inputs else { return Ok(None) };
        let output = self.output_shape(input)?;
        Ok(Some(inputs.to_vec()).filter(|_| output.sample() != input.sample()))
    }

    fn preparation(&self) -> Preparation {
        Preparation::Wanted
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let input = ops::to_channels_last(input, self.data_format);
        let sizes = input.sizes();
        let [rows, columns] = [sizes[1], sizes[2]];
        if !call.training_mode() || [rows, columns] == [self.height, self.width] {
            return Ok(ops::from_channels_last(input, self.data_format));
        }
        let start = self.start([rows, columns], call);
        Ok(ops::from_channels_last(self.part(input, start)?, self.data_format))
    }
}

impl BuiltIn for RandomCrop {
    fn examples() -> Vec<(Self, Shape)> {
        // Images of the target size, which the output has in inference, too.
        vec![
            (Self::new(3, 4), Shape::batch_of((3, 4, 2))),
            (Self::new(3, 2).seed(1).data_format(DataFormat::ChannelsFirst), Shape::batch_of((2, 3, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn images_are_cropped_as_by_keras() {
        let cases = goldens::cases::<RandomCrop>();
        assert_eq!(cases.len(), 6);
        for case in cases {
            let input = case.input();
            let sizes = input.sizes();
            let start: Vec<usize> = goldens::numbers(&case.drawn).into_iter().map(|index| index as usize).collect();
            let start = [start[0], start[1]];
            let random = sizes[1] > case.layer.height && sizes[2] > case.layer.width;
            if !random {
                assert_eq!(case.layer.start([sizes[1], sizes[2]], &mut Call::inference(&[])), start, "{}", case.name);
            }
            case.compare(&case.layer.part(input, start).unwrap());
        }
    }

    #[test]
    fn every_position_is_drawn_in_training_and_none_in_inference() {
        let layer = RandomCrop::new(2, 3);
        let starts = (0..200).map(|step| layer.start([4, 4], &mut Call::training(&[], true, &[1, step])));
        let mut starts: Vec<[usize; 2]> = starts.collect();
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(starts, [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]);
        let images = Value::full(&[2, 4, 4, 1], 1.0, &burn::tensor::Device::flex()).unwrap();
        let cropped = layer.forward(images.clone(), &mut Call::training(&[], true, &[1])).unwrap();
        assert_eq!(cropped.sizes(), [2, 2, 3, 1]);
        let passed = layer.forward(images, &mut Call::inference(&[])).unwrap();
        assert_eq!(passed.sizes(), [2, 4, 4, 1]);
    }
}
