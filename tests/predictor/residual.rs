//! Networks of residual blocks. Their sums are fused into earlier steps where no other step needs the values that are
//! added.

use brasa::prelude::*;

use super::networks::{Network, graph};

/// Two dense layers, with a dropout, added to their input.
fn dense_block(x: &Symbol, units: usize) -> brasa::Result<Symbol> {
    let y = Dense::new(units + 3).activation("relu").call(x)?;
    let y = Dropout::new(0.3).call(&Dense::new(units).call(&y)?)?;
    ReLU::new().call(&Add::new().call([x, &y])?)
}

fn normalized(conv: Conv2D, x: &Symbol) -> brasa::Result<Symbol> {
    BatchNormalization::new().call(&conv.use_bias(false).call(x)?)
}

/// A block of ResNet-50, with a projection of its input if the sizes change.
fn bottleneck(x: &Symbol, filters: usize, strides: usize) -> brasa::Result<Symbol> {
    let y = ReLU::new().call(&normalized(Conv2D::new(filters, 1).strides(strides), x)?)?;
    let y = ReLU::new().call(&normalized(Conv2D::new(filters, 3).padding(Padding::Same), &y)?)?;
    let y = normalized(Conv2D::new(4 * filters, 1), &y)?;
    let shortcut = match strides {
        1 => x.clone(),
        _ => normalized(Conv2D::new(4 * filters, 1).strides(strides), x)?,
    };
    ReLU::new().call(&Add::new().call([&shortcut, &y])?)
}

/// A block of ResNet-18.
fn basic_block(x: &Symbol, filters: usize) -> brasa::Result<Symbol> {
    let y = ReLU::new().call(&normalized(Conv2D::new(filters, 3).padding(Padding::Same), x)?)?;
    let y = normalized(Conv2D::new(filters, 3).padding(Padding::Same), &y)?;
    ReLU::new().call(&Add::new().call([&y, x])?)
}

/// Channels multiplied by a factor that the image determines.
fn excited(x: &Symbol, channels: usize) -> brasa::Result<Symbol> {
    let gate = GlobalAveragePooling2D::new().keepdims(true).call(x)?;
    let gate = Conv2D::new(channels, 1).activation("sigmoid").call(&gate)?;
    Multiply::new().call([x, &gate])
}

pub fn networks() -> [Network; 6] {
    [
        graph("residual blocks of dense layers", 20, || {
            let input = Input::new(20).symbol();
            let x = Dense::new(24).activation("tanh").call(&input)?;
            let x = dense_block(&dense_block(&x, 24)?, 24)?;
            Model::new(&input, &Dense::new(5).activation("softmax").call(&x)?)
        }),
        graph("residual blocks of convolutions", 21, || {
            let input = Input::new((12, 12, 3)).symbol();
            let x = Conv2D::new(16, 3).padding(Padding::Same).activation("relu").call(&input)?;
            let x = basic_block(&bottleneck(&bottleneck(&x, 4, 1)?, 6, 2)?, 24)?;
            // Added to the input of its two convolutions, excited.
            let y = Conv2D::new(24, 1).call(&excited(&basic_block(&x, 24)?, 24)?)?;
            let x = GlobalAveragePooling2D::new().call(&Add::new().call([&x, &y])?)?;
            Model::new(&input, &Dense::new(7).call(&x)?)
        }),
        graph("nested residual blocks", 22, || {
            let input = Input::new((5, 20)).symbol();
            let x = Dense::new(16).activation("tanh").call(&input)?;
            let y = Dense::new(16).activation("relu").call(&x)?;
            let y = Dense::new(16).call(&dense_block(&y, 16)?)?;
            Model::new(&input, &Add::new().call([&x, &y])?)
        }),
        graph("sums of values that are needed again", 23, || {
            let input = Input::new(16).symbol();
            let dense = |x: &Symbol| Dense::new(16).call(x);
            let twice = |x: &Symbol| dense(&Dense::new(9).activation("elu").call(x)?);
            let x = dense(&input)?;
            // The last step reads what it would add to; a later one does; both are the same.
            let x = Add::new().call([&x, &dense(&x)?])?;
            let x = Multiply::new().call([&Add::new().call([&x, &twice(&x)?])?, &x])?;
            let x = Add::new().call([&x, &x])?;
            let y = twice(&x)?;
            let x = Add::new().call([&x, &y, &twice(&y)?])?;
            let x = Subtract::new().call([&x, &ReLU::new().call(&x)?])?;
            let x = Average::new().call([&x, &twice(&x)?])?;
            Model::new(&input, &ELU::new().call(&x)?)
        }),
        graph("sums with inputs of the model", 24, || {
            let (a, b) = (Input::new(11).symbol(), Input::new(11).symbol());
            let dense = |x: &Symbol| Dense::new(11).call(x);
            let x = ReLU::new().call(&Add::new().call([&a, &dense(&dense(&b)?)?])?)?;
            let y = Subtract::new().call([&b, &dense(&x)?])?;
            Model::new([&a, &b], &Multiply::new().call([&x, &y])?)
        }),
        graph("sums that are outputs", 25, || {
            let input = Input::new(16).symbol();
            let twice = |x: &Symbol| Dense::new(16).call(&Dense::new(9).activation("elu").call(x)?);
            let x = Dense::new(16).call(&input)?;
            let sum = Add::new().call([&x, &twice(&x)?])?;
            let last = Add::new().call([&sum, &twice(&sum)?])?;
            let other = Add::new().call([&Dense::new(16).call(&input)?, &twice(&input)?])?;
            Model::new(&input, [&sum, &last, &other])
        }),
    ]
}
