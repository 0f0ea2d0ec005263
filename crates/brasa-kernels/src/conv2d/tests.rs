use proptest::prelude::*;

use super::super::activation::{Activation, ActivationOutput};
use super::super::pool;
use super::super::simd::{at_every_level, test_lock};
use super::super::testing::{assert_close, double, each_cell, values, windows};
use super::super::window::WindowGeometry;
use super::forward::Bands;
use super::*;

/// All results of a convolution.
#[derive(PartialEq, Debug)]
struct Results {
    y: Vec<f32>,
    dx: Vec<f32>,
    dw: Vec<f32>,
    db: Vec<f32>,
}

struct Case {
    conv: Conv2d,
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
}

impl Case {
    fn new(conv: Conv2d) -> Self {
        Case {
            x: values(conv.input_len(), 1),
            w: values(conv.weights_len(), 2),
            bias: values(conv.filters, 3),
            dy: values(conv.output_len(), 4),
            conv,
        }
    }

    /// Output buffers start with a value that must not survive.
    fn run(&self, activation: Activation) -> Results {
        let Case { conv, x, w, bias, dy } = self;
        let [mut y, mut dx, mut dw, mut db] = [dy, x, w, bias].map(|like| vec![7.5; like.len()]);
        forward(conv, x, w, Some(bias), activation, &mut y);
        backward(conv, x, w, Some(ActivationOutput { activation, y: &y }), dy, Some(&mut dx), &mut dw, Some(&mut db));
        Results { y, dx, dw, db }
    }

    fn reference_y(&self, bias: bool) -> Vec<f64> {
        let Conv2d { window, filters, .. } = self.conv;
        let mut y: Vec<f64> =
            (0..self.dy.len()).map(|i| if bias { self.bias[i % filters] as f64 } else { 0.0 }).collect();
        self.each_product(|x, w, i| y[i] += self.x[x] as f64 * self.w[w] as f64);
        assert_eq!(y.len(), window.batch * window.pixels() * filters);
        y
    }

    /// Calls `visit` with the indices of the input value, the weight and the output value of each product.
    fn each_product(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let Conv2d { window, channels, filters, groups } = self.conv;
        let (group_channels, group_filters) = (channels / groups, filters / groups);
        each_cell(&window, |image, pixel, input, cell| {
            let x = (image * window.input[0] * window.input[1] + input) * channels;
            let y = (image * window.pixels() + pixel) * filters;
            for f in 0..filters {
                for c in 0..group_channels {
                    let w = (cell * group_channels + c) * filters + f;
                    visit(x + f / group_filters * group_channels + c, w, y + f);
                }
            }
        });
    }

    fn check(&self) {
        for (activation, derivative) in
            [(Activation::Linear, None), (Activation::Tanh, Some((|y: f64| 1.0 - y * y) as fn(f64) -> f64))]
        {
            let results = self.run(activation);
            let mut y = self.reference_y(true);
            if derivative.is_some() {
                y.iter_mut().for_each(|y| *y = y.tanh());
            }
            let derivative = derivative.unwrap_or(|_| 1.0);
            let dz: Vec<f64> = self.dy.iter().zip(&y).map(|(dy, y)| *dy as f64 * derivative(*y)).collect();
            let [mut dx, mut dw, mut db] = [&self.x, &self.w, &self.bias].map(|like| vec![0.0; like.len()]);
            self.each_product(|x, w, i| {
                dx[x] += self.w[w] as f64 * dz[i];
                dw[w] += self.x[x] as f64 * dz[i];
            });
            dz.iter().enumerate().for_each(|(i, dz)| db[i % self.conv.filters] += dz);
            assert_close("y", &results.y, &y);
            assert_close("dx", &results.dx, &dx);
            assert_close("dw", &results.dw, &dw);
            assert_close("db", &results.db, &db);
        }
    }
}

