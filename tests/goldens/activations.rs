//! Activations: their values, and their gradients where Keras's were recorded.

use brasa::Activation;

use crate::support::{CLOSE, Tolerance, close, run, tensor, value};

#[test]
fn values_are_those_of_keras() {
    let count = run("activations", &[], |name, case| {
        let activation: Activation = name.parse().map_err(|error: brasa::Error| error.to_string())?;
        if activation.name() != case["fn"] {
            return Err(format!("is named {}, not {}", activation.name(), case["fn"]));
        }
        let two = case.get("input").is_some();
        let (input, output) = if two { ("x2d", "y2d") } else { ("x", "y") };
        let got = activation.apply(value(&format!("activation/{input}"))).unwrap().to_vec().unwrap();
        close("y", &got, tensor(&format!("activation/{name}/{output}")).1, CLOSE)
    });
    assert_eq!(count, 31);
}

/// At kinks, where there is no derivative, Keras's choice is not checked.
#[test]
fn gradients_are_those_of_keras() {
    let corner = |name: &str, x: f32| match name {
        "relu" | "leaky_relu" | "elu" | "selu" | "celu" | "softsign" => x == 0.0,
        "relu6" => x == 0.0 || x == 6.0,
        "hard_sigmoid" | "hard_silu" | "hard_swish" => x.abs() == 3.0,
        "hard_tanh" | "sparse_plus" | "sparse_sigmoid" => x.abs() == 1.0,
        "hard_shrink" | "soft_shrink" => x.abs() == 0.5,
        _ => false,
    };
    let count = run("activations", &[], |name, case| {
        if case.get("input").is_some() {
            return Ok(());
        }
        let activation: Activation = name.parse().unwrap();
        let x = value("activation/x").require_grad();
        let y = activation.apply(x.clone()).unwrap();
        let mut gradients = y.sum().backward().ok_or("nothing to differentiate")?;
        let slopes = x.take_gradient(&mut gradients).ok_or("no gradient")?.to_vec().unwrap();
        let wanted = tensor(&format!("activation/{name}/dy")).1;
        let places: Vec<usize> = (0..wanted.len()).filter(|i| !corner(name, tensor("activation/x").1[*i])).collect();
        let at = |all: &[f32]| places.iter().map(|i| all[*i]).collect::<Vec<_>>();
        close("dy", &at(&slopes), &at(wanted), Tolerance { relative: 1e-4, absolute: 1e-5 })
    });
    assert_eq!(count, 31);
}
