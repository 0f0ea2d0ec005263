//! The fast kernels of the CPU backends against Burn's own operations, over random geometry.

use brasa::Value;
use brasa::burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use brasa::burn::tensor::{Device, Tensor, module};
use brasa::layers::Call;
use brasa::ops::{ConvGeometry, PoolGeometry, activated_conv, average_pool2d, max_pool2d};
use brasa::prelude::*;
use proptest::prelude::*;
use serde_json::json;

use crate::support::{cases, close, devices, layer, numbers};

fn leaf(sizes: &[usize], seed: u64, device: &Device) -> Value {
    Value::from_vec(numbers(sizes.iter().product(), seed), sizes, device).unwrap().require_grad()
}

/// An output, and the gradients of its weighted sum.
fn with_gradients(output: &Value, leaves: &[&Value]) -> Vec<Vec<f32>> {
    let weights = Value::from_vec(numbers(output.len(), 99), &output.sizes(), &output.device()).unwrap();
    let mut gradients = (output.clone() * weights).sum().backward().unwrap();
    let gradients = leaves.iter().map(|leaf| leaf.take_gradient(&mut gradients).unwrap().to_vec().unwrap());
    std::iter::once(output.to_vec().unwrap()).chain(gradients).collect()
}

fn compare(name: &str, got: &[Vec<f32>], wanted: &[Vec<f32>]) -> Result<(), TestCaseError> {
    for (index, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        close(&format!("{name}: {}", ["output", "gradient 0", "gradient 1", "gradient 2"][index]), got, wanted, 2e-5)?;
    }
    Ok(())
}

prop_compose! {
    /// A window's size, dilation, stride and padding along one dimension long enough for it.
    fn along()(size in 1..5usize, dilation in 1..4usize, stride in 1..4usize)
        (span in Just((size - 1) * dilation + 1), size in Just(size), dilation in Just(dilation), stride in Just(stride),
         before in 0..=(size - 1) * dilation, after in 0..=(size - 1) * dilation, more in 0..6usize)
        -> ([usize; 4], (usize, usize))
    {
        let length = (span + more).saturating_sub(before + after).max(1);
        let after = after.max(span.saturating_sub(length + before));
        ([length, size, dilation, stride], (before, after))
    }
}

