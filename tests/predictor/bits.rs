//! What is computed for a sample depends on that sample alone.

use brasa::Predictor;
use brasa::ndarray::{ArrayD, Axis, Slice};

use super::networks::{all, inputs};

fn rows(predictor: &Predictor, inputs: &[ArrayD<f32>], range: std::ops::Range<usize>) -> Vec<ArrayD<f32>> {
    let views: Vec<_> =
        inputs.iter().map(|input| input.slice_axis(Axis(0), Slice::from(range.clone())).into_dyn()).collect();
    predictor.run(&views).unwrap()
}

fn bits(array: &ArrayD<f32>) -> Vec<u32> {
    array.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_sample_has_the_same_bits_in_any_batch_and_on_any_number_of_threads() {
    for network in all() {
        let predictor = network.model.freeze().unwrap();
        assert!(predictor.is_compiled(), "{}", network.name);
        let x = inputs(&network, 128);
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let alone: Vec<Vec<ArrayD<f32>>> =
            pool(1).install(|| (0..128).map(|at| rows(&predictor, &x, at..at + 1)).collect());
        for threads in [1, 2, 4] {
            pool(threads).install(|| {
                for batch in [1, 2, 7, 128] {
                    // From another place each time, so that a sample stands elsewhere in its batch.
                    let first = if batch == 7 { 3 } else { 0 };
                    for (output, together) in rows(&predictor, &x, first..first + batch).iter().enumerate() {
                        for (at, row) in together.axis_iter(Axis(0)).enumerate() {
                            let expected = bits(&alone[first + at][output]);
                            let place = format!("{}, output {output}, sample {at} of {batch}", network.name);
                            assert_eq!(bits(&row.to_owned()), expected, "{place}, {threads} threads");
                        }
                    }
                }
            });
        }
    }
}

#[test]
fn threads_predict_at_the_same_time_with_one_predictor() {
    let network = super::networks::separable();
    let predictor = network.model.freeze().unwrap();
    let x = inputs(&network, 8);
    let expected: Vec<_> = (0..8).map(|at| rows(&predictor, &x, at..at + 1)).collect();
    drop(network);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (predictor, x, expected) = (predictor.clone(), &x, &expected);
            scope.spawn(move || {
                for at in (0..8).cycle().skip(thread).take(40) {
                    assert_eq!(rows(&predictor, x, at..at + 1), expected[at]);
                }
            });
        }
    });
}
