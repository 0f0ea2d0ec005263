//! Training: what `fit` computes on every backend, callbacks, runs that go on, users' own classes.

mod backends;
mod callbacks;
mod fit;
mod interrupted;
mod own_classes;
mod plural;
mod resume;
mod stateful;
mod support;