proptest! {
    #![proptest_config(cases(64))]

    /// As many groups as channels make it depthwise.
    #[test]
    fn convolutions(
        batch in 1..4usize, rows in along(), columns in along(), groups in 1..4usize, inputs in 1..4usize,
        outputs in 1..5usize, has_bias in any::<bool>(), name in prop_oneof![Just("linear"), Just("relu"), Just("tanh"), Just("gelu")],
    ) {
        let ([height, kernel_height, ..], [width, kernel_width, ..]) = (rows.0, columns.0);
        let geometry = ConvGeometry {
            strides: [rows.0[3], columns.0[3]],
            dilation: [rows.0[2], columns.0[2]],
            pads: [rows.1, columns.1],
            groups,
        };
        let leaves = |device: &Device| {
            let x = leaf(&[batch, height, width, groups * inputs], 1, device);
            let kernel = leaf(&[kernel_height, kernel_width, inputs, groups * outputs], 2, device);
            (x, kernel, has_bias.then(|| leaf(&[groups * outputs], 3, device)))
        };
        let activation = Activation::from(name);
        let (x, kernel, bias) = leaves(&Device::flex());
        let options = ConvOptions {
            stride: geometry.strides, padding: geometry.pads, dilation: geometry.dilation, groups,
        };
        let output = module::conv2d(
            x.clone().tensor::<4>().unwrap().permute([0, 3, 1, 2]),
            kernel.clone().tensor::<4>().unwrap().permute([3, 2, 0, 1]),
            bias.clone().map(|bias| bias.tensor::<1>().unwrap()),
            options,
        );
        let output = activation.apply(output.permute([0, 2, 3, 1]).into()).unwrap();
        let wanted = with_gradients(&output, &[&x, &kernel].into_iter().chain(&bias).collect::<Vec<_>>());
        for (name, device) in devices() {
            let (x, kernel, bias) = leaves(&device);
            let output = activated_conv(x.clone(), kernel.clone(), bias.clone(), &geometry, &activation).unwrap();
            compare(name, &with_gradients(&output, &[&x, &kernel].into_iter().chain(&bias).collect::<Vec<_>>()), &wanted)?;
        }
    }

    #[test]
    fn pooling(
        batch in 1..4usize, rows in along(), columns in along(), channels in 1..20usize,
    ) {
        // Pooling windows are not dilated, and are padded by at most half their size.
        let window = |([length, size, _, stride], (before, after)): ([usize; 4], (usize, usize))| {
            ([length.max(size), size, stride], (before.min(size / 2), after.min(size / 2)))
        };
        let (([height, pool_height, down], above), ([width, pool_width, across], left)) = (window(rows), window(columns));
        let geometry =
            PoolGeometry { pool_size: [pool_height, pool_width], strides: [down, across], pads: [above, left] };
        let sizes = [batch, height, width, channels];
        let x = leaf(&sizes, 1, &Device::flex());
        let images = || x.clone().tensor::<4>().unwrap().permute([0, 3, 1, 2]);
        let back = |output: Tensor<4>| Value::from(output.permute([0, 2, 3, 1]));
        let max = MaxPoolOptions {
            kernel_size: geometry.pool_size, stride: geometry.strides, padding: geometry.pads, dilation: [1, 1], ceil_mode: false,
        };
        let average = AvgPoolOptions {
            kernel_size: geometry.pool_size, stride: geometry.strides, padding: geometry.pads,
            count_include_pad: false, ceil_mode: false,
        };
        let max = with_gradients(&back(module::max_pool2d(images(), max)), &[&x]);
        let average = with_gradients(&back(module::avg_pool2d(images(), average)), &[&x]);
        for (name, device) in devices() {
            let x = leaf(&sizes, 1, &device);
            compare(name, &with_gradients(&max_pool2d(x.clone(), &geometry).unwrap(), &[&x]), &max)?;
            compare(name, &with_gradients(&average_pool2d(x.clone(), &geometry).unwrap(), &[&x]), &average)?;
        }
    }

    /// A transposed convolution is the gradient of a convolution with respect to its input.
    #[test]
    fn transposed_convolutions(
        batch in 1..3usize, lengths in [1..5usize, 1..5usize], size in [1..4usize, 1..4usize], strides in [1..4usize, 1..4usize],
        inputs in 1..4usize, filters in 1..4usize,
    ) {
        let config = ("Conv2DTranspose", json!({
            "filters": filters, "kernel_size": size, "strides": strides, "use_bias": false,
        }));
        let transposed = layer(&config).unwrap();
        let shape = brasa::Shape::batch_of((lengths[0], lengths[1], inputs));
        let output: Vec<usize> =
            transposed.output_shape(&shape).unwrap().sample().iter().map(|size| size.unwrap()).collect();
        let sizes = [batch, lengths[0], lengths[1], inputs];
        let kernel_sizes = [size[0], size[1], filters, inputs];

        let image = Value::full(&[&[batch], output.as_slice()].concat(), 0.0, &Device::flex()).unwrap().require_grad();
        let kernel = leaf(&kernel_sizes, 2, &Device::flex()).detach();
        let convolved = module::conv2d(
            image.clone().tensor::<4>().unwrap().permute([0, 3, 1, 2]),
            kernel.tensor::<4>().unwrap().permute([3, 2, 0, 1]),
            None,
            ConvOptions { stride: strides, padding: [(0, 0); 2], dilation: [1, 1], groups: 1 },
        );
        let convolved = Value::from(convolved.permute([0, 2, 3, 1]));
        prop_assert_eq!(convolved.sizes(), sizes.to_vec());
        let x = leaf(&sizes, 1, &Device::flex()).detach();
        let mut gradients = (convolved * x).sum().backward().unwrap();
        let wanted = image.take_gradient(&mut gradients).unwrap().to_vec().unwrap();
        for (name, device) in devices() {
            let weights = [leaf(&kernel_sizes, 2, &device)];
            let got = transposed.forward(leaf(&sizes, 1, &device), &mut Call::inference(&weights)).unwrap();
            close(name, &got.to_vec().unwrap(), &wanted, 2e-5)?;
        }
    }
}
