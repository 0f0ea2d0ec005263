#![doc = include_str!("../docs/guide/overview.md")]

#[doc = include_str!("../docs/guide/arguments.md")]
pub mod arguments {}

#[doc = include_str!("../docs/guide/data.md")]
pub mod data {}

#[doc = include_str!("../docs/guide/distributed.md")]
pub mod distributed {}

#[doc = include_str!("../docs/guide/files.md")]
pub mod files {}

#[doc = include_str!("../docs/guide/from-keras.md")]
pub mod from_keras {}

#[doc = include_str!("../docs/guide/functional-models.md")]
pub mod functional_models {}

#[doc = include_str!("../docs/guide/gpus.md")]
pub mod gpus {}

#[doc = include_str!("../docs/guide/own-layer.md")]
pub mod own_layer {}

#[doc = include_str!("../docs/guide/own-training.md")]
pub mod own_training {}

#[doc = include_str!("../docs/guide/performance.md")]
pub mod performance {}

#[doc = include_str!("../docs/guide/recipes.md")]
pub mod recipes {}

#[doc = include_str!("../docs/guide/runs.md")]
pub mod runs {}

#[doc = include_str!("../docs/guide/service.md")]
pub mod service {}

#[doc = include_str!("../docs/guide/serving.md")]
pub mod serving {}

#[doc = include_str!("../docs/guide/transfer-learning.md")]
pub mod transfer_learning {}

#[doc = include_str!("../docs/guide/troubleshooting.md")]
pub mod troubleshooting {}

#[doc = include_str!("../docs/guide/burn.md")]
pub mod with_burn {}
