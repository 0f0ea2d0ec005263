//! Training: `fit` on every backend, callbacks, resumed runs, users' own classes.

mod augmentation;
mod backends;
mod callbacks;
mod distributed;
mod fit;
mod interrupted;
mod own_classes;
mod plural;
mod resume;
mod shards;
mod stateful;
mod streams;
mod support;
