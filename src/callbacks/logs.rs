//! Loss and metrics by name.

use crate::metrics::Score;

/// Loss and metrics by name, in the order in which they were added.
///
/// ```
/// use brasa::callbacks::Logs;
/// let mut logs: Logs = [("loss".to_owned(), 0.5)].into_iter().collect();
/// logs.set("learning_rate", 0.1);
/// logs.set("precision", vec![0.5, 1.0]); // at two thresholds
/// assert_eq!(logs.get("loss"), Some(0.5));
/// assert_eq!(logs.get("precision"), None);
/// assert_eq!(logs.score("precision").map(|score| score.as_slice().len()), Some(2));
/// assert_eq!(logs.names().collect::<Vec<_>>(), ["loss", "learning_rate", "precision"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logs(Vec<(String, Score)>);

impl Logs {
    /// The number of this name; `None` for a metric that has several.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.score(name).and_then(Score::one)
    }

    /// The number or numbers of this name.
    pub fn score(&self, name: &str) -> Option<&Score> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Sets the number or numbers of this name; a new name is appended.
    pub fn set(&mut self, name: &str, value: impl Into<Score>) {
        let value = value.into();
        match self.0.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => *own = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Names and numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Score)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and numbers, in order.
    pub fn as_slice(&self) -> &[(String, Score)] {
        &self.0
    }
}

impl<S: Into<Score>> FromIterator<(String, S)> for Logs {
    fn from_iter<I: IntoIterator<Item = (String, S)>>(logs: I) -> Self {
        Self(logs.into_iter().map(|(name, value)| (name, value.into())).collect())
    }
}

impl<S: Into<Score>> Extend<(String, S)> for Logs {
    fn extend<I: IntoIterator<Item = (String, S)>>(&mut self, logs: I) {
        self.0.extend(logs.into_iter().map(|(name, value)| (name, value.into())));
    }
}
