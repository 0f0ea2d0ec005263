//! Tables in Parquet files: the same samples as from CSV, and clear errors for types that a table cannot have.

use std::path::{Path, PathBuf};

use brasa::Error;
use brasa::datasets::{Csv, Missing, load_csv, load_text_csv, load_texts};
use brasa::prelude::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data").join(name)
}

/// The columns that a table can have.
const FLAT: [&str; 9] = ["sex", "age", "half", "cabin", "ticket", "count", "small", "fare", "alone"];

#[test]
fn a_parquet_file_gives_what_the_same_csv_file_gives() -> brasa::Result<()> {
    let csv =
        Csv::new().columns(FLAT).target("survived").missing(Missing::MostFrequent).missing_of("age", Missing::Mean);
    let expected = csv.read(fixture("people.csv"))?;
    assert_eq!((expected.data.len(), expected.class_names.len()), (60, 2));
    // Snappy in three row groups, Zstandard in small pages of version 2, gzip without dictionaries.
    for name in ["people.parquet", "people_v2.parquet", "people_plain.parquet"] {
        let table = csv.read(fixture(name))?;
        assert_eq!(table.data.x().to_vec_f32(), expected.data.x().to_vec_f32(), "{name}");
        assert_eq!(table.data.y().to_vec_f32(), expected.data.y().to_vec_f32(), "{name}");
        assert_eq!((&table.info.columns, &table.info.targets), (&expected.info.columns, &expected.info.targets));
        assert_eq!((&table.class_names, table.notes.len()), (&expected.class_names, expected.notes.len()));
        assert_eq!(table.lines, (1..=60).collect::<Vec<u64>>());
        // A model trained on one form reads the other.
        let other = Csv::new().like(&table.info).class_names(&table.class_names).load(fixture("people.csv"))?;
        assert_eq!(other.x().to_vec_f32(), expected.data.x().to_vec_f32());
        let rows: Vec<f32> = Csv::new()
            .like(&expected.info)
            .rows(fixture(name), expected.info.width())?
            .flat_map(|(_, row)| row.unwrap())
            .collect();
        assert_eq!(rows, expected.data.x().to_vec_f32(), "{name}");
    }
    // Delta-encoded texts and integers, and floats whose bytes are apart.
    let few = Csv::new().target("survived").missing(Missing::Category).missing_of("age", Missing::Mean);
    let [own, expected] = ["people_delta.parquet", "people.csv"]
        .map(|name| few.clone().columns(["sex", "ticket", "age"]).load(fixture(name)).unwrap().x().to_vec_f32());
    assert_eq!(own, expected);
    Ok(())
}

#[test]
fn texts_are_read_from_a_column() -> brasa::Result<()> {
    let path = fixture("people.parquet");
    let texts = load_texts(&path, Some("cabin"))?;
    assert_eq!((texts.len(), texts[1].text.as_str()), (60, "  b "));
    assert!(texts[1].place.ends_with("people.parquet:2"), "{}", texts[1].place);
    let (data, classes) = load_text_csv(&path, "cabin", Some("survived"))?;
    let (expected, _) = load_text_csv(fixture("people.csv"), "cabin", Some("survived"))?;
    assert_eq!(
        (classes.as_slice(), data.y().to_vec_f32()),
        (&["no".to_owned(), "yes".to_owned()][..], expected.y().to_vec_f32())
    );
    Ok(())
}

#[test]
fn columns_that_a_table_cannot_have_are_refused_by_name_where_they_are_used() {
    let message = |csv: Csv| csv.load(fixture("people.parquet")).unwrap_err().to_string();
    for (column, what) in [("born", "dates"), ("seen", "times"), ("kin", "lists"), ("key", "bytes")] {
        let error = message(Csv::new().columns(["ticket", column]).target("survived"));
        assert!(error.contains(&format!("`{column}`")) && error.contains(what) && error.contains("exclude"), "{error}");
        let error = load_texts(fixture("people.parquet"), Some(column)).unwrap_err().to_string();
        assert!(error.contains(column) && error.contains(what), "{error}");
    }
    let rest = Csv::new().exclude(["born", "seen", "kin", "key"]).target("survived");
    // A gap, with its row.
    let error = message(rest);
    assert!(error.contains("row 3, column 1 (`sex`)") || error.contains("row 2, column 1 (`sex`)"), "{error}");
    assert!(message(Csv::new().target("survivd")).contains("did you mean `survived`"));
    assert!(message(Csv::new().header(false)).contains("header"));
    assert!(message(Csv::new().separator(';')).contains("separator"));
    let profile = Csv::new().profile(fixture("people.parquet")).unwrap();
    let unreadable: Vec<&str> =
        profile.iter().filter(|column| column.unreadable).map(|own| own.name.as_str()).collect();
    assert_eq!(unreadable, ["born", "seen", "kin", "key"]);
    let error = load_csv(fixture("people_delta_bytes.parquet"), None).unwrap_err().to_string();
    assert!(error.contains("DELTA_BYTE_ARRAY") && error.contains("column `survived`"), "{error}");
    // A column that is not used is not read.
    let table = Csv::new().columns(["ticket"]).target("age").missing(Missing::Mean);
    let table = table.load(fixture("people_delta_bytes.parquet"));
    assert!(!table.is_err_and(|error| error.to_string().contains("DELTA_BYTE_ARRAY")));
}

#[test]
fn a_row_after_an_error_is_the_end() -> brasa::Result<()> {
    let info = Csv::new().columns(["ticket"]).target("survived").read(fixture("people_delta.parquet"))?.info;
    let wide = Csv::new().like(&info).rows(fixture("people_delta_bytes.parquet"), 1)?;
    assert_eq!(wide.filter(|(_, row)| row.is_ok()).count(), 60);
    let bare = Csv::new().rows(fixture("people_delta_bytes.parquet"), 4)?;
    let results: Vec<bool> = bare.take(5).map(|(_, row)| row.is_ok()).collect();
    assert_eq!(results, [false]);
    Ok(())
}

#[test]
fn what_is_no_parquet_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        load_csv(path, None).unwrap_err()
    };
    let whole = std::fs::read(fixture("people.parquet")).unwrap();
    for (name, bytes) in [
        ("empty.parquet", &[][..]),
        ("text.parquet", b"a,b\n1,2\n"),
        ("half.parquet", &whole[..whole.len() / 2]),
        ("ends.parquet", b"PAR1\xff\xff\xff\x7fPAR1"),
        ("encrypted.parquet", b"PARE\0\0\0\0PARE"),
    ] {
        let error = written(name, bytes);
        assert!(matches!(&error, Error::Broken { .. }) && error.to_string().contains(name), "{error}");
    }
    assert!(matches!(load_csv("no/such.parquet", None), Err(Error::Io { .. })));
}

#[test]
fn a_model_is_trained_on_a_parquet_file() -> brasa::Result<()> {
    let csv = Csv::new().columns(["sex", "fare"]).missing(Missing::Category).target("survived");
    let data = csv.load(fixture("people.parquet"))?;
    let mut model = Sequential::new().with_seed(1);
    model.add(Dense::new(2).activation("softmax").input_shape(data.x().sample_shape()[0]))?;
    model.compile(Compile::new(Adam::new(0.05), "sparse_categorical_crossentropy").metrics(["accuracy"]))?;
    let history = model.fit(&data, Fit::new().epochs(60).verbose(Verbosity::Silent))?;
    assert!(history.last("accuracy").unwrap() > 0.9, "{history:?}");
    Ok(())
}
