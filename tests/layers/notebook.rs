//! The notebook, cell by cell: the summaries match character for character.

use brasa::model::summary::Style;
use brasa::prelude::*;

fn notebook(layers: usize) -> brasa::Result<Sequential> {
    let mut model = Sequential::with_name("sequential_1");
    model.add(Conv2D::new(32, (5, 5)).activation("relu").input_shape((28, 28, 1)).name("conv2d_2"))?;
    model.add(MaxPooling2D::new((2, 2)).name("max_pooling2d_2"))?;
    if layers > 2 {
        model.add(Conv2D::new(64, (5, 5)).activation("relu").name("conv2d_3"))?;
        model.add(MaxPooling2D::new((2, 2)).name("max_pooling2d_3"))?;
    }
    if layers > 4 {
        model.add(Flatten::new())?;
        model.add(Dense::new(10).activation("softmax").name("dense_1"))?;
    }
    Ok(model)
}

#[test]
fn the_three_tables_of_the_notebook() -> brasa::Result<()> {
    let tables = [
        (2, 832, include_str!("../snapshots/notebook_summary_1.txt")),
        (4, 52_096, include_str!("../snapshots/notebook_summary_2.txt")),
        (6, 62_346, include_str!("../snapshots/notebook_summary_3.txt")),
    ];
    for (layers, params, table) in tables {
        let model = notebook(layers)?;
        assert_eq!(model.count_params()?, params);
        assert_eq!(format!("{}\n", model.summary()), table);
    }
    Ok(())
}

#[test]
fn parameters_are_as_the_notebook_explains_them() -> brasa::Result<()> {
    let model = notebook(6)?;
    let params: Vec<usize> = model.summary().rows.iter().map(|row| row.params).collect();
    assert_eq!(params, [(5 * 5 + 1) * 32, 0, (5 * 5 * 32 + 1) * 64, 0, 0, 1024 * 10 + 10]);
    Ok(())
}

#[test]
fn automatic_names_start_bare_and_count_up() -> brasa::Result<()> {
    let mut model = Sequential::new();
    model.add(Input::new((28, 28, 1)))?;
    for _ in 0..2 {
        model.add(Conv2D::new(4, 3))?.add(MaxPooling2D::new(2))?;
    }
    model.add(Flatten::new())?.add(Dense::new(10))?;
    let names: Vec<&str> = model.layers().iter().map(|layer| layer.name()).collect();
    assert_eq!(names, ["conv2d", "max_pooling2d", "conv2d_1", "max_pooling2d_1", "flatten", "dense"]);
    // Popping does not release a name.
    model.pop()?;
    model.add(Dense::new(3))?;
    assert_eq!(model.get_layer(-1)?.name(), "dense_1");
    Ok(())
}

#[test]
fn keras_3s_table_counts_the_optimizer_once_there_is_one() -> brasa::Result<()> {
    let mut model = Sequential::new();
    model.add(Dense::new(4).input_shape(3))?;
    model.compile(Compile::new(Adam::new(1e-3), "mse"))?;
    assert!(!model.summary().style(Style::Keras3).to_string().contains("Optimizer"));
    model.train_on_batch(ndarray::Array2::<f32>::zeros((2, 3)), ndarray::Array2::<f32>::zeros((2, 4)))?;
    assert!(model.summary().style(Style::Keras3).to_string().contains("Optimizer params: 34 (136.00 B)"));
    Ok(())
}
