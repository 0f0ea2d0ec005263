//! Models in files: round trips in every format, Keras's own files, damaged and hostile ones, a process killed while
//! saving.

mod attention;
mod augmentation;
mod compute_limits;
mod corpus;
mod from_bytes;
mod graphs;
mod keras_attacks;
mod keras_files;
mod keras_hostile;
mod keras_models;
mod model_files;
mod older_files;
mod operations;
mod optimizer_state;
mod own_names;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(unix)]
mod saving_killed;
mod states;
mod summaries;
mod support;
mod text_models;
mod untrusted;
