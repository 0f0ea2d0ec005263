//! Networks of attention: encoders, decoders, and attention to another sequence. Masks other than the causal one, and
//! all else that has no compiled form, are left to the layers.

use brasa::Predictor;
use brasa::layers::Arguments;
use brasa::ndarray::ArrayD;
use brasa::prelude::*;

use super::agreement::difference;
use super::networks::{Network, graph, stir};

/// The arguments of a call with these options.
fn with(options: &[(&str, bool)]) -> Arguments {
    let mut arguments = Arguments::new();
    options.iter().for_each(|(option, value)| arguments.set_option(option, *value));
    arguments
}

/// The arguments of a call in which no step of the query attends to later steps.
fn causal() -> Arguments {
    with(&[("use_causal_mask", true)])
}

/// A block of an encoder, which normalizes before each part: the sums become part of the steps before them.
fn block(x: &Symbol, width: usize) -> brasa::Result<Symbol> {
    let y = LayerNormalization::new().epsilon(1e-6).call(x)?;
    let y = MultiHeadAttention::new(3, 8).dropout(0.1).call([&y, &y])?;
    let x = Add::new().call([x, &Dropout::new(0.1).call(&y)?])?;
    let y = Dense::new(2 * width).activation("gelu").call(&LayerNormalization::new().call(&x)?)?;
    Add::new().call([&x, &Dense::new(width).call(&y)?])
}

/// A block that normalizes after each part: the attention reads what it is added to.
fn block_normalized_after(x: &Symbol, width: usize) -> brasa::Result<Symbol> {
    let attended = MultiHeadAttention::new(4, 16).call([x, x])?;
    let x = LayerNormalization::new().call(&Add::new().call([x, &attended])?)?;
    let y = Dense::new(width).call(&Dense::new(2 * width).activation("relu").call(&x)?)?;
    LayerNormalization::new().call(&Add::new().call([&x, &y])?)
}

/// A block of a decoder with two attentions, one of which would drop scores in training: scores that do not count then
/// have another value.
fn causal_block(x: &Symbol, width: usize) -> brasa::Result<Symbol> {
    let y = RMSNormalization::new().call(x)?;
    let y = MultiHeadAttention::new(2, 8).dropout(0.1).call_with([&y, &y], causal())?.remove(0);
    let x = Add::new().call([x, &y])?;
    let y = RMSNormalization::new().call(&x)?;
    let y = GroupQueryAttention::new(6, 4, 2).call_with([&y, &y], causal())?.remove(0);
    let x = Add::new().call([&x, &y])?;
    let y = Dense::new(2 * width).activation("silu").call(&RMSNormalization::new().call(&x)?)?;
    Add::new().call([&x, &Dense::new(width).call(&y)?])
}

