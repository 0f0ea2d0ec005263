//! Shapes, results and errors of single operations. Keras's results are in `tests/goldens/operations.rs`.

use burn::tensor::Device;

use super::*;

fn tensor(dtype: &str) -> Json {
    json!({"class_name": "__keras_tensor__", "config": {"dtype": dtype, "keras_history": ["x", 0, 0]}})
}

/// An operation whose tensors are written as `"x"`, or as the name of their dtype.
fn made(class: &str, config: Json, args: Json) -> Result<Operation> {
    fn filled(value: Json) -> Json {
        match value {
            Json::String(name) if name == "x" => tensor("float32"),
            Json::String(name) if ValueKind::of_dtype(Some(&name)).is_ok() => tensor(&name),
            Json::Array(list) => list.into_iter().map(filled).collect(),
            other => other,
        }
    }
    let module = entries().find(|entry| entry.class == class).map_or(NUMPY, |entry| entry.module);
    let object = json!({"module": module, "class_name": class, "config": config});
    Operation::from_keras(&object, Some(&json!({"args": filled(args), "kwargs": {}})), is_hole)
}

fn run(class: &str, config: Json, args: Json, inputs: &[(&[f32], &[usize])]) -> Result<Vec<f32>> {
    let operation = made(class, config, args)?;
    let value = |(numbers, sizes): &(&[f32], &[usize])| Value::from_vec(numbers.to_vec(), sizes, &Device::flex());
    let values = inputs.iter().map(value).collect::<Result<Vec<_>>>()?;
    let shapes: Vec<Shape> = values.iter().map(|value| Shape::batch_of(&value.sizes()[1..])).collect();
    let shape = operation.output_shapes(&shapes, &Arguments::new())?;
    let known: Vec<Shape> = values.iter().map(|value| Shape::known(&value.sizes())).collect();
    operation.scratch_for(&known, &Arguments::new(), true)?;
    let output = operation.forward_all(values, &mut Call::inference(&[]))?;
    assert!(shape[0].accepts(&output[0].sizes()), "{} for {:?}", shape[0], output[0].sizes());
    output[0].to_vec()
}

const X: &[(&[f32], &[usize])] = &[(&[1.0, -2.0], &[1, 2])];

fn shape(class: &str, config: Json, args: Json, input: &[Option<usize>]) -> Result<String> {
    let operation = made(class, config, args)?;
    let outputs = operation.output_shapes(&[Shape::new(input)], &Arguments::new())?;
    Ok(outputs.iter().map(Shape::to_string).collect::<Vec<_>>().join(" "))
}

#[test]
fn arguments_keep_their_positions() {
    let of = |class: &str, args: Json| run(class, json!({"name": "n"}), args, X).unwrap();
    assert_eq!(of("Subtract", json!(["x", 1.0])), [0.0, -3.0]);
    assert_eq!(of("Subtract", json!([1, "x"])), [0.0, 3.0]);
    assert_eq!(of("TrueDivide", json!([1, "x"])), [1.0, -0.5]);
    assert_eq!(of("NotEqual", json!(["x", 1])), [0.0, 1.0]);
    assert_eq!(of("Add", json!([[10, 20], "x"])), [11.0, 18.0]);
    assert_eq!((of("LogicalOr", json!(["x", 0])), of("LogicalAnd", json!(["x", 0]))), (vec![1.0; 2], vec![0.0; 2]));
}

#[test]
fn a_call_is_written_as_it_was_read() {
    let args = json!([tensor("int32"), {"class_name": "__numpy__", "config": {"value": [1, 0], "dtype": "int64"}}]);
    let object = json!({"module": NUMPY, "class_name": "Take", "config": {"name": "take", "axis": 1}});
    let operation = Operation::from_keras(&object, Some(&json!({"args": args, "kwargs": {}})), is_hole).unwrap();
    // The dtypes are Keras's, whatever the tensors.
    assert_eq!(operation.call(vec![tensor("float32")]), json!({"args": args, "kwargs": {}}));
    assert_eq!(operation.to_keras()["config"]["axis"], 1);
    let object =
        json!({"module": NUMPY, "class_name": "Pad", "config": {"pad_width": [[0, 0], [1, 0]], "mode": "constant"}});
    let call = json!({"args": [tensor("float32")], "kwargs": {"constant_values": 7}});
    let operation = Operation::from_keras(&object, Some(&call), is_hole).unwrap();
    assert_eq!(operation.call(vec![tensor("float32")]), call);
}

