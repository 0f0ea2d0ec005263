//! Random small models with extreme numbers among their arguments are built, predict and train for one step; each ends
//! in a value or an error.

use std::panic::catch_unwind;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[path = "../../fuzz/models.rs"]
mod models;

use models::Reached;

/// `BRASA_EXTREMES=100000 cargo test --test properties extremes` runs more cases, `BRASA_EXTREMES_FROM=…` others.
#[test]
fn a_model_of_extreme_numbers_ends_in_a_value_or_an_error() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let (count, first) = (variable("BRASA_EXTREMES").unwrap_or(3000), variable("BRASA_EXTREMES_FROM").unwrap_or(0));
    let (mut reached, mut failures) = ([0usize; 4], Vec::new());
    for seed in first..first + count {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let bytes: Vec<u8> = (0..160).map(|_| rng.random()).collect();
        let begin = std::time::Instant::now();
        match catch_unwind(|| models::compute(&bytes)) {
            Ok(end) => reached[end as usize] += 1,
            Err(_) => failures.push(seed),
        }
        if begin.elapsed().as_secs() > 5 {
            eprintln!("case {seed} took {:?}", begin.elapsed());
        }
    }
    assert!(failures.is_empty(), "panics (see above) of the cases {failures:?}");
    // Otherwise nothing was tested.
    let at_least = |end: Reached, share: usize| {
        let came: usize = reached[end as usize..].iter().sum();
        assert!(came * share >= count as usize, "{came} of {count} models reached {end:?}: {reached:?}");
    };
    at_least(Reached::Built, 4);
    at_least(Reached::Predicted, 6);
    at_least(Reached::Trained, 50);
}