fn convolutions() -> impl Strategy<Value = Conv2d> {
    (windows(), 1..=4usize, 1..=10usize, 1..=10usize, any::<bool>()).prop_map(
        |(window, groups, channels, filters, one)| {
            if one {
                Conv2d { window, channels: channels * 4, filters: filters * 4, groups: 1 }
            } else {
                Conv2d { window, channels: channels * groups, filters: filters * groups, groups }
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        if cfg!(miri) { 3 } else if cfg!(debug_assertions) { 120 } else { 400 }
    ))]

    #[test]
    fn any_convolution_agrees_with_double_precision(conv in convolutions()) {
        Case::new(conv).check();
    }

    #[test]
    fn fused_pooling_equals_separate_pooling(conv in convolutions(), shape in windows(), kind in 0..4usize) {
        let _alone = test_lock();
        let activation = [Activation::Linear, Activation::Relu, Activation::Tanh, Activation::LeakyRelu(0.1)][kind];
        let input = conv.window.output;
        let output = [0, 1].map(|d| (input[d] + shape.pad[d]).div_ceil(shape.strides[d]));
        let pool = if shape.pad == [0, 0] {
            WindowGeometry::valid(conv.window.batch, input, [2, 2], [2, 2])
        } else {
            WindowGeometry { batch: conv.window.batch, input, output, ..shape }
        };
        check_pooled(&Case::new(conv), activation, pool);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 0 } else { 16 }))]

    #[test]
    fn any_winograd_convolution_agrees_with_double_precision(
        batch in 1..4usize, input in [7..17usize, 7..17usize], of in 0..8usize, pad in [0..3usize, 0..3usize],
        cut in [0..3usize, 0..3usize], channels in 1..3usize, filters in 1..4usize,
    ) {
        let _alone = test_lock();
        let size = [[3, 3], [5, 5], [1, 3], [3, 1], [1, 5], [5, 1], [1, 7], [7, 1]][of];
        // Lines gain where they are long, and have many channels.
        let is_line = size.contains(&1);
        let input = [0, 1].map(|d| if is_line && size[d] > 1 { 4 * input[d] } else { input[d] });
        let (channels, filters) = if is_line { (channels + 3, filters + 3) } else { (channels, filters) };
        let mut window = WindowGeometry::valid(batch, input, size, [1, 1]);
        window.pad = pad;
        // Any output that begins in the image: with padding after it, or with its last pixels cut off.
        window.output = [0, 1].map(|d| (input[d] + pad[d] + 2 - size[d] + 1 - cut[d]).max(1));
        let mut conv = Conv2d { window, channels: 16 * channels, filters: 16 * filters, groups: 1 };
        if Winograd::of(&conv).is_none() {
            // Too little work, or tiles mostly beyond the output.
            conv.window.batch = 20;
        }
        let tiles = Winograd::of(&conv);
        prop_assert!(!is_line || tiles.is_some());
        if let Some(tiles) = tiles {
            check_tiles(&Case::new(conv), tiles);
        }
    }
}

/// All results, and the rows of the forward pass in two parts.
fn check_tiles(case: &Case, tiles: Winograd) {
    case.check();
    let Case { conv, x, w, bias, dy } = case;
    let (mut whole, mut weights) = (vec![7.5; dy.len()], vec![7.5; tiles.packed_len()]);
    forward(conv, x, w, Some(bias), Activation::Linear, &mut whole);
    tiles.pack_weights(w, &mut weights);
    let (height, row) = (conv.window.output[0], conv.window.output[1] * conv.filters);
    let cut = height / 2;
    let [mut above, mut below] = [cut, height - cut].map(|rows| vec![7.5; conv.window.batch * rows * row]);
    tiles.rows(x, (&weights, 1), Some(bias), 0..cut, &mut above);
    tiles.rows(x, (&weights, 2), Some(bias), cut..height, &mut below);
    for (i, whole) in whole.chunks_exact(height * row).enumerate() {
        assert_eq!(whole[..cut * row], above[i * cut * row..][..cut * row]);
        assert_eq!(whole[cut * row..], below[i * (height - cut) * row..][..(height - cut) * row]);
    }
}