pub fn networks() -> [Network; 6] {
    [
        graph("an encoder", 30, || {
            let input = Input::new((12, 16)).symbol();
            let x = Dense::new(24).call(&input)?;
            let x = LayerNormalization::new().call(&block(&block(&x, 24)?, 24)?)?;
            let x = GlobalAveragePooling1D::new().call(&x)?;
            Model::new(&input, &Dense::new(5).activation("softmax").call(&x)?)
        }),
        // A sample alone is work enough for threads that share the heads.
        graph("an encoder normalized after each part", 31, || {
            let input = Input::new((64, 32)).symbol();
            let x = block_normalized_after(&block_normalized_after(&input, 32)?, 32)?;
            Model::new(&input, &GlobalAveragePooling1D::new().call(&x)?)
        }),
        graph("words and their positions", 32, || {
            let (words, positions) = (Input::new(10).symbol(), Input::new(10).symbol());
            let position = Embedding::new(50, 20).call(&positions)?;
            let x = Add::new().call([&Embedding::new(50, 20).call(&words)?, &position])?;
            let y = LayerNormalization::new().call(&x)?;
            let x = Add::new().call([&x, &GroupQueryAttention::new(5, 4, 2).call([&y, &y])?])?;
            let x = GroupQueryAttention::new(6, 3, 1).use_bias(false).call([&x, &x])?;
            Model::new([&words, &positions], &Dense::new(4).call(&Flatten::new().call(&x)?)?)
        }),
        // With features of the value other than those of the key, keys of their own, and outputs of several axes.
        graph("attention to another sequence", 33, || {
            let (query, value) = (Input::new((7, 12)).symbol(), Input::new((11, 20)).symbol());
            let key = Input::new((11, 9)).symbol();
            let a = MultiHeadAttention::new(3, 5).value_dim(6usize).call([&query, &value])?;
            let b = MultiHeadAttention::new(2, 4).value_dim(3usize).output_shape(12usize).use_bias(false);
            let b = b.call([&query, &value, &key])?;
            let c = MultiHeadAttention::new(1, 8).output_shape(vec![2usize, 6]).call([&value, &query])?;
            let d = MultiHeadAttention::new(2, 3).call([&b, &Reshape::new([11, 12]).call(&c)?])?;
            Model::new([&query, &value, &key], [&Add::new().call([&a, &b, &d])?, &c])
        }),
        // Of more steps than there are rows of scores at once.
        graph("a decoder", 34, || {
            let (words, positions) = (Input::new(40).symbol(), Input::new(40).symbol());
            let position = Embedding::new(50, 24).call(&positions)?;
            let x = Add::new().call([&Embedding::new(50, 24).call(&words)?, &position])?;
            let x = RMSNormalization::new().call(&causal_block(&causal_block(&x, 24)?, 24)?)?;
            Model::new([&words, &positions], &Dense::new(50).activation("softmax").call(&x)?)
        }),
        // Of fewer and of more steps than the query's, and a normalization over both axes.
        graph("causal attention to another sequence", 35, || {
            let (query, value) = (Input::new((7, 12)).symbol(), Input::new((11, 20)).symbol());
            let a = MultiHeadAttention::new(3, 5).call_with([&query, &value], causal())?.remove(0);
            let b = MultiHeadAttention::new(2, 4).value_dim(3usize).output_shape(12usize);
            let b = b.call_with([&value, &query], causal())?.remove(0);
            let plain = with(&[("use_causal_mask", false), ("return_attention_scores", false)]);
            let c = MultiHeadAttention::new(2, 6).call_with([&a, &b], plain)?.remove(0);
            Model::new([&query, &value], &RMSNormalization::new().axis([1, 2]).call(&Add::new().call([&a, &c])?)?)
        }),
    ]
}

/// Embeds words and lets them attend to each other.
fn of_words(steps: usize, mask_zero: bool) -> Model {
    let words = Input::new(steps).symbol();
    let x = Embedding::new(9, 8).mask_zero(mask_zero).call(&words).unwrap();
    Model::new(&words, &MultiHeadAttention::new(2, 4).call([&x, &x]).unwrap()).unwrap()
}

#[test]
fn an_attention_after_a_mask_is_computed_with_it() {
    let [mut masked, mut whole, mut short] =
        [(5, true), (5, false), (2, false)].map(|(steps, mask_zero)| of_words(steps, mask_zero));
    stir(&mut masked);
    let weights = masked.get_weights().unwrap();
    for model in [&mut whole, &mut short] {
        model.set_weights(&weights).unwrap();
    }
    let [masked, whole, short] = [masked, whole, short].map(|model| model.freeze().unwrap());
    assert!(!masked.is_compiled() && whole.is_compiled() && short.is_compiled());
    let outputs = |predictor: &Predictor, words: &[f32]| {
        let mut outputs = vec![0.0; words.len() * 8];
        predictor.run_into(&[words], 1, &mut [&mut outputs]).unwrap();
        outputs
    };
    let padded = [3.0, 4.0, 0.0, 0.0, 0.0];
    let (masked, whole, short) = (outputs(&masked, &padded), outputs(&whole, &padded), outputs(&short, &padded[..2]));
    // Of the words that count, the greatest difference to the words alone.
    let apart = |found: &[f32]| short.iter().zip(found).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(apart(&masked) < 1e-5 && apart(&whole) > 1e-4, "{} and {}", apart(&masked), apart(&whole));
}

