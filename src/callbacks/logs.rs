//! Loss and metrics by name.

/// Loss and metrics by name, in the order in which they came.
///
/// ```
/// use brasa::callbacks::Logs;
/// let mut logs: Logs = [("loss".to_owned(), 0.5)].into_iter().collect();
/// logs.set("learning_rate", 0.1);
/// assert_eq!(logs.get("loss"), Some(0.5));
/// assert_eq!(logs.names().collect::<Vec<_>>(), ["loss", "learning_rate"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logs(Vec<(String, f64)>);

impl Logs {
    /// The number of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
    }

    /// Sets the number of this name, at the end if it is new.
    pub fn set(&mut self, name: &str, value: f64) {
        match self.0.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => *own = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Names and numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and numbers, in order.
    pub fn as_slice(&self) -> &[(String, f64)] {
        &self.0
    }
}

impl FromIterator<(String, f64)> for Logs {
    fn from_iter<I: IntoIterator<Item = (String, f64)>>(logs: I) -> Self {
        Self(logs.into_iter().collect())
    }
}

impl Extend<(String, f64)> for Logs {
    fn extend<I: IntoIterator<Item = (String, f64)>>(&mut self, logs: I) {
        self.0.extend(logs);
    }
}