/// Winograd's rounding error: a far tighter bound than in the tests of random sizes.
#[test]
fn winograd_rounding_error_is_small() {
    let _alone = test_lock();
    for (size, input) in
        [([3, 3], [18, 18]), ([5, 5], [12, 12]), ([1, 3], [1, 200]), ([1, 5], [1, 200]), ([7, 1], [200, 1])]
    {
        let window = WindowGeometry::valid(if cfg!(miri) { 1 } else { 10 }, input, size, [1, 1]);
        let case = Case::new(Conv2d { window, channels: 64, filters: 64, groups: 1 });
        assert!(cfg!(miri) || Winograd::of(&case.conv).is_some());
        let mut y = vec![0.0; case.dy.len()];
        forward(&case.conv, &case.x, &case.w, None, Activation::Linear, &mut y);
        let expected = case.reference_y(false);
        let greatest = expected.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        let error = y.iter().zip(&expected).fold(0.0, |most: f64, (y, e)| most.max((*y as f64 - e).abs()));
        assert!(error < 5e-6 * greatest, "{error} of {greatest}");
    }
}

fn check_pooled(case: &Case, activation: Activation, pool: WindowGeometry) {
    let Case { conv, x, w, bias, .. } = case;
    let block = Pooled { conv: *conv, activation, pool };
    let [mut y, mut predicted, mut expected] = [0; 3].map(|_| vec![7.5; block.output_len()]);
    let (mut bytes, mut positions) = (vec![9u8; y.len()], vec![9u32; y.len()]);
    pooled_forward(&block, x, w, Some(bias), &mut y, &mut bytes);
    pooled_forward(&block, x, w, Some(bias), &mut predicted, &mut []);
    assert_eq!(y, predicted);

    let mut z = vec![0.0; conv.output_len()];
    forward(conv, x, w, Some(bias), Activation::Linear, &mut z);
    pool::forward(&pool, conv.filters, &z, &mut expected, &mut positions);
    activation.apply(&mut expected);
    assert_eq!(y, expected);

    let dy = values(y.len(), 5);
    let mut dz = vec![0.0; z.len()];
    let mut inner = dy.clone();
    activation.gradient_from_output(&y, &mut inner);
    pool::backward(&pool, conv.filters, &inner, &positions, &mut dz);
    let mut results = [(); 2].map(|_| [x, w, bias].map(|like| vec![7.5; like.len()]));
    let [[dx, dw, db], [edx, edw, edb]] = &mut results;
    pooled_backward(&block, x, w, &y, &bytes, &dy, Some(dx), dw, Some(db));
    backward(conv, x, w, None, &dz, Some(edx), edw, Some(edb));
    assert_close("dx", dx, &double(edx));
    assert_close("dw", dw, &double(edw));
    assert_close("db", db, &double(edb));
}

/// Common layer sizes, each with something that random sizes seldom have.
fn usual() -> Vec<Conv2d> {
    // Smaller ones under Miri, still with full and partial tiles.
    let most = |size: usize, miri: usize| if cfg!(miri) { size.min(miri) } else { size };
    let conv = |batch, side, size, stride, same: bool, channels, filters| {
        let (batch, side) = (most(batch, 2), most(side, 6));
        let (channels, filters) = (most(channels, 10), most(filters, 37));
        let mut window = WindowGeometry::valid(batch, [side, side], [size, size], [stride, stride]);
        if same {
            window.pad = [(size - 1) / 2; 2];
            window.output = [side.div_ceil(stride); 2];
        }
        Conv2d { window, channels, filters, groups: 1 }
    };
    vec![
        conv(9, 28, 5, 1, false, 1, 32),
        conv(9, 12, 5, 1, false, 32, 64),
        conv(3, 16, 3, 1, true, 3, 33),
        conv(3, 15, 3, 2, true, 40, 10),
        conv(2, 9, 1, 1, false, 24, 100),
        conv(2, 9, 1, 2, false, 24, 20),
        conv(40, 4, 3, 1, true, 130, 70),
        conv(1, 40, 3, 1, true, 16, 40),
        conv(0, 8, 3, 1, true, 8, 8),
        conv(33, 13, 3, 1, true, 16, 48),
        conv(70, 5, 5, 1, true, 48, 32),
    ]
}