#[test]
fn operations_of_older_files_are_distinguished_from_layers() {
    let object = |class: &str, config: Json| json!({"class_name": class, "config": config});
    assert!(Operation::is_one(&object("TrueDivide", json!({"name": "a"}))));
    assert!(Operation::is_one(&object("Add", json!({"name": "a"}))));
    assert!(!Operation::is_one(&object("Add", json!({"name": "a", "trainable": true, "dtype": "float32"}))));
    assert!(!Operation::is_one(&object("Dense", json!({"name": "a"}))));
}

#[test]
fn unknown_sizes_stay_unknown() {
    let none_4 = [None, None, Some(4)];
    let of = |class: &str, config: Json| shape(class, config, json!(["x"]), &none_4).unwrap();
    assert_eq!(of("Reshape", json!({"newshape": [-1, 2, 4]})), "(None, 2, 4)");
    assert_eq!(of("Ravel", json!({})), "(None,)");
    assert_eq!(of("Transpose", json!({"axes": null})), "(4, None, None)");
    assert_eq!(of("Tile", json!({"repeats": [2, 3, 2]})), "(None, None, 8)");
    assert_eq!(of("Repeat", json!({"repeats": [1, 2], "axis": 1})), "(None, None, 4)");
    assert_eq!(of("Pad", json!({"pad_width": 1, "mode": "constant"})), "(None, None, 6)");
    assert_eq!(of("Split", json!({"indices_or_sections": 2, "axis": 1})), "(None, None, 4) (None, None, 4)");
    assert_eq!(of("Mean", json!({"axis": [1], "keepdims": false})), "(None, 4)");
    assert_eq!(of("Squeeze", json!({"axis": 1})), "(None, 4)");
    let slice = json!({"class_name": "__slice__", "config": {"start": 1, "stop": null, "step": null}});
    let key = json!([{"class_name": "__ellipsis__", "config": {}}, 1, slice]);
    assert_eq!(shape("GetItem", json!({}), json!(["x", key]), &none_4).unwrap(), "(None, 3)");
    // Sizes unknown at construction are checked at run time.
    assert!(run("Squeeze", json!({"axis": 0}), json!(["x"]), &[(&[1.0, 2.0], &[2, 1])]).is_err());
    assert!(run("Split", json!({"indices_or_sections": 2, "axis": 0}), json!(["x"]), &[(&[1.0; 3], &[3, 1])]).is_err());
    assert!(run("Reshape", json!({"newshape": [4, 1]}), json!(["x"]), X).is_err());
}

#[test]
fn unknown_operations_are_named() {
    let of = |class: &str, config: Json, args: Json| run(class, config, args, X).unwrap_err().to_string();
    assert!(of("Conjugate", json!({}), json!(["x"])).contains("Conjugate"));
    assert!(of("Meen", json!({}), json!(["x"])).contains("Mean"));
    assert!(of("Add", json!({"where": 1}), json!(["x", 1])).contains("where"));
    assert!(of("Add", json!({}), json!(["x", {"class_name": "__dtensor__", "config": {}}])).contains("__dtensor__"));
    assert!(of("Sum", json!({"axis": null, "keepdims": false}), json!(["x"])).contains("keepdims"));
    assert!(of("Einsum", json!({"subscripts": "...i->..."}), json!(["x"])).contains("subscripts"));
    assert!(of("Where", json!({}), json!(["x", null, null])).contains("condition alone"));
    assert!(of("Reshape", json!({"newshape": [null, 2]}), json!(["x"])).contains("newshape"));
    assert!(of("GetItem", json!({}), json!(["x", [[0, 1]]])).contains("Take"));
    assert!(of("GetItem", json!({}), json!(["x", ["x"]])).contains("key"));
    assert!(of("OneHot", json!({"num_classes": 2, "sparse": true}), json!(["int32"])).contains("sparse"));
}

#[test]
fn integers_are_refused_where_keras_would_truncate() {
    let refused = |class: &str, config: Json, args: Json| made(class, config, args).unwrap_err().to_string();
    assert!(refused("Power", json!({}), json!(["int32", -1])).contains("below 0"));
    assert!(refused("Power", json!({}), json!([2, "int32"])).contains("below 0"));
    assert!(refused("Clip", json!({"x_min": 0.5, "x_max": 2}), json!(["int32"])).contains("bounds"));
    assert!(refused("Subtract", json!({}), json!(["bool", "bool"])).contains("booleans"));
    assert!(refused("Take", json!({"axis": 0}), json!(["x", "x"])).contains("integers"));
    assert!(refused("Add", json!({}), json!(["int32", 16_777_217])).contains("16777217"));
    assert!(
        refused(
            "Add",
            json!({}),
            json!(["x", {"class_name": "__numpy__", "config": {"value": [1], "dtype": "complex64"}}])
        )
        .contains("complex64")
    );
    let resize = json!({"size": [2, 2], "interpolation": "bilinear", "data_format": "channels_last"});
    assert!(refused("Resize", resize, json!(["uint8"])).contains("Cast"));
}

