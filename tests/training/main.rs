//! Training: `fit` on every backend, callbacks, resumed runs, users' own classes.

mod augmentation;
mod backends;
mod callbacks;
mod fit;
mod interrupted;
mod own_classes;
mod plural;
mod resume;
mod stateful;
mod streams;
mod support;