#[test]
fn usual_sizes_agree_at_every_level() {
    at_every_level(|_| usual().into_iter().for_each(|conv| Case::new(conv).check()));
}

#[test]
fn usual_sizes_with_pooling() {
    let _alone = test_lock();
    for conv in usual() {
        let (batch, input) = (conv.window.batch, conv.window.output);
        let padded = WindowGeometry::valid(batch, input, [3, 3], [2, 2]);
        let padded = WindowGeometry { pad: [1, 1], output: input.map(|d| d.div_ceil(2)), ..padded };
        for pool in [WindowGeometry::valid(batch, input, [2, 2], [2, 2]), padded] {
            check_pooled(&Case::new(conv), Activation::Relu, pool);
        }
    }
}

#[test]
fn the_same_call_gives_the_same_bits() {
    let _alone = test_lock();
    for conv in usual() {
        let case = Case::new(conv);
        let first = case.run(Activation::Relu);
        for _ in 0..3 {
            assert_eq!(case.run(Activation::Relu), first);
        }
    }
}

#[test]
fn threads_do_not_change_the_forward_pass() {
    let _alone = test_lock();
    for conv in usual() {
        let case = Case::new(conv);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| case.run(Activation::Relu))
        };
        let (one, three) = (on(1), on(3));
        assert_eq!((one.y, one.dx), (three.y, three.dx));
        assert_close("dw", &three.dw, &double(&one.dw));
    }
}

#[test]
fn without_bias_or_input_gradient() {
    let _alone = test_lock();
    let case = Case::new(usual()[1]);
    let Case { conv, x, w, bias, dy } = &case;
    let mut y = vec![7.5; dy.len()];
    forward(conv, x, w, None, Activation::Linear, &mut y);
    assert_close("y", &y, &case.reference_y(false));
    let (mut dw, mut db) = (vec![7.5; w.len()], vec![7.5; bias.len()]);
    backward(conv, x, w, None, dy, None, &mut dw, Some(&mut db));
    let with = case.run(Activation::Linear);
    assert_eq!((dw, db), (with.dw, with.db));
}

/// Windows over padding alone: only the bias remains.
#[test]
fn images_without_pixels() {
    let _alone = test_lock();
    for channels in [16, 3, 0] {
        let mut window = WindowGeometry::valid(100, [0, 8], [3, 3], [1, 1]);
        (window.pad, window.output) = ([2, 1], [4, 8]);
        let case = Case::new(Conv2d { window, channels, filters: 16, groups: 1 });
        case.check();
        let Case { conv, x, w, dy, .. } = &case;
        let mut y = vec![7.5; dy.len()];
        forward(conv, x, w, None, Activation::Linear, &mut y);
        assert!(y.iter().all(|y| *y == 0.0));
        check_pooled(&case, Activation::Relu, WindowGeometry::valid(100, window.output, [2, 2], [2, 2]));
    }
}

#[test]
fn windows_beside_the_image() {
    let _alone = test_lock();
    for (pad, strides, dilations) in [([0, 5], [1, 1], [1, 1]), ([5, 0], [1, 1], [1, 1]), ([6, 7], [2, 3], [2, 2])] {
        let window = WindowGeometry { batch: 2, input: [3, 2], output: [3, 2], size: [2, 3], strides, dilations, pad };
        Case::new(Conv2d { window, channels: 3, filters: 4, groups: 1 }).check();
    }
}