/// Arguments out of bounds, or invalid: errors, and no panic.
#[test]
fn hostile_arguments_are_errors() {
    let slice = |start: Json, stop: Json, step: Json| json!([{"class_name": "__slice__", "config": {"start": start, "stop": stop, "step": step}}]);
    let mut deep = json!("x");
    for _ in 0..40 {
        deep = json!([deep]);
    }
    let mut nested = json!(1);
    for _ in 0..40 {
        nested = json!([nested]);
    }
    let largest = u64::MAX;
    let cases = [
        ("Repeat", json!({"repeats": largest, "axis": 0}), json!(["x"])),
        ("Repeat", json!({"repeats": i64::MAX, "axis": 1}), json!(["x"])),
        ("Repeat", json!({"repeats": i64::MAX, "axis": null}), json!(["x"])),
        ("Repeat", json!({"repeats": [i64::MAX, i64::MAX], "axis": 1}), json!(["x"])),
        ("Repeat", json!({"repeats": -1, "axis": 1}), json!(["x"])),
        ("Repeat", json!({"repeats": [], "axis": 1}), json!(["x"])),
        ("Tile", json!({"repeats": [i64::MAX, i64::MAX]}), json!(["x"])),
        ("Tile", json!({"repeats": [1, 1, 1, 1, 1, 1, 1]}), json!(["x"])),
        ("Pad", json!({"pad_width": i64::MAX, "mode": "constant"}), json!(["x"])),
        ("Pad", json!({"pad_width": [[0, 0], [0, i64::MAX]], "mode": "reflect"}), json!(["x"])),
        ("Pad", json!({"pad_width": [[0, 0], [-1, 0]], "mode": "constant"}), json!(["x"])),
        ("Pad", json!({"pad_width": [[1, 2, 3]], "mode": "constant"}), json!(["x"])),
        ("Pad", json!({"pad_width": [[0, 0], [0, 0], [0, 0]], "mode": "constant"}), json!(["x"])),
        ("Pad", json!({"pad_width": 1, "mode": "wrap"}), json!(["x"])),
        ("Pad", json!({"pad_width": [], "mode": "constant"}), json!(["x"])),
        ("Reshape", json!({"newshape": [-1, -1]}), json!(["x"])),
        ("Reshape", json!({"newshape": [-2]}), json!(["x"])),
        ("Reshape", json!({"newshape": [i64::MAX, i64::MAX, 2]}), json!(["x"])),
        ("Reshape", json!({"newshape": [0, -1]}), json!(["x"])),
        ("Reshape", json!({"newshape": [1, 1, 1, 1, 1, 1, 2]}), json!(["x"])),
        ("Reshape", json!({"newshape": []}), json!(["x"])),
        ("Reshape", json!({}), json!(["x"])),
        ("BroadcastTo", json!({"shape": [i64::MAX, i64::MAX]}), json!(["x"])),
        ("BroadcastTo", json!({"shape": [2]}), json!(["x"])),
        ("Transpose", json!({"axes": [0, 0]}), json!(["x"])),
        ("Transpose", json!({"axes": [0]}), json!(["x"])),
        ("Swapaxes", json!({"axis1": 0, "axis2": 2}), json!(["x"])),
        ("Moveaxis", json!({"source": [0, 1], "destination": [0, 0]}), json!(["x"])),
        ("Moveaxis", json!({"source": 0, "destination": [0, 1]}), json!(["x"])),
        ("ExpandDims", json!({"axis": 3}), json!(["x"])),
        ("ExpandDims", json!({"axis": [0, 1, 2, 3, 4]}), json!(["x"])),
        ("ExpandDims", json!({"axis": [0, 0]}), json!(["x"])),
        ("Squeeze", json!({"axis": 1}), json!(["x"])),
        ("Squeeze", json!({"axis": i64::MIN}), json!(["x"])),
        ("Flip", json!({"axis": 2}), json!(["x"])),
        ("Flip", json!({"axis": [0, 0]}), json!(["x"])),
        ("Roll", json!({"shift": [1, 2], "axis": 1}), json!(["x"])),
        ("Roll", json!({"shift": 1, "axis": 5}), json!(["x"])),
        ("Mean", json!({"axis": 2}), json!(["x"])),
        ("Mean", json!({"axis": [1, 1]}), json!(["x"])),
        ("Mean", json!({"axis": [1.5]}), json!(["x"])),
        ("Argmax", json!({"axis": [0, 1]}), json!(["x"])),
        ("Cumsum", json!({"axis": null}), json!(["x"])),
        ("Cumsum", json!({"axis": 2}), json!(["x"])),
        ("Softmax", json!({"axis": 2}), json!(["x"])),
        ("Softmax", json!({"axis": []}), json!(["x"])),
        ("Glu", json!({"axis": 0}), json!(["x"])),
        ("Normalize", json!({"axis": -1, "order": 0}), json!(["x"])),
        ("Normalize", json!({"axis": -1, "order": -2}), json!(["x"])),
        ("Split", json!({"indices_or_sections": 0, "axis": 1}), json!(["x"])),
        ("Split", json!({"indices_or_sections": i64::MAX, "axis": 0}), json!(["x"])),
        ("Split", json!({"indices_or_sections": 3, "axis": 1}), json!(["x"])),
        ("Split", json!({"indices_or_sections": vec![0; 5000], "axis": 0}), json!(["x"])),
        ("Unstack", json!({"num": null, "axis": 0}), json!(["x"])),
        ("Unstack", json!({"num": 3, "axis": 1}), json!(["x"])),
        ("Unstack", json!({"num": i64::MAX, "axis": 0}), json!(["x"])),
        ("Concatenate", json!({"axis": 2}), json!([["x"]])),
        ("Concatenate", json!({"axis": 0}), json!([[]])),
        ("Concatenate", json!({"axis": 0}), json!(["x"])),
        ("Stack", json!({"axis": 4}), json!([["x"]])),
        ("Stack", json!({"axis": 0}), deep.clone()),
        ("Add", json!({}), deep),
        ("Add", json!({}), json!(["x", nested])),
        ("Add", json!({}), json!(["x", [[1], [1, 2]]])),
        ("Add", json!({}), json!(["x", [1, 2, 3]])),
        ("Add", json!({}), json!(["x"])),
        ("Add", json!({}), json!(["x", 1, 2])),
        ("Add", json!({}), json!([1, 2])),
        ("Add", json!({}), json!(["x", "y"])),
        ("Add", json!({}), json!(["x", null])),
        ("Clip", json!({"x_min": "a", "x_max": 1}), json!(["x"])),
        ("Round", json!({"decimals": i32::MIN}), json!(["x"])),
        ("Cast", json!({}), json!(["x"])),
        ("Cast", json!({"dtype": "string"}), json!(["x"])),
        ("GetItem", json!({}), json!(["x", slice(json!(0), json!(1), json!(0))])),
        ("GetItem", json!({}), json!(["x", slice(json!(0.5), json!(1), json!(1))])),
        ("GetItem", json!({}), json!(["x", [0, 0, 0]])),
        ("GetItem", json!({}), json!(["x", [0, 0]])),
        ("GetItem", json!({}), json!(["x", [0, i64::MAX]])),
        ("GetItem", json!({}), json!(["x", [0, i64::MIN]])),
        ("GetItem", json!({}), json!(["x", [0, largest]])),
        ("GetItem", json!({}), json!(["x", vec![Json::Null; 10]])),
        ("GetItem", json!({}), json!(["x", vec![Json::Null; 1000]])),
        ("GetItem", json!({}), json!(["x"])),
        ("Take", json!({"axis": 1}), json!(["x", [2]])),
        ("Take", json!({"axis": 1}), json!(["x", [-3]])),
        ("Take", json!({"axis": 2}), json!(["x", [0]])),
        ("Take", json!({"axis": null}), json!(["x", [i32::MAX as f64]])),
        ("OneHot", json!({"num_classes": i64::MAX, "axis": -1}), json!(["int32"])),
        ("OneHot", json!({"num_classes": -1, "axis": -1}), json!(["int32"])),
        ("OneHot", json!({"num_classes": 2, "axis": 4}), json!(["int32"])),
        ("Einsum", json!({"subscripts": "ab->abc"}), json!(["x"])),
        ("Einsum", json!({"subscripts": "abc->a"}), json!(["x"])),
        ("Einsum", json!({"subscripts": "aa->a"}), json!(["x"])),
        ("Einsum", json!({"subscripts": "ab,ab->a"}), json!(["x"])),
        ("Einsum", json!({"subscripts": ",ab->a"}), json!([1.0, "x"])),
        ("Einsum", json!({"subscripts": "ab,c,de->e"}), json!(["x", [1.0], [[1.0]]])),
        ("Einsum", json!({}), json!(["x"])),
        ("Matmul", json!({}), json!(["x", 1.0])),
        ("Matmul", json!({}), json!(["x", [[1.0]]])),
        ("Resize", json!({"size": [2, 2], "interpolation": "bilinear"}), json!(["x"])),
        ("Resize", json!({"size": [2], "interpolation": "bilinear"}), json!(["x"])),
    ];
    for (class, config, args) in cases {
        let shown: String = format!("{class} {config} {args}").chars().take(200).collect();
        let error = run(class, config, args, X).map(|numbers| format!("{shown} gave {numbers:?}")).unwrap_err();
        assert!(error.to_string().len() < 3000, "{shown}: {error}");
    }
}

