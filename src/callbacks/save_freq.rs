//! The frequency of saving.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use super::CallbackState;
use crate::config::also_argument;
use crate::error::{Error, Result};

/// When something is saved: after each epoch, or after a number of batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SaveFreq {
    /// After each epoch.
    #[default]
    Epoch,
    /// After every given number of batches, counted across epochs.
    Batches(usize),
}

impl SaveFreq {
    pub(super) fn check(self) -> Result<()> {
        match self {
            Self::Batches(0) => Err(Error::argument("save_freq", "\"epoch\" or an integer above 0", 0)),
            _ => Ok(()),
        }
    }
}

impl From<usize> for SaveFreq {
    fn from(batches: usize) -> Self {
        Self::Batches(batches)
    }
}

also_argument!(usize => SaveFreq);

impl Serialize for SaveFreq {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Epoch => serializer.serialize_str("epoch"),
            Self::Batches(batches) => batches.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for SaveFreq {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Json::deserialize(deserializer)?;
        let batches = value.as_u64().and_then(|batches| usize::try_from(batches).ok());
        match (value.as_str(), batches) {
            (Some("epoch"), _) => Ok(Self::Epoch),
            (_, Some(batches)) => Ok(Self::Batches(batches)),
            _ => Err(serde::de::Error::custom("invalid value, expected \"epoch\" or an integer above 0")),
        }
    }
}

/// Counts batches as Keras does.
#[derive(Clone, Debug, Default)]
pub(super) struct BatchCounter {
    seen: usize,
    last: Option<usize>,
}

impl BatchCounter {
    /// Whether to save after this batch.
    pub fn due(&mut self, freq: &SaveFreq, batch: usize) -> bool {
        let SaveFreq::Batches(every) = freq else { return false };
        self.seen += match self.last {
            Some(last) if batch > last => batch - last,
            _ => batch + 1,
        };
        self.last = Some(batch);
        let due = self.seen >= *every;
        if due {
            self.seen = 0;
        }
        due
    }

    pub fn put(&self, state: &mut CallbackState) -> Result<()> {
        state.put("batches_seen", &self.seen)?;
        state.put("last_batch", &self.last)
    }

    pub fn take(state: &mut CallbackState) -> Result<Self> {
        Ok(Self { seen: state.take_count("batches_seen")?, last: state.take_count_if_any("last_batch")? })
    }
}