/// A band copies no more of the image than it reads.
#[test]
fn bands_of_a_padded_image() {
    let _alone = test_lock();
    for (strides, dilations, size) in [([1, 1], [1, 1], [3, 3]), ([2, 2], [1, 1], [5, 3]), ([1, 1], [3, 2], [3, 3])] {
        let mut window = WindowGeometry::valid(1, [61, 40], size, strides);
        (window.dilations, window.pad) = (dilations, [2, 1]);
        window.output = [0, 1].map(|d| (window.input[d] + 3 - (size[d] - 1) * dilations[d] - 1) / strides[d] + 1);
        let case = Case::new(Conv2d { window, channels: 24, filters: 24, groups: 1 });
        let layout = ConvLayout::new(&case.conv);
        assert!(layout.copies_len(1, &(10..20)) < layout.copies_len(1, &(0..window.output[0])) / 2);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(5).build().expect("threads");
        assert_close("y", &pool.install(|| case.run(Activation::Linear)).y, &case.reference_y(true));
        check_pooled(&case, Activation::Relu, WindowGeometry::valid(1, window.output, [2, 2], [2, 2]));
    }
}

/// Bands cut at the end of a row of tiles compute nothing twice.
#[test]
fn bands_of_whole_tiles() {
    for (threads, whole, height) in [(1, 4, 24), (4, 1, 8), (8, 1, 4), (8, 4, 4), (16, 1, 3), (16, 4, 4)] {
        let mut y = vec![0.0; 3 * 24 * 2];
        let tasks = Bands::new(3, 24, threads, whole).tasks(&mut y, 2);
        let first = tasks.first().map(|(band, y)| (band.rows.clone(), y.len()));
        assert_eq!(first, Some((0..height, if threads == 1 { 3 } else { 1 } * height * 2)), "{threads} {whole}");
        assert_eq!(tasks.last().map(|(band, _)| band.rows.end), Some(24));
    }
}

#[test]
#[should_panic(expected = "the weights")]
fn wrong_lengths_are_refused() {
    let case = Case::new(usual()[1]);
    forward(&case.conv, &case.x, &case.w[1..], None, Activation::Linear, &mut vec![0.0; case.dy.len()]);
}

/// With a single output row or column the stride is unused: tables must not grow with it.
#[test]
fn tables_do_not_grow_with_unused_strides() {
    let windows = [
        WindowGeometry::valid(2, [1, 1], [1, 1], [1, 1]),
        WindowGeometry::valid(2, [4, 3], [3, 2], [1, 1]),
        WindowGeometry { pad: [1, 1], ..WindowGeometry::valid(2, [5, 4], [7, 3], [1, 1]) },
    ];
    for window in windows {
        let near = WindowGeometry { output: [1, 1], ..window };
        let far = WindowGeometry { strides: [1 << 40, 1 << 62], ..near };
        let of = |window| Case::new(Conv2d { window, channels: 4, filters: 6, groups: 2 });
        let activation = Activation::Tanh;
        let short = far.with_short_strides();
        assert!(short.strides[0] <= 7 && short.strides[1] <= 3 && near.with_short_strides() == near);
        assert!(!of(far).conv.fits() && of(short).conv.fits());
        of(short).check();
        assert_eq!(of(short).run(activation), of(near).run(activation));
    }
    // With more than one output row the strides count.
    let two = WindowGeometry { output: [2, 1], ..WindowGeometry::valid(1, [9, 1], [2, 1], [7, 1]) };
    assert_eq!(two.with_short_strides().strides, [7, 1]);
}

/// A window far taller than the output needs no table of its own height for each output row.
#[test]
fn windows_far_taller_than_the_output_fit() {
    let conv = |rows: usize, columns: usize, filters: usize| Conv2d {
        window: WindowGeometry::valid(1, [rows, columns], [rows, 1], [1, 1]),
        channels: 1,
        filters,
        groups: 1,
    };
    Case::new(conv(60, 7, 3)).check();
    // 2^16 rows times 2^12 columns times 2^4 filters: the table of all steps would not fit in 32 bits.
    let tall = conv(1 << 16, 1 << 12, 1 << 4);
    assert!(tall.fits());
    let layout = ConvLayout::new(&tall);
    assert_eq!(super::input_gradient::InputGradient::new(&tall, &layout).steps(), 1 << 4);
    // More weights than 32 bits can count.
    assert!(
        !Conv2d {
            window: WindowGeometry::valid(1, [1, 1], [1, 1], [1, 1]),
            channels: 1 << 16,
            filters: 1 << 16,
            groups: 1
        }
        .fits()
    );
}
