//! The tree of an HDF5 file to be written.

use std::collections::BTreeMap;
use std::io::Write;

use hdf5_pure::{AttrValue, FileBuilder, FinishedGroup, GroupBuilder, LibVer, make_f32_type};

use crate::error::{Error, Result};
use crate::formats::array::{Array, Elements};

/// A group: its attributes, its datasets and its groups, by name.
#[derive(Default)]
pub(super) struct GroupNode<'a> {
    attributes: Vec<(String, AttrValue)>,
    datasets: BTreeMap<String, &'a Array>,
    groups: BTreeMap<String, GroupNode<'a>>,
}

impl<'a> GroupNode<'a> {
    /// The group at a path below this one, created if missing. `""` is this group itself.
    ///
    /// # Errors
    /// [`Error::Argument`] if a part of the path is not a valid name, or is already a dataset.
    pub(super) fn group(&mut self, path: &str) -> Result<&mut GroupNode<'a>> {
        let mut node = self;
        for part in path.split('/').filter(|_| !path.is_empty()) {
            check_name(path, part)?;
            if node.datasets.contains_key(part) {
                return Err(Error::argument("path", "a name that is not yet taken", path));
            }
            node = node.groups.entry(part.to_owned()).or_default();
        }
        Ok(node)
    }

    /// Sets an attribute of this group.
    pub(super) fn set(&mut self, name: impl Into<String>, value: AttrValue) {
        self.attributes.push((name.into(), value));
    }

    /// Puts an array at a path below this group.
    ///
    /// # Errors
    /// [`Error::Argument`] if a part of the path is not a valid name, or is already taken.
    pub(super) fn put(&mut self, path: &str, array: &'a Array) -> Result<()> {
        let (group, name) = path.rsplit_once('/').unwrap_or(("", path));
        check_name(path, name)?;
        let group = self.group(group)?;
        if group.groups.contains_key(name) || group.datasets.insert(name.to_owned(), array).is_some() {
            return Err(Error::argument("path", "a name that is not yet taken", path));
        }
        Ok(())
    }

    /// Writes the tree, this group as the root.
    ///
    /// The structures are those of HDF5 1.8, the oldest that this writer supports and that h5py reads in every version
    /// that works with Keras 3.
    pub(super) fn write(self, sink: impl Write) -> std::io::Result<()> {
        let mut file = FileBuilder::new();
        file.with_libver_bounds(LibVer::Earliest, LibVer::V18);
        for (name, value) in self.attributes {
            file.set_attr(&name, value);
        }
        for (name, array) in &self.datasets {
            fill(file.create_dataset(name), array);
        }
        for (name, node) in self.groups {
            let builder = file.create_group(&name);
            file.add_group(node.build(builder));
        }
        file.finish_to(sink).map_err(|error| match error {
            hdf5_pure::Error::Io(error) => error,
            error => std::io::Error::other(error),
        })
    }

    fn build(self, mut builder: GroupBuilder) -> FinishedGroup {
        for (name, value) in self.attributes {
            builder.set_attr(&name, value);
        }
        for (name, array) in &self.datasets {
            fill(builder.create_dataset(name), array);
        }
        for (name, node) in self.groups {
            let child = builder.create_group(&name);
            builder.add_group(node.build(child));
        }
        builder.finish()
    }
}

fn fill(dataset: &mut hdf5_pure::DatasetBuilder, array: &Array) {
    match array.elements() {
        // As `with_f32_data`, whose loop is slow when dependencies are built with little optimization.
        Elements::F32(values) => {
            let mut bytes = vec![0; size_of_val(values.as_slice())];
            let chunks = bytes.as_chunks_mut::<4>().0.iter_mut();
            chunks.zip(values).for_each(|(chunk, value)| *chunk = value.to_le_bytes());
            dataset.with_raw_data(make_f32_type(), bytes, values.len() as u64)
        }
        Elements::I32(values) => dataset.with_i32_data(values),
        Elements::I64(values) => dataset.with_i64_data(values),
        Elements::U32(values) => dataset.with_u32_data(values),
    };
    let shape: Vec<u64> = array.shape().iter().map(|&size| size as u64).collect();
    dataset.with_shape(&shape);
}

/// Rejects names that are unsafe as paths: some readers turn them into files.
pub(super) fn check_name(path: &str, name: &str) -> Result<()> {
    if matches!(name, "" | "." | "..") || name.contains(['/', '\\', '\0']) {
        return Err(Error::argument(
            "path",
            "names joined by `/`, none of them empty, `.` or `..`",
            format!("{path:?}"),
        ));
    }
    Ok(())
}
