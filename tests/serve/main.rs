//! What a server answers, over real connections.

mod attacks;
mod batches;
mod corpus;
mod direct;
mod infer;
mod life;
mod limits;
mod outside;
mod support;
mod tensorflow;