#[test]
fn masks_windows_gates_scores_and_axes_are_left_to_the_layers() -> brasa::Result<()> {
    let x = Input::new((6, 8)).symbol();
    let (multi_head, grouped) = (|| MultiHeadAttention::new(2, 4), || GroupQueryAttention::new(4, 2, 1));
    let (image, masked) = (Reshape::new([2, 3, 8]).call(&x)?, Masking::new().call(&x)?);
    let (seen, counted) = (Dense::new(6).call(&x)?, Flatten::new().call(&Dense::new(1).call(&x)?)?);
    let mask = |name: &str, is_causal: bool| {
        let mut arguments = with(&[("use_causal_mask", is_causal)]);
        arguments.push_named(name, vec![true]);
        arguments
    };
    let cases = [
        vec![multi_head().use_gate(true).call([&x, &x])?],
        vec![multi_head().sliding_window(2usize).call([&x, &x])?],
        vec![grouped().use_gate(true).call([&x, &x])?],
        vec![grouped().sliding_window(2usize).call([&x, &x])?],
        multi_head().call_with([&x, &x], with(&[("return_attention_scores", true)]))?,
        grouped().call_with([&x, &x], with(&[("return_attention_scores", true), ("use_causal_mask", true)]))?,
        multi_head().call_with([&x, &x, &seen], mask("attention_mask", false))?,
        grouped().call_with([&x, &x, &seen], mask("attention_mask", true))?,
        multi_head().call_with([&x, &x, &counted], mask("key_mask", true))?,
        grouped().call_with([&x, &x, &counted], mask("query_mask", false))?,
        multi_head().sliding_window(2usize).call_with([&x, &x], causal())?,
        vec![RMSNormalization::new().axis(1).call(&seen)?],
        vec![multi_head().call([&image, &image])?],
        vec![multi_head().call([&masked, &masked])?],
        vec![grouped().call([&x, &masked])?],
    ];
    for (number, outputs) in cases.iter().enumerate() {
        assert!(!Model::new(&x, outputs)?.freeze()?.is_compiled(), "case {number}");
    }
    let plain = || with(&[("use_causal_mask", false)]);
    let compiled = [
        vec![multi_head().dropout(0.5).call([&x, &x])?],
        vec![grouped().dropout(0.5).call([&x, &x])?],
        multi_head().call_with([&x, &x], causal())?,
        grouped().call_with([&x, &x], causal())?,
        multi_head().call_with([&x, &x], plain())?,
        grouped().call_with([&x, &x], plain())?,
    ];
    for (number, outputs) in compiled.iter().enumerate() {
        assert!(Model::new(&x, outputs)?.freeze()?.is_compiled(), "case {number}");
    }
    Ok(())
}

#[test]
fn the_causal_mask_is_a_triangle_whoever_computes_it() -> brasa::Result<()> {
    let (x, seen) = (Input::new((40, 8)).symbol(), Input::new((40, 40)).symbol());
    let multi_head = || MultiHeadAttention::new(2, 4);
    let mut given = Arguments::new();
    given.push_named("attention_mask", vec![true]);
    let scored = with(&[("use_causal_mask", true), ("return_attention_scores", true)]);
    let mut compiled = Model::new(&x, &multi_head().call_with([&x, &x], causal())?)?;
    let mut masked = Model::new([&x, &seen], &multi_head().call_with([&x, &x, &seen], given)?)?;
    let mut scored = Model::new(&x, &multi_head().call_with([&x, &x], scored)?)?;
    stir(&mut compiled);
    let weights = compiled.get_weights()?;
    masked.set_weights(&weights)?;
    scored.set_weights(&weights)?;
    let [compiled, masked, scored] = [compiled.freeze()?, masked.freeze()?, scored.freeze()?];
    assert!(compiled.is_compiled() && !masked.is_compiled() && !scored.is_compiled());

    let number = |numbers: [usize; 3]| ((numbers[0] * 97 + numbers[1] * 31 + numbers[2] * 57) % 23) as f32 / 11.0 - 1.0;
    let x = ArrayD::from_shape_fn(vec![3, 40, 8], |at| number([at[0], at[1], at[2]]));
    let triangles = ArrayD::from_shape_fn(vec![3, 40, 40], |at| f32::from(at[2] <= at[1]));
    let outputs = compiled.run(&[x.view()])?;
    let apart = difference(&outputs[0], &masked.run(&[x.view(), triangles.view()])?[0]);
    assert!(apart < 1e-5, "{apart} from the mask as a value");
    let with_scores = scored.run(&[x.view()])?;
    assert!(difference(&outputs[0], &with_scores[0]) < 1e-5);
    // (samples, heads, rows, columns).
    assert!(with_scores[1].indexed_iter().all(|(at, score)| at[3] <= at[2] || *score == 0.0));
    Ok(())
}