#[test]
fn sums_products_and_activations_have_a_compiled_form() {
    let step = |class: &str, config: Json, args: Json, inputs: &[Vec<usize>]| {
        let freezing = Freezing { inputs, output: &inputs[0], weights: &[], padding: [(0, 0); 2] };
        made(class, config, args).unwrap().frozen_step(&freezing)
    };
    let (a, b, sizes) = ([1.0f32, -2.0, 0.5, 3.0], [4.0f32, 1.0, -1.0, 2.0], [1, 2, 2]);
    let of_one = [vec![2, 2]];
    let of_two = [vec![2, 2], vec![2, 2]];
    for (class, config) in [
        ("Add", json!({})),
        ("Subtract", json!({})),
        ("Multiply", json!({})),
        ("Relu", json!({})),
        ("Gelu", json!({"approximate": true})),
        ("Gelu", json!({"approximate": false})),
    ] {
        let all = [&a[..], &b[..]];
        let is_of_two = ["Add", "Subtract", "Multiply"].contains(&class);
        let (args, inputs, shapes) = match is_of_two {
            true => (json!(["x", "x"]), &all[..], &of_two[..]),
            false => (json!(["x"]), &all[..1], &of_one[..]),
        };
        let Some(Frozen::Step(compiled)) = step(class, config.clone(), args.clone(), shapes) else {
            panic!("{class} has no step");
        };
        let mut found = [7.5; 4];
        compiled.run(inputs, 1, 1, &mut found);
        let given: Vec<(&[f32], &[usize])> = inputs.iter().map(|input| (*input, &sizes[..])).collect();
        let expected = run(class, config, args, &given).unwrap();
        let agree = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(agree, "{class}: {found:?}, not {expected:?}");
    }
    // With a constant, of other sizes, of booleans, and without a kernel.
    let refused = [
        step("Add", json!({}), json!(["x", 1.0]), &of_one),
        step("Add", json!({}), json!(["x", "x"]), &[vec![2, 2], vec![2]]),
        step("Add", json!({}), json!(["bool", "bool"]), &of_two),
        step("TrueDivide", json!({}), json!(["x", "x"]), &of_two),
    ];
    assert!(refused.iter().all(Option::is_none), "{refused:?}");
}

#[test]
fn empty_values_are_supported() {
    let nothing: &[(&[f32], &[usize])] = &[(&[], &[2, 0])];
    assert_eq!(run("Sum", json!({"axis": 1}), json!(["x"]), nothing).unwrap(), [0.0, 0.0]);
    assert_eq!(run("Prod", json!({"axis": 1}), json!(["x"]), nothing).unwrap(), [1.0, 1.0]);
    assert!(run("Max", json!({"axis": 1}), json!(["x"]), nothing).is_err());
    assert!(run("Argmax", json!({"axis": 1}), json!(["x"]), nothing).is_err());
    assert_eq!(run("Exp", json!({}), json!(["x"]), nothing).unwrap(), [0.0; 0]);
    assert_eq!(run("Pad", json!({"pad_width": [[0, 0], [1, 0]]}), json!(["x"]), nothing).unwrap(), [0.0, 0.0]);
    assert_eq!(
        run("Concatenate", json!({"axis": 1}), json!([["x", "x"]]), &[nothing[0], (&[1.0, 2.0], &[2, 1])]).unwrap(),
        [1.0, 2.0]
    );
}
