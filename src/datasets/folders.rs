//! Folders of files by class, and trees of such folders.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::text::extension;

/// The file extensions of images that can be decoded.
pub(super) const EXTENSIONS: [&str; 6] = ["bmp", "gif", "jpeg", "jpg", "png", "webp"];

/// Whether a file has an image extension: `bmp`, `gif`, `jpeg`, `jpg`, `png`, `webp`.
pub fn is_image(path: &Path) -> bool {
    EXTENSIONS.contains(&extension(path).as_str())
}

/// The folders for training, validation and testing in a folder that has them: `train`, `val` (or `valid` or
/// `validation`) and `test`, at least one of which has sub-folders. If the folder has any other sub-folder, its
/// sub-folders are classes, whatever their names.
///
/// # Errors
/// [`Error::Io`] if a folder cannot be read.
pub fn is_tree(folder: &Path) -> Result<Option<[Option<PathBuf>; 3]>> {
    const PARTS: [&[&str]; 3] = [&["train", "training"], &["val", "valid", "validation"], &["test"]];
    let mut parts = [const { None }; 3];
    let mut classes = 0;
    for (name, path) in entries(folder, &mut 0)?.into_iter().filter(|(_, path)| path.is_dir()) {
        let part = PARTS.iter().position(|names| names.contains(&name.to_lowercase().as_str()));
        let Some(part) = part.filter(|part| parts[*part].is_none()) else { return Ok(None) };
        classes += entries(&path, &mut 0)?.iter().filter(|(_, path)| path.is_dir()).count();
        parts[part] = Some(path);
    }
    Ok((classes > 0).then_some(parts))
}

/// The entries of a folder by name, without hidden ones and those that macOS adds to archives.
pub(super) fn entries(folder: &Path, left_out: &mut usize) -> Result<Vec<(String, PathBuf)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "__MACOSX" {
            *left_out += 1;
        } else {
            entries.push((name, entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}

/// Rejects class folders that link to one another or to their parent folder: their images would be counted repeatedly.
pub(super) fn check_apart(folder: &Path, classes: &[(String, PathBuf)]) -> Result<()> {
    let real = |path: &Path| fs::canonicalize(path).map_err(Error::io("read", path));
    let whole = real(folder)?;
    let mut found = classes.iter().map(|(name, path)| Ok((real(path)?, name))).collect::<Result<Vec<_>>>()?;
    // Sorted, a folder directly precedes its contents.
    found.sort();
    let is_above = |pair: &[(PathBuf, &String)]| pair[1].0.starts_with(&pair[0].0);
    let refused = match found.iter().find(|(path, _)| whole.starts_with(path)) {
        Some((_, name)) => format!("`{name}`, a link to the whole"),
        None => match found.windows(2).find(|pair| is_above(pair)) {
            Some(pair) => format!("`{}` and `{}`, of which one is a link into the other", pair[0].1, pair[1].1),
            None => return Ok(()),
        },
    };
    let expected = "a folder for each class, with files of its own";
    Err(Error::data(format!("folder `{}`", folder.display()), expected, refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_distinguished_from_classes() {
        let folder = tempfile::tempdir().unwrap();
        let make = |path: &str| fs::create_dir_all(folder.path().join(path)).unwrap();
        make("train/cat");
        make("Val/cat");
        let [train, validation, test] = is_tree(folder.path()).unwrap().unwrap();
        assert!(train.unwrap().ends_with("train") && validation.unwrap().ends_with("Val") && test.is_none());
        make("plane");
        assert!(is_tree(folder.path()).unwrap().is_none());
        let classes = tempfile::tempdir().unwrap();
        fs::create_dir_all(classes.path().join("test")).unwrap();
        assert!(is_tree(classes.path()).unwrap().is_none(), "a class may be called so");
    }
}
