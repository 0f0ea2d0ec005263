//! Inputs and targets of models that have several of them.

use super::samples::{IntoSamples, Samples};
use crate::error::{Error, Result};

/// One of the inputs or targets of a [`Source`](super::Source).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name of the model's input or output; `None` if it is matched by position.
    pub name: Option<String>,
    /// The shape of one sample, without the batch.
    pub shape: Vec<usize>,
}

impl Field {
    /// A field that is matched by position.
    pub fn new(shape: impl Into<Vec<usize>>) -> Self {
        Self { name: None, shape: shape.into() }
    }

    /// A field that is matched by name.
    pub fn named(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: Some(name.into()), shape: shape.into() }
    }
}

/// The inputs or targets of a [`Dataset`](super::Dataset): one block of samples, a list in the order of the model's inputs
/// or outputs, or a list of pairs of a name and a block.
///
/// ```
/// use brasa::datasets::{Dataset, Samples, Source};
/// let one = Dataset::new(vec![1.0f32, 2.0], vec![0, 1])?;
/// let listed = Dataset::new([Samples::from(vec![1.0f32, 2.0]), Samples::from(vec![3, 4])], vec![0, 1])?;
/// let named = Dataset::new([("a", vec![1.0f32, 2.0]), ("b", vec![3.0, 4.0])], [("class", vec![0, 1])])?;
/// assert_eq!((one.x_fields().len(), listed.x_fields().len()), (1, 2));
/// assert_eq!(named.x_fields()[1].name.as_deref(), Some("b"));
/// # Ok::<(), brasa::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the inputs or targets of a data set",
    note = "one block is made from vectors, slices and arrays of numbers (`Vec<f32>`, `&[u8]`, `[usize; 3]`) or of bool, \
            from `Vec<Vec<f32>>` and `Vec<[f32; N]>`, from `ndarray` arrays and Burn's tensors; several are lists of \
            `Samples`, or of pairs of a name and a block"
)]
pub trait IntoFields {
    /// The blocks, each with its name if it has one.
    ///
    /// # Errors
    /// [`Error::Device`] for a tensor whose device fails.
    fn into_fields(self) -> Result<Vec<(Option<String>, Samples)>>;
}

impl<T: IntoSamples> IntoFields for T {
    fn into_fields(self) -> Result<Vec<(Option<String>, Samples)>> {
        Ok(vec![(None, self.into_samples()?)])
    }
}

impl<const N: usize> IntoFields for [Samples; N] {
    fn into_fields(self) -> Result<Vec<(Option<String>, Samples)>> {
        Ok(self.map(|samples| (None, samples)).into())
    }
}

impl<const N: usize> IntoFields for &[Samples; N] {
    fn into_fields(self) -> Result<Vec<(Option<String>, Samples)>> {
        self[..].into_fields()
    }
}

impl IntoFields for &[Samples] {
    fn into_fields(self) -> Result<Vec<(Option<String>, Samples)>> {
        Ok(self.iter().map(|samples| (None, samples.clone())).collect())
    }
}

impl IntoFields for &Vec<Samples> {
    fn into_fields(self) -> Result<Vec<(Option<String>, Samples)>> {
        self[..].into_fields()
    }
}

impl IntoFields for Vec<Samples> {
    fn into_fields(self) -> Result<Vec<(Option<String>, Samples)>> {
        Ok(self.into_iter().map(|samples| (None, samples)).collect())
    }
}

impl<K: Into<String>, S: IntoSamples, const N: usize> IntoFields for [(K, S); N] {
    fn into_fields(self) -> Result<Vec<(Option<String>, Samples)>> {
        self.into_iter().map(|(name, samples)| Ok((Some(name.into()), samples.into_samples()?))).collect()
    }
}

impl<K: Into<String>, S: IntoSamples> IntoFields for Vec<(K, S)> {
    fn into_fields(self) -> Result<Vec<(Option<String>, Samples)>> {
        self.into_iter().map(|(name, samples)| Ok((Some(name.into()), samples.into_samples()?))).collect()
    }
}

/// The index of the field for each of the names: matched by name where fields have names, else by position.
///
/// `what` is the kind of the fields (`input`, `target`); fields that are not `needed` can be missing.
///
/// # Errors
/// [`Error::Data`] for fields that are missing, too many, unknown or given twice.
pub(crate) fn field_indices(
    what: &str,
    fields: &[Field],
    names: &[String],
    needed: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>> {
    let named = fields.iter().filter(|field| field.name.is_some()).count();
    let list = names.join(", ");
    if named == 0 {
        // Keras also accepts targets for only the outputs that have a loss.
        let wanted: Vec<usize> = (0..names.len()).filter(|index| needed(*index)).collect();
        if fields.len() == names.len() {
            return Ok((0..names.len()).map(Some).collect());
        }
        if fields.len() == wanted.len() {
            return Ok((0..names.len()).map(|index| wanted.iter().position(|own| *own == index)).collect());
        }
        return Err(Error::data(format!("{what}s"), format!("{} ({list})", names.len()), fields.len()));
    }
    let mut found = vec![None; names.len()];
    for (index, field) in fields.iter().enumerate() {
        let Some(name) = &field.name else {
            let received = format!("names for {named} of {}", fields.len());
            return Err(Error::data(format!("{what}s"), "a name for each, or for none", received));
        };
        if fields[..index].iter().any(|other| other.name.as_ref() == Some(name)) {
            return Err(Error::data(format!("{what} `{name}`"), "one field of this name", "two"));
        }
        if !names.contains(name) {
            return Err(Error::data(format!("{what}s"), format!("names among {list}"), format!("`{name}`")));
        }
        // A layer can be an output more than once.
        names.iter().zip(&mut found).filter(|(own, _)| *own == name).for_each(|(_, found)| *found = Some(index));
    }
    match found.iter().enumerate().find(|(index, found)| found.is_none() && needed(*index)) {
        Some((index, _)) => {
            let given: Vec<&str> = fields.iter().filter_map(|field| field.name.as_deref()).collect();
            Err(Error::data(format!("{what} `{}`", names[index]), "its samples", format!("{} alone", given.join(", "))))
        }
        None => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["a".to_owned(), "b".to_owned()]
    }

    #[test]
    fn fields_are_found_by_name_or_position() {
        let by_name = [Field::named("b", [2]), Field::named("a", [1])];
        assert_eq!(field_indices("input", &by_name, &names(), |_| true).unwrap(), [Some(1), Some(0)]);
        let by_position = [Field::new([1]), Field::new([2])];
        assert_eq!(field_indices("input", &by_position, &names(), |_| true).unwrap(), [Some(0), Some(1)]);
        assert_eq!(field_indices("target", &by_position[..1], &names(), |index| index == 1).unwrap(), [None, Some(0)]);
        assert_eq!(field_indices("target", &by_name[..1], &names(), |index| index == 1).unwrap(), [None, Some(0)]);
    }

    #[test]
    fn fields_that_do_not_fit_are_refused_by_name() {
        let refused = |fields: &[Field]| field_indices("input", fields, &names(), |_| true).unwrap_err().to_string();
        assert!(refused(&[Field::new([1])]).contains("2 (a, b), received 1"));
        assert!(refused(&[Field::named("a", [1])]).contains("input `b`"));
        assert!(refused(&[Field::named("a", [1]), Field::named("a", [1])]).contains("one field of this name"));
        assert!(refused(&[Field::named("c", [1]), Field::named("a", [1])]).contains("`c`"));
        assert!(refused(&[Field::named("a", [1]), Field::new([1])]).contains("names for 1 of 2"));
    }
}
